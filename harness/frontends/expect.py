"""What translations expect of a node that no schema says, as errors of the model where it is not so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from harness.errors import ConversionError
from harness.frontends.dispatch import Value

_T = TypeVar("_T")


def check_rank(what: str, value: Value, *ranks: int) -> None:
    """Raise ConversionError where a value has another count of axes."""
    if len(value.shape) not in ranks:
        raise ConversionError(
            f"{what} has {len(value.shape)} axes",
            received=f"shape ({', '.join(map(str, value.shape))})",
            supported=" or ".join(map(str, ranks)),
        )


def broadcast_shape(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The shape that tensors have together. Raises ConversionError where they have none."""
    try:
        return np.broadcast_shapes(*map(tuple, shapes))
    except ValueError as error:
        raise ConversionError("shapes do not go together", received=", ".join(map(str, shapes))) from error


def of_each_axis(what: str, given: Sequence[int] | None, count: int, default: int, least: int) -> list[int]:
    """Numbers of an attribute that has one for each of ``count`` axes (or sides of them), or is left out."""
    numbers = list(given) if given else [default] * count
    if len(numbers) != count:
        raise ConversionError(f"{what} has {len(numbers)} numbers", received=numbers, supported=f"{count}")
    if min(numbers, default=least) < least:
        raise ConversionError(f"{what} is too small", received=numbers, supported=f"{least} and more")
    return numbers


def one_of(what: str, given: str, table: Mapping[str, _T]) -> _T:
    """The member of that name."""
    if given not in table:
        raise ConversionError(f"there is no {what} of this name", received=repr(given), supported=list(table))
    return table[given]


def axis_of(what: str, axis: int, rank: int) -> int:
    """An axis counted from the first. Raises ConversionError where what has ``rank`` axes has none of that number."""
    if not -rank <= axis < rank:
        raise ConversionError(f"{what} has no such axis", received=axis, supported=f"{-rank} to {rank - 1}")
    return axis % rank

"""Arithmetic with sizes that are not known yet: MIL forgets after one operation that a number is an input's size.

``remember_sizes`` puts the expression (of sympy's symbols, as MIL's own) on the value, where MIL's type inference and
translations find it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from harness.frontends.dispatch import Value
from harness.frontends.tflite.layout import is_known, known

_Numbers = list[Any]  # of numpy arrays of objects
# What shapes are computed with, on vectors and scalars.
_COMPUTED: Mapping[str, Callable[[_Numbers, Mapping[str, Any]], Any]] = {
    "ADD": lambda given, _: given[0] + given[1],
    "SUB": lambda given, _: given[0] - given[1],
    "MUL": lambda given, _: given[0] * given[1],
    "FLOOR_DIV": lambda given, _: given[0] // given[1],
    "DIV": lambda given, _: given[0] // given[1],  # of sizes, which are not negative
    "FLOOR_MOD": lambda given, _: given[0] % given[1],
    "CAST": lambda given, _: given[0],
    "PACK": lambda given, options: np.stack(given, options["axis"]),
    "CONCATENATION": lambda given, options: np.concatenate(given, options["axis"]),
    "RESHAPE": lambda given, _: given[0].reshape(-1),
    "EXPAND_DIMS": lambda given, _: given[0].reshape(-1),
    "SQUEEZE": lambda given, _: given[0].reshape(()),
    "REDUCE_PROD": lambda given, _: np.prod(given[0], keepdims=False),
}
_MOST = 16  # elements: more are no shape


def remember_sizes(
    operator: str, inputs: Sequence[Value | None], options: Mapping[str, Any], results: Sequence[Any]
) -> None:
    """Say of an operator's result what it is in terms of the sizes of inputs, where its operands are known so."""
    compute = _COMPUTED.get(operator)
    if compute is None or len(results) != 1:
        return
    result = results[0]
    if isinstance(result, np.ndarray) or result.val is not None or len(result.shape) > 1:
        return
    from coremltools.converters.mil.mil import types

    if not types.is_int(result.dtype):
        return
    given = [_numbers(value) for value in inputs]
    if any(numbers is None or numbers.size > _MOST for numbers in given):
        return
    numbers = np.asarray(compute(given, options), dtype=object)
    if all(is_known(number) for number in numbers.reshape(-1)):
        numbers = numbers.astype(np.int32)
    if numbers.shape == tuple(result.shape):
        held = result.sym_type()
        held.val = numbers if numbers.ndim else numbers.item()
        result._sym_val = held


def _numbers(value: Value | None) -> Any:
    """Numbers or expressions as an array of objects; None where nothing is known."""
    if value is None:
        return None
    constant = known(value)
    if constant is not None:
        return constant.astype(object) if constant.dtype.kind in "iu" else None
    assert not isinstance(value, np.ndarray)
    return None if value.sym_val is None else np.asarray(value.sym_val, dtype=object)

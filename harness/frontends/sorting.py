"""Values that are found once."""

from __future__ import annotations

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import dtype_of, mb
from harness.frontends.dispatch import Var
from harness.frontends.selection import as_numbers

_LARGEST_COMPARED = 2**24  # pairs of elements


def unique(x: Var, *, axis: int | None = None, sorted: int = 1) -> tuple[Var, Var, Var, Var]:  # noqa: A002
    """Values (slices of an axis) that are different, where each is found first, which of them every one is, and how
    often each is found. By comparing all with all."""
    if not all(isinstance(size, int | np.integer) for size in x.shape):
        raise UnsupportedError("unique values of flexible size", received=[str(size) for size in x.shape])
    if axis is None:
        x, axis = mb.reshape(x=x, shape=[-1]), 0
    axis %= len(x.shape)
    values = mb.cast(x=x, dtype="int32") if dtype_of(x) == "bool" else x
    if axis:
        values = mb.transpose(x=values, perm=[axis, *(other for other in range(len(x.shape)) if other != axis)])
    count = int(x.shape[axis])
    width = int(np.prod([int(size) for size in x.shape])) // count
    if count * count * width > _LARGEST_COMPARED:
        raise UnsupportedError("too many values to compare all with all", received=f"{count} of {width}")
    row = mb.reshape(x=values, shape=[count, 1, width])
    column = mb.reshape(x=values, shape=[1, count, width])
    places = np.arange(count, dtype=np.int32)
    differ = _number(mb.not_equal(x=row, y=column))
    alike = mb.sub(x=np.int32(1), y=mb.reduce_max(x=differ, axes=[2], keep_dims=False))
    # The place of the first that is alike: count - (count - place) where it is, else count.
    first = mb.reduce_min(
        x=mb.sub(x=np.int32(count), y=mb.mul(x=alike, y=(count - places).reshape(1, count))), axes=[1], keep_dims=True
    )
    is_first = _number(mb.equal(x=mb.squeeze(x=first, axes=[1]), y=places))
    is_earlier = _smaller(column, row, differ) if sorted else _number(mb.greater(x=first, y=places.reshape(1, count)))
    rank = mb.reduce_sum(x=mb.mul(x=is_earlier, y=mb.expand_dims(x=is_first, axes=[0])), axes=[1], keep_dims=False)
    # The place that each rank is found at first, and the ranks that there are.
    found = mb.mul(
        x=_number(mb.equal(x=mb.expand_dims(x=rank, axes=[0]), y=places.reshape(count, 1))),
        y=mb.expand_dims(x=is_first, axes=[0]),
    )
    ranks = mb.squeeze(x=mb.non_zero(x=mb.reduce_max(x=found, axes=[1], keep_dims=False)), axes=[1])
    place = mb.reduce_sum(x=mb.mul(x=found, y=places.reshape(1, count)), axes=[1], keep_dims=False)
    kept = mb.gather(x=place, indices=ranks, axis=0)
    total = mb.reduce_sum(x=alike, axes=[1], keep_dims=False)
    result = as_numbers(lambda x: mb.gather(x=x, indices=kept, axis=axis), x)
    return result, kept, rank, mb.gather(x=total, indices=kept, axis=0)


def _smaller(x: Var, y: Var, differ: Var) -> Var:
    """1 where x is less than y by the first of the values that differ."""
    is_less = _number(mb.less(x=x, y=y))
    width = int(differ.shape[2])
    if width > 1:
        numbers = np.arange(width, dtype=np.int32)
        left = mb.sub(x=np.int32(width), y=mb.mul(x=differ, y=(width - numbers).reshape(1, 1, width)))
        first = mb.reduce_min(x=left, axes=[2], keep_dims=True)
        is_less = mb.mul(x=is_less, y=_number(mb.equal(x=first, y=numbers.reshape(1, 1, width))))
    return mb.reduce_max(x=is_less, axes=[2], keep_dims=False)


def _number(x: Var) -> Var:
    return mb.cast(x=x, dtype="int32")

"""Slices (coremltools ``iOS15``, ``iOS17`` and ``iOS18``: ``tensor_transformation.py``).

Bounds are numpy's and ONNX's: a negative one counts from the end, one beyond the end is clamped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.runtimes.portable.onnx_graph import Tensor, cast_to, op, shape_of
from harness.runtimes.portable.registry import lowers
from harness.tensors import Array

_INT64 = np.iinfo(np.int64)
_END = np.array(_INT64.max)

Bools = tuple[bool, ...]
Ints = tuple[int, ...]


@dataclass(frozen=True)
class _Bounds:
    """Where a slice starts and ends along each axis, and which axes it then drops."""

    starts: Tensor | Array
    ends: Tensor | Array
    steps: Sequence[int]
    dropped: Sequence[int]

    def of(self, x: Tensor) -> Tensor:
        """The slice of ``x``, before axes are dropped."""
        return op.Slice(x, self.starts, self.ends, list(range(x.rank)), self.steps) if x.rank else op.Identity(x)


def _bounds(
    rank: int,
    begin: Tensor,
    end: Tensor,
    stride: Ints | None,
    begin_mask: Bools | None,
    end_mask: Bools | None,
    squeeze_mask: Bools | None,
) -> _Bounds:
    no = (False,) * rank
    squeezed = np.array(squeeze_mask or no, bool)
    steps = np.where(squeezed, 1, stride or (1,) * rank)
    starts = _masked(begin, begin_mask or no, np.where(steps > 0, 0, _INT64.max))
    ends = _masked(end, end_mask or no, np.where(steps > 0, _INT64.max, _INT64.min))
    if squeezed.any():
        # The last element, -1, ends at the end: 0 would be the beginning.
        if isinstance(starts, Tensor):
            following: Tensor | Array = op.Where(op.Equal(starts, -1), _END, op.Add(starts, 1))
        else:
            following = np.where(starts == -1, _END, starts + np.not_equal(starts, _END))
        if isinstance(following, Tensor) or isinstance(ends, Tensor):
            ends = op.Where(squeezed, following, ends)
        else:
            ends = np.where(squeezed, following, ends)
    return _Bounds(starts, ends, steps.tolist(), np.flatnonzero(squeezed).tolist())


def _masked(bound: Tensor, mask: Bools, fill: Array) -> Tensor | Array:
    """``bound`` with ``fill`` where the mask is set; an array where it is constant."""
    if bound.value is not None:
        return np.where(mask, fill, bound.value.astype(np.int64))
    bound = cast_to(bound, "int64")
    return op.Where(np.array(mask), fill, bound) if any(mask) else bound


@lowers("slice_by_index", moves=True)
def slice_by_index(
    x: Tensor,
    begin: Tensor,
    end: Tensor,
    stride: Ints | None = None,
    begin_mask: Bools | None = None,
    end_mask: Bools | None = None,
    squeeze_mask: Bools | None = None,
) -> Tensor:
    """``x[begin:end:stride, ...]``; a mask leaves begin or end out; ``squeeze_mask`` takes the one
    element at ``begin`` and drops the axis (``_utils.py``, ``solve_slice_by_index_slice``)."""
    bounds = _bounds(x.rank, begin, end, stride, begin_mask, end_mask, squeeze_mask)
    sliced = bounds.of(x)
    return op.Squeeze(sliced, bounds.dropped) if bounds.dropped else sliced


@lowers("slice_by_size", moves=True)
def slice_by_size(x: Tensor, begin: Tensor, size: Tensor) -> Tensor:
    """``x[begin:begin + size, ...]``; a size of -1 reads to the end, a negative begin counts from it."""
    first = cast_to(begin, "int64")
    first = op.Where(op.Less(first, 0), op.Add(first, shape_of(x)), first)
    sizes = cast_to(size, "int64")
    last = op.Where(op.Equal(sizes, -1), _END, op.Add(first, sizes))
    return _Bounds(first, last, [1] * x.rank, []).of(x)


@lowers("slice_update", moves=True)
def slice_update(
    x: Tensor,
    update: Tensor,
    begin: Tensor,
    end: Tensor,
    stride: Ints | None = None,
    begin_mask: Bools | None = None,
    end_mask: Bools | None = None,
    squeeze_mask: Bools | None = None,
) -> Tensor:
    """``x`` with the slice that ``slice_by_index`` reads replaced by ``update``."""
    shape = shape_of(x)
    count = op.ReduceProd(shape, keepdims=0)
    positions = op.Reshape(op.Range(np.array(0, np.int64), count, np.array(1, np.int64)), shape, allowzero=1)
    replaced = _bounds(x.rank, begin, end, stride, begin_mask, end_mask, squeeze_mask).of(positions)
    flat = op.ScatterElements(op.Reshape(x, [-1]), op.Reshape(replaced, [-1]), op.Reshape(update, [-1]), axis=0)
    return op.Reshape(flat, shape, allowzero=1)

"""Parts of a value, by bounds and by indices, which may be computed when the model runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.errors import ConversionError, UnsupportedError
from harness.frontends.builder import mb
from harness.frontends.dispatch import Array, Value, Var
from harness.frontends.program import as_var
from harness.frontends.selection import as_numbers
from harness.frontends.tflite.layout import known
from harness.frontends.tflite.registry import translates


@translates("SLICE")
def slice_(x: Var, begin: Value, size: Value) -> Var:
    """From begin on; size -1 is to the end."""
    starts, sizes = known(begin), known(size)
    if starts is not None and sizes is not None:
        ends = [int(start + count) if count >= 0 else 0 for start, count in zip(starts, sizes, strict=True)]
        return mb.slice_by_index(
            x=x, begin=[int(start) for start in starts], end=ends, end_mask=[bool(count < 0) for count in sizes]
        )
    if sizes is not None and (sizes >= 0).all():
        return mb.slice_by_size(x=x, begin=as_var(begin), size=np.array(sizes, np.int32))
    whole = mb.shape(x=x)
    counts = as_var(size)
    stop = mb.add(x=as_var(begin), y=counts)
    stop = mb.select(cond=mb.less(x=counts, y=np.int32(0)), a=whole, b=stop)
    return mb.slice_by_index(x=x, begin=as_var(begin), end=stop)


@dataclass(frozen=True)
class _AxisSlice:
    start: int | Var
    stop: int | Var
    step: int
    from_begin: bool
    to_end: bool
    shrinks: bool


_WHOLE = _AxisSlice(0, 0, 1, True, True, False)


def _item(values: Value, index: int) -> int | Var:
    """One bound: a number, or a vector of one that is computed."""
    constant = known(values)
    if constant is not None:
        return int(constant[index])
    return mb.slice_by_index(x=as_var(values), begin=[index], end=[index + 1])


def _bounds(items: Sequence[int | Var]) -> Value:
    if all(isinstance(item, int) for item in items):
        return np.array(items, np.int32)
    return mb.concat(values=[np.array([item], np.int32) if isinstance(item, int) else item for item in items], axis=0)


@translates("STRIDED_SLICE")
def strided_slice(
    x: Var,
    begin: Value,
    end: Value,
    strides: Array,
    *,
    begin_mask: int,
    end_mask: int,
    ellipsis_mask: int,
    new_axis_mask: int,
    shrink_axis_mask: int,
    offset: bool = False,
) -> Var:
    """As in TensorFlow. New axes and an ellipsis are written out before MIL sees them."""
    if 0 in strides:
        raise ConversionError("a slice has a step of 0", received=strides.tolist())
    axes: list[_AxisSlice] = []
    new: list[int] = []
    rank, count = len(x.shape), len(strides)
    named = count - new_axis_mask.bit_count() - ellipsis_mask.bit_count()
    if named > rank:
        raise ConversionError("a slice names more axes than its input has", received=named, supported=rank)
    for index in range(count):
        bit = 1 << index
        if ellipsis_mask & bit:
            axes += [_WHOLE] * (rank - named)
        elif new_axis_mask & bit:
            new.append(sum(not item.shrinks for item in axes) + len(new))
        else:
            start = 0 if begin_mask & bit and not shrink_axis_mask & bit else _item(begin, index)
            axes.append(
                _shrunk(x, len(axes), start)
                if shrink_axis_mask & bit
                else _ranged(x, len(axes), start, _item(end, index), int(strides[index]), bool(begin_mask & bit),
                             bool(end_mask & bit), offset)
            )  # fmt: skip
    axes += [_WHOLE] * (rank - len(axes))
    result = mb.slice_by_index(
        x=x,
        begin=_bounds([item.start for item in axes]),
        end=_bounds([item.stop for item in axes]),
        stride=[item.step for item in axes],
        begin_mask=[item.from_begin for item in axes],
        end_mask=[item.to_end for item in axes],
        squeeze_mask=[item.shrinks for item in axes],
    )
    return mb.expand_dims(x=result, axes=new) if new else result


def _shrunk(x: Var, axis: int, start: int | Var) -> _AxisSlice:
    if isinstance(start, int):
        return _AxisSlice(start, start + 1, 1, False, start == -1, True)
    size = mb.slice_by_index(x=mb.shape(x=x), begin=[axis], end=[axis + 1])
    first = mb.select(cond=mb.less(x=start, y=np.int32(0)), a=mb.add(x=start, y=size), b=start)
    return _AxisSlice(first, mb.add(x=first, y=np.int32(1)), 1, False, False, True)


def _ranged(
    x: Var, axis: int, start: int | Var, stop: int | Var, step: int, from_begin: bool, to_end: bool, offset: bool
) -> _AxisSlice:
    if offset:
        stop = start + stop if isinstance(start, int) and isinstance(stop, int) else mb.add(x=start, y=stop)
    size = x.shape[axis]
    if isinstance(start, int) and isinstance(stop, int) and isinstance(size, int | np.integer):
        first, last, step = slice(None if from_begin else start, None if to_end else stop, step).indices(int(size))
        if not len(range(first, last, step)):
            raise UnsupportedError("Core ML has no tensors without elements", received=f"axis {axis} sliced to nothing")
        return _AxisSlice(first, max(last, 0), step, False, last < 0, False)
    return _AxisSlice(start, stop, step, from_begin, to_end, False)


@translates("GATHER")
def gather(x: Var, indices: Value, *, axis: int = 0, batch_dims: int = 0) -> Var:
    """Slices of an axis at indices."""
    batch = batch_dims % len(indices.shape) if batch_dims < 0 else batch_dims
    places = as_var(indices)
    return as_numbers(lambda x: mb.gather(x=x, indices=places, axis=axis % len(x.shape), batch_dims=batch), x)


@translates("GATHER_ND")
def gather_nd(x: Var, indices: Value) -> Var:
    """Slices at tuples of indices."""
    places = as_var(indices)
    return as_numbers(lambda x: mb.gather_nd(x=x, indices=places), x)

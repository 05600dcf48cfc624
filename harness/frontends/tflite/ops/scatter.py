"""Values written to places that are given, and sums over groups of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import dtype_of, like, mb
from harness.frontends.dispatch import Array, Value, Var
from harness.frontends.program import as_var
from harness.frontends.selection import as_numbers
from harness.frontends.tflite.layout import known
from harness.frontends.tflite.registry import translates


@translates("SCATTER_ND")
def scatter_nd(indices: Value, updates: Var, shape: Value) -> Var:
    """Zeros, to which the updates are added at their tuples of indices."""
    sizes = known(shape)

    def scattered(values: Var) -> Var:
        zeros = like(values, np.zeros([int(size) for size in sizes])) if sizes is not None else None
        data = as_var(zeros) if zeros is not None else mb.fill(shape=shape, value=like(values, 0))
        return mb.scatter_nd(data=data, indices=as_var(indices), updates=values, mode="add")

    if sizes is None and dtype_of(updates) == "bool":
        raise UnsupportedError("truth values scattered into a computed shape")
    return as_numbers(scattered, updates)


@translates("SPARSE_TO_DENSE")
def sparse_to_dense(indices: Var, shape: Array, values: Var, default: Value, *, validate_indices: bool = False) -> Var:
    """The default value everywhere but at the indices: a number, a vector of them, or a matrix of tuples."""
    sizes = [int(size) for size in shape.reshape(-1)]
    places = mb.reshape(x=indices, shape=[-1, len(sizes)])
    count = int(places.shape[0])

    def scattered(values: Var) -> Var:
        filled = known(default)
        if filled is not None:
            data = as_var(like(values, np.full(sizes, filled.reshape(()))))
        else:
            data = mb.tile(x=mb.reshape(x=as_var(default), shape=[1] * len(sizes)), reps=sizes)
        each = mb.reshape(x=values, shape=[-1])
        if int(each.shape[0]) != count:
            each = mb.tile(x=each, reps=[count])
        return mb.scatter_nd(data=data, indices=places, updates=each, mode="update")

    return as_numbers(scattered, values)


@translates("DYNAMIC_UPDATE_SLICE")
def dynamic_update_slice(x: Var, update: Var, begin: Value) -> Var:
    """x with ``update`` from ``begin`` on, which is held within where it fits (``kernels/dynamic_update_slice.cc``)."""
    sizes, parts = ([_fixed(size) for size in value.shape] for value in (x, update))
    limits = np.array([size - part for size, part in zip(sizes, parts, strict=True)], np.int32)
    starts = known(begin)
    offsets = np.moveaxis(np.indices(parts, np.int32), 0, -1)
    if starts is not None:
        places: Value = (offsets + np.clip(starts.reshape(-1), 0, limits)).astype(np.int32)
    else:
        first = mb.minimum(x=mb.maximum(x=as_var(begin), y=np.int32(0)), y=limits)
        places = mb.add(x=offsets, y=mb.reshape(x=first, shape=[1] * len(parts) + [len(parts)]))

    def scattered(data: Var, values: Var) -> Var:
        return mb.scatter_nd(data=data, indices=as_var(places), updates=values, mode="update")

    return as_numbers(scattered, x, update)


def _fixed(size: object) -> int:
    if not isinstance(size, int | np.integer):
        raise UnsupportedError("updates of flexible size", received=size)
    return int(size)


@translates("SEGMENT_SUM")
def segment_sum(x: Var, segments: Value) -> Var:
    """Sums of the rows of each segment; the last of the sorted segments tells how many there are."""
    ids = known(segments)
    tail = [_fixed(size) for size in x.shape[1:]]
    if ids is not None:
        data = as_var(like(x, np.zeros([int(ids.max()) + 1, *tail])))
    else:
        last = mb.reduce_max(x=as_var(segments), axes=[0], keep_dims=True)
        count = mb.add(x=last, y=np.int32(1))
        shape = mb.concat(values=[count, np.array(tail, np.int32)], axis=0) if tail else count
        data = mb.fill(shape=shape, value=like(x, 0))
    return mb.scatter(data=data, indices=as_var(segments), updates=x, axis=0, mode="add")


def _unsorted(x: Var, segments: Var, count: int, empty: float, mode: str) -> Var:
    """Rows of segments combined; negative segments are left out, empty ones have the value ``empty``."""
    if count < 1:
        raise UnsupportedError("Core ML has no tensors without elements", received=f"{count} segments")
    leading = len(segments.shape)
    tail = [_fixed(size) for size in x.shape[leading:]]
    ids = mb.reshape(x=segments, shape=[-1]) if leading != 1 else segments
    rows = mb.reshape(x=x, shape=[-1, *tail]) if leading != 1 else x
    kept = mb.select(cond=mb.less(x=ids, y=np.int32(0)), a=np.int32(count), b=ids)
    data = as_var(like(rows, np.full([count + 1, *tail], empty)))
    result = mb.scatter(data=data, indices=kept, updates=rows, axis=0, mode=mode)
    return _rows(result, count, tail)


def _rows(x: Var, count: int, tail: Sequence[int]) -> Var:
    return mb.slice_by_size(x=x, begin=[0] * (1 + len(tail)), size=[count, *tail])


def _limits(x: Var) -> tuple[float, float]:
    limits: Any = np.iinfo(np.int32) if dtype_of(x) == "int32" else np.finfo(np.float32)
    return float(limits.min), float(limits.max)


@translates("UNSORTED_SEGMENT_SUM")
def unsorted_segment_sum(x: Var, segments: Var, count: int) -> Var:
    """Sums of the rows of each segment."""
    return _unsorted(x, segments, count, 0, "add")


@translates("UNSORTED_SEGMENT_PROD")
def unsorted_segment_prod(x: Var, segments: Var, count: int) -> Var:
    """Products of the rows of each segment."""
    return _unsorted(x, segments, count, 1, "mul")


@translates("UNSORTED_SEGMENT_MAX")
def unsorted_segment_max(x: Var, segments: Var, count: int) -> Var:
    """The greatest of the rows of each segment; an empty one has the type's least."""
    return _unsorted(x, segments, count, _limits(x)[0], "max")


@translates("UNSORTED_SEGMENT_MIN")
def unsorted_segment_min(x: Var, segments: Var, count: int) -> Var:
    """The least of the rows of each segment; an empty one has the type's greatest."""
    return _unsorted(x, segments, count, _limits(x)[1], "min")

"""Slices, gathers, scatters and sorting."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import mb
from harness.frontends.dispatch import Array, Value, Var
from harness.frontends.onnx.graph import Node
from harness.frontends.onnx.registry import translates
from harness.frontends.program import as_var


def _sliced(
    x: Var, starts: tuple[int, ...], ends: tuple[int, ...], axes: tuple[int, ...] | None, steps: tuple[int, ...] | None
) -> Var:
    rank = len(x.shape)
    begin, end, stride = [0] * rank, [0] * rank, [1] * rank
    begin_mask, end_mask = [True] * rank, [True] * rank
    for index, axis in enumerate(axes if axes is not None else range(len(starts))):
        axis %= rank
        step = steps[index] if steps is not None else 1
        size = x.shape[axis]
        if not isinstance(size, int | np.integer):
            if step < 0 or starts[index] < 0:
                raise UnsupportedError("a slice from the end of a flexible axis", received=f"start {starts[index]}")
            begin[axis], begin_mask[axis], stride[axis] = starts[index], False, step
            if ends[index] < 2**31 - 1:
                end[axis], end_mask[axis] = ends[index], False
            continue
        start, stop, step = slice(starts[index], ends[index], step).indices(int(size))
        if len(range(start, stop, step)) == 0:
            raise UnsupportedError("Core ML has no tensors without elements", received=f"axis {axis} sliced to nothing")
        begin[axis], begin_mask[axis], stride[axis] = start, False, step
        if stop >= 0:
            end[axis], end_mask[axis] = stop, False
    return mb.slice_by_index(x=x, begin=begin, end=end, stride=stride, begin_mask=begin_mask, end_mask=end_mask)


@translates("Slice", since=10)
def slice_(
    x: Var, starts: tuple[int, ...], ends: tuple[int, ...], axes: tuple[int, ...] | None = None,
    steps: tuple[int, ...] | None = None,
) -> Var:  # fmt: skip
    """As Python slices of the named axes."""
    return _sliced(x, starts, ends, axes, steps)


@translates("Slice")
def slice_by_attributes(
    x: Var, *, starts: tuple[int, ...], ends: tuple[int, ...], axes: tuple[int, ...] | None = None
) -> Var:
    """As Python slices of the named axes."""
    return _sliced(x, starts, ends, axes, None)


def _positive(indices: Value, size: Any) -> Value:
    """Indices counted from the begin."""
    if isinstance(indices, np.ndarray):
        return np.where(indices < 0, indices + int(size), indices).astype(np.int32)
    wrapped = mb.add(x=indices, y=np.int32(size))
    return mb.select(cond=mb.less(x=indices, y=np.int32(0)), a=wrapped, b=indices)


@translates("Gather")
def gather(x: Var, indices: Value, *, axis: int = 0, node: Node) -> Var:
    """Slices of an axis at indices, which may be negative."""
    axis %= len(x.shape)
    return mb.gather(x=x, indices=_positive(indices, x.shape[axis]), axis=axis)


@translates("GatherElements", since=11)
def gather_elements(x: Var, indices: Value, *, axis: int = 0) -> Var:
    """One element for each index."""
    axis %= len(x.shape)
    return mb.gather_along_axis(x=x, indices=_positive(indices, x.shape[axis]), axis=axis)


@translates("GatherND", since=11)
def gather_nd(x: Var, indices: Value, *, batch_dims: int = 0) -> Var:
    """Slices at tuples of indices."""
    depth = int(indices.shape[-1])
    sizes = np.array([int(size) for size in x.shape[batch_dims : batch_dims + depth]], np.int32)
    if isinstance(indices, np.ndarray):
        positive: Value = np.where(indices < 0, indices + sizes, indices).astype(np.int32)
    else:
        positive = mb.select(cond=mb.less(x=indices, y=np.int32(0)), a=mb.add(x=indices, y=sizes), b=indices)
    return mb.gather_nd(x=x, indices=positive, batch_dims=batch_dims)


_MODES = {"none": "update", "add": "add", "mul": "mul", "max": "max", "min": "min"}


@translates("ScatterElements", since=11)
def scatter_elements(x: Var, indices: Value, updates: Var, *, axis: int = 0, reduction: str = "none") -> Var:
    """x with elements of an axis replaced, or combined, at indices."""
    axis %= len(x.shape)
    return mb.scatter_along_axis(
        data=x, indices=_positive(indices, x.shape[axis]), updates=updates, axis=axis, mode=_MODES[reduction]
    )


@translates("Scatter")
def scatter(x: Var, indices: Value, updates: Var, *, axis: int = 0) -> Var:
    """What ScatterElements was called before opset 11."""
    return scatter_elements(x, indices, updates, axis=axis)


@translates("ScatterND", since=11)
def scatter_nd(x: Var, indices: Value, updates: Var, *, reduction: str = "none") -> Var:
    """x with slices replaced, or combined, at tuples of indices."""
    sizes = np.array([int(size) for size in x.shape[: int(indices.shape[-1])]], np.int32)
    if isinstance(indices, np.ndarray):
        positive: Value = np.where(indices < 0, indices + sizes, indices).astype(np.int32)
    else:
        positive = mb.select(cond=mb.less(x=indices, y=np.int32(0)), a=mb.add(x=indices, y=sizes), b=indices)
    return mb.scatter_nd(data=x, indices=positive, updates=updates, mode=_MODES[reduction])


@translates("TopK", since=11)
def top_k(x: Var, k: int, *, axis: int = -1, largest: int = 1, sorted: int = 1, node: Node) -> tuple[Var, Var]:  # noqa: A002
    """The greatest (or least) of an axis, and where they are."""
    if node.input_dtype() not in ("float32", "float16", "int32", "int64"):
        raise UnsupportedError("MIL sorts floats and int32", received=node.input_dtype())
    values, indices = mb.topk(x=x, k=k, axis=axis, ascending=not largest)
    return values, indices


@translates("TopK", since=10)
def top_k_greatest(x: Var, k: int, *, axis: int = -1, node: Node) -> tuple[Var, Var]:
    """The greatest of an axis, and where they are."""
    return top_k(x, k, axis=axis, node=node)


@translates("OneHot", since=9)
def one_hot(indices: Value, depth: int, values: Array, *, axis: int = -1, node: Node) -> Var:
    """values[1] where the index along the new axis is the value, else values[0]."""
    if node.input_dtype() in ("float32", "float16") and not isinstance(indices, np.ndarray):
        indices = mb.cast(x=indices, dtype="int32")
    whole = _positive(indices.astype(np.int32) if isinstance(indices, np.ndarray) else indices, depth)
    kind = np.float32 if values.dtype.kind == "f" else np.int32
    return mb.one_hot(
        indices=as_var(whole), one_hot_vector_size=depth, axis=axis, on_value=kind(values[1]), off_value=kind(values[0])
    )


@translates("Trilu", since=14)
def trilu(x: Var, k: int = 0, *, upper: int = 1, node: Node) -> Var:
    """Zeros below (or above) the k-th diagonal."""
    rows, columns = (int(size) for size in x.shape[-2:])
    mask = np.triu(np.ones((rows, columns), bool), k) if upper else np.tril(np.ones((rows, columns), bool), k)
    if node.input_dtype() == "bool":
        return mb.logical_and(x=x, y=mask)
    if node.input_dtype() in ("float32", "float16"):
        return mb.select(cond=np.broadcast_to(mask, [int(s) for s in x.shape]).copy(), a=x, b=np.float32(0))
    return mb.mul(x=x, y=mask.astype(np.int32))

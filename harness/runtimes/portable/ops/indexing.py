"""Gathers and scatters (coremltools ``iOS15``, ``iOS16`` and ``iOS17``: ``scatter_gather.py``).

Up to iOS16 a negative index counts from the end. From iOS17 it is out of bounds, as one beyond the
end is: with ``validate_indices`` the prediction fails; without it the result is undefined, and here
a gather reads the nearest element and a scatter leaves the update out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.errors import PackageError
from harness.runtimes.portable.onnx_graph import Tensor, cast_to, constant, op, shape_of
from harness.runtimes.portable.registry import lowers

_FIRST_STRICT_OPSET = 7
_REDUCTIONS = {"update": "none", "add": "add", "sub": "add", "mul": "mul", "div": "mul", "max": "max", "min": "min"}


def _is_strict(opset: str) -> bool:
    """Whether negative indices are out of bounds: from CoreML7, iOS17's opset."""
    return int(opset.removeprefix("CoreML")) >= _FIRST_STRICT_OPSET


# Gather -----------------------------------------------------------------------------------------


@lowers("gather", moves=True)
def gather(
    x: Tensor, indices: Tensor, axis: int = 0, batch_dims: int = 0, validate_indices: bool = False, *, opset: str
) -> Tensor:
    """``x[:axis] + indices[batch_dims:] + x[axis+1:]``: elements along ``axis``, as ``tf.gather``."""
    axis %= x.rank
    indices = _readable(indices, _sizes(x, axis, axis + 1), validate_indices, opset)
    if batch_dims == 0:
        return op.Gather(x, indices, axis=axis)
    # GatherND takes the axis just behind the batch, and leaves the indices' axes there.
    batch, rest = list(range(batch_dims)), [i for i in range(batch_dims, x.rank) if i != axis]
    taken = op.GatherND(
        op.Transpose(x, perm=[*batch, axis, *rest]),
        op.Unsqueeze(cast_to(indices, "int64"), [-1]),
        batch_dims=batch_dims,
    )
    chosen, before = indices.rank - batch_dims, axis - batch_dims
    middle = list(range(batch_dims + chosen, batch_dims + chosen + before))
    after = list(range(batch_dims + chosen + before, x.rank - 1 + chosen))
    return op.Transpose(taken, perm=[*batch, *middle, *range(batch_dims, batch_dims + chosen), *after])


@lowers("gather_along_axis", moves=True)
def gather_along_axis(
    x: Tensor, indices: Tensor, axis: int = 0, validate_indices: bool = False, *, opset: str
) -> Tensor:
    """``numpy.take_along_axis``; the result has the shape of ``indices``."""
    axis %= x.rank
    return op.GatherElements(x, _readable(indices, _sizes(x, axis, axis + 1), validate_indices, opset), axis=axis)


@lowers("gather_nd", moves=True)
def gather_nd(x: Tensor, indices: Tensor, batch_dims: int = 0, validate_indices: bool = False, *, opset: str) -> Tensor:
    """The slices of ``x`` at the positions that the last axis of ``indices`` holds, as ``tf.gather_nd``."""
    sizes = _sizes(x, batch_dims, batch_dims + indices.size(-1))
    readable = _readable(indices, sizes, validate_indices, opset)
    return op.GatherND(x, cast_to(readable, "int64"), batch_dims=batch_dims)


def _readable(indices: Tensor, sizes: Tensor, validate: bool, opset: str) -> Tensor:
    """Indices that ONNX, to which a negative one counts from the end, reads as MIL does."""
    if not _is_strict(opset) or _all_inside(indices, sizes):
        return indices
    indices = cast_to(indices, "int64")
    if indices.rank == 0:
        sizes = op.Reshape(sizes, [])
    if validate:
        # ONNX Runtime fails at an index that is as large as the axis.
        return op.Where(op.Less(indices, 0), sizes, indices)
    return op.Max(op.Min(indices, op.Sub(sizes, 1)), 0)


# Scatter ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Target:
    """Where updates go: indices without negative ones, and which of them are inside (None: all)."""

    indices: Tensor
    inside: Tensor | None


@lowers("scatter")
def scatter(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    axis: int = 0,
    mode: str = "add",
    validate_indices: bool = False,
    *,
    opset: str,
) -> Tensor:
    """``data`` with ``updates`` combined into its slices at ``indices`` along ``axis``.

    The updates are ``data[:axis] + indices + data[axis+1:]``; indices of any rank, as the tests have.
    """
    axis %= data.rank
    target = _target(indices, _sizes(data, axis, axis + 1), opset)
    if indices.rank != 1:
        before, after = op.Shape(data, end=axis), op.Shape(data, start=axis + 1)
        count = op.Reshape(op.Size(indices), [1])
        updates = op.Reshape(updates, op.Concat(before, count, after, axis=0), allowzero=1)
    places = [1] * axis + [-1] + [1] * (data.rank - axis - 1)

    def spread(values: Tensor) -> Tensor:
        return op.Expand(op.Reshape(values, places), shape_of(updates))

    target = _Target(spread(target.indices), spread(target.inside) if target.inside else None)
    return _scatter(data, target, updates, axis, mode, validate_indices, opset)


@lowers("scatter_along_axis")
def scatter_along_axis(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    axis: int = 0,
    mode: str = "add",
    validate_indices: bool = False,
    *,
    opset: str,
) -> Tensor:
    """``data`` with each update combined into the element at its index along ``axis``."""
    axis %= data.rank
    target = _target(indices, _sizes(data, axis, axis + 1), opset)
    return _scatter(data, target, updates, axis, mode, validate_indices, opset)


@lowers("scatter_nd")
def scatter_nd(
    data: Tensor, indices: Tensor, updates: Tensor, mode: str = "add", validate_indices: bool = False, *, opset: str
) -> Tensor:
    """``data`` with ``updates`` combined into its slices at the positions on the last axis of ``indices``.

    The addressed axes are made one, and the others too: ONNX Runtime's ScatterND combines updates of
    one place in several threads at once.
    """
    depth = indices.size(-1)
    sizes = _sizes(data, 0, depth)
    target = _target(indices, sizes, opset)
    # The stride of an axis is the product of the sizes that follow; of none, 1.
    strides = [op.ReduceProd(op.Slice(sizes, [axis + 1], [depth]), keepdims=1) for axis in range(depth)]
    rows = op.ReduceSum(op.Mul(target.indices, op.Concat(*strides, axis=0)), [-1], keepdims=0)
    flat_updates = op.Flatten(updates, axis=indices.rank - 1)

    def spread(values: Tensor) -> Tensor:
        return op.Expand(op.Reshape(values, [-1, 1]), shape_of(flat_updates))

    inside = None
    if target.inside is not None:
        inside = spread(op.Equal(op.ReduceMin(cast_to(target.inside, "int32"), [-1], keepdims=0), 1))
    flat = _scatter(
        op.Flatten(data, axis=depth), _Target(spread(rows), inside), flat_updates, 0, mode, validate_indices, opset
    )
    return op.Reshape(flat, shape_of(data), allowzero=1)


def _target(indices: Tensor, sizes: Tensor, opset: str) -> _Target:
    inside = _all_inside(indices, sizes)
    indices = cast_to(indices, "int64")
    if inside:
        return _Target(indices, None)
    if not _is_strict(opset):
        indices = op.Where(op.Less(indices, 0), op.Add(indices, sizes), indices)
    return _Target(indices, op.And(op.GreaterOrEqual(indices, 0), op.Less(indices, sizes)))


def _scatter(
    data: Tensor, target: _Target, updates: Tensor, axis: int, mode: str, validate: bool, opset: str
) -> Tensor:
    """Combine every update with the element at its index along ``axis``; updates of one place follow
    one another."""
    if mode not in _REDUCTIONS:
        raise PackageError("unknown mode of scatter", received=repr(mode), supported=_REDUCTIONS)
    size = _sizes(data, axis, axis + 1)
    if target.inside is None:
        return _combine(data, target.indices, updates, axis, mode)
    # ONNX Runtime fails at an index that is as large as the axis; where the update is to be left out
    # instead, the axis is made one longer for it.
    indices = op.Where(target.inside, target.indices, size)
    if validate or not _is_strict(opset):
        return _combine(data, indices, updates, axis, mode)
    longer = op.Pad(data, [0] * data.rank + [int(i == axis) for i in range(data.rank)])
    return op.Slice(_combine(longer, indices, updates, axis, mode), [0], size, [axis])


def _combine(data: Tensor, indices: Tensor, updates: Tensor, axis: int, mode: str) -> Tensor:
    if mode == "sub":
        updates = op.Neg(updates)
    if mode == "div":
        # In float64: the product of all divisors of one place may be beyond data's type where every quotient,
        # divided by one after the other, is not.
        ones = op.Expand(cast_to(constant(np.ones((), np.float32)), "fp64"), shape_of(data))
        divisor = op.ScatterElements(ones, indices, cast_to(updates, "fp64"), axis=axis, reduction="mul")
        return cast_to(op.Div(cast_to(data, "fp64"), divisor), data.dtype)
    return op.ScatterElements(data, indices, updates, axis=axis, reduction=_REDUCTIONS[mode])


# Bounds -----------------------------------------------------------------------------------------


def _sizes(x: Tensor, start: int, end: int) -> Tensor:
    """The sizes of these axes, an int64 vector; a constant where they are known."""
    known = (x.shape or ())[start:end]
    if None in known:
        return op.Shape(x, start=start, end=end)
    return constant(np.array(known, np.int64))


def _all_inside(indices: Tensor, sizes: Tensor) -> bool:
    """Whether constant indices are known to be inside; they need no node then."""
    if indices.value is None or sizes.value is None:
        return False
    return bool(np.all(np.greater_equal(indices.value, 0) & np.less(indices.value, sizes.value)))

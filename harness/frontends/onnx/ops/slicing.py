"""Slices, gathers, scatters and sorting."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from harness.errors import ConversionError, UnsupportedError
from harness.frontends.builder import like, mb
from harness.frontends.dispatch import Value, Var
from harness.frontends.expect import axis_of, check_rank, one_of
from harness.frontends.integers import wrapped
from harness.frontends.onnx.declared import declared_shape, known_or_none, static_shape
from harness.frontends.onnx.graph import Node
from harness.frontends.onnx.registry import translates
from harness.frontends.program import as_var, constant
from harness.frontends.selection import as_numbers, where


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
    x: Var, starts: Value, ends: Value, axes: Value | None = None, steps: Value | None = None, *, node: Node
) -> Var:
    """As Python slices of the named axes."""
    given = (starts, ends, axes, steps)
    known = [None if value is None else known_or_none(value) for value in given]
    if any(value is not None and found is None for value, found in zip(given, known, strict=True)):
        for value in given:
            if value is not None:
                check_rank("a bound, step or list of axes", value, 1)
        are_known = all(value is None or found is not None for value, found in zip(given[2:], known[2:], strict=True))
        if static_shape(node) is None and are_known:
            named = range(int(starts.shape[0])) if known[2] is None else [int(axis) for axis in known[2]]
            return _ranged(x, as_var(starts), as_var(ends), list(named), known[3])
        return _picked(x, starts, axes, steps, node)
    tuples = [None if found is None else tuple(int(item) for item in found) for found in known]
    assert tuples[0] is not None
    assert tuples[1] is not None
    return _sliced(x, tuples[0], tuples[1], tuples[2], tuples[3])


def _gathered(x: Var, indices: Var, axis: int) -> Var:
    return mb.gather(x=x, indices=indices, axis=axis)


def _ranged(x: Var, starts: Var, ends: Var, axes: list[int], steps: Any) -> Var:
    """Of computed bounds, as many rows of the named axes as there are when the model runs."""
    for index, axis in enumerate(axes):
        step = 1 if steps is None else int(steps[index])
        size = mb.slice_by_index(x=mb.shape(x=x), begin=[axis % len(x.shape)], end=[axis % len(x.shape) + 1])
        # Within what a step may begin and end at, as in Python.
        least, most = (np.int32(0), size) if step > 0 else (np.int32(-1), mb.sub(x=size, y=np.int32(1)))
        bounds = []
        for given in (starts, ends):
            bound = mb.slice_by_index(x=given, begin=[index], end=[index + 1])
            bound = mb.minimum(x=mb.maximum(x=_wrapped_around(bound, size), y=least), y=most)
            bounds.append(mb.squeeze(x=bound, axes=[0]))
        rows = mb.range_1d(start=bounds[0], end=bounds[1], step=np.int32(step))
        x = as_numbers(partial(_gathered, indices=rows, axis=axis % len(x.shape)), x)
    return x


def _picked(x: Var, starts: Value, axes: Value | None, steps: Value | None, node: Node) -> Var:
    """Of computed bounds: the declared shape tells how many rows of each axis there are, and each is picked."""
    declared = declared_shape(node, "starts")
    rank, count = len(x.shape), int(starts.shape[0])
    if 0 in declared:
        raise UnsupportedError("Core ML has no tensors without elements", received=declared)
    named: Value = np.arange(count, dtype=np.int32) if axes is None else axes
    where = mb.mod(x=as_var(named), y=np.int32(rank))
    for axis, length in enumerate(declared):
        size = int(x.shape[axis])
        is_here = mb.cast(x=mb.equal(x=where, y=np.int32(axis)), dtype="int32")
        start = mb.reduce_sum(x=mb.mul(x=is_here, y=as_var(starts)), axes=[0], keep_dims=True)
        step: Value = np.ones(1, np.int32)
        if steps is not None:
            # 1 where the axis is not named.
            less = mb.sub(x=as_var(steps), y=np.int32(1))
            step = mb.add(x=mb.reduce_sum(x=mb.mul(x=is_here, y=less), axes=[0], keep_dims=True), y=np.int32(1))
        start = mb.select(cond=mb.less(x=start, y=np.int32(0)), a=mb.add(x=start, y=np.int32(size)), b=start)
        start = mb.minimum(x=mb.maximum(x=start, y=np.int32(0)), y=np.int32(size - 1))
        rows = mb.add(x=start, y=mb.mul(x=np.arange(length, dtype=np.int32), y=as_var(step)))
        x = as_numbers(partial(_gathered, indices=rows, axis=axis), x)
    return x


@translates("Slice")
def slice_by_attributes(
    x: Var, *, starts: tuple[int, ...], ends: tuple[int, ...], axes: tuple[int, ...] | None = None
) -> Var:
    """As Python slices of the named axes."""
    return _sliced(x, starts, ends, axes, None)


def _positive(indices: Value, x: Value, axis: int) -> Value:
    """Indices of an axis counted from its begin."""
    size = x.shape[axis]
    if not isinstance(size, int | np.integer):
        if isinstance(indices, np.ndarray) and np.all(indices >= 0):
            return indices.astype(np.int32)
        sizes = mb.slice_by_index(x=mb.shape(x=x), begin=[axis], end=[axis + 1], squeeze_mask=[True])
        return _wrapped_around(as_var(indices), sizes)
    return _wrapped_around(indices, np.int32(size))


def _wrapped_around(indices: Value, size: Any) -> Value:
    if isinstance(indices, np.ndarray):
        return np.where(indices < 0, indices + size, indices).astype(np.int32)
    return mb.select(cond=mb.less(x=indices, y=np.int32(0)), a=mb.add(x=indices, y=size), b=indices)


def _tuples(indices: Value, x: Var, batch_dims: int = 0) -> Value:
    """Tuples of indices, each counted from the begin of its axis."""
    depth = int(indices.shape[-1])
    if batch_dims + depth > len(x.shape):
        raise ConversionError(
            "indices have more places than the input has axes", received=depth, supported=f"{len(x.shape) - batch_dims}"
        )
    sizes = x.shape[batch_dims : batch_dims + depth]
    if not all(isinstance(size, int | np.integer) for size in sizes):
        raise UnsupportedError("tuples of indices into flexible axes", received=[str(size) for size in sizes])
    return _wrapped_around(indices, np.array([int(size) for size in sizes], np.int32))


@translates("Gather")
def gather(x: Var, indices: Value, *, axis: int = 0) -> Var:
    """Slices of an axis at indices, which may be negative."""
    axis = axis_of("the input", axis, len(x.shape))
    positive = _positive(indices, x, axis)
    return as_numbers(lambda x: mb.gather(x=x, indices=positive, axis=axis), x)


@translates("GatherElements", since=11)
def gather_elements(x: Var, indices: Value, *, axis: int = 0) -> Var:
    """One element for each index."""
    check_rank("the indices", indices, len(x.shape))
    axis = axis_of("the input", axis, len(x.shape))
    positive = _positive(indices, x, axis)
    sizes, wanted = ([value.shape[other] for other in range(len(x.shape)) if other != axis] for value in (x, indices))
    if sizes != wanted and all(isinstance(size, int | np.integer) for size in (*x.shape, *wanted)):
        # MIL wants as many on the other axes, where ONNX takes the first of them.
        end = [int((x if other == axis else indices).shape[other]) for other in range(len(x.shape))]
        x = mb.slice_by_index(x=x, begin=[0] * len(end), end=end)
    return as_numbers(lambda x: mb.gather_along_axis(x=x, indices=positive, axis=axis), x)


@translates("GatherND", since=11)
def gather_nd(x: Var, indices: Value, *, batch_dims: int = 0) -> Var:
    """Slices at tuples of indices."""
    positive = _tuples(indices, x, batch_dims)
    return as_numbers(lambda x: mb.gather_nd(x=x, indices=positive, batch_dims=batch_dims), x)


_MODES = {"none": "update", "add": "add", "mul": "mul", "max": "max", "min": "min"}


@translates("ScatterElements", since=11)
def scatter_elements(
    x: Var, indices: Value, updates: Var, *, axis: int = 0, reduction: str = "none", node: Node
) -> Var:
    """x with elements of an axis replaced, or combined, at indices."""
    check_rank("the indices", indices, len(x.shape))
    axis = axis_of("the input", axis, len(x.shape))
    positive, mode = _positive(indices, x, axis), one_of("reduction", reduction, _MODES)

    sizes, wanted = ([value.shape[other] for other in range(len(x.shape)) if other != axis] for value in (x, indices))

    def scattered(data: Var, updates: Var) -> Var:
        if sizes == wanted or not all(isinstance(size, int | np.integer) for size in (*x.shape, *indices.shape)):
            return mb.scatter_along_axis(data=data, indices=positive, updates=updates, axis=axis, mode=mode)
        # MIL wants as many on the other axes, where ONNX takes the first of them: each element by its whole position.
        shape = [int(size) for size in indices.shape]
        places: list[Any] = list(np.indices(shape, np.int32))
        places[axis] = as_var(positive)
        return mb.scatter_nd(data=data, indices=mb.stack(values=places, axis=len(shape)), updates=updates, mode=mode)

    return wrapped(as_numbers(scattered, x, updates), node.output_dtype() if reduction in ("add", "mul") else "")


@translates("Scatter")
def scatter(x: Var, indices: Value, updates: Var, *, axis: int = 0, node: Node) -> Var:
    """What ScatterElements was called before opset 11."""
    return scatter_elements(x, indices, updates, axis=axis, node=node)


@translates("ScatterND", since=11)
def scatter_nd(x: Var, indices: Value, updates: Var, *, reduction: str = "none", node: Node) -> Var:
    """x with slices replaced, or combined, at tuples of indices."""
    positive, mode = _tuples(indices, x), one_of("reduction", reduction, _MODES)

    def scattered(data: Var, updates: Var) -> Var:
        return mb.scatter_nd(data=data, indices=positive, updates=updates, mode=mode)

    return wrapped(as_numbers(scattered, x, updates), node.output_dtype() if reduction in ("add", "mul") else "")


@translates("TensorScatter", since=24)
def tensor_scatter(x: Var, updates: Var, begins: Value | None = None, *, axis: int = -2, mode: str = "linear") -> Var:
    """A cache with updates from a position of its own for each batch on, which may go round."""
    axis %= len(x.shape)
    sizes = [int(size) for size in updates.shape]
    steps = np.arange(sizes[axis], dtype=np.int32).reshape([-1 if other == axis else 1 for other in range(len(sizes))])
    positions: Any = np.broadcast_to(steps, sizes).copy()
    if begins is not None:
        each = mb.reshape(x=as_var(begins), shape=[sizes[0]] + [1] * (len(sizes) - 1))
        positions = mb.add(x=each, y=positions)
        if mode == "circular":
            positions = mb.mod(x=positions, y=np.int32(x.shape[axis]))

    def scattered(data: Var, updates: Var) -> Var:
        return mb.scatter_along_axis(data=data, indices=positions, updates=updates, axis=axis, mode="update")

    return as_numbers(scattered, x, updates)


@translates("TopK", since=11)
def top_k(x: Var, k: Value, *, axis: int = -1, largest: int = 1, sorted: int = 1, node: Node) -> tuple[Var, Var]:  # noqa: A002
    """The greatest (or least) of an axis, and where they are."""
    known = known_or_none(k)
    count = declared_shape(node, "k")[axis] if known is None else int(known[0])
    values, indices = mb.topk(x=x, k=count, axis=axis, ascending=not largest)
    return values, indices


@translates("TopK", since=10)
def top_k_greatest(x: Var, k: Value, *, axis: int = -1, node: Node) -> tuple[Var, Var]:
    """The greatest of an axis, and where they are."""
    return top_k(x, k, axis=axis, node=node)


@translates("TopK")
def top_k_by_attribute(x: Var, *, k: int, axis: int = -1, node: Node) -> tuple[Var, Var]:
    """The greatest of an axis, and where they are."""
    return top_k(x, np.array([k]), axis=axis, node=node)


@translates("OneHot", since=9)
def one_hot(indices: Value, depth: Value, values: Value, *, axis: int = -1, node: Node) -> Var:
    """values[1] where the index along the new axis is the value, else values[0]."""
    known = known_or_none(depth)
    rank = len(indices.shape) + 1
    size = declared_shape(node, "depth")[axis % rank] if known is None else int(known[0])
    x = as_var(indices)
    if node.input_dtype() in ("float32", "float16"):
        x = mb.cast(x=x, dtype="int32")
    x = mb.expand_dims(x=_wrapped_around(x, np.int32(size)), axes=[axis % rank])
    shape = [-1 if other == axis % rank else 1 for other in range(rank)]
    is_hot = mb.equal(x=x, y=np.arange(size, dtype=np.int32).reshape(shape))
    off, on = mb.split(x=as_var(values), num_splits=2, axis=0)
    off, on = (mb.reshape(x=value, shape=[1] * rank) for value in (off, on))
    return where(is_hot, on, off)


@translates("Trilu", since=14)
def trilu(x: Var, k: Value | None = None, *, upper: int = 1, node: Node) -> Var:
    """Zeros below (or above) the k-th diagonal."""
    rows, columns = (int(size) for size in x.shape[-2:])
    diagonal = np.arange(columns)[None, :] - np.arange(rows)[:, None]
    known = np.zeros(1, np.int64) if k is None else known_or_none(k)
    if known is None:
        compare = mb.greater_equal if upper else mb.less_equal
        mask = compare(x=diagonal.astype(np.int32), y=mb.reshape(x=k, shape=[1, 1]))
    else:
        mask = constant(diagonal >= known[0] if upper else diagonal <= known[0])
    if node.input_dtype() == "bool":
        return mb.logical_and(x=x, y=mask)
    zero = constant(like(x, np.zeros([1] * len(x.shape))))
    return where(mb.reshape(x=mask, shape=[1] * (len(x.shape) - 2) + [rows, columns]), x, zero)

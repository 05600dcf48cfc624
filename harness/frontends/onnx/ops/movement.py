"""Operators that move or repeat values."""

from __future__ import annotations

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import mb
from harness.frontends.dispatch import Array, Value, Var
from harness.frontends.onnx.graph import Node
from harness.frontends.onnx.registry import translates
from harness.frontends.program import as_var


@translates("Reshape", since=5)
def reshape(x: Var, shape: Value, *, allowzero: int = 0) -> Var:
    """0 keeps a size, -1 is what is left."""
    if not isinstance(shape, np.ndarray):
        if allowzero:
            raise UnsupportedError("a computed shape with allowzero", received="allowzero=1")
        if shape.val is None:
            return mb.reshape(x=x, shape=_with_kept_sizes(x, shape))
        shape = np.asarray(shape.val)
    sizes = [int(size) for size in shape.reshape(-1)]
    if allowzero and 0 in sizes:
        raise UnsupportedError("Core ML has no tensors without elements", received=sizes)
    given = [x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    if not given:
        return mb.squeeze(x=x) if len(x.shape) else x
    if all(isinstance(size, int | np.integer) for size in given):
        return mb.reshape(x=x, shape=[int(size) for size in given])
    # MIL's own 0 keeps a size, as ONNX's does.
    return mb.reshape(x=x, shape=sizes)


def _with_kept_sizes(x: Var, shape: Var) -> Var:
    """A computed shape with x's sizes where it says 0, which MIL's reshape reads otherwise."""
    count = int(shape.shape[0])
    rank = len(x.shape)
    sizes = mb.shape(x=x)
    if count < rank:
        sizes = mb.slice_by_index(x=sizes, begin=[0], end=[count])
    elif count > rank:
        sizes = mb.concat(values=[sizes, np.zeros(count - rank, np.int32)], axis=0)
    return mb.select(cond=mb.equal(x=shape, y=np.int32(0)), a=sizes, b=shape)


@translates("Flatten")
def flatten(x: Var, *, axis: int = 1) -> Var:
    """To a matrix."""
    shape = [int(size) for size in x.shape]
    axis = axis + len(shape) if axis < 0 else axis
    return mb.reshape(x=x, shape=[int(np.prod(shape[:axis])), int(np.prod(shape[axis:]))])


def _squeezed(x: Var, axes: tuple[int, ...] | None) -> Var:
    if len(x.shape) == 0:
        return x
    return mb.squeeze(x=x, axes=list(axes)) if axes else mb.squeeze(x=x)


@translates("Squeeze", since=13)
def squeeze(x: Var, axes: tuple[int, ...] | None = None) -> Var:
    """Without axes of size 1."""
    return _squeezed(x, axes)


@translates("Squeeze")
def squeeze_by_attribute(x: Var, *, axes: tuple[int, ...] | None = None) -> Var:
    """Without axes of size 1."""
    return _squeezed(x, axes)


def _unsqueezed(x: Var, axes: tuple[int, ...]) -> Var:
    rank = len(x.shape) + len(axes)
    return mb.expand_dims(x=x, axes=sorted(axis % rank for axis in axes))


@translates("Unsqueeze", since=13)
def unsqueeze(x: Var, axes: tuple[int, ...]) -> Var:
    """With new axes of size 1."""
    return _unsqueezed(x, axes)


@translates("Unsqueeze")
def unsqueeze_by_attribute(x: Var, *, axes: tuple[int, ...]) -> Var:
    """With new axes of size 1."""
    return _unsqueezed(x, axes)


@translates("Transpose")
def transpose(x: Var, *, perm: tuple[int, ...] | None = None) -> Var:
    """Axes in another order, reversed by default."""
    order = list(perm) if perm is not None else list(reversed(range(len(x.shape))))
    return mb.transpose(x=x, perm=order) if order else x


@translates("Concat", since=4)
def concat(*values: Var, axis: int) -> Var:
    """Along one axis."""
    return mb.concat(values=list(values), axis=axis) if len(values) > 1 else values[0]


def _split(x: Var, axis: int, sizes: tuple[int, ...] | None, count: int) -> tuple[Var, ...]:
    if sizes is None:
        size = int(x.shape[axis])
        each = -(-size // count)
        sizes = tuple(max(0, min(each, size - index * each)) for index in range(count))
    if 0 in sizes:
        raise UnsupportedError("Core ML has no tensors without elements", received=f"split {sizes}")
    return (x,) if len(sizes) == 1 else tuple(mb.split(x=x, split_sizes=list(sizes), axis=axis))


@translates("Split", since=13)
def split(
    x: Var, sizes: tuple[int, ...] | None = None, *, axis: int = 0, num_outputs: int = 0, node: Node
) -> tuple[Var, ...]:
    """Parts of given sizes, or equal ones, of which the last may be smaller."""
    return _split(x, axis, sizes, num_outputs or len(node.outputs))


@translates("Split", since=2)
def split_by_attribute(x: Var, *, axis: int = 0, split: tuple[int, ...] | None = None, node: Node) -> tuple[Var, ...]:
    """Parts of given sizes, or equal ones."""
    return _split(x, axis, split, len(node.outputs))


@translates("Expand", since=8)
def expand(x: Var, shape: Array) -> Var:
    """Broadcast to a shape, whose sizes of 1 keep x's."""
    wanted = [int(size) for size in shape.reshape(-1)]
    given = [int(size) for size in x.shape]
    rank = max(len(wanted), len(given))
    wanted, given = [1] * (rank - len(wanted)) + wanted, [1] * (rank - len(given)) + given
    if 0 in wanted:
        raise UnsupportedError("Core ML has no tensors without elements", received=wanted)
    wide = x if len(x.shape) == rank else mb.reshape(x=x, shape=given)
    reps = [new if old == 1 else 1 for new, old in zip(wanted, given, strict=True)]
    return mb.tile(x=wide, reps=reps) if any(rep > 1 for rep in reps) else wide


@translates("Tile", since=6)
def tile(x: Var, repeats: tuple[int, ...]) -> Var:
    """Repeated along each axis."""
    if 0 in repeats:
        raise UnsupportedError("Core ML has no tensors without elements", received=repeats)
    return mb.tile(x=x, reps=list(repeats))


@translates("Shape")
def shape(x: Value, *, start: int = 0, end: int | None = None) -> Value:
    """The sizes; a constant where all are known."""
    sizes = x.shape[start:end]
    if all(isinstance(size, int | np.integer) for size in sizes):
        return np.array([int(size) for size in sizes], np.int64)
    rank = len(x.shape)
    begin, stop = slice(start, end).indices(rank)[:2]
    whole = mb.shape(x=as_var(x))
    return whole if (begin, stop) == (0, rank) else mb.slice_by_index(x=whole, begin=[begin], end=[stop])


@translates("Size")
def size(x: Value) -> Value:
    """The count of elements; a constant where it is known."""
    if all(isinstance(item, int | np.integer) for item in x.shape):
        return np.array(int(np.prod([int(item) for item in x.shape])), np.int64)
    return mb.reduce_prod(x=mb.shape(x=as_var(x)), axes=[0], keep_dims=False)

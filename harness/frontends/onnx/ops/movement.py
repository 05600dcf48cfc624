"""Operators that move or repeat values."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import mb
from harness.frontends.dispatch import Value, Var
from harness.frontends.onnx.declared import declared_shape, known_or_none, static_shape
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
    return mb.reshape(x=x, shape=_with_flexible_sizes(x, sizes))


def _with_flexible_sizes(x: Var, sizes: list[int]) -> Any:
    """A shape whose zeros keep flexible sizes. MIL counts its own zeros from the last axis, ONNX from the first."""
    flexible = [axis for axis, size in enumerate(x.shape) if not _is_known(size)]
    kept = [axis for axis, size in enumerate(sizes) if size == 0]
    if len(flexible) == 1 and flexible[0] in kept:
        # One size is left open, and the others are known.
        rest = int(np.prod([int(size) for size in x.shape if _is_known(size)], dtype=int))
        filled = [int(x.shape[axis]) if size == 0 and axis not in flexible else size for axis, size in enumerate(sizes)]
        others = int(np.prod([size for size in filled if size > 0], dtype=int))
        return [-1 if axis in flexible and size == 0 else rest // others if size == -1 else size
                for axis, size in enumerate(filled)]  # fmt: skip
    if len(sizes) == len(x.shape):
        return sizes
    whole = mb.shape(x=x)
    parts = [
        mb.slice_by_index(x=whole, begin=[axis], end=[axis + 1]) if size == 0 else np.array([size], np.int32)
        for axis, size in enumerate(sizes)
    ]
    return mb.concat(values=parts, axis=0) if len(parts) > 1 else parts[0]


def _is_known(size: Any) -> bool:
    return isinstance(size, int | np.integer)


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
    axis = axis + len(x.shape) if axis < 0 else axis
    parts = (x.shape[:axis], x.shape[axis:])
    sizes = [int(np.prod([int(size) for size in part])) if all(map(_is_known, part)) else -1 for part in parts]
    if sizes == [-1, -1]:
        begin = mb.slice_by_index(x=mb.shape(x=x), begin=[0], end=[axis])
        rows = mb.reduce_prod(x=begin, axes=[0], keep_dims=True)
        return mb.reshape(x=x, shape=mb.concat(values=[rows, np.array([-1], np.int32)], axis=0))
    return mb.reshape(x=x, shape=sizes)


def _squeezed(x: Var, axes: tuple[int, ...] | None) -> Var:
    if len(x.shape) == 0:
        return x
    return mb.squeeze(x=x, axes=list(axes)) if axes else mb.squeeze(x=x)


@translates("Squeeze", since=13)
def squeeze(x: Var, axes: Value | None = None, *, node: Node) -> Var:
    """Without axes of size 1."""
    known = known_or_none(axes)
    if axes is not None and known is None:
        return mb.reshape(x=x, shape=list(declared_shape(node, "axes")))
    return _squeezed(x, None if known is None else tuple(int(axis) for axis in known))


@translates("Squeeze")
def squeeze_by_attribute(x: Var, *, axes: tuple[int, ...] | None = None) -> Var:
    """Without axes of size 1."""
    return _squeezed(x, axes)


def _unsqueezed(x: Var, axes: tuple[int, ...]) -> Var:
    rank = len(x.shape) + len(axes)
    return mb.expand_dims(x=x, axes=sorted(axis % rank for axis in axes))


@translates("Unsqueeze", since=13)
def unsqueeze(x: Var, axes: Value, *, node: Node) -> Var:
    """With new axes of size 1."""
    known = known_or_none(axes)
    if known is None:
        return mb.reshape(x=x, shape=list(declared_shape(node, "axes")))
    return _unsqueezed(x, tuple(int(axis) for axis in known))


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
def concat(*values: Value, axis: int) -> Var:
    """Along one axis; parts without elements add nothing."""
    full = [value for value in values if 0 not in value.shape]
    if not full:
        raise UnsupportedError("Core ML has no tensors without elements", received="parts that are all empty")
    return mb.concat(values=[as_var(value) for value in full], axis=axis) if len(full) > 1 else as_var(full[0])


def _split(x: Var, axis: int, sizes: tuple[int, ...] | None, count: int) -> tuple[Value, ...]:
    if sizes is None:
        size = int(x.shape[axis])
        each = -(-size // count)
        sizes = tuple(max(0, min(each, size - index * each)) for index in range(count))
    full = [size for size in sizes if size]
    if not full:
        raise UnsupportedError("Core ML has no tensors without elements", received=f"split {sizes}")
    parts = iter([x]) if len(full) == 1 else iter(mb.split(x=x, split_sizes=full, axis=axis))
    # A part without elements is a constant: concatenations leave it out.
    empty = [0 if other == axis % len(x.shape) else int(size) for other, size in enumerate(x.shape)]
    return tuple(next(parts) if size else np.empty(empty, np.float32) for size in sizes)


@translates("Split", since=13)
def split(x: Var, sizes: Value | None = None, *, axis: int = 0, num_outputs: int = 0, node: Node) -> tuple[Value, ...]:
    """Parts of given sizes, or equal ones, of which the last may be smaller."""
    known = known_or_none(sizes)
    if sizes is not None and known is None:
        shapes = [declared_shape(node, "split", index) for index in range(len(node.outputs))]
        known = np.array([shape[axis] for shape in shapes])
    parts = None if known is None else tuple(int(size) for size in known)
    return _split(x, axis, parts, num_outputs or len(node.outputs))


@translates("Split", since=2)
def split_by_attribute(x: Var, *, axis: int = 0, split: tuple[int, ...] | None = None, node: Node) -> tuple[Value, ...]:
    """Parts of given sizes, or equal ones."""
    return _split(x, axis, split, len(node.outputs))


@translates("Expand", since=8)
def expand(x: Var, shape: Value, *, node: Node) -> Var:
    """Broadcast to a shape, whose sizes of 1 keep x's."""
    known = known_or_none(shape)
    if known is None and static_shape(node) is not None:
        known = np.array(static_shape(node))
    if known is None or not all(map(_is_known, x.shape)):
        return _expanded_as_computed(x, as_var(shape))
    wanted, given = [int(size) for size in known], [int(size) for size in x.shape]
    rank = max(len(wanted), len(given))
    wanted, given = [1] * (rank - len(wanted)) + wanted, [1] * (rank - len(given)) + given
    if 0 in wanted:
        raise UnsupportedError("Core ML has no tensors without elements", received=wanted)
    wide = x if len(x.shape) == rank else mb.reshape(x=x, shape=given)
    reps = [new if old == 1 else 1 for new, old in zip(wanted, given, strict=True)]
    return mb.tile(x=wide, reps=reps) if any(rep > 1 for rep in reps) else wide


def _expanded_as_computed(x: Var, shape: Var) -> Var:
    """By as many repetitions as the shape says where x's size is 1."""
    given, wanted = len(x.shape), int(shape.shape[0])
    if given < wanted:
        x = mb.expand_dims(x=x, axes=list(range(wanted - given)))
    elif given > wanted:
        shape = mb.concat(values=[np.ones(given - wanted, np.int32), shape], axis=0)
    is_one = mb.equal(x=mb.shape(x=x), y=np.int32(1))
    return mb.tile(x=x, reps=mb.select(cond=is_one, a=shape, b=np.ones(max(given, wanted), np.int32)))


@translates("Tile", since=6)
def tile(x: Var, repeats: Value, *, node: Node) -> Var:
    """Repeated along each axis."""
    known = known_or_none(repeats)
    declared = static_shape(node)
    if known is None and (declared is None or not all(map(_is_known, x.shape))):
        return mb.tile(x=x, reps=repeats)
    if known is None:
        pairs = zip(declared or (), x.shape, strict=True)
        known = np.array([new // int(old) for new, old in pairs])
    if 0 in known:
        raise UnsupportedError("Core ML has no tensors without elements", received=known.tolist())
    return mb.tile(x=x, reps=[int(count) for count in known])


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

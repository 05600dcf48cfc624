"""Operators that make values."""

from __future__ import annotations

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import like, mb
from harness.frontends.dispatch import Array, Value, Var
from harness.frontends.integers import INTEGERS
from harness.frontends.onnx.declared import known_or_none, static_shape
from harness.frontends.onnx.graph import Node, dtype_name
from harness.frontends.onnx.registry import translates
from harness.frontends.program import as_var, narrowed
from harness.frontends.selection import as_numbers


@translates("ConstantOfShape", since=9)
def constant_of_shape(shape: Value, *, value: Array | None = None, node: Node) -> Value:
    """One value everywhere, zero by default."""
    known = known_or_none(shape)
    sizes = static_shape(node) if known is None else tuple(int(size) for size in known)
    if sizes is None:
        dtype = node.output_dtype()
        filled = np.float32(0) if value is None else value.reshape(-1)[0]
        whole = mb.fill(shape=shape, value=narrowed(np.asarray(filled, np.int32 if dtype == "bool" else None)).item())
        return mb.cast(x=whole, dtype="bool") if dtype == "bool" else whole
    if 0 in sizes:
        raise UnsupportedError("Core ML has no tensors without elements", received=sizes)
    return np.full(sizes, np.float32(0) if value is None else value.reshape(-1)[0])


@translates("EyeLike", since=9)
def eye_like(x: Value, *, dtype: int = 0, k: int = 0, node: Node) -> Value:
    """Ones on the k-th diagonal of a matrix of x's shape."""
    rows, columns = (int(size) for size in x.shape)
    kind = dtype_name(dtype) if dtype else node.input_dtype()
    if kind not in ("float32", "float16", "bool", *INTEGERS):
        raise UnsupportedError("a matrix of this type", received=kind)
    return np.eye(rows, columns, k, dtype=kind)


@translates("Range", since=11)
def range_(start: Value, limit: Value, delta: Value, *, node: Node) -> Var:
    """From start to limit by delta; how many is declared, or computed when the model runs."""
    shape = node.output_shape()
    first, step = as_var(start), as_var(delta)
    if shape is not None and shape[0] is not None:
        index = like(step, np.arange(shape[0]))
        return mb.add(x=mb.mul(x=index, y=step), y=first)
    return mb.range_1d(start=first, end=as_var(limit), step=step)


@translates("ReverseSequence", since=10)
def reverse_sequence(x: Var, lengths: Var, *, batch_axis: int = 1, time_axis: int = 0) -> Var:
    """Each sequence backwards over its own length."""
    return mb.reverse_sequence(x=x, lengths=lengths, seq_axis=time_axis, batch_axis=batch_axis)


@translates("NonZero", since=9)
def non_zero(x: Var, *, node: Node) -> Var:
    """Where x is not zero: one row for each axis."""
    if node.input_dtype() == "bool":
        x = mb.cast(x=x, dtype="int32")
    return mb.transpose(x=mb.non_zero(x=x), perm=[1, 0])


@translates("Compress", since=9)
def compress(x: Var, condition: Var, *, axis: int | None = None) -> Var:
    """What the condition keeps of an axis, or of all elements."""
    if axis is None:
        x, axis = mb.reshape(x=x, shape=[-1]), 0
    kept = mb.squeeze(x=mb.non_zero(x=mb.cast(x=condition, dtype="int32")), axes=[1])
    return as_numbers(lambda x: mb.gather(x=x, indices=kept, axis=axis), x)


@translates("CumProd", since=26)
def cumulative_product(x: Var, axis: int, *, exclusive: int = 0, reverse: int = 0) -> Value:
    """Products of what comes before, with or without the element itself."""
    axis %= len(x.shape)
    parts = list(mb.split(x=x, num_splits=int(x.shape[axis]), axis=axis)) if int(x.shape[axis]) > 1 else [x]
    if reverse:
        parts.reverse()
    products: list[Value] = []
    running: Value = like(x, np.ones([int(size) for size in parts[0].shape]))
    for part in parts:
        following = part if not products else mb.mul(x=running, y=part)
        products.append(running if exclusive else following)
        running = following
    if reverse:
        products.reverse()
    return mb.concat(values=products, axis=axis) if len(products) > 1 else products[0]


@translates("Det", since=11)
def determinant(x: Var) -> Var:
    """Of matrices up to 3 by 3, by their definition."""
    size = int(x.shape[-1])
    if size > 3:
        raise UnsupportedError("determinants of large matrices", received=size, supported="up to 3")
    rank = len(x.shape)

    def at(row: int, column: int) -> Var:
        begin = [0] * (rank - 2) + [row, column]
        end = [0] * (rank - 2) + [row + 1, column + 1]
        mask = [True] * (rank - 2) + [False, False]
        return mb.slice_by_index(
            x=x, begin=begin, end=end, begin_mask=mask, end_mask=mask, squeeze_mask=[not item for item in mask]
        )

    if size == 1:
        return at(0, 0)

    def minor(rows: tuple[int, int], columns: tuple[int, int]) -> Var:
        left = mb.mul(x=at(rows[0], columns[0]), y=at(rows[1], columns[1]))
        return mb.sub(x=left, y=mb.mul(x=at(rows[0], columns[1]), y=at(rows[1], columns[0])))

    if size == 2:
        return minor((0, 1), (0, 1))
    first = mb.mul(x=at(0, 0), y=minor((1, 2), (1, 2)))
    second = mb.mul(x=at(0, 1), y=minor((1, 2), (0, 2)))
    third = mb.mul(x=at(0, 2), y=minor((1, 2), (0, 1)))
    return mb.add(x=mb.sub(x=first, y=second), y=third)

"""Operators that move or select values."""

from __future__ import annotations

import numpy as np

from harness.frontends.builder import dtype_of, like, mb
from harness.frontends.dispatch import Array, Value, Var
from harness.frontends.expect import axis_of
from harness.frontends.program import as_var
from harness.frontends.selection import as_numbers
from harness.frontends.tflite.axes import reshaped, sizes_of, stacked, transposed, widened
from harness.frontends.tflite.layout import known
from harness.frontends.tflite.node import Node
from harness.frontends.tflite.registry import translates


@translates("RESHAPE")
def reshape(x: Var, shape: Value | None = None, *, new_shape: tuple[int, ...] | None = None, node: Node) -> Var:
    """The second input wins over the option; -1 is what is left. Complex numbers stay pairs."""
    pair = [2] if "complex" in node.outputs[0].dtype else []
    given = np.array(new_shape, np.int32) if shape is None else shape
    wanted = known(given)
    if wanted is None:
        expressions = None if isinstance(given, np.ndarray) or pair else given.sym_val
        result = None if expressions is None else reshaped(x, np.asarray(expressions).reshape(-1).tolist())
        if result is not None:
            return result
        parts = [as_var(given), *([np.array(pair, np.int32)] if pair else [])]
        return mb.reshape(x=x, shape=mb.concat(values=parts, axis=0) if pair else parts[0])
    sizes = [int(size) for size in wanted.reshape(-1)] + pair
    if not sizes:
        return mb.squeeze(x=x) if len(x.shape) else x
    result = reshaped(x, sizes)
    assert result is not None  # numbers
    return result


@translates("TRANSPOSE")
def transpose(x: Var, perm: Array) -> Var:
    """Axes in another order."""

    rank = len(x.shape)
    return transposed(x, [int(axis) % rank for axis in perm])


@translates("SQUEEZE")
def squeeze(x: Var, *, squeeze_dims: tuple[int, ...] | None = None, node: Node) -> Var:
    """Without the named axes of size 1, or without all of them."""

    complex_ = "complex" in node.outputs[0].dtype
    rank = len(x.shape) - complex_
    axes = [int(axis) % rank for axis in squeeze_dims or ()] or [axis for axis in range(rank) if x.shape[axis] == 1]
    return mb.squeeze(x=x, axes=axes) if axes else x


@translates("EXPAND_DIMS")
def expand_dims(x: Var, axis: int, *, node: Node) -> Var:
    """A new axis of size 1."""
    is_complex = "complex" in node.outputs[0].dtype
    return widened(x, axis - is_complex if axis < 0 else axis)


@translates("CONCATENATION")
def concatenation(*values: Var, axis: int, fused_activation_function: str) -> Var:
    """Along one axis."""

    from harness.frontends.tflite.ops.activations import fused

    return fused(mb.concat(values=list(values), axis=axis), fused_activation_function)


@translates("PACK")
def pack(*values: Var, axis: int, values_count: int) -> Var:
    """Along a new axis."""
    along = axis_of("the result", axis, len(values[0].shape) + 1)
    return as_numbers(lambda *items: stacked(items, along), *values)


@translates("UNPACK")
def unpack(x: Var, *, axis: int, num: int) -> tuple[Var, ...]:
    """One value for each index of an axis."""

    if num == 1:
        return (mb.squeeze(x=x, axes=[axis]),)
    parts = mb.split(x=x, num_splits=num, axis=axis)
    return tuple(mb.squeeze(x=part, axes=[axis]) for part in parts)


@translates("SPLIT")
def split(axis: int, x: Var, *, num_splits: int) -> tuple[Var, ...]:
    """Equal parts of an axis."""

    return (x,) if num_splits == 1 else tuple(mb.split(x=x, num_splits=num_splits, axis=axis))


@translates("SPLIT_V")
def split_v(x: Var, sizes: Array, axis: int, *, num_splits: int) -> tuple[Var, ...]:
    """Parts of given sizes, one of which may be -1."""

    if num_splits == 1:
        return (x,)
    parts = [int(size) for size in sizes]
    if -1 in parts:
        parts[parts.index(-1)] = int(x.shape[axis]) - sum(size for size in parts if size >= 0)
    return tuple(mb.split(x=x, split_sizes=parts, axis=axis))


@translates("TILE")
def tile(x: Var, multiples: Value) -> Var:
    """Repeated along each axis."""
    times = known(multiples)
    reps: Value = as_var(multiples) if times is None else np.array(times, np.int32)
    return as_numbers(lambda x: mb.tile(x=x, reps=reps), x)


@translates("REVERSE_V2")
def reverse(x: Var, axes: Array) -> Var:
    """Backwards along axes."""
    chosen = [int(axis) % len(x.shape) for axis in axes.reshape(-1)]
    return as_numbers(lambda x: mb.reverse(x=x, axes=chosen), x)


@translates("BROADCAST_TO")
def broadcast_to(x: Var, shape: Value) -> Var:
    """Repeated to a larger shape."""
    wanted = known(shape)
    rank = int(shape.shape[0])
    missing = rank - len(x.shape)
    wide = mb.expand_dims(x=x, axes=list(range(missing))) if missing else x
    if wanted is not None and all(isinstance(size, int | np.integer) for size in wide.shape):
        reps: Value = np.array([int(new) // int(old) for new, old in zip(wanted, wide.shape, strict=True)], np.int32)
    else:
        reps = mb.floor_div(x=as_var(shape), y=mb.shape(x=wide))
    return as_numbers(lambda x: mb.tile(x=x, reps=reps), wide)


@translates("SHAPE")
def shape(x: Var, *, out_type: str = "") -> Value:
    """The sizes."""
    return sizes_of(x)


@translates("FILL")
def fill(sizes: Value, value: Value) -> Value:
    """One value everywhere."""
    constant, wanted = known(value), known(sizes)
    if wanted is not None:
        lengths = [int(size) for size in wanted.reshape(-1)]
        if constant is not None:
            return np.full(lengths, constant.reshape(()))
        single = mb.reshape(x=as_var(value), shape=[1] * len(lengths))
        return as_numbers(lambda x: mb.tile(x=x, reps=lengths), single)
    single = mb.reshape(x=as_var(value), shape=[1] * int(sizes.shape[0]))
    return as_numbers(lambda x: mb.tile(x=x, reps=as_var(sizes)), single)


@translates("ZEROS_LIKE")
def zeros_like(x: Var) -> Value:
    """Zeros."""
    if all(isinstance(size, int | np.integer) for size in x.shape):
        kind = {"fp32": np.float32, "fp16": np.float16, "bool": np.bool_}.get(dtype_of(x), np.int32)
        return np.zeros([int(size) for size in x.shape], kind)
    return as_numbers(lambda x: mb.fill_like(ref_tensor=x, value=like(x, 0)), x)

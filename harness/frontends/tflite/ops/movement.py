"""Operators that move or select values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import dtype_of, mb
from harness.frontends.dispatch import Array, Value, Var
from harness.frontends.tflite.axes import reshaped, sizes_of, stacked, transposed, widened
from harness.frontends.tflite.layout import known
from harness.frontends.tflite.node import Node
from harness.frontends.tflite.registry import translates


@translates("RESHAPE")
def reshape(x: Var, shape: Value | None = None, *, new_shape: tuple[int, ...] | None = None, node: Node) -> Var:
    """The second input wins over the option; -1 is what is left."""

    wanted = known(shape) if shape is not None else np.array(new_shape, np.int32)
    if wanted is None:
        return mb.reshape(x=x, shape=shape)
    sizes = [int(size) for size in wanted.reshape(-1)]
    if not sizes:
        return mb.squeeze(x=x) if len(x.shape) else x
    return reshaped(x, sizes)


@translates("TRANSPOSE")
def transpose(x: Var, perm: Array) -> Var:
    """Axes in another order."""

    rank = len(x.shape)
    return transposed(x, [int(axis) % rank for axis in perm])


@translates("SQUEEZE")
def squeeze(x: Var, *, squeeze_dims: tuple[int, ...] | None = None) -> Var:
    """Without the named axes of size 1, or without all of them."""

    return mb.squeeze(x=x, axes=[int(axis) for axis in squeeze_dims]) if squeeze_dims else mb.squeeze(x=x)


@translates("EXPAND_DIMS")
def expand_dims(x: Var, axis: int) -> Var:
    """A new axis of size 1."""

    return widened(x, axis)


@translates("CONCATENATION")
def concatenation(*values: Var, axis: int, fused_activation_function: str) -> Var:
    """Along one axis."""

    from harness.frontends.tflite.ops.activations import fused

    return fused(mb.concat(values=list(values), axis=axis), fused_activation_function)


@translates("PACK")
def pack(*values: Var, axis: int, values_count: int) -> Var:
    """Along a new axis."""

    return stacked(values, axis)


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


@translates("SLICE")
def slice_(x: Var, begin: Array, size: Array) -> Var:
    """From begin on; size -1 is to the end."""

    starts, sizes = [int(item) for item in begin], [int(item) for item in size]
    ends = [start + count if count >= 0 else 0 for start, count in zip(starts, sizes, strict=True)]
    return mb.slice_by_index(x=x, begin=starts, end=ends, end_mask=[count < 0 for count in sizes])


@dataclass(frozen=True)
class _AxisSlice:
    start: int
    stop: int
    step: int
    from_begin: bool
    to_end: bool
    shrinks: bool


_WHOLE = _AxisSlice(0, 0, 1, True, True, False)


@translates("STRIDED_SLICE")
def strided_slice(
    x: Var,
    begin: Array,
    end: Array,
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

    axes: list[_AxisSlice] = []
    new: list[int] = []
    rank = len(x.shape)
    named = len(begin) - new_axis_mask.bit_count() - ellipsis_mask.bit_count()
    for index in range(len(begin)):
        bit = 1 << index
        if ellipsis_mask & bit:
            axes += [_WHOLE] * (rank - named)
        elif new_axis_mask & bit:
            new.append(sum(not item.shrinks for item in axes) + len(new))
        else:
            start, stop, step = int(begin[index]), int(end[index]), int(strides[index])
            if shrink_axis_mask & bit:
                axes.append(_AxisSlice(start, start + 1, 1, False, start == -1, True))
            else:
                stop += start if offset else 0
                axes.append(_AxisSlice(start, stop, step, bool(begin_mask & bit), bool(end_mask & bit), False))
    axes += [_WHOLE] * (rank - len(axes))
    result = mb.slice_by_index(
        x=x,
        begin=[item.start for item in axes],
        end=[item.stop for item in axes],
        stride=[item.step for item in axes],
        begin_mask=[item.from_begin for item in axes],
        end_mask=[item.to_end for item in axes],
        squeeze_mask=[item.shrinks for item in axes],
    )
    return mb.expand_dims(x=result, axes=new) if new else result


@translates("GATHER")
def gather(x: Var, indices: Var, *, axis: int = 0, batch_dims: int = 0) -> Var:
    """Slices of an axis at indices."""

    return mb.gather(x=x, indices=indices, axis=axis, batch_dims=batch_dims)


@translates("GATHER_ND")
def gather_nd(x: Var, indices: Var) -> Var:
    """Slices at tuples of indices."""

    return mb.gather_nd(x=x, indices=indices)


@translates("TILE")
def tile(x: Var, multiples: Array) -> Var:
    """Repeated along each axis."""

    return mb.tile(x=x, reps=[int(count) for count in multiples])


@translates("REVERSE_V2")
def reverse(x: Var, axes: Array) -> Var:
    """Backwards along axes."""

    return mb.reverse(x=x, axes=[int(axis) for axis in axes.reshape(-1)])


@translates("BROADCAST_TO")
def broadcast_to(x: Var, shape: Array) -> Var:
    """Repeated to a larger shape."""

    wanted = [int(size) for size in shape]
    given = [1] * (len(wanted) - len(x.shape)) + [int(size) for size in x.shape]
    wide = x if len(x.shape) == len(wanted) else mb.reshape(x=x, shape=given)
    return mb.tile(x=wide, reps=[new // old for new, old in zip(wanted, given, strict=True)])


def _padded(x: Var, paddings: Array, mode: str, value: float = 0.0) -> Var:

    amounts = [int(item) for item in paddings.reshape(-1)]
    is_float = "fp" in dtype_of(x)
    if mode == "constant":
        fill = np.float32(value) if is_float else np.int32(value)
        return mb.pad(x=x, pad=amounts, mode="constant", constant_val=fill)
    return mb.pad(x=x, pad=amounts[-4:] if len(amounts) > 4 else amounts, mode=mode)


@translates("PAD")
def pad(x: Var, paddings: Array) -> Var:
    """Zeros around it."""
    return _padded(x, paddings, "constant")


@translates("PADV2")
def pad_v2(x: Var, paddings: Array, value: float) -> Var:
    """A constant around it."""
    return _padded(x, paddings, "constant", value)


@translates("MIRROR_PAD")
def mirror_pad(x: Var, paddings: Array, *, mode: str) -> Var:
    """Reflected at the edge (REFLECT) or with the edge itself (SYMMETRIC), by picking rows of each axis."""

    kind = {"REFLECT": "reflect", "SYMMETRIC": "symmetric"}.get(mode)
    if kind is None:
        raise UnsupportedError("unknown mode of padding", received=mode, supported="REFLECT, SYMMETRIC")
    for axis, (before, after) in enumerate(paddings.tolist()):
        if before or after:
            rows = np.pad(np.arange(int(x.shape[axis])), (before, after), mode=kind)  # type: ignore[call-overload]
            x = mb.gather(x=x, indices=rows.astype(np.int32), axis=axis)
    return x


@translates("SHAPE")
def shape(x: Var, *, out_type: str = "") -> Value:
    """The sizes."""
    return sizes_of(x)


@translates("FILL")
def fill(sizes: Array, value: Var) -> Var:
    """One value everywhere."""

    constant = known(value)
    wanted = [int(size) for size in sizes]
    if constant is not None:
        return np.full(wanted, constant)  # type: ignore[return-value]
    return mb.tile(x=mb.reshape(x=value, shape=[1] * len(wanted)), reps=wanted)


@translates("ZEROS_LIKE")
def zeros_like(x: Var) -> Var:
    """Zeros."""

    return mb.fill_like(ref_tensor=x, value=np.float32(0) if "fp" in dtype_of(x) else np.int32(0))

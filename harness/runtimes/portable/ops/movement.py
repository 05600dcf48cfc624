"""Operations that rearrange a tensor (coremltools ``tensor_transformation.py`` and
``tensor_operation.py`` of ``iOS15`` to ``iOS18``)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from harness.errors import PackageError
from harness.runtimes.portable.onnx_graph import Tensor, cast_to, constant, op, shape_of
from harness.runtimes.portable.program import TensorType
from harness.runtimes.portable.registry import lowers

_INT64 = np.iinfo(np.int64)
_PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}


@lowers("identity", moves=True)
def identity(x: Tensor) -> Tensor:
    """Return x."""
    return op.Identity(x)


@lowers("transpose", moves=True)
def transpose(x: Tensor, perm: tuple[int, ...]) -> Tensor:
    """Permute the axes; negative entries count from the end."""
    return op.Transpose(x, perm=[axis % x.rank for axis in perm])


# Joining and splitting --------------------------------------------------------------------------


@lowers("concat", moves=True)
def concat(values: list[Tensor], axis: int, interleave: bool = False) -> Tensor:
    """Join along one axis; ``interleave`` takes one slice of each in turn (all of one size there).

    Scalars are joined into a vector.
    """
    if values[0].rank == 0:
        return op.Concat(*(op.Unsqueeze(value, [0]) for value in values), axis=0)
    if not interleave:
        return op.Concat(*values, axis=axis)
    axis %= values[0].rank
    stacked = stack(values, axis + 1)
    before, after = op.Shape(values[0], end=axis), op.Shape(values[0], start=axis + 1)
    size = op.Mul(op.Shape(values[0], start=axis, end=axis + 1), len(values))
    return op.Reshape(stacked, op.Concat(before, size, after, axis=0), allowzero=1)


@lowers("stack", moves=True)
def stack(values: list[Tensor], axis: int) -> Tensor:
    """Join along a new axis; a negative one counts from the end of the result."""
    axis %= values[0].rank + 1
    return op.Concat(*(op.Unsqueeze(value, [axis]) for value in values), axis=axis)


@lowers("split", moves=True)
def split(
    x: Tensor,
    axis: int,
    num_splits: int | None = None,
    split_sizes: tuple[int, ...] | None = None,
    *,
    outputs: tuple[TensorType, ...],
) -> tuple[Tensor, ...]:
    """Cut one axis into the given sizes, or into equal parts."""
    if split_sizes is None and num_splits is None:
        raise PackageError("neither num_splits nor split_sizes is given")
    if len(outputs) == 1:
        return (op.Identity(x),)
    if split_sizes is None:
        return op.Split(x, outputs=len(outputs), axis=axis, num_outputs=len(outputs))
    return op.Split(x, split_sizes, outputs=len(outputs), axis=axis)


# Shape ------------------------------------------------------------------------------------------


@lowers("expand_dims", moves=True)
def expand_dims(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Insert axes of size 1 at these places of the result."""
    return op.Unsqueeze(x, axes)


@lowers("squeeze", moves=True)
def squeeze(x: Tensor, axes: tuple[int, ...] | None = None, *, outputs: tuple[TensorType, ...]) -> Tensor:
    """Remove axes of size 1: the listed ones, or all. A listed axis of another size stays.

    MIL settles the rank before flexible sizes are known, so that an axis that happens to be 1 stays too.
    """
    listed = range(x.rank) if axes is None else sorted({axis % x.rank for axis in axes})
    sizes, declared = x.shape or (), outputs[0].shape
    removable = [axis for axis in listed if sizes[axis] == 1]
    for chosen in combinations(removable, max(x.rank - len(declared), 0)):
        left = [size for axis, size in enumerate(sizes) if axis not in chosen]
        if len(left) == len(declared) and all(a is None or a in (b, None) for a, b in zip(declared, left, strict=True)):
            return op.Squeeze(x, chosen) if chosen else op.Identity(x)
    raise PackageError("squeeze declares another shape", received=declared, supported=f"x of shape {sizes}")


@lowers("reshape", moves=True)
def reshape(x: Tensor, shape: Tensor) -> Tensor:
    """The same values in another shape, which may have one -1.

    A 0 stands for the size of x at that place, counted from the end, and for 1 before x's first axis
    (iOS17; iOS15 has zeros only where both ranks are equal, and where the rules are one).
    """
    if shape.value is not None and (x.has_static_shape or np.all(shape.value != 0)):
        sizes = _known_sizes(x, shape.value.tolist())
        return op.Reshape(x, sizes, allowzero=1 if 0 in sizes else None)
    count = shape.size(0)
    ones = np.ones(max(count - x.rank, 0), np.int64)
    aligned = op.Concat(ones, op.Shape(x, start=max(x.rank - count, 0)), axis=0)
    sizes_tensor = cast_to(shape, "int64")
    return op.Reshape(x, op.Where(op.Equal(sizes_tensor, 0), aligned, sizes_tensor))


def _known_sizes(x: Tensor, sizes: list[int]) -> list[int]:
    offset = x.rank - len(sizes)
    sizes = [size or (x.size(offset + i) if offset + i >= 0 else 1) for i, size in enumerate(sizes)]
    if x.has_static_shape and -1 in sizes:
        # ONNX cannot infer it where another size is 0.
        rest = int(np.prod([size for size in sizes if size != -1]))
        sizes[sizes.index(-1)] = int(np.prod(x.static_shape)) // rest if rest else 0
    return sizes


@lowers("reshape_like", moves=True)
def reshape_like(
    x: Tensor, ref_tensors: list[Tensor], begins: list[Tensor], ends: list[Tensor], end_masks: list[Tensor]
) -> Tensor:
    """x in the shape that ``ref.shape[begin:end]`` of the references make together; a true end mask
    reads to the end."""
    parts = []
    for reference, *limits in zip(ref_tensors, begins, ends, end_masks, strict=True):
        begin, end, to_end = (_constant_scalar(limit) for limit in limits)
        parts.append(op.Slice(shape_of(reference), [begin], [_INT64.max if to_end else end]))
    return op.Reshape(x, op.Concat(*parts, axis=0), allowzero=1)


def _constant_scalar(value: Tensor) -> int:
    if value.value is None:
        raise PackageError(f"{value.name!r} must be a constant")
    return int(value.value.reshape(()))


@lowers("flatten2d", moves=True)
def flatten2d(x: Tensor, axis: int = 1) -> Tensor:
    """(product of the sizes before ``axis``, product of the others)."""
    return op.Flatten(x, axis=axis)


# Repeating and reversing ------------------------------------------------------------------------


@lowers("tile", moves=True)
def tile(x: Tensor, reps: Tensor) -> Tensor:
    """Repeat ``x`` ``reps[i]`` times along axis i."""
    return op.Tile(x, cast_to(reps, "int64"))


@lowers("reverse", moves=True)
def reverse(x: Tensor, axes: tuple[int, ...] | None = None) -> Tensor:
    """Reverse the given axes, or all."""
    axes = tuple(range(x.rank)) if axes is None else axes
    if not axes:
        return op.Identity(x)
    count = len(axes)
    return op.Slice(x, [-1] * count, [_INT64.min] * count, axes, [-1] * count)


@lowers("reverse_sequence", moves=True)
def reverse_sequence(x: Tensor, lengths: Tensor, seq_axis: int = 0, batch_axis: int = 0) -> Tensor:
    """Reverse the first ``lengths[b]`` elements along ``seq_axis``, for each b along ``batch_axis``."""
    seq_axis, batch_axis = seq_axis % x.rank, batch_axis % x.rank
    if seq_axis == batch_axis:
        raise PackageError("seq_axis and batch_axis of reverse_sequence are the same", received=seq_axis)
    # ONNX knows axes 0 and 1 only.
    order = [batch_axis, seq_axis, *(axis for axis in range(x.rank) if axis not in (batch_axis, seq_axis))]
    reversed_ = op.ReverseSequence(op.Transpose(x, perm=order), cast_to(lengths, "int64"), batch_axis=0, time_axis=1)
    return op.Transpose(reversed_, perm=np.argsort(order).tolist())


@lowers("sliding_windows", moves=True)
def sliding_windows(x: Tensor, axis: int, size: int, stride: int = 1) -> Tensor:
    """All windows of ``size`` elements along an axis, ``stride`` apart: (..., windows, size, ...)."""
    axis %= x.rank
    last = op.Sub(op.Squeeze(op.Slice(shape_of(x), [axis], [axis + 1]), [0]), size - 1)
    starts = op.Range(np.array(0, np.int64), last, np.array(stride, np.int64))
    return op.Gather(x, op.Add(op.Unsqueeze(starts, [1]), np.arange(size)), axis=axis)


# Padding ----------------------------------------------------------------------------------------


@lowers("pad", moves=True)
def pad(x: Tensor, pad: Tensor, mode: str = "constant", constant_val: Tensor | None = None) -> Tensor:
    """Pad the last N axes; ``pad`` is (before, after) of each, 2 N values."""
    if mode not in _PAD_MODES:
        raise PackageError("unknown mode of pad", received=repr(mode), supported=_PAD_MODES)
    if mode != "constant":
        constant_val = None
    return op.Pad(x, _onnx_pads(pad, x.rank), constant_val, mode=_PAD_MODES[mode])


def _onnx_pads(pad: Tensor, rank: int) -> Tensor | Sequence[int]:
    """All befores, then all afters."""
    missing = [0] * (2 * rank - pad.size(0))
    if pad.value is not None:
        pairs = np.array([*missing, *pad.value.tolist()]).reshape(-1, 2)
        return [int(amount) for amount in pairs.T.reshape(-1)]
    amounts = cast_to(pad, "int64")
    if missing:
        amounts = op.Concat(constant(np.array(missing, np.int64)), amounts, axis=0)
    return op.Reshape(op.Transpose(op.Reshape(amounts, [-1, 2]), perm=[1, 0]), [-1])

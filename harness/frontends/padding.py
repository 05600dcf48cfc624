"""Padding by pairs of amounts, one for each axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.errors import ConversionError, UnsupportedError
from harness.frontends.builder import dtype_of, like, mb
from harness.frontends.dispatch import Value, Var
from harness.frontends.program import as_var

_NUMPY_MODES = {"reflect": "reflect", "edge": "edge", "wrap": "wrap", "symmetric": "symmetric"}
_WIDEST = 1 << 24
_MIL_MODES = {"reflect": "reflect", "edge": "replicate"}


def _cut(x: Var, pairs: Sequence[tuple[int, int]]) -> Var:
    """Without what negative amounts take away."""
    if min(min(pair) for pair in pairs) >= 0:
        return x
    begin, end = [max(0, -before) for before, _ in pairs], [min(0, after) for _, after in pairs]
    for size, first, last in zip(x.shape, begin, end, strict=True):
        if isinstance(size, int | np.integer) and size - first + last <= 0:
            raise UnsupportedError("Core ML has no tensors without elements", received=f"padded by {list(pairs)}")
    to_end = [last == 0 for last in end]
    return mb.slice_by_index(x=x, begin=begin, end=end, end_mask=to_end)


def pad_constant(x: Var, pairs: Sequence[tuple[int, int]], value: Value, dtype: str = "float32") -> Var:
    """Constant values around; negative amounts cut. ``dtype`` is ONNX's, of the integers that MIL calls int32."""
    x = _cut(x, pairs)
    pairs = [(max(0, before), max(0, after)) for before, after in pairs]
    flat = [amount for pair in pairs for amount in pair]
    if not any(flat):
        return x
    kind = dtype_of(x)
    known = value if isinstance(value, np.ndarray) else value.val
    if known is None:
        return _pad_computed(x, pairs, flat, as_var(value))
    number = np.asarray(known).reshape(())
    if kind in ("fp32", "fp16"):
        return mb.pad(x=x, pad=flat, mode="constant", constant_val=like(x, number))
    if kind == "bool" or dtype in ("int8", "uint8", "int16", "uint16"):
        wide = mb.cast(x=x, dtype="fp32")  # exact for numbers this small
        padded = mb.pad(x=wide, pad=flat, mode="constant", constant_val=np.float32(number))
        return mb.cast(x=padded, dtype=kind)
    # MIL pads floats, which do not hold every int32.
    for axis, pair in enumerate(pairs):
        if any(pair):
            sizes = [
                [amount if other == axis else fixed_size(size) for other, size in enumerate(x.shape)] for amount in pair
            ]
            before, after = ([np.full(size, number, np.int32)] if size[axis] else [] for size in sizes)
            x = mb.concat(values=[*before, x, *after], axis=axis)
    return x


def _pad_computed(x: Var, pairs: Sequence[tuple[int, int]], flat: list[int], value: Var) -> Var:
    """MIL pads with constants: zeros are replaced afterwards."""
    if dtype_of(x) not in ("fp32", "fp16"):
        raise UnsupportedError("integers padded with a computed value")
    sizes = [fixed_size(size) for size in x.shape]
    inside = np.pad(np.ones(sizes, bool), pairs)
    padded = mb.pad(x=x, pad=flat, mode="constant", constant_val=like(x, 0))
    return mb.select(cond=inside, a=padded, b=mb.reshape(x=value, shape=[1] * len(sizes)))


def fixed_size(size: Any) -> int:
    """A size that is known when the model is converted. Raises UnsupportedError."""
    if not isinstance(size, int | np.integer):
        raise UnsupportedError("this padding of flexible sizes", supported="floats, a constant value")
    return int(size)


def padded(x: Var, pairs: list[tuple[int, int]], mode: str, value: Value, dtype: str) -> Var:
    """By a constant, or by what is there: ``reflect``, ``symmetric``, ``edge``, ``wrap``. Negative amounts cut."""
    if mode == "constant":
        return pad_constant(x, pairs, value, dtype)
    if mode not in _NUMPY_MODES:
        raise UnsupportedError("unknown mode of padding", received=mode, supported=["constant", *_NUMPY_MODES])
    rank = len(x.shape)
    x = _cut(x, pairs)
    pairs = [(max(0, before), max(0, after)) for before, after in pairs]
    kind = dtype_of(x)
    if max(map(max, pairs), default=0) > _WIDEST:
        raise ConversionError("the padding is wider than any tensor", received=pairs, supported=f"up to {_WIDEST}")
    if 0 in x.shape:
        raise UnsupportedError("Core ML has no tensors without elements", received=f"padding of shape {x.shape}")
    inner = rank >= 2 and all(pair == (0, 0) for pair in pairs[:-2]) and kind in ("fp32", "fp16")
    if mode == "reflect":  # MIL mirrors once
        inner = inner and all(
            not isinstance(size, int | np.integer) or max(pair) < size
            for size, pair in zip(x.shape[-2:], pairs[-2:], strict=True)
        )
    if inner and mode in _MIL_MODES and any(map(any, pairs)):
        return mb.pad(x=x, pad=[amount for pair in pairs[-2:] for amount in pair], mode=_MIL_MODES[mode])
    # Other axes and modes pick rows.
    if kind == "bool":
        x = mb.cast(x=x, dtype="int32")
    for axis, pair in enumerate(pairs):
        if any(pair):
            rows = np.pad(np.arange(fixed_size(x.shape[axis])), pair, mode=_NUMPY_MODES[mode])  # type: ignore[call-overload]
            x = mb.gather(x=x, indices=rows.astype(np.int32), axis=axis)
    return mb.cast(x=x, dtype="bool") if kind == "bool" else x

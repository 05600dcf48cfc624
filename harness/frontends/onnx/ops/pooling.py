"""Pools."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import mb
from harness.frontends.dispatch import Var
from harness.frontends.onnx.graph import Node
from harness.frontends.onnx.ops.convolution import explicit_pads
from harness.frontends.onnx.registry import translates

# Less than any value that is pooled, and finite, so that float16 holds it.
_LEAST = np.float32(-3.0e38)


def _ceil_tail(
    x: Var, kernel: list[int], strides: list[int], rates: list[int], pads: list[int], ceil: int
) -> list[int]:
    """What each axis is extended by at its end so that the last, partial window counts (``ceil_mode``)."""
    tail = []
    for axis, (extent, stride, rate) in enumerate(zip(kernel, strides, rates, strict=True)):
        size = int(x.shape[axis + 2]) + pads[2 * axis] + pads[2 * axis + 1]
        covered = (extent - 1) * rate + 1
        windows = -(-(size - covered) // stride) + 1 if ceil else (size - covered) // stride + 1
        # A window that would begin in the padding at the end is left out.
        if ceil and (windows - 1) * stride >= int(x.shape[axis + 2]) + pads[2 * axis]:
            windows -= 1
        tail.append(max(0, (windows - 1) * stride + covered - size))
    return tail


def _padded(x: Var, pads: list[int], tail: list[int], value: np.float32) -> Var:
    amounts = [0, 0, 0, 0]
    for axis, extra in enumerate(tail):
        amounts += [pads[2 * axis], pads[2 * axis + 1] + extra]
    return mb.pad(x=x, pad=amounts, mode="constant", constant_val=value) if any(amounts) else x


def _dilated(x: Var, kernel: list[int], strides: list[int], rates: list[int], reduce: str) -> Var:
    """Windows with holes, as shifted slices combined along one axis after the other."""
    rank = len(x.shape)
    for axis, (extent, stride, rate) in enumerate(zip(kernel, strides, rates, strict=True), start=2):
        count = (int(x.shape[axis]) - (extent - 1) * rate - 1) // stride + 1
        whole = [other != axis for other in range(rank)]
        steps = [1 if other else stride for other in whole]
        result: Any = None
        for start in range(0, extent * rate, rate):
            begin = [0 if other else start for other in whole]
            end = [0 if other else start + (count - 1) * stride + 1 for other in whole]
            part = mb.slice_by_index(x=x, begin=begin, end=end, stride=steps, begin_mask=whole, end_mask=whole)
            result = part if result is None else getattr(mb, reduce)(x=result, y=part)
        x = result
    return x


@translates("MaxPool")
def max_pool(
    x: Var,
    *,
    kernel_shape: tuple[int, ...],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: tuple[int, ...] | None = None,
    pads: tuple[int, ...] | None = None,
    storage_order: int = 0,
    strides: tuple[int, ...] | None = None,
    node: Node,
) -> Var:
    """Greatest value of each window."""
    if node.wants(1):
        raise UnsupportedError("MIL's pool does not say where the greatest value was", received="output Indices")
    spatial = len(kernel_shape)
    kernel, steps, rates = list(kernel_shape), list(strides or [1] * spatial), list(dilations or [1] * spatial)
    amounts = explicit_pads(auto_pad, pads, x.shape[2:], kernel, steps, rates)
    tail = _ceil_tail(x, kernel, steps, rates, amounts, ceil_mode and auto_pad == "NOTSET")
    is_integer = node.input_dtype() not in ("float32", "float16")
    if is_integer and node.input_dtype() not in ("int8", "uint8"):
        raise UnsupportedError("MIL pools floats", received=node.input_dtype())
    if is_integer:
        x = mb.cast(x=x, dtype="fp32")
    if any(rate != 1 for rate in rates) or (spatial > 2 and any(tail)):
        result = _dilated(_padded(x, amounts, tail, _LEAST), kernel, steps, rates, "maximum")
    elif any(tail):
        result = mb.max_pool(x=_padded(x, amounts, tail, _LEAST), kernel_sizes=kernel, strides=steps, pad_type="valid")
    else:
        mode = {"pad_type": "custom", "pad": amounts} if any(amounts) else {"pad_type": "valid"}
        result = mb.max_pool(x=x, kernel_sizes=kernel, strides=steps, **mode)
    return mb.cast(x=result, dtype="int32") if is_integer else result


@translates("AveragePool")
def average_pool(
    x: Var,
    *,
    kernel_shape: tuple[int, ...],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: tuple[int, ...] | None = None,
    pads: tuple[int, ...] | None = None,
    strides: tuple[int, ...] | None = None,
) -> Var:
    """Mean of each window, with or without what was padded."""
    spatial = len(kernel_shape)
    kernel, steps, rates = list(kernel_shape), list(strides or [1] * spatial), list(dilations or [1] * spatial)
    amounts = explicit_pads(auto_pad, pads, x.shape[2:], kernel, steps, rates)
    tail = _ceil_tail(x, kernel, steps, rates, amounts, ceil_mode and auto_pad == "NOTSET")
    if all(rate == 1 for rate in rates) and not any(tail):
        mode = {"pad_type": "custom", "pad": amounts} if any(amounts) else {"pad_type": "valid"}
        return mb.avg_pool(
            x=x, kernel_sizes=kernel, strides=steps, exclude_padding_from_average=not count_include_pad, **mode
        )
    total = _dilated(_padded(x, amounts, tail, np.float32(0)), kernel, steps, rates, "add")
    ones = np.ones([1, 1, *(int(size) for size in x.shape[2:])], np.float32)
    inner = [(amounts[2 * axis], amounts[2 * axis + 1]) for axis in range(spatial)]
    ones = np.pad(ones, [(0, 0), (0, 0), *inner], constant_values=float(bool(count_include_pad)))
    ones = np.pad(ones, [(0, 0), (0, 0), *((0, extra) for extra in tail)])
    counts = np.zeros([1, 1, *(int(size) for size in total.shape[2:])], np.float32)
    for offset in np.ndindex(*kernel):
        starts = [offset[axis] * rates[axis] for axis in range(spatial)]
        index = tuple(
            slice(start, start + (size - 1) * step + 1, step)
            for start, size, step in zip(starts, counts.shape[2:], steps, strict=True)
        )
        counts += ones[(slice(None), slice(None), *index)]
    return mb.mul(x=total, y=(1 / counts).astype(np.float32))


@translates("GlobalAveragePool")
def global_average_pool(x: Var) -> Var:
    """Mean over all but batch and channels."""
    return mb.reduce_mean(x=x, axes=list(range(2, len(x.shape))), keep_dims=True)


@translates("GlobalMaxPool")
def global_max_pool(x: Var) -> Var:
    """Greatest over all but batch and channels."""
    return mb.reduce_max(x=x, axes=list(range(2, len(x.shape))), keep_dims=True)

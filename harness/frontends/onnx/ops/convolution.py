"""Convolutions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import mb
from harness.frontends.dispatch import Value, Var
from harness.frontends.onnx.registry import translates


def explicit_pads(
    auto_pad: str, pads: Sequence[int] | None, sizes: Sequence[object], kernel: Sequence[int],
    strides: Sequence[int], dilations: Sequence[int],
) -> list[int]:  # fmt: skip
    """Begin and end of each axis, as MIL has them. Raises UnsupportedError where SAME needs a size that is open."""
    spatial = len(kernel)
    if auto_pad in ("NOTSET", ""):
        given = list(pads or [0] * (2 * spatial))
        return [given[axis + side * spatial] for axis in range(spatial) for side in (0, 1)]
    if auto_pad == "VALID":
        return [0] * (2 * spatial)
    result: list[int] = []
    for size, extent, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        if not isinstance(size, int | np.integer):
            raise UnsupportedError("auto_pad of a flexible size", received=auto_pad, supported="explicit pads")
        covered = (extent - 1) * dilation + 1
        total = max(0, (-(-int(size) // stride) - 1) * stride + covered - int(size))
        small, large = total // 2, total - total // 2
        result += [small, large] if auto_pad == "SAME_UPPER" else [large, small]
    return result


@translates("Conv")
def conv(
    x: Var,
    weight: Value,
    bias: Value | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: tuple[int, ...] | None = None,
    group: int = 1,
    kernel_shape: tuple[int, ...] | None = None,
    pads: tuple[int, ...] | None = None,
    strides: tuple[int, ...] | None = None,
) -> Var:
    """x (N, C_in, *D), weight (C_out, C_in / group, *K)."""
    spatial = len(x.shape) - 2
    steps, rates = list(strides or [1] * spatial), list(dilations or [1] * spatial)
    kernel = [int(size) for size in weight.shape[2:]]
    amounts = explicit_pads(auto_pad, pads, x.shape[2:], kernel, steps, rates)
    mode = {"pad_type": "custom", "pad": amounts} if any(amounts) else {"pad_type": "valid"}
    if bias is not None and not isinstance(bias, np.ndarray) and bias.val is None:
        result = mb.conv(x=x, weight=weight, strides=steps, dilations=rates, groups=group, **mode)
        return mb.add(x=result, y=mb.reshape(x=bias, shape=[1, -1, *([1] * spatial)]))
    given = {} if bias is None else {"bias": bias}
    return mb.conv(x=x, weight=weight, strides=steps, dilations=rates, groups=group, **mode, **given)


@translates("ConvTranspose")
def conv_transpose(
    x: Var,
    weight: Value,
    bias: Value | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: tuple[int, ...] | None = None,
    group: int = 1,
    kernel_shape: tuple[int, ...] | None = None,
    output_padding: tuple[int, ...] | None = None,
    output_shape: tuple[int, ...] | None = None,
    pads: tuple[int, ...] | None = None,
    strides: tuple[int, ...] | None = None,
) -> Var:
    """x (N, C_in, *D), weight (C_in, C_out / group, *K); sizes as in the operator's description."""
    if not isinstance(weight, np.ndarray) and weight.val is None:
        raise UnsupportedError("the weight of a transposed convolution must be a constant", received="a computed value")
    spatial = len(x.shape) - 2
    steps, rates = list(strides or [1] * spatial), list(dilations or [1] * spatial)
    extra = list(output_padding or [0] * spatial)
    begins, sizes, full = [], [], []
    for axis in range(spatial):
        extent = (int(weight.shape[axis + 2]) - 1) * rates[axis] + 1
        whole = (int(x.shape[axis + 2]) - 1) * steps[axis] + extent
        if output_shape is not None or auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            size = output_shape[axis] if output_shape is not None else int(x.shape[axis + 2]) * steps[axis]
            total = max(0, whole + extra[axis] - size)
            # The specification puts the odd rest at the begin unless SAME_UPPER is asked for.
            begin = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
        else:
            begin = (pads or [0] * (2 * spatial))[axis] if auto_pad != "VALID" else 0
            end = (pads or [0] * (2 * spatial))[axis + spatial] if auto_pad != "VALID" else 0
            size = whole + extra[axis] - begin - end
        begins.append(begin)
        sizes.append(size)
        full.append(whole)
    inner = [min(size, whole - begin) for size, whole, begin in zip(sizes, full, begins, strict=True)]
    amounts = [value for whole, begin, size in zip(full, begins, inner, strict=True)
               for value in (begin, whole - begin - size)]  # fmt: skip
    result = mb.conv_transpose(
        x=x, weight=weight, strides=steps, dilations=rates, groups=group, pad_type="custom", pad=amounts,
        output_shape=[int(x.shape[0]), int(weight.shape[1]) * group, *inner],
    )  # fmt: skip
    if inner != sizes:
        tail = [value for size, part in zip(sizes, inner, strict=True) for value in (0, size - part)]
        result = mb.pad(x=result, pad=[0, 0, 0, 0, *tail], mode="constant", constant_val=np.float32(0))
    if bias is None:
        return result
    shape = [1, -1, *([1] * spatial)]
    channel = bias.reshape(shape) if isinstance(bias, np.ndarray) else mb.reshape(x=bias, shape=shape)
    return mb.add(x=result, y=channel)

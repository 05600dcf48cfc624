"""Quantisation. Integers are int32 in MIL and products of 8-bit integers are exact in float32 (below 2**24 for sums of
256 of them; longer sums are split)."""

from __future__ import annotations

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import mb
from harness.frontends.dispatch import Value, Var
from harness.frontends.onnx.graph import Node
from harness.frontends.onnx.ops.convolution import conv
from harness.frontends.onnx.registry import translates
from harness.frontends.program import as_var

RANGES = {"uint8": (0, 255), "int8": (-128, 127), "uint16": (0, 65535), "int16": (-32768, 32767)}
# Products of 8-bit integers are below 2**16, so that float32 holds the sum of so many exactly.
_LONGEST_SUM = 256


def _float(x: Value) -> Var:
    return mb.cast(x=as_var(x), dtype="fp32")


def _along(value: Value, x: Var, axis: int, block_size: int = 0) -> Var:
    """A scale or zero point, of everything, of each index of an axis or of each block of it, in the rank of x."""
    var = as_var(value)
    rank = len(x.shape)
    if block_size:
        blocks = np.arange(int(x.shape[axis % rank]), dtype=np.int32) // block_size
        return mb.gather(x=var, indices=blocks, axis=axis % rank)
    if len(var.shape) <= 1 and int(np.prod([int(size) for size in var.shape])) == 1:
        return mb.reshape(x=var, shape=[1] * max(rank, 1))
    if len(var.shape) != 1:
        raise UnsupportedError("scales of several axes", received=f"shape {tuple(var.shape)}", supported="one axis")
    return mb.reshape(x=var, shape=[-1 if other == axis % rank else 1 for other in range(rank)])


def _range(dtype: str) -> tuple[int, int]:
    if dtype not in RANGES:
        raise UnsupportedError("this type is not quantised to", received=dtype, supported=RANGES)
    return RANGES[dtype]


def _quantized(x: Var, zero_point: Var | None, dtype: str) -> Var:
    """x, which is divided by the scale already: rounded half to even, moved and saturated."""
    low, high = _range(dtype)
    steps = mb.round(x=x)
    if zero_point is not None:
        steps = mb.add(x=steps, y=_float(zero_point))
    return mb.cast(x=mb.clip(x=steps, alpha=np.float32(low), beta=np.float32(high)), dtype="int32")


@translates("QuantizeLinear", since=10)
def quantize_linear(
    x: Var,
    scale: Value,
    zero_point: Value | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    precision: int = 0,
    saturate: int = 1,
    node: Node,
) -> Var:
    """round(x / scale) + zero point, saturated."""
    divided = mb.real_div(x=x, y=_along(scale, x, axis, block_size))
    offset = None if zero_point is None else _along(zero_point, x, axis, block_size)
    return _quantized(divided, offset, node.output_dtype())


@translates("DequantizeLinear", since=10)
def dequantize_linear(
    x: Var,
    scale: Value,
    zero_point: Value | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    node: Node,
) -> Var:
    """(x - zero point) * scale."""
    values = as_var(x)
    if zero_point is not None:
        values = mb.sub(x=values, y=_along(zero_point, x, axis, block_size))
    return mb.mul(x=_float(values), y=_along(scale, x, axis, block_size))


@translates("DynamicQuantizeLinear", since=11)
def dynamic_quantize_linear(x: Var) -> tuple[Var, Var, Var]:
    """To uint8, with the scale and zero point that x's own range (with 0 in it) wants."""
    axes = list(range(len(x.shape)))
    low = mb.minimum(x=mb.reduce_min(x=x, axes=axes, keep_dims=True), y=np.float32(0))
    high = mb.maximum(x=mb.reduce_max(x=x, axes=axes, keep_dims=True), y=np.float32(0))
    scale = mb.real_div(x=mb.sub(x=high, y=low), y=np.float32(255))
    start = mb.real_div(x=mb.mul(x=low, y=np.float32(-1)), y=scale)
    zero_point = mb.cast(x=mb.round(x=mb.clip(x=start, alpha=np.float32(0), beta=np.float32(255))), dtype="int32")
    quantized = _quantized(mb.real_div(x=x, y=scale), zero_point, "uint8")
    return quantized, mb.squeeze(x=scale), mb.squeeze(x=zero_point)


def _centred(x: Value, zero_point: Value | None, axis: int) -> Var:
    var = as_var(x)
    if zero_point is None:
        return _float(var)
    return _float(mb.sub(x=var, y=_along(zero_point, var, axis)))


def _checked_sum(count: int, what: str) -> None:
    if count > _LONGEST_SUM:
        raise UnsupportedError(
            f"{what} adds so many products that float32 is not exact", received=count, supported=f"{_LONGEST_SUM}"
        )


@translates("MatMulInteger", since=10)
def matmul_integer(a: Value, b: Value, a_zero_point: Value | None = None, b_zero_point: Value | None = None) -> Var:
    """(a - zero point) (b - zero point), exactly."""
    _checked_sum(int(a.shape[-1]), "MatMulInteger")
    left, right = _centred(a, a_zero_point, -2), _centred(b, b_zero_point, -1)
    return mb.cast(x=mb.round(x=mb.matmul(x=left, y=right)), dtype="int32")


@translates("ConvInteger", since=10)
def conv_integer(
    x: Var, weight: Value, x_zero_point: Value | None = None, w_zero_point: Value | None = None, *,
    auto_pad: str = "NOTSET", dilations: tuple[int, ...] | None = None, group: int = 1,
    kernel_shape: tuple[int, ...] | None = None, pads: tuple[int, ...] | None = None,
    strides: tuple[int, ...] | None = None,
) -> Var:  # fmt: skip
    """A convolution of integers, exactly. What is padded is the zero point."""
    _checked_sum(int(np.prod([int(size) for size in weight.shape[1:]])), "ConvInteger")
    result = conv(
        _centred(x, x_zero_point, 1), _centred(weight, w_zero_point, 0), auto_pad=auto_pad, dilations=dilations,
        group=group, pads=pads, strides=strides,
    )  # fmt: skip
    return mb.cast(x=mb.round(x=result), dtype="int32")


@translates("QLinearMatMul", since=10)
def qlinear_matmul(
    a: Value, a_scale: Value, a_zero_point: Value, b: Value, b_scale: Value, b_zero_point: Value, y_scale: Value,
    y_zero_point: Value, *, node: Node,
) -> Var:  # fmt: skip
    """A product of quantised matrices, quantised."""
    product = _float(matmul_integer(a, b, a_zero_point, b_zero_point))
    ratio = mb.real_div(x=mb.mul(x=_float(_along(a_scale, product, -2)), y=_float(_along(b_scale, product, -1))),
                        y=_float(_along(y_scale, product, -1)))  # fmt: skip
    return _quantized(mb.mul(x=product, y=ratio), _along(y_zero_point, product, -1), node.output_dtype())


@translates("QLinearConv", since=10)
def qlinear_conv(
    x: Var,
    x_scale: Value,
    x_zero_point: Value,
    weight: Value,
    w_scale: Value,
    w_zero_point: Value,
    y_scale: Value,
    y_zero_point: Value,
    bias: Value | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: tuple[int, ...] | None = None,
    group: int = 1,
    kernel_shape: tuple[int, ...] | None = None,
    pads: tuple[int, ...] | None = None,
    strides: tuple[int, ...] | None = None,
    node: Node,
) -> Var:
    """A convolution of quantised values, quantised; the bias is in steps of x's and the weight's scales."""
    integers = conv_integer(
        x, weight, x_zero_point, w_zero_point, auto_pad=auto_pad, dilations=dilations, group=group, pads=pads,
        strides=strides,
    )  # fmt: skip
    product = _float(integers)
    if bias is not None:
        product = mb.add(x=product, y=_float(_along(bias, product, 1)))
    scale = mb.mul(x=_float(_along(x_scale, product, 1)), y=_float(_along(w_scale, product, 1)))
    ratio = mb.real_div(x=scale, y=_float(_along(y_scale, product, 1)))
    return _quantized(mb.mul(x=product, y=ratio), _along(y_zero_point, product, 1), node.output_dtype())

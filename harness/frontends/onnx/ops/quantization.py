"""Quantisation. 8-bit integers between a QuantizeLinear and a DequantizeLinear are MIL's own; others are int32.

Products of 8-bit integers are summed in float32, a few at a time, so that every sum is exact."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import dtype_of, mb
from harness.frontends.dispatch import Array, Value, Var
from harness.frontends.expect import of_each_axis
from harness.frontends.integers import NARROW
from harness.frontends.onnx.graph import Node
from harness.frontends.onnx.ops.convolution import conv
from harness.frontends.onnx.registry import translates
from harness.frontends.program import as_var

# Least and greatest.
RANGES = {
    name: (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if is_signed else (0, (1 << bits) - 1)
    for name, (bits, is_signed) in NARROW.items()
}
# MIL quantises to these.
_NATIVE = ("uint8", "int8")
# Up to here float32 holds every integer.
_EXACT = 2**24
_MAGNITUDE = 255  # of an 8-bit integer without its zero point


def _var(value: Value) -> Var:
    """A MIL value; constants of less than 8 bits, for which numpy has no type, among them."""
    is_small = isinstance(value, np.ndarray) and value.dtype.kind == "V"
    return as_var(value.astype(np.int32) if is_small else value)


def _float(x: Value) -> Var:
    var = _var(x)
    return var if dtype_of(var) == "fp32" else mb.cast(x=var, dtype="fp32")


def _along(value: Value, x: Var, axis: int, block_size: int = 0) -> Var:
    """A scale or zero point, of everything, of each index of an axis or of each block of it, in the rank of x."""
    var = _var(value)
    rank = len(x.shape)
    if block_size:
        size = int(x.shape[axis % rank])
        blocks = np.arange(size, dtype=np.int32) // min(size, *of_each_axis("block_size", (block_size,), 1, 1, 1))
        return mb.gather(x=var, indices=blocks, axis=axis % rank)
    if len(var.shape) <= 1 and int(np.prod([int(size) for size in var.shape])) == 1:
        return mb.reshape(x=var, shape=[1] * max(rank, 1))
    if len(var.shape) != 1:
        raise UnsupportedError("scales of several axes", received=f"shape {tuple(var.shape)}", supported="one axis")
    return mb.reshape(x=var, shape=[-1 if other == axis % rank else 1 for other in range(rank)])


def _range(dtype: str) -> tuple[int, int]:
    if dtype not in RANGES:
        raise UnsupportedError("this type is not quantised to", received=dtype, supported=sorted(RANGES))
    return RANGES[dtype]


def _quantized(x: Var, zero_point: Var | None, dtype: str) -> Var:
    """x, which is divided by the scale already: rounded half to even, moved and saturated."""
    low, high = _range(dtype)
    steps = mb.round(x=x)
    if zero_point is not None:
        steps = mb.add(x=steps, y=_float(zero_point))
    return mb.cast(x=mb.clip(x=steps, alpha=np.float32(low), beta=np.float32(high)), dtype="int32")


def _native(x: Var, scale: Value, zero_point: Value | None, dtype: str, axis: int, block_size: int) -> bool:
    """Whether MIL has this quantisation: constants, of everything or of each index of an axis, of 8 bits."""
    if dtype not in _NATIVE or not x.shape or block_size or not isinstance(scale, np.ndarray):
        return False
    if scale.dtype != np.float32 or not (zero_point is None or isinstance(zero_point, np.ndarray)):
        return False
    return scale.size == 1 or (scale.ndim == 1 and scale.size == x.shape[axis % len(x.shape)])


def _parameters(x: Var, scale: Value, zero_point: Value | None, dtype: str, axis: int) -> dict[str, Array]:
    """Of MIL's ``quantize`` and ``dequantize``."""
    one = scale.size == 1
    given = {"scale": scale.reshape(() if one else -1)}
    if zero_point is not None:
        given["zero_point"] = zero_point.reshape(() if one else -1).astype(dtype)
    return given if one else {**given, "axis": np.array(axis % len(x.shape), np.int32)}


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
    dtype = node.output_dtype()
    if dtype_of(x) == "fp32" and _native(x, scale, zero_point, dtype, axis, block_size):
        integers = mb.quantize(input=x, output_dtype=dtype, **_parameters(x, scale, zero_point, dtype, axis))
        return mb.cast(x=integers, dtype="int32")
    divided = mb.real_div(x=_float(x), y=_float(_along(scale, x, axis, block_size)))
    offset = None if zero_point is None else _along(zero_point, x, axis, block_size)
    return _quantized(divided, offset, dtype)


@translates("DequantizeLinear", since=10)
def dequantize_linear(
    x: Value,
    scale: Value,
    zero_point: Value | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    node: Node,
) -> Value:
    """(x - zero point) * scale. Weights stay 8-bit integers in the package."""
    values = _var(x)
    dtype, wanted = node.input_dtype(), node.output_dtype()
    if wanted == "float32" and _native(values, scale, zero_point, dtype, axis, block_size):
        given = _parameters(values, scale, zero_point, dtype, axis)
        if isinstance(x, np.ndarray) and node.converter.is_compressed(node.outputs[0]):
            offset = np.broadcast_to(given.get("zero_point", np.zeros((), dtype)), given["scale"].shape).copy()
            given = {"axis": np.array(0, np.int32), **given, "zero_point": offset}
            return mb.constexpr_affine_dequantize(quantized_data=np.ascontiguousarray(x), **given)
        if (integers := _before_cast(values, dtype)) is not None:
            return mb.dequantize(input=integers, **given)
    if zero_point is not None:
        values = mb.sub(x=values, y=_along(zero_point, values, axis, block_size))
    result = mb.mul(x=_float(values), y=_float(_along(scale, values, axis, block_size)))
    if wanted == "float16":
        result = mb.cast(x=result, dtype="fp16")
    # Of constants it is one, which ONNX's evaluator did not fold.
    return result if result.val is None else np.asarray(result.val)


def _before_cast(x: Var, dtype: str) -> Var | None:
    """The 8-bit integers that ``quantize`` made of which x is the int32."""
    if x.op is not None and x.op.op_type == "cast" and dtype_of(x.op.x) == dtype:
        integers: Var = x.op.x
        return integers
    return None


@translates("DynamicQuantizeLinear", since=11)
def dynamic_quantize_linear(x: Var) -> tuple[Var, Var, Var]:
    """To uint8, with the scale and zero point that x's own range (with 0 in it) wants; a scale of 1 where all is 0."""
    axes = list(range(len(x.shape)))
    low = mb.minimum(x=mb.reduce_min(x=x, axes=axes, keep_dims=True), y=np.float32(0))
    high = mb.maximum(x=mb.reduce_max(x=x, axes=axes, keep_dims=True), y=np.float32(0))
    scale = mb.real_div(x=mb.sub(x=high, y=low), y=np.float32(255))
    scale = mb.select(cond=mb.equal(x=high, y=low), a=np.float32(1), b=scale)
    start = mb.real_div(x=mb.mul(x=low, y=np.float32(-1)), y=scale)
    zero_point = mb.cast(x=mb.round(x=mb.clip(x=start, alpha=np.float32(0), beta=np.float32(255))), dtype="int32")
    quantized = _quantized(mb.real_div(x=x, y=scale), zero_point, "uint8")
    return quantized, mb.squeeze(x=scale), mb.squeeze(x=zero_point)


def _centred(x: Value, zero_point: Value | None, axis: int) -> Value:
    """x without its zero point, as floats."""
    if isinstance(x, np.ndarray) and (zero_point is None or isinstance(zero_point, np.ndarray)):
        offset = np.zeros(1, np.int64) if zero_point is None else zero_point.astype(np.int64).reshape(-1)
        shape = [1] * x.ndim
        if offset.size > 1:
            shape[axis] = -1
        centred: Array = (x.astype(np.int64) - offset.reshape(shape)).astype(np.float32)
        return centred
    var = as_var(x)
    return _float(var if zero_point is None else mb.sub(x=var, y=_along(zero_point, var, axis)))


def _magnitude(value: Value) -> int:
    return max(1, int(np.abs(value).max())) if isinstance(value, np.ndarray) else _MAGNITUDE


def _part(value: Value, axis: int, start: int, stop: int) -> Value:
    axis %= len(value.shape)
    if start == 0 and stop >= value.shape[axis]:
        return value
    if isinstance(value, np.ndarray):
        return value.take(range(start, min(stop, value.shape[axis])), axis)
    begin, end = [0] * len(value.shape), [int(size) for size in value.shape]
    begin[axis], end[axis] = start, min(stop, end[axis])
    return mb.slice_by_index(x=value, begin=begin, end=end)


def _integers(x: Var) -> Var:
    return mb.cast(x=mb.round(x=x), dtype="int32")


@translates("MatMulInteger", since=10)
def matmul_integer(a: Value, b: Value, a_zero_point: Value | None = None, b_zero_point: Value | None = None) -> Var:
    """(a - zero point) (b - zero point), exactly."""
    left, right = _centred(a, a_zero_point, -2), _centred(b, b_zero_point, -1)
    count = int(a.shape[-1])
    longest = _EXACT // (_magnitude(left) * _magnitude(right))
    if isinstance(right, np.ndarray) and np.abs(right).sum(axis=-2).max() * _magnitude(left) <= _EXACT:
        longest = count
    total: Any = None
    for start in range(0, count, longest):
        x = as_var(_part(left, -1, start, start + longest))
        product = _integers(
            mb.matmul(x=x, y=as_var(_part(right, -2 if len(right.shape) > 1 else -1, start, start + longest)))
        )
        total = product if total is None else mb.add(x=total, y=product)
    return total


@translates("ConvInteger", since=10)
def conv_integer(
    x: Var, weight: Value, x_zero_point: Value | None = None, w_zero_point: Value | None = None, *,
    auto_pad: str = "NOTSET", dilations: tuple[int, ...] | None = None, group: int = 1,
    kernel_shape: tuple[int, ...] | None = None, pads: tuple[int, ...] | None = None,
    strides: tuple[int, ...] | None = None,
) -> Var:  # fmt: skip
    """A convolution of integers, exactly. What is padded is the zero point."""
    values, kernel = _centred(x, x_zero_point, 1), _centred(weight, w_zero_point, 0)
    channels, area = int(kernel.shape[1]), int(np.prod([int(size) for size in kernel.shape[2:]]))
    longest = _EXACT // (_MAGNITUDE * _magnitude(kernel) * area)
    if isinstance(kernel, np.ndarray):
        largest = np.abs(kernel).sum(axis=tuple(range(1, kernel.ndim))).max()
        longest = channels if largest * _MAGNITUDE <= _EXACT else longest
    if longest < channels and (group > 1 or longest < 1):
        raise UnsupportedError(
            "so many products are added that float32 is not exact", received=f"{channels} channels, kernel of {area}",
            supported="fewer, or one group",
        )  # fmt: skip
    total: Any = None
    for start in range(0, channels, longest):
        stop = channels if longest >= channels else start + longest
        result = _integers(conv(
            values if group > 1 else _part(values, 1, start, stop), _part(kernel, 1, start, stop), auto_pad=auto_pad,
            dilations=dilations, group=group, pads=pads, strides=strides,
        ))  # fmt: skip
        total = result if total is None else mb.add(x=total, y=result)
    return total


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
    if bias is not None:
        integers = mb.add(x=integers, y=_along(bias, integers, 1))
    product = _float(integers)
    scale = mb.mul(x=_float(_along(x_scale, product, 1)), y=_float(_along(w_scale, product, 1)))
    ratio = mb.real_div(x=scale, y=_float(_along(y_scale, product, 1)))
    return _quantized(mb.mul(x=product, y=ratio), _along(y_zero_point, product, 1), node.output_dtype())

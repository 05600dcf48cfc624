"""Quantised tensors in a MIL program: weights stay compressed, activations are floats rounded to the tensor's grid.

real = scale * (q - zero point) (TensorFlow Lite 8-bit quantization specification).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import mb
from harness.frontends.dispatch import Var
from harness.frontends.tflite.graph import TensorInfo

RANGES = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767), "int4": (-8, 7)}


def is_quantized(tensor: TensorInfo) -> bool:
    """Whether the tensor's integers stand for reals. int32 and int64 do so for biases only."""
    quantization = tensor.quantization
    return quantization is not None and len(quantization.scales) > 0 and tensor.dtype in (*RANGES, "int32", "int64")


def dequantized_constant(tensor: TensorInfo, name: str) -> Var:
    """A quantised constant, compressed in the package where Core ML can (8 bits or fewer)."""

    quantization = tensor.quantization
    assert quantization is not None
    values = tensor.array()
    scales, zero_points = quantization.scales, quantization.zero_points
    if values.dtype in (np.dtype(np.int8), np.dtype(np.uint8)) and values.ndim > 0:
        axis = quantization.axis if quantization.is_per_axis else 0
        result: Var = mb.constexpr_affine_dequantize(
            quantized_data=np.ascontiguousarray(values),
            zero_point=_scalar_or_vector(zero_points.astype(values.dtype)),
            scale=_scalar_or_vector(scales.astype(np.float32)),
            axis=np.int32(axis),
            name=name,
        )
        return result
    shape = [1] * values.ndim
    if quantization.is_per_axis:
        shape[quantization.axis] = -1
    real = (values.astype(np.float64) - zero_points.reshape(shape)) * scales.astype(np.float64).reshape(shape)
    constant: Var = mb.const(val=real.astype(np.float32).reshape(values.shape), name=name)
    return constant


def _scalar_or_vector(values: Any) -> Any:
    return values[0] if len(values) == 1 else values


def rounded(x: Var, tensor: TensorInfo) -> Var:
    """``x`` on the grid of a quantised activation, saturated, as a float."""

    scale, zero_point, low, high = _grid(tensor)
    if tensor.dtype in ("int8", "uint8"):
        dtype = np.dtype(tensor.dtype).type
        integers = mb.quantize(
            input=x, scale=np.float32(scale), zero_point=dtype(zero_point), output_dtype=tensor.dtype
        )
        result: Var = mb.dequantize(input=integers, scale=np.float32(scale), zero_point=dtype(zero_point))
        return result
    steps = mb.round(x=mb.mul(x=x, y=np.float32(1 / scale)))
    steps = mb.clip(x=steps, alpha=np.float32(low - zero_point), beta=np.float32(high - zero_point))
    scaled: Var = mb.mul(x=steps, y=np.float32(scale))
    return scaled


def to_integers(x: Var, tensor: TensorInfo) -> Var:
    """A float activation as the int32 that a model's output holds."""

    scale, zero_point, low, high = _grid(tensor)
    steps = mb.round(x=mb.mul(x=x, y=np.float32(1 / scale)))
    steps = mb.add(x=steps, y=np.float32(zero_point))
    result: Var = mb.cast(x=mb.clip(x=steps, alpha=np.float32(low), beta=np.float32(high)), dtype="int32")
    return result


def from_integers(x: Var, tensor: TensorInfo) -> Var:
    """The int32 of a model's input as a float activation."""

    scale, zero_point, _, _ = _grid(tensor)
    real = mb.sub(x=mb.cast(x=x, dtype="fp32"), y=np.float32(zero_point))
    result: Var = mb.mul(x=real, y=np.float32(scale))
    return result


def _grid(tensor: TensorInfo) -> tuple[float, int, int, int]:
    quantization = tensor.quantization
    assert quantization is not None
    if quantization.is_per_axis or len(quantization.scales) != 1 or tensor.dtype not in RANGES:
        raise UnsupportedError(
            f"tensor {tensor.index} {tensor.name!r} is quantised in a way that no activation is",
            received=f"{len(quantization.scales)} scales, {tensor.dtype}",
            supported=f"one scale, {', '.join(RANGES)}",
        )
    low, high = RANGES[tensor.dtype]
    return float(quantization.scales[0]), int(quantization.zero_points[0]), low, high

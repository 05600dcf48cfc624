"""Affine quantization of activations (coremltools ``iOS17/quantization_ops.py``)."""

from __future__ import annotations

import numpy as np

from harness.errors import PredictionError
from harness.runtimes.portable.onnx_graph import Tensor, cast_to, op
from harness.runtimes.portable.registry import lowers

_RANGES = {
    "int8": (np.array(-128, np.float32), np.array(127, np.float32)),
    "uint8": (np.array(0, np.float32), np.array(255, np.float32)),
}


def _along(parameter: Tensor, x: Tensor, axis: int | None) -> Tensor:
    """A scale or zero point as float32, with the rank of ``x``: a scalar, or one element for each index of ``axis``."""
    parameter = cast_to(parameter, "fp32")
    if parameter.rank == 0 or axis is None:
        return parameter
    shape = [1] * x.rank
    shape[axis] = -1
    reshaped: Tensor = op.Reshape(parameter, shape)
    return reshaped


@lowers("quantize", moves=True)
def quantize(
    input: Tensor,  # noqa: A002 (the operation's own name for it)
    scale: Tensor,
    output_dtype: str,
    zero_point: Tensor | None = None,
    axis: int | None = None,
) -> Tensor:
    """clip(round(input / scale) + zero_point), halves to even."""
    if output_dtype not in _RANGES:
        raise PredictionError("unknown type to quantize to", received=output_dtype, supported=list(_RANGES))
    low, high = _RANGES[output_dtype]
    result = op.Round(op.Div(input, _along(scale, input, axis)))
    if zero_point is not None:
        result = op.Add(result, _along(zero_point, input, axis))
    return cast_to(op.Clip(result, low, high), "int32")


@lowers("dequantize")
def dequantize(
    input: Tensor,  # noqa: A002
    scale: Tensor,
    zero_point: Tensor | None = None,
    axis: int | None = None,
) -> Tensor:
    """scale * (input - zero_point)."""
    result = cast_to(input, "fp32")
    if zero_point is not None:
        result = op.Sub(result, _along(zero_point, input, axis))
    scaled: Tensor = op.Mul(result, _along(scale, input, axis))
    return scaled

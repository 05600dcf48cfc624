"""Normalizations (coremltools ``iOS15/normalization.py``, ``iOS17/normalization.py``)."""

from __future__ import annotations

import numpy as np
from onnx import numpy_helper

from harness.errors import PackageError
from harness.runtimes.portable.onnx_graph import Tensor, op, shape_of
from harness.runtimes.portable.registry import lowers


def _filled(value: float, shape: Tensor) -> Tensor:
    return op.ConstantOfShape(shape, value=numpy_helper.from_array(np.array([value], np.float32)))


@lowers("batch_norm")
def batch_norm(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    """gamma * (x - mean) / sqrt(variance + epsilon) + beta along axis 1 of ``x`` (N, C, *D)."""
    scale = np.ones(mean.static_shape, np.float32) if gamma is None else gamma
    offset = np.zeros(mean.static_shape, np.float32) if beta is None else beta
    return op.BatchNormalization(x, scale, offset, mean, variance, epsilon=epsilon)


@lowers("instance_norm")
def instance_norm(x: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None, epsilon: float = 1e-5) -> Tensor:
    """gamma * (x - E[x]) / sqrt(Var[x] + epsilon) + beta over the spatial axes of ``x`` (N, C, *D)."""
    channels = op.Shape(x, start=1, end=2)
    scale = _filled(1.0, channels) if gamma is None else gamma
    offset = _filled(0.0, channels) if beta is None else beta
    return op.InstanceNormalization(x, scale, offset, epsilon=epsilon)


@lowers("l2_norm")
def l2_norm(x: Tensor, epsilon: float = 1e-6) -> Tensor:
    """x / sqrt(sum(x^2) + epsilon) over the last three axes."""
    return op.Div(x, op.Sqrt(op.Add(op.ReduceSumSquare(x, [-3, -2, -1], keepdims=1), epsilon)))


@lowers("layer_norm")
def layer_norm(
    x: Tensor,
    axes: tuple[int, ...] | None = None,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    """gamma * (x - E[x]) / sqrt(Var[x] + epsilon) + beta over ``axes`` (all, if not given).

    gamma and beta have the sizes of ``axes``, in the order of x's axes.
    """
    normalized = sorted(axis % x.rank for axis in axes) if axes is not None else list(range(x.rank))
    if not normalized or len(set(normalized)) != len(normalized):
        raise PackageError("axes of layer_norm must be distinct and not empty", received=axes)
    first = normalized[0]
    if normalized == list(range(first, x.rank)):
        scale = _filled(1.0, op.Shape(x, start=first)) if gamma is None else gamma
        return op.LayerNormalization(x, scale, beta, axis=first, epsilon=epsilon)
    centered = op.Sub(x, op.ReduceMean(x, normalized, keepdims=1))
    variance = op.ReduceMean(op.Mul(centered, centered), normalized, keepdims=1)
    result = op.Div(centered, op.Sqrt(op.Add(variance, epsilon)))
    # From the first normalized axis on, gamma and beta broadcast with ones in the axes between.
    between = [axis - first for axis in range(first, x.rank) if axis not in normalized]
    if gamma is not None:
        result = op.Mul(result, op.Unsqueeze(gamma, between))
    return result if beta is None else op.Add(result, op.Unsqueeze(beta, between))


@lowers("local_response_norm")
def local_response_norm(x: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """x / (k + alpha / size * sum of squares of ``size`` neighbouring channels) ** beta, for (N, C, *D).

    An even size takes one channel more before than behind, as PyTorch does; ONNX's own operator
    takes the other one, and ONNX Runtime refuses it.
    """
    # ONNX Runtime pools over three axes at most, so that all that follow the channels become one.
    squares = op.Unsqueeze(op.Reshape(op.Mul(x, x), [0, 0, -1]), [1])
    mean = op.AveragePool(squares, kernel_shape=[size, 1], count_include_pad=1, pads=[size // 2, 0, (size - 1) // 2, 0])
    mean = op.Reshape(op.Squeeze(mean, [1]), shape_of(x))
    scale = op.Pow(op.Add(op.Mul(mean, alpha), k), beta)
    return op.Div(x, scale)

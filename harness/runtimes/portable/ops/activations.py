"""Activations (coremltools ``iOS15/activation.py``; ``iOS17`` only frees the parameters' dtype)."""

from __future__ import annotations

import numpy as np

from harness.errors import PackageError
from harness.runtimes.portable.onnx_graph import Tensor, op
from harness.runtimes.portable.registry import lowers, lowers_directly
from harness.tensors import Array

lowers_directly({"tanh": "Tanh", "softplus": "Softplus", "softsign": "Softsign"})
lowers_directly({"relu": "Relu"}, moves=True)

# MIL's documentation of gelu, SIGMOID_APPROXIMATION.
_GELU_SIGMOID_SLOPE = 1.702


@lowers("sigmoid")
def sigmoid(x: Tensor, *, readers: frozenset[str]) -> Tensor:
    """1 / (1 + exp(-x)), to float32's last digits wherever that is not 0.

    ONNX Runtime's Sigmoid is a polynomial with an absolute error of some 1e-7, and 0 below x = -18, where a mask or a
    score still has digits. It is three times as fast, so a gate keeps it: what it is multiplied with hides the error,
    and a network may have a gate of an image's size after every convolution.
    """
    if readers == {"mul"}:
        return op.Sigmoid(x)
    return op.Reciprocal(op.Add(op.Exp(op.Neg(x)), 1.0))


@lowers("relu6", moves=True)
def relu6(x: Tensor) -> Tensor:
    """min(max(x, 0), 6)."""
    return op.Clip(x, 0.0, 6.0)


@lowers("clamped_relu")
def clamped_relu(x: Tensor, alpha: float, beta: float) -> Tensor:
    """min(beta, x) where x >= 0, min(beta, alpha * x) elsewhere."""
    return op.Min(op.LeakyRelu(x, alpha=alpha), beta)


@lowers("leaky_relu")
def leaky_relu(x: Tensor, alpha: float) -> Tensor:
    """Return x where x >= 0, alpha * x elsewhere."""
    return op.LeakyRelu(x, alpha=alpha)


@lowers("thresholded_relu", moves=True)
def thresholded_relu(x: Tensor, alpha: float) -> Tensor:
    """Return x where x >= alpha, 0 elsewhere; ONNX's ThresholdedRelu leaves x == alpha out."""
    return op.Where(op.Less(x, alpha), np.zeros((), np.float32), x)


@lowers("prelu")
def prelu(x: Tensor, alpha: Array) -> Tensor:
    """Return x where x > 0, alpha[c] * x elsewhere; x is (B, C, 1..3 axes), alpha (C,)."""
    return op.PRelu(x, _per_channel(alpha, x))


@lowers("elu")
def elu(x: Tensor, alpha: float) -> Tensor:
    """Return x where x > 0, alpha * (exp(x) - 1) elsewhere."""
    return op.Elu(x, alpha=alpha)


@lowers("gelu")
def gelu(x: Tensor, mode: str = "EXACT") -> Tensor:
    """x * Phi(x), exactly (erf) or with the tanh or sigmoid approximation of Phi."""
    if mode == "EXACT":
        return op.Gelu(x)
    if mode == "TANH_APPROXIMATION":
        return op.Gelu(x, approximate="tanh")
    if mode == "SIGMOID_APPROXIMATION":
        return op.Mul(x, op.Sigmoid(op.Mul(x, _GELU_SIGMOID_SLOPE)))
    raise PackageError(
        "unknown mode of gelu",
        received=repr(mode),
        supported=["EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"],
    )


@lowers("silu")
def silu(x: Tensor) -> Tensor:
    """x * sigmoid(x)."""
    return op.Mul(x, op.Sigmoid(x))


@lowers("linear_activation")
def linear_activation(x: Tensor, alpha: float, beta: float) -> Tensor:
    """alpha * x + beta."""
    return op.Add(op.Mul(x, alpha), beta)


@lowers("scaled_tanh")
def scaled_tanh(x: Tensor, alpha: float, beta: float) -> Tensor:
    """alpha * tanh(beta * x)."""
    return op.Mul(op.Tanh(op.Mul(x, beta)), alpha)


@lowers("sigmoid_hard")
def sigmoid_hard(x: Tensor, alpha: float, beta: float) -> Tensor:
    """min(max(alpha * x + beta, 0), 1)."""
    return op.HardSigmoid(x, alpha=alpha, beta=beta)


@lowers("softplus_parametric")
def softplus_parametric(x: Tensor, alpha: Array, beta: Array) -> Tensor:
    """alpha[c] * log(1 + exp(beta[c] * x)); x is (B, C, ...), alpha and beta (C,)."""
    return op.Mul(op.Softplus(op.Mul(x, _per_channel(beta, x))), _per_channel(alpha, x))


@lowers("softmax")
def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """exp(x) over its sum along one axis, as computed after the axis' maximum is subtracted."""
    return op.Softmax(x, axis=axis)


def _per_channel(values: Array, x: Tensor) -> Array:
    """(C,) as (C, 1, ...), which broadcasts with axis 1 of ``x``."""
    return values.reshape(-1, *[1] * (x.rank - 2))

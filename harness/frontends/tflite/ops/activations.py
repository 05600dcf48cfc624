"""Activations, alone and fused into other operators (``ActivationFunctionType`` of TFLite's schema)."""

from __future__ import annotations

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import dtype_of, like, mb
from harness.frontends.dispatch import Var
from harness.frontends.tflite import interpolation
from harness.frontends.tflite.layout import pointwise
from harness.frontends.tflite.lookup import scaled
from harness.frontends.tflite.node import Node
from harness.frontends.tflite.quantization import divided, nudged, steps
from harness.frontends.tflite.registry import translates


def fused(x: Var, function: str) -> Var:
    """``x`` after an operator's fused activation."""
    return x if function == "NONE" else pointwise(lambda value: _activated(value, function), x)


_BOUNDS: dict[str, tuple[float, float]] = {
    "RELU": (0, np.inf), "RELU6": (0, 6), "RELU_N1_TO_1": (-1, 1), "RELU_0_TO_1": (0, 1),
}  # fmt: skip


def _activated(x: Var, function: str) -> Var:
    if function == "TANH":
        return mb.tanh(x=x)
    if function not in _BOUNDS:
        raise UnsupportedError("unknown fused activation", received=function, supported=["NONE", *_BOUNDS, "TANH"])
    low, high = _BOUNDS[function]
    if dtype_of(x) == "int32":
        x = mb.maximum(x=x, y=np.int32(low))
        return x if np.isinf(high) else mb.minimum(x=x, y=np.int32(high))
    if function in ("RELU", "RELU6"):
        return mb.relu(x=x) if function == "RELU" else mb.relu6(x=x)
    return mb.clip(x=x, alpha=like(x, low), beta=like(x, high))


@translates("LOGISTIC")
def logistic(x: Var, *, node: Node) -> Var:
    """1 / (1 + exp(-x))."""
    if node.has_wide_kernel():
        return interpolation.logistic(x, node.tensor(0), node.outputs[0])
    return mb.sigmoid(x=x)


@translates("TANH")
def tanh(x: Var, *, node: Node) -> Var:
    """Hyperbolic tangent."""
    if node.has_wide_kernel():
        return interpolation.hyperbolic_tangent(x, node.tensor(0), node.outputs[0])
    return mb.tanh(x=x)


@translates("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1")
def relu(x: Var, *, node: Node) -> Var:
    """Clipped from below, or on both sides."""
    function = node.operator.name
    if node.has_integer_kernel():
        return scaled(x, node.tensor(0), 1, node.ratio(0), node.outputs[0], function)
    return fused(x, function)


@translates("LEAKY_RELU")
def leaky_relu(x: Var, *, alpha: float, node: Node) -> Var:
    """alpha * x where x < 0. Integers have a multiplier for each side (reference_ops ``leaky_relu.h``)."""
    if not node.has_integer_kernel():
        return mb.leaky_relu(x=x, alpha=np.float32(alpha))
    above, below = node.ratio(0), float(node.scales(0)[0] * np.float32(alpha) / node.scales(-1)[0])
    moved = nudged(steps(x, node.tensor(0)), above, below)
    return divided(mb.leaky_relu(x=moved, alpha=np.float32(below / above)), 1 / above, node.outputs[0])

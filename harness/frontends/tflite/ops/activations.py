"""Activations, alone and fused into other operators (``ActivationFunctionType`` of TFLite's schema)."""

from __future__ import annotations

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import mb
from harness.frontends.dispatch import Var
from harness.frontends.tflite.layout import pointwise
from harness.frontends.tflite.registry import TRANSLATIONS, translates


def fused(x: Var, function: str) -> Var:
    """``x`` after an operator's fused activation."""
    return x if function == "NONE" else pointwise(lambda value: _activated(value, function), x)


def _activated(x: Var, function: str) -> Var:

    if function == "RELU":
        return mb.relu(x=x)
    if function == "RELU6":
        return mb.relu6(x=x)
    if function == "RELU_N1_TO_1":
        return mb.clip(x=x, alpha=np.float32(-1), beta=np.float32(1))
    if function == "TANH":
        return mb.tanh(x=x)
    raise UnsupportedError(
        "unknown fused activation", received=function, supported="NONE, RELU, RELU6, RELU_N1_TO_1, TANH"
    )


TRANSLATIONS.directly({"RELU": "relu", "RELU6": "relu6", "LOGISTIC": "sigmoid", "TANH": "tanh"})


@translates("RELU_N1_TO_1")
def relu_n1_to_1(x: Var) -> Var:
    """Clipped to [-1, 1]."""
    return fused(x, "RELU_N1_TO_1")


@translates("LEAKY_RELU")
def leaky_relu(x: Var, *, alpha: float) -> Var:
    """alpha * x where x < 0."""

    return mb.leaky_relu(x=x, alpha=np.float32(alpha))

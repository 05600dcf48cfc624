"""Activations (ONNX operators ``Relu`` to ``Mish``)."""

from __future__ import annotations

from harness.frontends.builder import mb
from harness.frontends.dispatch import Var
from harness.frontends.onnx.registry import TRANSLATIONS, translates

TRANSLATIONS.directly(
    {
        "Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "Softsign": "softsign", "Softplus": "softplus",
    }
)  # fmt: skip


@translates("LeakyRelu")
def leaky_relu(x: Var, *, alpha: float = 0.01) -> Var:
    """alpha * x where x < 0."""

    return mb.leaky_relu(x=x, alpha=alpha)

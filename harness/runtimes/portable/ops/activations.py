"""Activations (coremltools ``iOS15/activation.py``)."""

from __future__ import annotations

from harness.runtimes.portable.onnx_graph import Tensor, op
from harness.runtimes.portable.registry import lowers, lowers_directly

lowers_directly({"sigmoid": "Sigmoid", "tanh": "Tanh"})


@lowers("relu", moves=True)
def relu(x: Tensor) -> Tensor:
    """max(x, 0): selects, so that it is not rounded again."""
    return op.Relu(x)

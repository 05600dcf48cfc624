"""Elementwise operations (coremltools ``iOS15/elementwise_unary.py`` and ``elementwise_binary.py``)."""

from __future__ import annotations

from harness.runtimes.portable.onnx_graph import Tensor, op
from harness.runtimes.portable.program import TensorType
from harness.runtimes.portable.registry import lowers, lowers_directly

lowers_directly({"add": "Add", "sub": "Sub", "mul": "Mul"}, arity=2)


@lowers("cast")
def cast(x: Tensor, dtype: str, *, outputs: tuple[TensorType, ...]) -> Tensor:
    """The dispatcher gives the result its declared type; nothing else is to be done here."""
    return op.Identity(x)

"""What a translation may ask about its operator."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from harness.errors import UnsupportedError
from harness.frontends.dispatch import Array
from harness.frontends.tflite.graph import Operator, TensorInfo, TFLiteGraph


@dataclass(frozen=True, eq=False)
class Node:
    """What a translation asks about its operator."""

    operator: Operator
    inputs: tuple[TensorInfo | None, ...]
    outputs: tuple[TensorInfo, ...]
    graph: TFLiteGraph = field(repr=False)
    converter: Any = field(repr=False)

    def has_integer_kernel(self, index: int = 0) -> bool:
        """Whether TFLite makes integers of those of input ``index``, which the program then does in floats that hold
        them. A float16 does not hold their products."""
        tensors = [self.inputs[index], *self.outputs]
        return self.converter.precision == "float32" and all(
            tensor is not None and tensor.dtype in ("int8", "uint8", "int16") and tensor.quantization is not None
            for tensor in tensors
        )

    def has_wide_kernel(self) -> bool:
        """Whether these integers have 16 bits: of functions, kernels then interpolate in tables."""
        return self.has_integer_kernel() and self.tensor(0).dtype == self.outputs[0].dtype == "int16"

    def scales(self, index: int) -> Array:
        """Scales of a quantised input, as float32; of the output where ``index`` is -1."""
        tensor = self.outputs[0] if index < 0 else self.inputs[index]
        if tensor is None or tensor.quantization is None or not len(tensor.quantization.scales):
            raise UnsupportedError(f"{self} computes with a tensor without scale and zero point", received=tensor)
        return tensor.quantization.scales

    def ratio(self, index: int) -> float:
        """One step of an input in steps of the output, as float32 gives it."""
        return float(self.scales(index)[0] / self.scales(-1)[0])

    def tensor(self, index: int) -> TensorInfo:
        """An input that is not left out."""
        tensor = self.inputs[index]
        assert tensor is not None
        return tensor

    def __str__(self) -> str:
        name = self.outputs[0].name if self.outputs else ""
        return f"{self.operator.name}-{self.operator.version} operator {self.operator.index} {name!r}"

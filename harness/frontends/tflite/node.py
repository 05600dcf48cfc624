"""What a translation may ask about its operator."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from harness.frontends.tflite.graph import Operator, TensorInfo, TFLiteGraph


@dataclass(frozen=True, eq=False)
class Node:
    """What a translation asks about its operator."""

    operator: Operator
    inputs: tuple[TensorInfo | None, ...]
    outputs: tuple[TensorInfo, ...]
    graph: TFLiteGraph = field(repr=False)
    converter: Any = field(repr=False)

    def __str__(self) -> str:
        name = self.outputs[0].name if self.outputs else ""
        return f"{self.operator.name}-{self.operator.version} operator {self.operator.index} {name!r}"

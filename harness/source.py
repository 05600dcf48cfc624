"""A model that is open and ready to be converted, whatever it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.tensors import TensorSpec


class Source(Protocol):
    """``format``: tensorflow (a FrozenGraph), onnx or tflite (a SourceFile)."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def format(self) -> str: ...  # noqa: D102
    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...  # noqa: D102
    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...  # noqa: D102


@dataclass(frozen=True)
class SourceFile:
    """A model file that routes read themselves. Inputs and outputs have the file's own names.

    ``signature`` names one of several ways of calling it.
    """

    name: str
    path: Path
    format: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    signature: str | None = None

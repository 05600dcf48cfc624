"""A converted model on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.tensors import TensorSpec


@dataclass(frozen=True)
class Artifact:
    """What a route made of a model, or the model itself for its reference runtime.

    ``format``: mlprogram, neuralnetwork, tensorflow, tflite or onnx. ``output_names`` maps the
    reference's output names to this artifact's, ``input_names`` likewise. ``provenance`` holds route,
    precision, options and versions as text.
    """

    path: Path
    format: str
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    input_names: Mapping[str, str] = field(default_factory=dict)
    output_names: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)

    def content_hash(self) -> str:
        """SHA-256 of the artifact's files."""
        digest = hashlib.sha256()
        files = [self.path] if self.path.is_file() else sorted(p for p in self.path.rglob("*") if p.is_file())
        for file in files:
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
        return digest.hexdigest()

    @property
    def size_bytes(self) -> int:
        """Bytes on disk."""
        if self.path.is_file():
            return self.path.stat().st_size
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())

"""A model that is open and ready to be converted, whatever it comes from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.errors import StoreError
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
    def content_hash(self) -> str: ...  # noqa: D102


@dataclass(frozen=True)
class SourceFile:
    """A model file that routes read themselves. Inputs and outputs have the file's own names.

    ``signature`` names one of several ways of calling it; ``weights`` are files beside it that hold its weights.
    """

    name: str
    path: Path
    format: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    signature: str | None = None
    weights: tuple[Path, ...] = ()

    def content_hash(self) -> str:
        """SHA-256 of the file's bytes, those of its weights' files, and the signature. Raises StoreError."""
        return hash_of(
            ((path.name.encode(), _blocks(path)) for path in (self.path, *self.weights)), self.signature or ""
        )


def hash_of(parts: Iterable[tuple[bytes, Iterable[bytes]]], beginning: str = "") -> str:
    """SHA-256 of named parts in their order, in hexadecimal."""
    digest = hashlib.sha256(beginning.encode())
    for name, blocks in parts:
        content = hashlib.sha256()
        for block in blocks:
            content.update(block)
        digest.update(hashlib.sha256(name).digest() + content.digest())
    return digest.hexdigest()


def _blocks(path: Path) -> Iterable[bytes]:
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                yield block
    except OSError as error:
        raise StoreError(f"{path} could not be read: {error.strerror or error}") from error

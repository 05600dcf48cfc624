"""What a route is: something that converts a model to Core ML."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

from harness.artifact import Artifact

if TYPE_CHECKING:
    from harness.runtimes.tensorflow import FrozenGraph

PRECISIONS = ("float32", "float16")


class Route(ABC):
    """One way from TensorFlow to Core ML. ``name`` is what the command line calls it."""

    name: str
    precisions: tuple[str, ...] = PRECISIONS

    def unavailable(self) -> str | None:
        """Why this route cannot be taken on this machine (a missing extra, say), or None."""
        return None

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Versions of every package that decides the result, for the record and the cache's key."""

    @abstractmethod
    def convert(self, graph: FrozenGraph, precision: str, destination: Path) -> Artifact:
        """Write a package to ``destination``. Raises ConversionError."""

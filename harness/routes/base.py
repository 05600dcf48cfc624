"""What a route is: something that converts a model to Core ML."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from harness.artifact import Artifact
from harness.source import Source

PRECISIONS = ("float32", "float16")


class Route(ABC):
    """One way from TensorFlow to Core ML. ``name`` is what the command line calls it."""

    name: str
    precisions: tuple[str, ...] = PRECISIONS
    source_formats: tuple[str, ...] = ("tensorflow",)
    # Whether it is taken where no route is named; one that only checks another is not.
    by_default: bool = True

    def unavailable(self) -> str | None:
        """Why this route cannot be taken on this machine (a missing extra, say), or None."""
        return None

    def refuses(self, source: Source) -> str | None:
        """Why this route cannot start from ``source``, or None."""
        if source.format in self.source_formats:
            return None
        return f"route {self.name} starts from {' or '.join(self.source_formats)}, not from {source.format}"

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Versions of every package that decides the result, for the record and the cache's key."""

    @abstractmethod
    def convert(self, source: Source, precision: str, destination: Path) -> Artifact:
        """Write a package to ``destination``. Raises ConversionError.

        The artifact maps the source's names of inputs and outputs to its own.
        """

"""What a runtime is: something that loads an artifact on a compute unit and predicts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from harness.artifact import Artifact
from harness.tensors import Array


class LoadedModel(ABC):
    """A model in memory. Inputs and outputs are arrays by the artifact's own names."""

    @abstractmethod
    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """One prediction. Raises InputError or PredictionError."""

    def close(self) -> None:  # noqa: B027 (most models hold nothing)
        """Release what the model holds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Runtime(ABC):
    """One way of executing artifacts. ``name`` is what the command line calls it."""

    name: str
    formats: tuple[str, ...]
    compute_units: tuple[str, ...] = ("CPU",)

    def unavailable(self) -> str | None:
        """Why this runtime cannot run on this machine, or None."""
        return None

    @abstractmethod
    def load(self, artifact: Artifact, compute_unit: str, precision: str) -> LoadedModel:
        """Load for execution; ``precision`` is the conversion's. Raises PredictionError or PackageError."""

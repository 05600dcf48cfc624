"""What a runtime is: something that loads an artifact on a compute unit and predicts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.artifact import Artifact
from harness.isolation import Limits
from harness.tensors import Array
from harness.timing import Schedule


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


@dataclass(frozen=True)
class Isolation:
    """How cells of an IsolatedRuntime are run. ``cool_down`` is the pause in seconds before each process, which is
    longer, up to ``longest_cool_down``, while the machine is throttled. A cell that was measured while it was
    throttled is run again, ``attempts`` times at most.
    """

    limits: Limits = field(default_factory=Limits)
    cool_down: float = 1.0
    longest_cool_down: float = 120.0
    attempts: int = 3


@dataclass(frozen=True)
class Measurement:
    """What a process of its own found out: ``fields`` of Record by name, with status ``error`` or ``skipped`` where
    it failed, and ``outputs`` by the artifact's names where there are any."""

    fields: Mapping[str, Any]
    outputs: Mapping[str, Array] = field(default_factory=dict)


class IsolatedRuntime(Runtime):
    """A runtime whose every cell has a process of its own, since its framework may crash or hang."""

    @abstractmethod
    def measure(
        self,
        artifact: Artifact,
        inputs: Mapping[str, Array],
        compute_unit: str,
        *,
        schedule: Schedule | None,
        isolation: Isolation,
        bundle: Path | None = None,
        progress: Callable[[str], None] = lambda stage: None,
    ) -> Measurement:
        """One cell. Nothing is timed repeatedly without a ``schedule``. A failure leaves in the folder ``bundle``
        what reproduces it. ``progress`` is told each stage."""

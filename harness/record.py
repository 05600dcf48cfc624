"""One cell of the matrix, flat: what was run, how exact it was, how long it took, or why it failed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

FORMAT_VERSION = 1

# passed and failed: compared within or beyond tolerance. error: conversion, loading or prediction
# failed. skipped: this machine cannot (reason in ``error``).
Status = Literal["passed", "failed", "error", "skipped"]


@dataclass(frozen=True)
class Record:
    """Times are in seconds; ``samples`` are raw, in the order measured. Errors of outputs are the
    worst over all outputs. Everything derivable (medians, ratios) is derived when reported.
    """

    # What
    run: str
    model: str
    route: str
    precision: str
    runtime: str
    compute_unit: str
    status: Status
    stage: str = ""  # where it failed: convert, load, predict, compare
    error: str = ""
    # Accuracy against the reference runtime
    reference: str = "tensorflow"
    output: str = ""  # the output with the worst error
    max_abs_error: float | None = None
    mean_abs_error: float | None = None
    relative_error: float | None = None
    cosine: float | None = None
    psnr: float | None = None  # decibels
    ssim: float | None = None
    tolerance: float | None = None
    tolerance_source: str = ""
    # Time
    convert_seconds: float | None = None
    convert_cached: bool = False
    load_seconds: float | None = None
    first_predict_seconds: float | None = None
    samples: tuple[float, ...] = ()
    reference_samples: tuple[float, ...] = ()
    warm_up: int = 0
    seed: int = 0
    warnings: tuple[str, ...] = ()
    # Provenance
    model_hash: str = ""
    artifact_hash: str = ""
    artifact_bytes: int | None = None
    input_source: str = ""
    input_shapes: str = ""
    started: str = ""  # ISO 8601, UTC
    machine: str = ""
    system: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    picture: str = ""  # file in the run's folder
    format_version: int = FORMAT_VERSION

    @property
    def cell(self) -> tuple[str, str, str, str, str]:
        """What identifies it within a run."""
        return (self.model, self.route, self.precision, self.runtime, self.compute_unit)

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Record:
        """From a JSON object; fields of other versions are left out."""
        known = {item.name for item in fields(cls)}
        values = {key: value for key, value in data.items() if key in known}
        for key in ("samples", "reference_samples", "warnings"):
            values[key] = tuple(values.get(key) or ())
        return cls(**values)

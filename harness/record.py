"""One cell of the matrix, flat: what was run, how exact it was, how long it took, or why it failed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_origin, get_type_hints

# 2: Core ML cells: five costs, the warm-up's samples, conditions, compute plan, how a process ended.
# 3: an output is judged by what it holds: ``tolerance`` is in the unit of ``judged_as``, and so is ``deviation``.
FORMAT_VERSION = 3

# passed and failed: compared within or beyond tolerance. error: opening the model, conversion, loading or prediction
# failed, or the reference cannot judge. skipped: this machine or route cannot (reason in ``error``).
Status = Literal["passed", "failed", "error", "skipped"]


@dataclass(frozen=True)
class Record:
    """Times are in seconds; ``samples`` are raw, in the order measured. Errors are those of ``output``.
    Everything derivable (medians, ratios) is derived when reported.

    ``samples`` are predictions as Python sees them, ``framework_samples`` the same ones as the framework reports them.
    ``load_seconds`` is the first load, ``warm_load_seconds`` another one of the same compiled model; ``load_state`` and
    ``warm_load_state`` say what they were found to be: cold, warm or unclear.
    """

    # What
    run: str
    model: str
    route: str
    precision: str
    runtime: str
    compute_unit: str
    status: Status
    stage: str = ""  # where it failed: open, reference, convert, compile, load, predict, compare
    error: str = ""
    # Accuracy against the reference runtime
    reference: str = "tensorflow"
    output: str = ""  # the one that failed, or came nearest to its tolerance
    judged_as: str = ""  # tolerance.Kind of that output: range, steps, labels, absolute
    judged_because: str = ""  # why it is judged so, and the range of its values
    deviation: float | None = None  # what is judged: a share of the range, steps, a share of elements, or an error
    differing: int | None = None  # elements that do not pass for equal, of ``elements``
    elements: int | None = None
    cautions: tuple[str, ...] = ()  # what could not be judged, and inputs that were cast
    max_abs_error: float | None = None
    mean_abs_error: float | None = None
    relative_error: float | None = None
    cosine: float | None = None
    psnr: float | None = None  # decibels
    ssim: float | None = None
    tolerance: float | None = None  # the bound of ``deviation``
    tolerance_source: str = ""
    # Time
    convert_seconds: float | None = None
    convert_cached: bool = False
    compile_seconds: float | None = None
    load_seconds: float | None = None
    load_state: str = ""
    load_evidence: str = ""
    framework_load_seconds: float | None = None
    first_predict_seconds: float | None = None
    warm_load_seconds: float | None = None
    warm_load_state: str = ""
    warm_load_evidence: str = ""
    warm_framework_load_seconds: float | None = None
    warm_first_predict_seconds: float | None = None
    samples: tuple[float, ...] = ()
    framework_samples: tuple[float, ...] = ()
    reference_samples: tuple[float, ...] = ()
    warm_up: int = 0
    warm_up_samples: tuple[float, ...] = ()
    warm_up_stable: bool | None = None
    seed: int = 0
    position: int | None = None  # in the order in which the model's cells were run, from 0
    warnings: tuple[str, ...] = ()
    conversion_warnings: tuple[str, ...] = ()
    # How its process went
    remarks: tuple[str, ...] = ()
    signal: str = ""  # that ended it
    stderr_tail: str = ""
    bundle: str = ""  # folder, within the run's, that reproduces the failure
    peak_memory_bytes: int | None = None
    attempts: int = 1
    cool_down_seconds: float | None = None
    throttled: bool | None = None
    conditions_before: dict[str, Any] = field(default_factory=dict)  # of coreml/conditions.py
    conditions_after: dict[str, Any] = field(default_factory=dict)
    compute_plan: dict[str, Any] = field(default_factory=dict)  # of coreml/plan.py: estimates, not measurements
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

    @property
    def was_judged(self) -> bool:
        """Whether its outputs were compared with the reference's."""
        return self.status in ("passed", "failed")

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Record:
        """From a JSON object, whose own objects may be text; fields of other versions are left out."""
        values = {key: value for key, value in data.items() if key in _HINTS}
        for key, value in values.items():
            if get_origin(_HINTS[key]) is tuple:
                values[key] = tuple(value or ())
            elif get_origin(_HINTS[key]) is dict and isinstance(value, str):
                values[key] = json.loads(value)
        if data.get("format_version", 1) < 3 and values.get("max_abs_error") is not None:
            values |= {"judged_as": "absolute", "deviation": values["max_abs_error"]}
        return cls(**values)


_HINTS = get_type_hints(Record)

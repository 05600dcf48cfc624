"""Where an error enters: from the reference to the device, one change at a time, and how far each moves an output.

reference -> portable float32    conversion: operations, layouts, constants
          -> portable float16    precision: weights and results rounded (in float16 only)
          -> CPU_ONLY            device: Core ML itself
          -> CPU_AND_GPU         device: the GPU
          -> CPU_AND_NE, ALL     device: the Neural Engine; both from the rung before CPU_AND_NE
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from harness.metrics import compare
from harness.tensors import Array

Cause = Literal["conversion", "precision", "device"]

PORTABLE = {"float32": "portable float32", "float16": "portable float16"}
CAUSES: dict[str, Cause] = {
    PORTABLE["float32"]: "conversion",
    PORTABLE["float16"]: "precision",
    "CPU_ONLY": "device",
    "CPU_AND_GPU": "device",
    "CPU_AND_NE": "device",
    "ALL": "device",
}
_LAST = ("CPU_AND_NE", "ALL")
_ANY = sys.float_info.max  # a tolerance of distances that are not judged


@dataclass(frozen=True)
class Rung:
    """``error``: the greatest absolute difference from the reference; ``step``: from ``below``, the rung before, or
    the reference. Where an output cannot be compared they are None, and ``obstacle`` says why."""

    name: str
    cause: Cause
    below: str
    error: float | None
    step: float | None
    obstacle: str = ""


@dataclass(frozen=True)
class Ladder:
    """Of one output of one conversion. ``missing``: rungs that have no outputs at all, and why."""

    model: str
    route: str
    precision: str
    output: str
    reference: str
    tolerance: float | None
    rungs: tuple[Rung, ...]
    missing: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What identifies it within a run."""
        return self.model, self.route, self.precision, self.output

    @property
    def entry(self) -> Rung | None:
        """The rung where the error enters: the first that cannot be compared, or else the one of the greatest step;
        None where no rung moves the output."""
        for rung in self.rungs:
            if rung.obstacle:
                return rung
        greatest = max(self.rungs, key=lambda rung: rung.step or 0.0, default=None)
        return greatest if greatest is not None and greatest.step else None

    @property
    def is_within(self) -> bool:
        """Whether every rung is within tolerance."""
        return self.tolerance is not None and all(
            rung.error is not None and rung.error <= self.tolerance for rung in self.rungs
        )

    def describe(self) -> str:
        """Where the error enters, and its size, in one sentence."""
        entry = self.entry
        if entry is None:
            return "no rung moves the output"
        if entry.obstacle:
            return f"the error enters at {entry.name} ({entry.cause}): {entry.obstacle}"
        return f"the error enters at {entry.name} ({entry.cause}): {entry.step:.1e} from {entry.below}"

    def to_json(self) -> dict[str, Any]:
        """See from_json."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What ``to_json`` wrote. Raises KeyError or TypeError where it is no ladder."""
        rungs = tuple(Rung(**rung) for rung in value["rungs"])
        missing = tuple((str(name), str(reason)) for name, reason in value["missing"])
        return cls(**{**value, "rungs": rungs, "missing": missing})


def climb(
    reference: Mapping[str, Array], rungs: Mapping[str, Mapping[str, Array]], reference_name: str = "the reference"
) -> dict[str, tuple[Rung, ...]]:
    """The rungs of every output of the ``reference``, in the order of the ladder.

    ``rungs`` has outputs by the reference's names for each rung that was executed; one that was not is passed over,
    and the next is compared with the one before it.
    """
    found: dict[str, tuple[Rung, ...]] = {}
    for output, expected in reference.items():
        climbed: list[Rung] = []
        # The last rung that can be compared with: its name and its value.
        below: tuple[str, Array] = (reference_name, expected)
        before_last = below
        for name in (name for name in CAUSES if name in rungs):
            start = before_last if name in _LAST else below
            rung = _rung(name, start, expected, output, rungs[name])
            climbed.append(rung)
            if not rung.obstacle:
                below = (name, rungs[name][output])
            if name not in _LAST:
                before_last = below
        found[output] = tuple(climbed)
    return found


def _rung(name: str, below: tuple[str, Array], expected: Array, output: str, outputs: Mapping[str, Array]) -> Rung:
    (to_reference,) = compare({output: expected}, outputs, _ANY, only_judged=True).outputs
    (to_below,) = compare({output: below[1]}, outputs, _ANY, only_judged=True).outputs
    error, step = to_reference.max_abs_error, to_below.max_abs_error
    obstacle = "" if error is not None and step is not None else to_reference.reason or to_below.reason
    return Rung(name, CAUSES[name], below[0], error, step, obstacle)


def rungs_of(precision: str) -> tuple[str, ...]:
    """The names of a conversion's rungs, in order; float32 has no step of precision."""
    return tuple(name for name in CAUSES if name != PORTABLE["float16"] or precision == "float16")


def merged(old: Iterable[Ladder], new: Iterable[Ladder]) -> tuple[Ladder, ...]:
    """The newest ladder of each key, in the order in which keys first came."""
    return tuple({ladder.key: ladder for ladder in (*old, *new)}.values())

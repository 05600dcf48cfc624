"""How far an output may be from the reference's: bounds by precision and by what kind of values an output holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from harness.errors import InputError, UnknownNameError

# How an output is judged.
# range:    the greatest error, as a share of the range of the reference's own values
# steps:    the greatest error of integers that are quantities (images of 0..255), in whole steps
# labels:   the share of elements that differ, of values whose distance means nothing (classes, masks, indices)
# absolute: the greatest error, in the output's own unit; only where a case asks for it
Kind = Literal["range", "steps", "labels", "absolute"]
KINDS: tuple[Kind, ...] = get_args(Kind)

RELATIVE: Mapping[str, float] = {"float32": 1e-4, "float16": 1e-2}
DIFFERING: Mapping[str, float] = {"float32": 1e-3, "float16": 1e-2}

DEFAULT_SOURCE = (
    "default: floats by the range of the reference's own values (float32 1e-4, as sums are reordered; float16 1e-2, as "
    "it has 11 bits, 5e-4 a rounding, which tens of layers add up), integers that are quantities by the same share of "
    "their range and at least one step, labels by the share of elements that differ (float32 1e-3, float16 1e-2)"
)


@dataclass(frozen=True)
class Tolerance:
    """What passes, by precision; ``source`` says where the bounds come from.

    ``absolute`` bounds the greatest error in the output's own unit, whatever kind of values it holds; without it the
    kind decides: ``relative`` is a share of the reference's range, ``steps`` whole steps (by default the same share of
    the range, and at least one), ``differing`` a share of elements. ``kinds`` says of outputs, by name, what they hold,
    and ``outputs`` gives outputs a tolerance of their own. Raises InputError for what is no bound.
    """

    absolute: Mapping[str, float] | None = None
    source: str = DEFAULT_SOURCE
    relative: Mapping[str, float] = field(default_factory=lambda: RELATIVE)
    steps: Mapping[str, float] | None = None
    differing: Mapping[str, float] = field(default_factory=lambda: DIFFERING)
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    outputs: Mapping[str, Tolerance] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, kind in self.kinds.items():
            if kind not in KINDS:
                raise InputError(f"output {name!r} cannot be judged so", received=repr(kind), supported=KINDS)
            if kind == "absolute" and self.absolute is None:
                raise InputError(f"output {name!r} is to be judged by an absolute tolerance, and there is none")
        for bounds in (self.absolute, self.relative, self.steps, self.differing):
            for precision, bound in (bounds or {}).items():
                if not (0 <= bound < float("inf")):
                    raise InputError(
                        f"the tolerance of {precision} is no bound", received=bound, supported="a finite number from 0"
                    )

    def for_precision(self, precision: str) -> float:
        """The bound of floats for a precision: absolute where there is one, else a share of the range."""
        return self._bound("relative" if self.absolute is None else "absolute", precision)

    def of_output(self, name: str) -> Tolerance:
        """The one that holds for an output."""
        return self.outputs.get(name, self)

    def bound(self, kind: Kind, precision: str) -> float | None:
        """The bound in the unit of a kind; None of steps that follow from the range."""
        names = {"range": "relative", "labels": "differing", "absolute": "absolute", "steps": "steps"}
        return None if kind == "steps" and self.steps is None else self._bound(names[kind], precision)

    def _bound(self, name: str, precision: str) -> float:
        bounds: Mapping[str, float] = getattr(self, name) or {}
        if precision not in bounds:
            raise UnknownNameError(
                "no tolerance for this precision", received=repr(precision), supported=sorted(bounds)
            )
        return bounds[precision]


DEFAULT_TOLERANCE = Tolerance()

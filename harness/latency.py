"""Whether a model became slower from one run to the next, judged beside a reference that both runs timed too.

Medians of two runs differ by whatever the machine did meanwhile. Where model and reference were timed in the same
rounds, their ratio is compared, for load that slows both leaves it. It does not leave it exactly (the two use threads
and memory in ways of their own), so that a change counts only beyond what the reference itself moved.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from harness.timing import MINIMUM_SAMPLES, Timing, intervals_differ, ratios

Verdict = Literal["better", "worse", "same", "cannot tell", "not comparable"]
Way = Literal["ratio", "median"]


@dataclass(frozen=True)
class Measured:
    """What one run measured of one cell, in seconds.

    ``reference_samples`` were taken in the rounds of ``samples``, ``model_reference`` are all that the run has of the
    same model's reference.
    """

    samples: tuple[float, ...]
    reference_samples: tuple[float, ...] = ()
    model_reference: tuple[float, ...] = ()

    @cached_property
    def timing(self) -> Timing:
        """Of the samples themselves."""
        return Timing(self.samples)

    @cached_property
    def ratio(self) -> Timing:
        """Of the ratios to the reference, round by round; of nothing where there are none."""
        return Timing(ratios(self.samples, self.reference_samples))


@dataclass(frozen=True)
class ReferenceNoise:
    """How much the reference itself moved, within each run (interquartile range over median) and from one run to the
    other (new median over old). A figure is None where a run has too few samples of it.
    """

    old_scatter: float | None
    new_scatter: float | None
    shift: float | None

    @property
    def factor(self) -> float:
        """The uncertainty of a change: a true one of 1 may look as large."""
        shift = 1.0 if self.shift is None else max(self.shift, 1 / self.shift)
        return (1 + (self.old_scatter or 0.0)) * (1 + (self.new_scatter or 0.0)) * shift


@dataclass(frozen=True)
class LatencyChange:
    """A cell's latency in two runs; ``way`` says what was compared, ratios to the reference or medians in seconds.

    ``change`` is new over old. ``old`` and ``new`` have no ``median_interval`` where there were too few samples.
    """

    verdict: Verdict
    way: Way
    old: Timing
    new: Timing
    change: float
    noise: ReferenceNoise


def compare_latency(old: Measured, new: Measured) -> LatencyChange | None:
    """The change from one run to another on the same machine, or None where one of them timed nothing.

    The same unless the 95 % intervals are apart. A change beyond the reference's noise is better or worse; a smaller
    one cannot be told from it. Too few samples for an interval are not comparable.
    """
    if not old.samples or not new.samples:
        return None
    way: Way = "ratio" if old.ratio.samples and new.ratio.samples else "median"
    if way == "ratio":
        first, second = old.ratio, new.ratio
        noise = _noise(old.reference_samples, new.reference_samples)
    else:
        first, second = old.timing, new.timing
        noise = _noise(old.model_reference, new.model_reference)
    change = _quotient(second.median or 0.0, first.median or 0.0)
    differ = intervals_differ(first.median_interval, second.median_interval)
    return LatencyChange(_verdict(change, differ, noise.factor), way, first, second, change, noise)


def _verdict(change: float, differ: bool | None, uncertainty: float) -> Verdict:
    if differ is None:
        return "not comparable"
    if not differ:
        return "same"
    if 1 / uncertainty <= change <= uncertainty:
        return "cannot tell"
    return "worse" if change > 1 else "better"


def _noise(old: tuple[float, ...], new: tuple[float, ...]) -> ReferenceNoise:
    first, second = (Timing(samples if len(samples) >= MINIMUM_SAMPLES else ()) for samples in (old, new))
    shift = second.median / first.median if first.median and second.median else None
    return ReferenceNoise(first.scatter, second.scatter, shift)


def _quotient(new: float, old: float) -> float:
    return new / old if old else math.inf if new else 1.0

"""Why a change of latency is judged as it is, in words and numbers that are read alone."""

from __future__ import annotations

from harness.latency import LatencyChange, ReferenceNoise
from harness.report.content import milliseconds
from harness.timing import MINIMUM_SAMPLES, Timing


def latency_reason(change: LatencyChange, reference: str) -> str:
    """The reason; nothing where nothing changed. ``reference`` is its name, as TensorFlow."""
    if change.verdict == "same":
        return ""
    if change.verdict == "not comparable":
        counts = f"{len(change.old.samples)} in the old run and {len(change.new.samples)} in the new one"
        return f"too few samples for a confidence interval: {counts}, where each needs {MINIMUM_SAMPLES}"
    what = f"the ratio to {reference}" if change.way == "ratio" else "the median"
    scale, unit = (1.0, "") if change.way == "ratio" else (1000.0, " ms")
    old, new = (_estimate(timing, scale, unit) for timing in (change.old, change.new))
    sentence = f"{what} went from {old} to {new}"
    if change.way == "median":
        sentence += f"; medians are compared, for not every sample has one of {reference} in its round"
    return f"{sentence}; {_beside_noise(change, reference)}"


def _estimate(timing: Timing, scale: float, unit: str) -> str:
    """A median with its interval, which a change of any other verdict has."""
    bounds = timing.median_interval or (0.0, 0.0)
    median, low, high = (milliseconds(value * scale) for value in (timing.median or 0.0, *bounds))
    return f"{median}{unit} (95 % interval {low} to {high})"


def _beside_noise(change: LatencyChange, reference: str) -> str:
    noise = change.noise
    if noise.shift is None and noise.old_scatter is None and noise.new_scatter is None:
        return f"{reference} was not timed with this model in either run, so that a slower machine would look the same"
    told = _reference_moved(noise, reference)
    if change.verdict == "cannot tell":
        return f"{told}: on such a machine only a factor beyond {noise.factor:.2f} tells of a change of the model"
    return f"{told}, which together accounts for a factor of {noise.factor:.2f} and no more"


def _reference_moved(noise: ReferenceNoise, reference: str) -> str:
    scatters = [
        f"{scatter:.0%} in the {run} run"
        for scatter, run in ((noise.old_scatter, "old"), (noise.new_scatter, "new"))
        if scatter is not None
    ]
    scattered = f"its samples scatter by {' and '.join(scatters)} (interquartile range over median)"
    if noise.shift is None:
        return f"{reference} was timed with this model in one run only; {scattered}"
    slower = noise.shift >= 1
    factor = noise.shift if slower else 1 / noise.shift
    moved = f"{reference} itself took {factor:.2f} times as long in the {'new' if slower else 'old'} run"
    return f"{moved} as in the other, and {scattered}"

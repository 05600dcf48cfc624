"""Latency: one interleaved schedule of calls, samples kept raw, and statistics derived from them."""

from __future__ import annotations

import gc
import math
import random
import statistics
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from time import perf_counter_ns
from typing import Any, Self

import numpy as np

from harness.errors import UsageError

# Below this many samples no interval of order statistics covers the median with 95 %: 1 - 2 * 0.5^5 < 0.95.
MINIMUM_SAMPLES = 6
CONFIDENCE = 0.95
# An interquartile range beyond this share of the median is called scatter.
SCATTER_LIMIT = 0.10
# A trend counts as drift if it is significant and moves the median by more than this share.
DRIFT_LIMIT = 0.05
# Two-sided 1 % point of the standard normal distribution.
DRIFT_Z = 2.576


@dataclass(frozen=True)
class Stability:
    """When a target is warm: the medians of its last two windows of ``window`` calls differ by at most ``limit``
    of the earlier one. Warming up ends without that after ``most`` calls or ``max_seconds`` of them.
    """

    window: int = 5
    limit: float = DRIFT_LIMIT
    most: int = 200
    max_seconds: float = 10.0

    def reached(self, durations: Sequence[float]) -> bool:
        """Of all calls so far, in any unit."""
        if len(durations) < 2 * self.window:
            return False
        earlier = statistics.median(durations[-2 * self.window : -self.window])
        later = statistics.median(durations[-self.window :])
        return abs(later - earlier) <= self.limit * earlier

    def capped(self, count: int, seconds: float) -> bool:
        """Whether waiting for it has to end."""
        return count >= self.most or seconds >= self.max_seconds


@dataclass(frozen=True)
class Timing:
    """Raw ``samples`` in seconds, in the order measured, after ``warm_up`` calls that were not kept among them.

    ``warm_up_samples`` are those calls' seconds, and ``stable`` whether they ended stable (None: that was not
    asked for). ``error`` is what the target raised, after which it was not called again. Statistics of no samples
    are None; none assumes a distribution, as latencies have a long tail (Hoefler and Belli 2015,
    Scientific Benchmarking of Parallel Computing Systems, rules 5 and 6).
    """

    samples: tuple[float, ...]
    warm_up: int = 0
    error: Exception | None = None
    warm_up_samples: tuple[float, ...] = ()
    stable: bool | None = None

    @cached_property
    def median(self) -> float | None:
        """Seconds."""
        return self._percentile(50)

    @cached_property
    def quartiles(self) -> tuple[float, float] | None:
        """First and third, in seconds."""
        low, high = self._percentile(25), self._percentile(75)
        return None if low is None or high is None else (low, high)

    @cached_property
    def p95(self) -> float | None:
        """95th percentile in seconds."""
        return self._percentile(95)

    @cached_property
    def scatter(self) -> float | None:
        """The interquartile range as a share of the median; None where the median is not positive."""
        if self.quartiles is None or not self.median or self.median < 0:
            return None
        return (self.quartiles[1] - self.quartiles[0]) / self.median

    def _percentile(self, percent: float) -> float | None:
        return float(np.percentile(self.samples, percent)) if self.samples else None

    @cached_property
    def median_interval(self) -> tuple[float, float] | None:
        """Seconds between which the median lies with at least 95 % confidence, whatever the distribution.

        Two order statistics, by the binomial distribution of the count of samples below the median
        (David and Nagaraja, Order Statistics, 3rd edition, section 7.1). None below 6 samples.
        """
        rank = _interval_rank(len(self.samples))
        if rank is None:
            return None
        ordered = sorted(self.samples)
        return ordered[rank - 1], ordered[len(ordered) - rank]

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """Why the median should not be trusted, if anything: too few samples, scatter, drift."""
        return tuple(self._warnings())

    def _warnings(self) -> Iterator[str]:
        count = len(self.samples)
        if count and self.stable is False:
            yield f"warm-up ended after {self.warm_up} calls, which were not stable yet"
        if count < MINIMUM_SAMPLES:
            if count:
                yield f"too few samples: {count}, where an interval of the median needs {MINIMUM_SAMPLES}"
            return
        if self.median is None or self.scatter is None:
            return
        if self.scatter > SCATTER_LIMIT:
            yield f"samples scatter: the interquartile range is {self.scatter:.0%} of the median"
        half = count // 2
        first = float(np.median(self.samples[:half]))
        shift = (float(np.median(self.samples[-half:])) - first) / first if first > 0 else 0.0
        if abs(shift) > DRIFT_LIMIT and abs(mann_kendall(self.samples)) > DRIFT_Z:
            word = "slower" if shift > 0 else "faster"
            yield f"samples drift: the second half is {abs(shift):.0%} {word} than the first"


def _interval_rank(count: int) -> int | None:
    """The greatest r, counted from 1, such that the r-th least and r-th greatest of ``count`` samples
    enclose the median with CONFIDENCE: ``2 * P(Binomial(count, 1/2) <= r - 1) <= 1 - CONFIDENCE``.
    """
    from scipy.special import bdtr

    # bdtr(k, n, p) is P(Binomial(n, p) <= k), increasing in k.
    ranks = range(1, count // 2 + 1)
    return bisect_right(ranks, 1 - CONFIDENCE, key=lambda rank: 2 * float(bdtr(rank - 1, count, 0.5))) or None


def ratios(samples: Sequence[float], reference: Sequence[float]) -> tuple[float, ...]:
    """What a sample is of the reference's sample of the same round, round by round.

    What slows the machine down for a while slows both of a round, and leaves their ratio. A target that leaves a
    schedule early does not come back, so that the rounds of both are those of the one with fewer. None where a
    reference took no time.
    """
    pairs = list(zip(samples, reference, strict=False))
    if not all(beside > 0 for _, beside in pairs):
        return ()
    return tuple(value / beside for value, beside in pairs)


def intervals_differ(first: tuple[float, float] | None, second: tuple[float, float] | None) -> bool | None:
    """Whether two medians differ: their intervals do not overlap. None where either has no interval.

    Stricter than a test of the difference: of equal medians, fewer than 5 in 100 pairs are told apart
    (Schenker and Gentleman 2001, The American Statistician 55(3)).
    """
    if first is None or second is None:
        return None
    return first[1] < second[0] or second[1] < first[0]


def mann_kendall(samples: tuple[float, ...]) -> float:
    """Standard normal score of a monotonic trend, positive where samples grow; 0 where all are equal.

    Mann 1945, Nonparametric tests against trend, with the continuity and tie corrections of Kendall,
    Rank Correlation Methods, chapters 4 and 5.
    """
    values = np.asarray(samples, np.float64)
    count = len(values)
    score = sum(int(np.sign(values[index + 1 :] - values[index]).sum()) for index in range(count - 1))
    _, ties = np.unique(values, return_counts=True)
    variance = (count * (count - 1) * (2 * count + 5) - int((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18
    return (score - math.copysign(min(1, abs(score)), score)) / math.sqrt(variance) if variance > 0 else 0.0


@dataclass
class _Target:
    """A target while it is measured."""

    call: Callable[[], object]
    samples: list[int] = field(default_factory=list)  # nanoseconds
    warm_up: list[int] = field(default_factory=list)  # nanoseconds
    spent: float = 0  # nanoseconds of this phase: of warming up, then of measuring
    stable: bool | None = None
    error: Exception | None = None

    def run(self) -> int | None:
        """One call's nanoseconds, or None if it raised. Garbage is collected after it, not within it."""
        call = self.call
        collecting = gc.isenabled()
        gc.disable()
        try:
            start = perf_counter_ns()
            result = call()
            elapsed = perf_counter_ns() - start
            del result  # the time to free it is the caller's, not the model's
        except Exception as error:  # a target may raise anything, and the others go on
            self.error = error
            return None
        finally:
            if collecting:
                gc.enable()
        self.spent += elapsed
        return elapsed

    def timing(self) -> Timing:
        samples, warm_up = (tuple(value / 1e9 for value in values) for values in (self.samples, self.warm_up))
        return Timing(samples, len(warm_up), self.error, warm_up, self.stable)


def interleave(
    targets: Mapping[str, Callable[[], object]],
    *,
    samples: int,
    warm_up: int | Stability = 3,
    seed: int = 0,
    max_seconds: float = math.inf,
    minimum: int = MINIMUM_SAMPLES,
    progress: Callable[[str, int], None] | None = None,
) -> dict[str, Timing]:
    """Time all ``targets`` in one schedule, so that what slows the machine down slows them all.

    After ``warm_up`` rounds, or once each target is stable, come ``samples`` rounds; a round calls every target
    once, in an order drawn anew with ``seed``. A target leaves the schedule when its calls have taken
    ``max_seconds`` (and at least ``minimum`` were kept, or ``samples`` if fewer), or when it raises. ``progress`` is
    told a target's name and its count of samples, between calls. Raises UsageError for counts that make no sense.
    """
    rounds = warm_up if isinstance(warm_up, int) else warm_up.most
    if samples < 1 or rounds < 0 or minimum < 1 or not max_seconds > 0:
        raise UsageError(
            "this timing schedule is impossible",
            received=f"samples {samples}, warm-up {warm_up}, minimum {minimum}, {max_seconds} seconds",
            supported="samples and minimum from 1, warm-up from 0, more than 0 seconds",
        )
    minimum = min(minimum, samples)
    budget = max_seconds * 1e9
    measured = {name: _Target(call) for name, call in targets.items()}
    order = random.Random(seed)

    def active(condition: Callable[[_Target], bool]) -> list[str]:
        names = [name for name, target in measured.items() if target.error is None and condition(target)]
        order.shuffle(names)
        return names

    for _ in range(rounds):
        for name in active(lambda target: target.spent < budget and not target.stable):
            target = measured[name]
            elapsed = target.run()
            if elapsed is not None:
                target.warm_up.append(elapsed)
            if isinstance(warm_up, Stability):
                target.stable = warm_up.reached(target.warm_up)
                if not target.stable and warm_up.capped(len(target.warm_up), target.spent / 1e9):
                    target.spent = math.inf
    for target in measured.values():
        target.spent = 0
    for _ in range(samples):
        for name in active(lambda target: target.spent < budget or len(target.samples) < minimum):
            target = measured[name]
            elapsed = target.run()
            if elapsed is not None:
                target.samples.append(elapsed)
                if progress is not None:
                    progress(name, len(target.samples))
    return {name: target.timing() for name, target in measured.items()}


@dataclass(frozen=True)
class Schedule:
    """How a prediction is timed: ``interleave`` with these arguments, in a form that can be stored."""

    samples: int = 20
    warm_up: Stability = Stability()
    seed: int = 0
    max_seconds: float = 10.0

    def time(
        self, targets: Mapping[str, Callable[[], object]], progress: Callable[[str, int], None] | None = None
    ) -> dict[str, Timing]:
        """See interleave."""
        return interleave(
            targets, samples=self.samples, warm_up=self.warm_up, seed=self.seed, max_seconds=self.max_seconds,
            progress=progress,
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """See from_json."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What ``to_json`` wrote."""
        return cls(**{**value, "warm_up": Stability(**value["warm_up"])})

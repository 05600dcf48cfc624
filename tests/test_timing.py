from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from harness.errors import UsageError
from harness.timing import DRIFT_LIMIT, SCATTER_LIMIT, Timing, interleave, mann_kendall, ratios


def test_statistics_worked_by_hand() -> None:
    timing = Timing(tuple(float(value) for value in (7, 1, 3, 5, 9, 2, 8, 4, 6)))
    assert timing.median == 5.0
    assert timing.quartiles == (3.0, 7.0)
    assert timing.p95 == pytest.approx(8.6)
    assert timing.scatter == 0.8


def test_statistics_of_nothing() -> None:
    timing = Timing(())
    assert (timing.median, timing.quartiles, timing.p95, timing.median_interval) == (None, None, None, None)
    assert timing.warnings == ()


@pytest.mark.parametrize("samples", [(), (0.0, 0.0, 1.0), (-1.0, 1.0, -1.0)])
def test_no_scatter_about_a_median_that_is_not_positive(samples: tuple[float, ...]) -> None:
    assert Timing(samples).scatter is None


@pytest.mark.parametrize(
    ("samples", "reference", "expected"),
    [
        ((2.0, 9.0), (1.0, 3.0), (2.0, 3.0)),  # of each round, not of the medians
        ((2.0, 9.0), (1.0,), (2.0,)),  # who left the schedule did not come back
        ((2.0,), (1.0, 3.0), (2.0,)),
        ((2.0,), (), ()),
        ((2.0, 9.0), (1.0, 0.0), ()),
        ((), (), ()),
    ],
)
def test_ratios(samples: tuple[float, ...], reference: tuple[float, ...], expected: tuple[float, ...]) -> None:
    assert ratios(samples, reference) == expected


@pytest.mark.parametrize(
    ("count", "low", "high"),
    # Ranks of the 95 % interval of a median, as tables of the sign test print them.
    [(6, 1, 6), (8, 1, 8), (9, 2, 8), (10, 2, 9), (15, 4, 12), (20, 6, 15), (25, 8, 18), (30, 10, 21), (100, 40, 61)],
)
def test_interval_of_the_median_by_table(count: int, low: int, high: int) -> None:
    samples = tuple(float(value) for value in np.random.default_rng(0).permutation(np.arange(1, count + 1)))
    assert Timing(samples).median_interval == (low, high)


@pytest.mark.parametrize("count", range(1, 6))
def test_no_interval_below_six_samples(count: int) -> None:
    timing = Timing((1.0,) * count)
    assert timing.median_interval is None
    assert timing.warnings == (f"too few samples: {count}, where an interval of the median needs 6",)


@pytest.mark.parametrize("count", [7, 30, 101])
def test_the_interval_covers_as_often_as_it_says(count: int) -> None:
    generator = np.random.default_rng(1)
    trials = 2000
    covered = 0
    for _ in range(trials):
        low, high = Timing(tuple(generator.exponential(size=count))).median_interval or (0, 0)
        covered += low <= math.log(2) <= high
    assert 0.94 < covered / trials < 0.99


STEADY = tuple(1.0 + 0.001 * value for value in np.random.default_rng(2).normal(size=60))


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (STEADY, []),
        ((1.0,) * 60, []),
        (tuple(value + 0.002 * index for index, value in enumerate(STEADY)), ["drift", "slower"]),
        (tuple(value - 0.002 * index for index, value in enumerate(STEADY)), ["drift", "faster"]),
        (tuple(np.random.default_rng(3).uniform(0.5, 1.5, 60)), ["scatter"]),
        (tuple(value + 0.00005 * index for index, value in enumerate(STEADY)), []),  # significant but slight
        ((*STEADY[:-1], 50.0), []),  # one outlier is no scatter
    ],
)
def test_stability_warnings(samples: tuple[float, ...], words: list[str]) -> None:
    text = " ".join(Timing(samples).warnings)
    for word in ("drift", "scatter", "slower", "faster"):
        assert (word in text) == (word in words)


def test_the_limits_are_those_documented() -> None:
    assert (SCATTER_LIMIT, DRIFT_LIMIT) == (0.10, 0.05)


@pytest.mark.parametrize(
    "samples", [tuple(np.random.default_rng(4).normal(size=40)), (1.0, 2.0, 2.0, 3.0, 1.0, 4.0, 4.0, 5.0, 6.0, 6.0)]
)
def test_mann_kendall_agrees_with_kendalls_tau(samples: tuple[float, ...]) -> None:
    from scipy.stats import kendalltau, norm

    tau = kendalltau(range(len(samples)), samples, method="asymptotic")
    z = mann_kendall(samples)
    assert np.sign(z) == np.sign(tau.statistic)
    # scipy has no continuity correction, which moves the score by one.
    count = len(samples)
    _, ties = np.unique(samples, return_counts=True)
    deviation = math.sqrt((count * (count - 1) * (2 * count + 5) - (ties * (ties - 1) * (2 * ties + 5)).sum()) / 18)
    assert abs(z) + 1 / deviation == pytest.approx(norm.isf(tau.pvalue / 2), rel=1e-6)


def logging_targets(log: list[str], names: str) -> dict[str, Callable[[], object]]:
    return {name: (lambda name=name: log.append(name)) for name in names}


def test_every_round_calls_every_target_once_in_an_order_of_its_own() -> None:
    log: list[str] = []
    timings = interleave(logging_targets(log, "abc"), samples=20, warm_up=2, seed=7)
    assert len(log) == 3 * 22
    rounds = [tuple(log[start : start + 3]) for start in range(0, len(log), 3)]
    assert all(sorted(order) == ["a", "b", "c"] for order in rounds)
    assert len(set(rounds)) > 3
    for timing in timings.values():
        assert len(timing.samples) == 20
        assert timing.warm_up == 2
        assert timing.error is None


def test_the_seed_decides_the_order() -> None:
    logs: list[list[str]] = [[], [], []]
    for log, seed in zip(logs, (1, 1, 2), strict=True):
        interleave(logging_targets(log, "abcd"), samples=10, warm_up=1, seed=seed)
    assert logs[0] == logs[1] != logs[2]


def test_samples_are_the_time_of_the_call() -> None:
    timings = interleave({"slow": lambda: time.sleep(0.02), "fast": lambda: time.sleep(0.005)}, samples=8, warm_up=0)
    for name, seconds in (("slow", 0.02), ("fast", 0.005)):
        assert seconds <= (timings[name].median or 0) < seconds + 0.004


def test_a_target_that_raises_stops_and_the_others_go_on() -> None:
    calls = {"bad": 0, "worse": 0}

    def bad() -> None:
        calls["bad"] += 1
        if calls["bad"] == 5:
            raise ValueError("on the fifth call")

    def worse() -> None:
        calls["worse"] += 1
        raise OSError("at once")

    timings = interleave({"bad": bad, "good": lambda: None, "worse": worse}, samples=10, warm_up=2)
    assert calls == {"bad": 5, "worse": 1}
    assert len(timings["bad"].samples) == 2
    assert str(timings["bad"].error) == "on the fifth call"
    assert (timings["worse"].samples, timings["worse"].warm_up) == ((), 0)
    assert isinstance(timings["worse"].error, OSError)
    assert len(timings["good"].samples) == 10


def test_an_interrupt_is_not_a_targets_error() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interleave({"a": interrupted}, samples=1)
    assert gc.isenabled()


def test_the_time_bound_is_each_targets_own() -> None:
    timings = interleave(
        {"slow": lambda: time.sleep(0.03), "fast": lambda: None},
        samples=50, warm_up=50, max_seconds=0.1, minimum=2,
    )  # fmt: skip
    assert 2 <= len(timings["slow"].samples) <= 4
    assert 2 <= timings["slow"].warm_up <= 4
    assert len(timings["fast"].samples) == 50


@pytest.mark.parametrize(("minimum", "samples", "kept"), [(3, 10, 3), (6, 4, 4), (1, 10, 1)])
def test_the_minimum_is_kept_whatever_the_time_bound(minimum: int, samples: int, kept: int) -> None:
    timings = interleave(
        {"a": lambda: time.sleep(0.002)}, samples=samples, warm_up=0, max_seconds=0.001, minimum=minimum
    )
    assert len(timings["a"].samples) == kept


def test_garbage_is_not_collected_within_a_sample() -> None:
    seen: list[bool] = []
    interleave({"a": lambda: seen.append(gc.isenabled())}, samples=3, warm_up=1)
    assert seen == [False] * 4
    assert gc.isenabled()
    gc.disable()
    try:
        interleave({"a": lambda: None}, samples=1)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_results_are_freed_between_samples_and_outside_them() -> None:
    freed: list[float] = []

    class Slow:
        def __del__(self) -> None:
            time.sleep(0.005)
            freed.append(time.perf_counter())

    timings = interleave({"a": Slow}, samples=4, warm_up=0)
    assert len(freed) == 4
    assert max(timings["a"].samples) < 0.002
    assert all(later > earlier for earlier, later in pairwise(freed))


def test_progress_is_told_between_calls() -> None:
    told: list[tuple[str, int]] = []
    interleave({"a": lambda: None, "b": lambda: None}, samples=3, progress=lambda *what: told.append(what))
    assert sorted(told) == [(name, count) for name in "ab" for count in (1, 2, 3)]


def test_an_empty_call_costs_under_two_microseconds() -> None:
    """Both what is measured of it, and what the schedule adds to each call, at their least of 5 tries."""
    measured, spent = [], []
    for _ in range(5):
        start = time.perf_counter()
        timing = interleave({"a": lambda: None}, samples=2000, warm_up=10)["a"]
        spent.append((time.perf_counter() - start) / 2010)
        measured.append(timing.median or 1.0)
    assert min(measured) < 2e-6
    assert min(spent) < 20e-6


@pytest.mark.parametrize(
    "wrong", [{"samples": 0}, {"warm_up": -1}, {"minimum": 0}, {"max_seconds": 0.0}, {"max_seconds": math.nan}]
)
def test_an_impossible_schedule(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="impossible"):
        interleave({"a": lambda: None}, **{"samples": 1, **wrong})  # type: ignore[arg-type]

"""Made-up samples of two runs: what the machine did to them, and what may be said of the model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from harness.latency import Measured, compare_latency

Load = Callable[[np.random.Generator, int], "np.ndarray[tuple[int], np.dtype[np.float64]]"]

COUNT = 20


def quiet(generator: np.random.Generator, count: int) -> np.ndarray:
    return 1 + generator.uniform(0, 0.01, count)


def busy(generator: np.random.Generator, count: int) -> np.ndarray:
    """Another process comes and goes: rounds take 1 to 5 times as long."""
    return 1 + 4 * (generator.uniform(size=count) < 0.9) * generator.uniform(0.3, 1, count)


def slow(factor: float) -> Load:
    """The whole machine is slower, for all of the run."""
    return lambda generator, count: factor * quiet(generator, count)


def measured(
    seconds: float, load: Load = quiet, *, noise: float = 0.0, own_noise: float = 0.0, seed: int = 0, count: int = COUNT
) -> Measured:
    """A model of so many seconds beside a reference of 0.1 s. ``load`` slows both of a round, ``noise`` is the
    interquartile range of the reference's own, ``own_noise`` how much the model alone suffers from load."""
    generator = np.random.default_rng(seed)
    loads = load(generator, count)
    alone = 1 + own_noise * (loads - 1)
    reference = 0.1 * loads * (1 + generator.uniform(-noise, noise, count))
    samples = seconds * loads * alone * quiet(generator, count)
    return Measured(tuple(samples), tuple(reference), tuple(reference))


def medians_only(side: Measured) -> Measured:
    """As a cell of a process of its own: the reference was timed for other cells of the model."""
    return Measured(side.samples, (), side.model_reference)


CASES = {
    "the same on a quiet machine": (measured(0.08), measured(0.08, seed=1), "ratio", "same"),
    "three times on a quiet machine": (measured(0.08), measured(0.24, seed=1), "ratio", "worse"),
    "a third on a quiet machine": (measured(0.24), measured(0.08, seed=1), "ratio", "better"),
    "a tenth more on a quiet machine": (measured(0.08), measured(0.088, seed=1), "ratio", "worse"),
    "three times beside a noisy reference": (
        measured(0.08, noise=0.3), measured(0.24, noise=0.3, seed=1), "ratio", "worse",
    ),
    "half more where the reference moved 2.5 times": (
        measured(0.08), measured(0.12, slow(2.5), seed=1), "ratio", "cannot tell",
    ),
    "half less where the reference moved 2.5 times": (
        measured(0.12, slow(2.5)), measured(0.08, seed=1), "ratio", "cannot tell",
    ),
    "three times where the reference moved 2.5 times": (
        measured(0.08), measured(0.24, slow(2.5), seed=1), "ratio", "worse",
    ),
    "the same on a machine 2.5 times slower": (measured(0.08), measured(0.08, slow(2.5), seed=1), "ratio", "same"),
    "too few samples": (measured(0.08, count=5), measured(0.24, count=5, seed=1), "ratio", "not comparable"),
    "too few samples of one": (measured(0.08), measured(0.24, count=5, seed=1), "ratio", "not comparable"),
    # Timed apart from the reference
    "medians, the same": (medians_only(measured(0.08)), medians_only(measured(0.08, seed=1)), "median", "same"),
    "medians, three times": (medians_only(measured(0.08)), medians_only(measured(0.24, seed=1)), "median", "worse"),
    "medians, twice where the reference moved 2.5 times": (
        medians_only(measured(0.08)), medians_only(measured(0.064, slow(2.5), seed=1)), "median", "cannot tell",
    ),
    "medians of one side": (measured(0.08), medians_only(measured(0.24, seed=1)), "median", "worse"),
    "medians, no reference at all": (
        Measured(measured(0.08).samples), Measured(measured(0.24, seed=1).samples), "median", "worse",
    ),
    "medians, a reference in one run": (
        Measured(measured(0.08).samples), medians_only(measured(0.24, seed=1)), "median", "worse",
    ),
    "a reference that left the schedule early": (
        Measured(measured(0.08).samples, measured(0.08).reference_samples[:-5], measured(0.08).reference_samples[:-5]),
        measured(0.24, slow(2.5), seed=1), "ratio", "worse",
    ),
    "a reference that took no time": (
        Measured((0.1,) * COUNT, (0.0,) * COUNT), Measured((0.3,) * COUNT, (0.0,) * COUNT), "median", "worse",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_verdict(name: str) -> None:
    old, new, way, verdict = CASES[name]
    found = compare_latency(old, new)
    assert found is not None
    assert (found.way, found.verdict) == (way, verdict)


@pytest.mark.parametrize(("old", "new"), [((), (0.1,)), ((0.1,), ()), ((), ())])
def test_what_was_not_timed_is_not_compared(old: tuple[float, ...], new: tuple[float, ...]) -> None:
    assert compare_latency(Measured(old), Measured(new)) is None


@pytest.mark.parametrize("own_noise", [0.0, 0.4, 1.0])
def test_the_same_code_under_load_is_never_worse(own_noise: float) -> None:
    """200 pairs of runs, the second under load of which the model suffers more than its reference. Medians alone
    call most of them worse."""
    by_ratio, by_median = [], 0
    for seed in range(200):
        old, new = measured(0.08, seed=seed), measured(0.08, busy, own_noise=own_noise, seed=1000 + seed)
        found = compare_latency(old, new)
        raw = compare_latency(Measured(old.samples), Measured(new.samples))
        assert found is not None
        assert raw is not None
        by_ratio.append(found.verdict)
        by_median += raw.verdict == "worse"
    assert "worse" not in by_ratio
    assert by_median > 150


def test_the_figures() -> None:
    """Worked by hand: a reference of quartiles 0.10 and 0.12 about 0.11, twice as slow and as steady in the new run."""
    reference = (0.1, 0.1, 0.1, 0.11, 0.11, 0.12, 0.12, 0.12)
    old = Measured((0.22,) * 8, reference, reference)
    new = Measured((0.88,) * 8, tuple(2 * value for value in reference), tuple(2 * value for value in reference))
    found = compare_latency(old, new)
    assert found is not None
    assert found.change == pytest.approx(2.0)
    assert found.old.median == pytest.approx(2.0)
    assert found.noise.old_scatter == found.noise.new_scatter == pytest.approx(0.02 / 0.11)
    assert found.noise.shift == pytest.approx(2.0)
    assert found.noise.factor == pytest.approx(2 * (1 + 0.02 / 0.11) ** 2)
    assert found.verdict == "cannot tell"

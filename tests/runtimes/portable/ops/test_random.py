from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.errors import PredictionError
from harness.quiet import quiet_imports
from harness.runtimes.portable.program import TensorType
from harness.runtimes.portable.registry import KERNELS

with quiet_imports():
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb

from tests.runtimes.portable.conftest import Run

X = {"x": np.zeros(1, np.float32)}
SHAPE = (200, 150)


def draw(name: str, dtype: str = "fp32", **options: Any) -> np.ndarray:
    implementation = KERNELS[name]
    context = {"outputs": (TensorType(dtype, SHAPE),)} if "outputs" in implementation.signature.parameters else {}
    return np.asarray(implementation.function(**options, **context))


@pytest.mark.parametrize(
    ("name", "options", "mean", "deviation"),
    [
        ("random_bernoulli", {}, 0.5, 0.5),
        ("random_bernoulli", {"prob": 0.2}, 0.2, 0.4),
        ("random_normal", {}, 0, 1),
        ("random_normal", {"mean": 3.0, "stddev": 0.5}, 3, 0.5),
        ("random_uniform", {}, 0.5, 12**-0.5),
        ("random_uniform", {"low": -2.0, "high": 4.0}, 1, 6 * 12**-0.5),
    ],
)
@pytest.mark.parametrize("target", [ct.target.iOS15, ct.target.iOS17])
def test_distribution(
    run: Run, target: Any, name: str, options: dict[str, float], mean: float, deviation: float
) -> None:
    operation = getattr(mb, name)
    given = {key: np.float32(value) for key, value in options.items()}
    (result,) = run(
        lambda x: mb.add(x=operation(shape=np.array(SHAPE, np.int32), seed=7, **given), y=x), X, target=target
    )
    assert result.shape == SHAPE
    # 30000 numbers: six standard errors.
    assert abs(result.mean() - mean) < 6 * deviation / 30000**0.5
    assert abs(result.std() - deviation) < 6 * deviation / 30000**0.5
    np.testing.assert_allclose(result, draw(name, shape=SHAPE, seed=7, **options), rtol=1e-6, atol=1e-6)


def test_shape_of_the_distribution() -> None:
    assert set(np.unique(draw("random_bernoulli", shape=SHAPE))) == {0, 1}
    normal = draw("random_normal", shape=SHAPE)
    assert abs((np.abs(normal) < 1).mean() - 0.6827) < 0.02
    assert abs((np.abs(normal) < 2).mean() - 0.9545) < 0.01
    counts, _ = np.histogram(draw("random_uniform", shape=SHAPE), 10, (0, 1))
    assert np.abs(counts - 3000).max() < 350


@pytest.mark.parametrize("name", ["random_bernoulli", "random_normal", "random_uniform"])
def test_seed(name: str) -> None:
    def numbers(**options: Any) -> np.ndarray:
        return draw(name, shape=(50,), **options)

    np.testing.assert_array_equal(numbers(seed=3), numbers(seed=3))
    for one, other in [
        (numbers(seed=3), numbers(seed=4)),
        (numbers(seed=-1), numbers(seed=-1)),
        (numbers(), numbers()),
        (numbers(seed=-2), numbers(seed=-3)),
    ]:
        assert (one != other).any()


def test_seed_absent_is_fresh_at_every_prediction(run: Run) -> None:
    def numbers() -> Any:
        return mb.random_normal(shape=np.array([9], np.int32))

    first, second = run(lambda x: [mb.add(x=numbers(), y=x), mb.add(x=numbers(), y=x)], X)
    assert first.shape == (9,)
    assert (first != second).any()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_uniform_never_reaches_its_upper_end(dtype: Any) -> None:
    # Many numbers close to the end: most of them would be rounded to it.
    limit = dtype(1 + 4 * np.finfo(dtype).eps)
    numbers = draw(
        "random_uniform", "fp16" if dtype is np.float16 else "fp32", shape=(2000,), low=1.0, high=float(limit)
    )
    rounded = numbers.astype(dtype)
    assert rounded.min() == 1
    assert rounded.max() < limit
    assert len(np.unique(rounded)) == 4
    np.testing.assert_array_equal(draw("random_uniform", shape=(3,), low=2.0, high=2.0), [2, 2, 2])


@pytest.mark.parametrize("rank", [1, 2, 3, 5])
def test_shape_given_when_it_runs(run: Run, rank: int) -> None:
    shape = np.arange(2, 2 + rank, dtype=np.int32)
    (result,) = run(lambda shape: mb.random_uniform(shape=shape, low=1.0, high=2.0), {"shape": shape})
    assert result.shape == tuple(shape)
    assert (result >= 1).all()
    assert (result < 2).all()


@pytest.mark.parametrize("mode", ["logits", "probs"])
def test_categorical(run: Run, mode: str) -> None:
    probabilities = np.array([[[0.1, 0.2, 0.7]], [[0.5, 0.5, 0.0]]])
    with np.errstate(divide="ignore"):
        x = (probabilities if mode == "probs" else np.log(probabilities) + 3).astype(np.float32)
    (result,) = run(lambda x: mb.random_categorical(x=x, mode=mode, size=20000, seed=5), {"x": x})
    assert result.shape == (2, 1, 20000)
    assert result.dtype == np.float32
    found = np.stack([(result == category).mean(axis=-1) for category in range(3)], axis=-1)
    np.testing.assert_allclose(found, probabilities, atol=0.02)
    assert (result[1] != 2).all()


def test_categorical_draws_once_by_default() -> None:
    x = np.array([-50.0, 50.0, -50.0], np.float32)
    np.testing.assert_array_equal(draw("random_categorical", x=x), [1])
    with pytest.raises(PredictionError, match="unknown mode"):
        draw("random_categorical", x=x, mode="odds")


def test_float16(run: Run) -> None:
    def build(x: Any) -> Any:
        numbers = mb.random_normal(shape=np.array([400], np.int32), mean=np.float16(2), stddev=np.float16(1), seed=1)
        return mb.mul(x=numbers, y=mb.cast(x=x, dtype="fp16"))

    (result,) = run(build, {"x": np.ones(1, np.float32)}, numerics="float16", precision="float16")
    assert (result == result.astype(np.float16)).all()
    assert abs(result.mean() - 2) < 0.3

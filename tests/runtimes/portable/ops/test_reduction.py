from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.quiet import quiet_imports

with quiet_imports():
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb

Function = Callable[..., Any]
Axes = tuple[int, ...] | None

X = np.random.default_rng(3).uniform(0.2, 3, (2, 3, 4, 5)).astype(np.float32)
INTEGERS = np.random.default_rng(4).integers(-4, 6, (2, 3, 4)).astype(np.int32)


def log_sum_exp(x: np.ndarray, **options: Any) -> np.ndarray:
    return np.logaddexp.reduce(x, **options)


FORMULAS: dict[str, Function] = {
    "reduce_l1_norm": lambda x, **options: np.abs(x).sum(**options),
    "reduce_l2_norm": lambda x, **options: np.sqrt(np.square(x).sum(**options)),
    "reduce_log_sum": lambda x, **options: np.log(x.sum(**options)),
    "reduce_log_sum_exp": lambda x, **options: np.log(np.exp(x).sum(**options)),
    "reduce_max": np.max,
    "reduce_mean": np.mean,
    "reduce_min": np.min,
    "reduce_prod": np.prod,
    "reduce_sum": np.sum,
    "reduce_sum_square": lambda x, **options: np.square(x).sum(**options),
}


@pytest.mark.parametrize(
    ("axes", "keep_dims"), [((1,), False), ((-1, 2), True), ((0, -2), False), (None, True), ((0, 1, 2, 3), True)]
)
def test_floats(run: Function, axes: Axes, keep_dims: bool) -> None:
    def build(x: Any) -> Any:
        return tuple(getattr(mb, name)(x=x, axes=axes, keep_dims=keep_dims) for name in FORMULAS)

    results = run(build, {"x": X}, target=ct.target.iOS15)
    for (name, formula), result in zip(FORMULAS.items(), results, strict=True):
        expected = formula(X.astype(np.float64), axis=axes, keepdims=keep_dims)
        assert result.shape == expected.shape, name
        np.testing.assert_allclose(result, expected, rtol=2e-5, err_msg=name)


def test_to_a_scalar(run: Function) -> None:
    """Of all axes, unless they are given; the result has rank 0."""

    def build(x: Any) -> Any:
        return tuple(mb.expand_dims(x=getattr(mb, name)(x=x), axes=[0]) for name in FORMULAS)

    results = run(build, {"x": X})
    for (name, formula), result in zip(FORMULAS.items(), results, strict=True):
        np.testing.assert_allclose(result, [formula(X.astype(np.float64))], rtol=2e-5, err_msg=name)


@pytest.mark.parametrize("axes", [(1,), (-1,), (0, 2)])
def test_integers(run: Function, axes: Axes) -> None:
    """A result that is no integer is truncated, as by value_inference."""
    names = [name for name in FORMULAS if name != "reduce_log_sum"]

    def build(x: Any) -> Any:
        return tuple(getattr(mb, name)(x=x, axes=axes) for name in names)

    results = run(build, {"x": INTEGERS})
    for name, result in zip(names, results, strict=True):
        assert result.dtype == np.int32
        expected = FORMULAS[name](INTEGERS, axis=axes).astype(np.int32)
        assert expected.any()
        np.testing.assert_array_equal(result, expected, err_msg=name)


def test_log_sum_of_integers(run: Function) -> None:
    x = np.abs(INTEGERS) + 3
    (result,) = run(lambda x: mb.reduce_log_sum(x=x, axes=[0, 1]), {"x": x})
    np.testing.assert_array_equal(result, np.log(x.sum(axis=(0, 1))).astype(np.int32))


def test_large_integers_are_exact(run: Function) -> None:
    """Not by way of float32, whose integers end at 2 ** 24."""
    x = np.array([[2**24 + 1, 2], [-(2**30) - 1, -3]], np.int32)
    total, largest, mean = run(
        lambda x: (mb.reduce_sum(x=x, axes=[1]), mb.reduce_max(x=x, axes=[1]), mb.reduce_mean(x=x, axes=[1])),
        {"x": x},
    )
    np.testing.assert_array_equal(total, x.sum(axis=1))
    np.testing.assert_array_equal(largest, x.max(axis=1))
    np.testing.assert_array_equal(mean, np.trunc(x.mean(axis=1)))


def test_log_sum_exp_does_not_overflow(run: Function) -> None:
    x = np.array([[500, 501, 499.5], [-500, -501, -499.5]], np.float32)
    (result,) = run(lambda x: mb.reduce_log_sum_exp(x=x, axes=[1]), {"x": x})
    np.testing.assert_allclose(result, log_sum_exp(x.astype(np.float64), axis=1), rtol=1e-6)


@pytest.mark.parametrize("target", [ct.target.iOS15, ct.target.iOS17])
@pytest.mark.parametrize("keep_dims", [True, False])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("x", [X, INTEGERS], ids=["floats", "integers with ties"])
def test_argument(run: Function, x: np.ndarray, axis: int, keep_dims: bool, target: Any) -> None:
    def build(x: Any) -> Any:
        options = {"x": x, "axis": axis, "keep_dims": keep_dims}
        return mb.reduce_argmax(**options), mb.reduce_argmin(**options)

    largest, smallest = run(build, {"x": x}, target=target)
    assert largest.dtype == np.int32
    np.testing.assert_array_equal(largest, np.argmax(x, axis=axis, keepdims=keep_dims))
    np.testing.assert_array_equal(smallest, np.argmin(x, axis=axis, keepdims=keep_dims))


def test_argument_defaults_and_narrow_result(run: Function) -> None:
    def build(x: Any) -> Any:
        return mb.cast(x=mb.reduce_argmax(x=x, output_dtype="uint16"), dtype="int32"), mb.reduce_argmin(x=x)

    largest, smallest = run(build, {"x": X}, target=ct.target.iOS17)
    np.testing.assert_array_equal(largest, X.argmax(axis=-1))
    np.testing.assert_array_equal(smallest, X.argmin(axis=-1))


def test_rounds_to_float16_after_the_sum(run: Function) -> None:
    """Accumulation stays in float32: 4096 ones and halves are lost one by one in float16."""
    x = np.full((1, 4096), 1.5, np.float32)
    x[0, 0] = 2.5
    total, mean = run(
        lambda x: (mb.reduce_sum(x=x, axes=[1]), mb.reduce_mean(x=x, axes=[1])),
        {"x": x}, precision="float16", numerics="float16",
    )  # fmt: skip
    np.testing.assert_array_equal(total, np.float16([6145]))
    np.testing.assert_array_equal(mean, np.float16([6145 / 4096]))

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.quiet import quiet_imports

with quiet_imports():
    import coremltools as ct
    import tensorflow as tf
    from coremltools.converters.mil.mil import Builder as mb

Function = Callable[..., Any]

X = np.random.default_rng(9).standard_normal((2, 3, 4)).astype(np.float32)
FLEXIBLE = (ct.RangeDim(1, 10), 3, 4)


@pytest.mark.parametrize("dtype", ["fp32", "int32", "bool"])
def test_shape(run: Function, dtype: str) -> None:
    def build(x):
        return mb.shape(x=mb.cast(x=x, dtype=dtype))

    (result,) = run(build, {"x": X}, target=ct.target.iOS15)
    np.testing.assert_array_equal(result, np.int32([2, 3, 4]))
    assert result.dtype == np.int32


def test_shape_of_flexible_input(run: Function) -> None:
    (result,) = run(lambda x: mb.shape(x=x), {"x": np.repeat(X, 3, axis=0)}, shapes={"x": FLEXIBLE})
    np.testing.assert_array_equal(result, [6, 3, 4])


@pytest.mark.parametrize("value", [2.5, np.int32(-3), True])
def test_fill(run: Function, value: Any) -> None:
    def build(x: Any, shape: Any) -> Any:
        filled = [mb.fill(shape=[2, 3], value=value), mb.fill(shape=shape, value=value)]
        filled.append(mb.fill_like(ref_tensor=x, value=value))
        return tuple(mb.cast(x=y, dtype="fp32") for y in filled)

    known, given, like = run(build, {"x": X, "shape": np.int32([1, 4])}, target=ct.target.iOS16)
    for result, shape in ((known, (2, 3)), (given, (1, 4)), (like, X.shape)):
        np.testing.assert_array_equal(result, np.full(shape, value, np.float32))


def test_fill_with_zeros(run: Function) -> None:
    def build(x):
        return (mb.add(x=mb.fill(shape=[2, 3]), y=1.0), mb.fill_like(ref_tensor=x))

    ones, zeros = run(build, {"x": X}, shapes={"x": FLEXIBLE})
    np.testing.assert_array_equal(ones, np.ones((2, 3), np.float32))
    np.testing.assert_array_equal(zeros, np.zeros_like(X))


RANGES = [(5.0, 15.0, 2.0), (0.0, 1.0, 0.1), (3.0, -2.0, -0.75), (0.0, 3e4, 0.5), (2, 11, 3), (5, -6, -2), (4, 4, 1)]


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize(("start", "end", "step"), RANGES)
def test_range(run: Function, start: Any, end: Any, step: Any, dynamic: bool) -> None:
    kind = np.int32 if isinstance(start, int) else np.float32
    inputs = {name: np.array([value], kind) for name, value in (("start", start), ("end", end), ("step", step))}

    def build(start_: Any, end_: Any, step_: Any) -> Any:
        if dynamic:
            return mb.range_1d(start=mb.squeeze(x=start_), end=mb.squeeze(x=end_), step=mb.squeeze(x=step_))
        # Of constants MIL would make a constant.
        return mb.range_1d(start=mb.squeeze(x=start_), end=kind(end), step=kind(step))

    (result,) = run(lambda start, end, step: build(start, end, step), inputs, target=ct.target.iOS15)
    assert result.dtype == kind
    np.testing.assert_allclose(result, np.arange(start, end, step), rtol=1e-6, atol=1e-6)


INDICES = np.int32([[1, 0, 3], [2, -1, 4]])


@pytest.mark.parametrize("axis", [-1, 0, 1, 2, -2])
@pytest.mark.parametrize(("on", "off"), [(None, None), (2.5, 0.1), (np.int32(1), np.int32(9)), (False, True)])
def test_one_hot(run: Function, axis: int, on: Any, off: Any) -> None:
    """Indices out of bounds, -1 and 4 here, are nowhere, as in TensorFlow."""
    values = {} if on is None else {"on_value": on, "off_value": off}

    def build(indices: Any) -> Any:
        result = mb.one_hot(indices=indices, one_hot_vector_size=4, axis=axis, **values)
        return mb.cast(x=result, dtype="fp32")

    (result,) = run(build, {"indices": INDICES}, target=ct.target.iOS15)
    on, off = (1, 0) if on is None else (on, off)
    # tf.one_hot has no axis but the last; its result is moved.
    expected = np.moveaxis(np.where(INDICES[..., None] == np.arange(4), on, off), -1, axis)
    np.testing.assert_array_equal(result, expected.astype(np.float32))
    assert np.array_equal(np.moveaxis(expected, axis, -1), tf.one_hot(INDICES, 4, on, off, dtype=np.dtype(type(on))))


def test_one_hot_of_a_size_at_run_time(run: Function) -> None:
    def build(indices, size):
        return mb.one_hot(indices=indices, one_hot_vector_size=mb.squeeze(x=size), axis=0)

    (result,) = run(build, {"indices": INDICES, "size": np.int32([5])})
    np.testing.assert_array_equal(result, np.moveaxis(INDICES[..., None] == np.arange(5), -1, 0).astype(np.int32))


@pytest.mark.parametrize(("lower", "upper"), [(-1, -1), (0, -1), (-1, 0), (0, 0), (1, 2), (-1, 1), (3, 1)])
@pytest.mark.parametrize("dtype", ["fp32", "int32", "bool"])
def test_band_part(run: Function, lower: int, upper: int, dtype: str) -> None:
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4) + 1

    def build(x):
        return mb.cast(x=mb.band_part(x=mb.cast(x=x, dtype=dtype), lower=lower, upper=upper), dtype="fp32")

    (result,) = run(build, {"x": x})
    expected = tf.linalg.band_part(x, lower, upper).numpy()
    np.testing.assert_array_equal(result, np.minimum(expected, 1) if dtype == "bool" else expected)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("exclusive", [False, True])
def test_cumsum(run: Function, axis: int, reverse: bool, exclusive: bool) -> None:
    options = {"axis": axis, "reverse": reverse, "exclusive": exclusive}
    integers = (X * 10).astype(np.int32)

    def build(x: Any, n: Any) -> Any:
        return mb.cumsum(x=x, **options), mb.cumsum(x=n, **options)

    floats, counts = run(build, {"x": X, "n": integers}, target=ct.target.iOS15)
    np.testing.assert_allclose(floats, tf.cumsum(X.astype(np.float64), **options), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(counts, tf.cumsum(integers, **options))


def test_cumsum_along_the_first_axis_rounded_to_float16(run: Function) -> None:
    (result,) = run(lambda x: mb.cumsum(x=x), {"x": X}, precision="float16", numerics="float16")
    expected = np.cumsum(X.astype(np.float16).astype(np.float64), axis=0)
    np.testing.assert_array_equal(result, expected.astype(np.float16))

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.errors import PredictionError
from harness.quiet import quiet_imports

with quiet_imports():
    import coremltools as ct
    import tensorflow as tf
    from coremltools.converters.mil.mil import Builder as mb

Function = Callable[..., Any]

X = np.arange(60, dtype=np.float32).reshape(3, 4, 5) + 1
MODES = ["update", "add", "sub", "mul", "div", "max", "min"]


def both_ways(run: Function, build: Function, inputs: dict[str, np.ndarray], indices: np.ndarray, target: Any) -> Any:
    """The result with indices from outside, after a check that constant ones give the same."""
    names = ", ".join(inputs)
    passed = ", ".join(f"{name}={name}" for name in inputs)
    scope = {"build": build, "indices_": indices.astype(np.int32)}
    constant = eval(f"lambda {names}: build({passed}, indices=indices_)", scope)
    given = eval(f"lambda {names}, indices: build({passed}, indices=indices)", scope)
    (folded,) = run(constant, inputs, target=target)
    (result,) = run(given, {**inputs, "indices": indices.astype(np.int32)}, target=target)
    np.testing.assert_array_equal(result, folded)
    return result


# Gather -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [ct.target.iOS15, ct.target.iOS16, ct.target.iOS17])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("indices", [[2, 0], [[1, 0, 2], [2, 2, 0]], [2]], ids=str)
def test_gather(run: Function, axis: int, indices: Any, target: Any) -> None:
    positions = np.array(indices)
    result = both_ways(run, lambda x, indices: mb.gather(x=x, indices=indices, axis=axis), {"x": X}, positions, target)
    np.testing.assert_array_equal(result, np.take(X, positions, axis=axis))


@pytest.mark.parametrize("axis", [0, 2])
def test_gather_at_a_scalar(run: Function, axis: int) -> None:
    def build(x, i):
        return mb.gather(x=x, indices=mb.squeeze(x=i), axis=axis)

    (result,) = run(build, {"x": X, "i": np.int32([1])})
    np.testing.assert_array_equal(result, np.take(X, 1, axis=axis))


@pytest.mark.parametrize("target", [ct.target.iOS16, ct.target.iOS17])
@pytest.mark.parametrize(
    ("x_shape", "indices_shape", "axis", "batch_dims"),
    [
        ((3, 4, 5), (3, 2), 1, 1),
        ((3, 4, 5), (3, 2), 2, 1),
        ((3, 4, 5), (3,), -1, 1),
        ((2, 3, 4, 5), (2, 3, 6), 2, 2),
        ((2, 3, 4, 5), (2, 6, 2), 3, 1),
        ((2, 3, 4, 5), (2, 3, 2, 2), 3, 2),
    ],
)
def test_gather_in_batches(
    run: Function, x_shape: Any, indices_shape: Any, axis: int, batch_dims: int, target: Any
) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(x_shape).astype(np.float32)
    indices = rng.integers(0, x_shape[axis], indices_shape)

    def build(x, indices):
        return mb.gather(x=x, indices=indices, axis=axis, batch_dims=batch_dims)

    result = both_ways(run, build, {"x": x}, indices, target)
    np.testing.assert_array_equal(result, tf.gather(x, indices, axis=axis, batch_dims=batch_dims).numpy())


@pytest.mark.parametrize("target", [ct.target.iOS15, ct.target.iOS17])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gather_along_axis(run: Function, axis: int, target: Any) -> None:
    shape = list(X.shape)
    shape[axis] = 7
    indices = np.random.default_rng(1).integers(0, X.shape[axis], shape)

    def build(x, indices):
        return mb.gather_along_axis(x=x, indices=indices, axis=axis)

    result = both_ways(run, build, {"x": X}, indices, target)
    np.testing.assert_array_equal(result, np.take_along_axis(X, indices, axis))


@pytest.mark.parametrize(
    ("target", "shape", "batch_dims"),
    [
        (ct.target.iOS15, (2, 3), 0),
        (ct.target.iOS15, (6, 1), 0),
        (ct.target.iOS17, (2, 4, 2), 0),
        (ct.target.iOS16, (3, 2, 2), 1),
        (ct.target.iOS17, (3, 4, 2, 1), 2),
        (ct.target.iOS17, (3, 1), 1),
    ],
)
def test_gather_nd(run: Function, target: Any, shape: Any, batch_dims: int) -> None:
    limits = X.shape[batch_dims : batch_dims + shape[-1]]
    indices = np.random.default_rng(2).integers(0, limits, shape)
    options = {"batch_dims": batch_dims} if batch_dims else {}

    def build(x, indices):
        return mb.gather_nd(x=x, indices=indices, **options)

    result = both_ways(run, build, {"x": X}, indices, target)
    np.testing.assert_array_equal(result, tf.gather_nd(X, indices, batch_dims=batch_dims).numpy())


@pytest.mark.parametrize("dtype", ["int32", "fp16", "uint8"])
def test_gathers_of_other_types(run: Function, dtype: str) -> None:
    def build(x: Any, indices: Any) -> Any:
        x, indices = mb.cast(x=x, dtype=dtype), mb.cast(x=indices, dtype="uint16")
        taken = (
            mb.gather(x=x, indices=mb.reshape(x=indices, shape=[2]), axis=1),
            mb.gather_along_axis(x=x, indices=indices, axis=1),
            mb.gather_nd(x=x, indices=indices, batch_dims=1),
        )
        return tuple(mb.cast(x=value, dtype="int32") for value in taken)

    x = X[:1, :, 2:3]
    results = run(build, {"x": x, "indices": np.int32([[[3], [1]]])}, numerics="float16")
    for result in results:
        np.testing.assert_array_equal(result, x[:, [3, 1]].astype(np.int32))


# Scatter ----------------------------------------------------------------------------------------

COMBINE: dict[str, Function] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "max": np.maximum, "min": np.minimum,
}  # fmt: skip


def scattered(data: np.ndarray, where: Any, updates: np.ndarray, mode: str) -> np.ndarray:
    """``data[where]`` combined with updates one by one, in float64."""
    result = data.astype(np.float64)
    if mode == "update":
        result[where] = updates
    else:
        COMBINE[mode].at(result, where, updates.astype(np.float64))
    return result


@pytest.mark.parametrize(
    ("data", "updates", "quotient"),
    [
        (np.float32([1e30, 3]), np.float32([1e20, 1e20]), np.float32([1e-10, 3])),
        (np.float32([1e-30, 3]), np.float32([1e-25, 1e-25]), np.float32([1e20, 3])),
        (np.int32([2**31 - 1, 3]), np.int32([65536, 65536]), np.int32([0, 3])),
        (np.int32([-7, 3]), np.int32([2, 2]), np.int32([-1, 3])),
    ],
    ids=["product above float32", "product below float32", "product above int32", "truncated"],
)
def test_divisors_of_one_place(run: Function, data: np.ndarray, updates: np.ndarray, quotient: np.ndarray) -> None:
    """Divided by one after the other, whatever their product."""

    def build(data: Any, updates: Any) -> Any:
        return mb.scatter(data=data, indices=np.int32([0, 0]), updates=updates, axis=0, mode="div")

    (result,) = run(build, {"data": data, "updates": updates}, target=ct.target.iOS17)
    np.testing.assert_allclose(result, quotient, rtol=1e-6)


@pytest.mark.parametrize("target", [ct.target.iOS15, ct.target.iOS17])
@pytest.mark.parametrize(("axis", "indices"), [(0, [2, 0, 2]), (1, [1, 1, 3, 1, 0]), (-1, [[4, 0], [4, 4]])], ids=str)
@pytest.mark.parametrize("mode", MODES)
def test_scatter(run: Function, mode: str, axis: int, indices: Any, target: Any) -> None:
    """Some places are updated more than once; the last one of "update" stays."""
    places = np.array(indices)
    axis_ = axis % 3
    shape = X.shape[:axis_] + places.shape + X.shape[axis_ + 1 :]
    updates = np.random.default_rng(3).uniform(0.5, 40, shape).astype(np.float32)

    def build(data, updates, indices):
        return mb.scatter(data=data, indices=indices, updates=updates, axis=axis, mode=mode)

    result = both_ways(run, build, {"data": X, "updates": updates}, places, target)
    where = (slice(None),) * axis_ + (places.reshape(-1),)
    flat = updates.reshape((*X.shape[:axis_], -1, *X.shape[axis_ + 1 :]))
    np.testing.assert_allclose(result, scattered(X, where, flat, mode), rtol=1e-5)


@pytest.mark.parametrize("target", [ct.target.iOS15, ct.target.iOS17])
@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("mode", MODES)
def test_scatter_along_axis(run: Function, mode: str, axis: int, target: Any) -> None:
    shape = list(X.shape)
    shape[axis] = 4
    rng = np.random.default_rng(5)
    indices = rng.integers(0, X.shape[axis], shape)
    updates = rng.uniform(0.5, 40, shape).astype(np.float32)

    def build(data, updates, indices):
        return mb.scatter_along_axis(data=data, indices=indices, updates=updates, axis=axis, mode=mode)

    result = both_ways(run, build, {"data": X, "updates": updates}, indices, target)
    where = list(np.indices(shape))
    where[axis] = indices
    np.testing.assert_allclose(result, scattered(X, tuple(where), updates, mode), rtol=1e-5)


@pytest.mark.parametrize("target", [ct.target.iOS15, ct.target.iOS17])
@pytest.mark.parametrize("indices", [[[1, 0], [0, 2], [1, 0]], [[2], [0], [2]], [[[2, 3, 4], [0, 0, 0]]]], ids=str)
@pytest.mark.parametrize("mode", MODES)
def test_scatter_nd(run: Function, mode: str, indices: Any, target: Any) -> None:
    places = np.array(indices)
    shape = places.shape[:-1] + X.shape[places.shape[-1] :]
    updates = np.random.default_rng(6).uniform(0.5, 40, shape).astype(np.float32)

    def build(data, updates, indices):
        return mb.scatter_nd(data=data, indices=indices, updates=updates, mode=mode)

    result = both_ways(run, build, {"data": X, "updates": updates}, places, target)
    where = tuple(np.moveaxis(places, -1, 0))
    np.testing.assert_allclose(result, scattered(X, where, updates, mode), rtol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_scatter_of_integers(run: Function, mode: str) -> None:
    data, updates = np.int32([[17, -9], [2**24 + 1, 100]]), np.int32([[3, 2], [2, 7], [5, 3]])

    def build(data, updates):
        return mb.scatter(data=data, indices=[1, 0, 1], updates=updates, mode=mode)

    (result,) = run(build, {"data": data, "updates": updates})
    np.testing.assert_array_equal(result, np.trunc(scattered(data, ([1, 0, 1],), updates, mode)))


def test_defaults_add_along_the_first_axis(run: Function) -> None:
    """As in the smoke tests of coremltools' iOS14/test_scatter_gather.py."""
    data = np.float32([[1, 2, 3], [4, 5, 6]])
    updates = np.float32([[5, 6, 7], [8, 9, 10]])

    def build(data: Any, updates: Any) -> Any:
        return (
            mb.scatter(data=data, indices=[1, 0], updates=updates),
            mb.scatter_along_axis(data=data, indices=[[1, 1, 1], [0, 0, 0]], updates=updates),
            mb.scatter_nd(data=data, indices=[[1], [0]], updates=updates),
        )

    for result in run(build, {"data": data, "updates": updates}):
        np.testing.assert_array_equal(result, [[9, 11, 13], [9, 11, 13]])


# Bounds -----------------------------------------------------------------------------------------

UPDATES = np.float32([[100, 200, 300, 400, 500]])

# name -> an op that reads or adds to row ``row`` of X[0], (4, 5), at an index given at run time
BY_ROW: dict[str, Function] = {
    "gather": lambda x, row, **options: mb.gather(x=x, indices=row, **options),
    "gather_along_axis": lambda x, row, **options: mb.gather_along_axis(
        x=x, indices=mb.tile(x=mb.expand_dims(x=row, axes=[1]), reps=[1, 5]), **options
    ),
    "gather_nd": lambda x, row, **options: mb.gather_nd(x=x, indices=mb.expand_dims(x=row, axes=[1]), **options),
    "scatter": lambda x, row, **options: mb.scatter(data=x, indices=row, updates=UPDATES, **options),
    "scatter_along_axis": lambda x, row, **options: mb.scatter_along_axis(
        data=x, indices=mb.tile(x=mb.expand_dims(x=row, axes=[1]), reps=[1, 5]), updates=UPDATES, **options
    ),
    "scatter_nd": lambda x, row, **options: mb.scatter_nd(
        data=x, indices=mb.expand_dims(x=row, axes=[1]), updates=UPDATES, **options
    ),
}


@pytest.mark.parametrize("name", BY_ROW)
def test_negative_indices_before_ios17(run: Function, name: str) -> None:
    (result,) = run(BY_ROW[name], {"x": X[0], "row": np.int32([-2])}, target=ct.target.iOS16)
    want = X[0].copy()
    want[-2] += UPDATES[0]
    np.testing.assert_array_equal(result, want if name.startswith("scatter") else X[0, [-2]])


@pytest.mark.parametrize("row", [4, -5])
@pytest.mark.parametrize("name", BY_ROW)
def test_out_of_bounds_before_ios17(run: Function, name: str, row: int) -> None:
    with pytest.raises(PredictionError, match=r"(?i)out of|bounds|invalid"):
        run(BY_ROW[name], {"x": X[0], "row": np.int32([row])}, target=ct.target.iOS16)


@pytest.mark.parametrize("row", [4, -1])
@pytest.mark.parametrize("name", BY_ROW)
def test_out_of_bounds_is_an_error_where_indices_are_validated(run: Function, name: str, row: int) -> None:
    def build(x, row):
        return BY_ROW[name](x, row, validate_indices=True)

    with pytest.raises(PredictionError, match=r"(?i)out of|bounds|invalid"):
        run(build, {"x": X[0], "row": np.int32([row])}, target=ct.target.iOS17)
    (result,) = run(build, {"x": X[0], "row": np.int32([3])}, target=ct.target.iOS17)
    assert result[-1, 0] == X[0, 3, 0] + (UPDATES[0, 0] if name.startswith("scatter") else 0)


@pytest.mark.parametrize("row", [4, -1])
@pytest.mark.parametrize("name", BY_ROW)
def test_out_of_bounds_is_safe_where_they_are_not(run: Function, name: str, row: int) -> None:
    """Undefined in MIL; this runtime's own rule."""
    (result,) = run(BY_ROW[name], {"x": X[0], "row": np.int32([row])}, target=ct.target.iOS17)
    np.testing.assert_array_equal(result, X[0] if name.startswith("scatter") else X[0, [3 if row == 4 else 0]])


def test_sizes_that_are_known_only_at_run_time(run: Function) -> None:
    """A tensor whose shape the program computes, as by tile with repetitions from outside."""
    batched = np.int32([[1], [0], [2], [3], [1], [0]])

    def build(x: Any, reps: Any, batched: Any, row: Any, updates: Any) -> Any:
        big = mb.tile(x=x, reps=reps)
        return (
            mb.gather(x=big, indices=batched, axis=1, batch_dims=1),
            mb.gather_nd(x=big, indices=batched, batch_dims=1),
            mb.scatter(data=big, indices=row, updates=updates, axis=0, mode="update"),
            mb.scatter_nd(data=big, indices=mb.expand_dims(x=row, axes=[1]), updates=updates, mode="div"),
            mb.slice_update(x=big, update=updates, begin=[-2, 0, 0], end=[0, 4, 5], end_mask=[True, False, False]),
            mb.reshape(x=big, shape=[2, 3, 0, 0]),
            mb.sliding_windows(x=big, axis=0, size=2, stride=3),
            mb.concat(values=[big, big], axis=1, interleave=True),
            mb.squeeze(x=mb.expand_dims(x=big, axes=[1])),
            mb.fill_like(ref_tensor=big, value=7.0),
            mb.pad(x=big, pad=[1, 0]),
        )

    updates = np.random.default_rng(7).uniform(1, 2, (2, 4, 5)).astype(np.float32)
    row = np.int32([4, 1])
    inputs = {"x": X, "reps": np.int32([2, 1, 1]), "batched": batched, "row": row, "updates": updates}
    results = run(build, inputs, target=ct.target.iOS18)
    big = np.tile(X, (2, 1, 1))
    updated, divided, sliced = big.copy(), big.copy(), big.copy()
    updated[row], sliced[-2:] = updates, updates
    divided[row] /= updates
    expected = [
        big[np.arange(6)[:, None], batched], big[np.arange(6), batched[:, 0]], updated, divided, sliced,
        big.reshape(2, 3, 4, 5), np.stack([big[:2], big[3:5]]), np.repeat(big, 2, axis=1), big,
        np.full_like(big, 7), np.pad(big, [(0, 0), (0, 0), (1, 0)]),
    ]  # fmt: skip
    for result, want in zip(results, expected, strict=True):
        assert result.shape == want.shape
        np.testing.assert_allclose(result, want, rtol=1e-6)

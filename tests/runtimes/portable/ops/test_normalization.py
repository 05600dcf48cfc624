from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.errors import PackageError
from harness.quiet import quiet_imports
from harness.runtimes.portable.ops import normalization

with quiet_imports():
    import coremltools as ct
    import tensorflow as tf
    from coremltools.converters.mil.mil import Builder as mb

Function = Callable[..., Any]
OLD_AND_NEW = pytest.mark.parametrize("target", [ct.target.iOS15, ct.target.iOS17])


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) * 2 + 3).astype(np.float32)


def normalized(x: np.ndarray, axes: tuple[int, ...], epsilon: float) -> np.ndarray:
    x = x.astype(np.float64)
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)


def along(axis: int, values: np.ndarray, rank: int) -> np.ndarray:
    return values.astype(np.float64).reshape([-1 if i == axis else 1 for i in range(rank)])


@OLD_AND_NEW
@pytest.mark.parametrize("shape", [(2, 4, 7), (2, 4, 5, 3), (1, 4, 2, 3, 5)])
@pytest.mark.parametrize("epsilon", [None, 0.1])
@pytest.mark.parametrize("scaled", [True, False])
def test_batch_norm(run: Function, shape: Any, epsilon: float | None, scaled: bool, target: Any) -> None:
    x, mean, gamma, beta = noise(*shape), noise(4, seed=1), noise(4, seed=2), noise(4, seed=3)
    variance = np.array([0.5, 1, 4, 1e-5], np.float32)
    more: dict[str, Any] = {"gamma": gamma, "beta": beta} if scaled else {}
    if epsilon is not None:
        more["epsilon"] = epsilon
    [result] = run(lambda x: mb.batch_norm(x=x, mean=mean, variance=variance, **more), {"x": x}, target=target)
    rank = len(shape)
    expected = (x - along(1, mean, rank)) / np.sqrt(along(1, variance, rank) + (epsilon or 1e-5))
    if scaled:
        expected = expected * along(1, gamma, rank) + along(1, beta, rank)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-3)


@OLD_AND_NEW
@pytest.mark.parametrize("shape", [(2, 4, 7), (2, 4, 5, 3), (1, 4, 2, 3, 5)])
@pytest.mark.parametrize("epsilon", [None, 0.1])
@pytest.mark.parametrize("given", ["gamma and beta", "gamma", "beta", ""])
def test_instance_norm(run: Function, shape: Any, epsilon: float | None, given: str, target: Any) -> None:
    x, values = noise(*shape), {"gamma": noise(4, seed=1), "beta": noise(4, seed=2)}
    more: dict[str, Any] = {name: value for name, value in values.items() if name in given}
    if epsilon is not None:
        more["epsilon"] = epsilon
    [result] = run(lambda x: mb.instance_norm(x=x, **more), {"x": x}, target=target)
    expected = normalized(x, tuple(range(2, len(shape))), epsilon or 1e-5)
    expected = expected * along(1, more.get("gamma", np.ones(4)), len(shape))
    expected = expected + along(1, more.get("beta", np.zeros(4)), len(shape))
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


def test_instance_norm_of_values_far_from_zero(run: Function) -> None:
    x = noise(1, 2, 32, 32) + 300
    [result] = run(lambda x: mb.instance_norm(x=x), {"x": x})
    np.testing.assert_allclose(result, normalized(x, (2, 3), 1e-5), rtol=1e-3, atol=1e-4)


@OLD_AND_NEW
@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 5), (2, 2, 3, 2, 3)])
@pytest.mark.parametrize("epsilon", [None, 20.0])
def test_l2_norm(run: Function, shape: Any, epsilon: float | None, target: Any) -> None:
    x = noise(*shape)
    more = {} if epsilon is None else {"epsilon": epsilon}
    [result] = run(lambda x: mb.l2_norm(x=x, **more), {"x": x}, target=target)
    squares = (x.astype(np.float64) ** 2).sum((-3, -2, -1), keepdims=True)
    np.testing.assert_allclose(result, x / np.sqrt(squares + (epsilon or 1e-6)), rtol=1e-5)


@OLD_AND_NEW
@pytest.mark.parametrize("axes", [[0, 1, 2, 3], [-1], [2, 3], [1, 2, 3], [1], [-3, -1], [2], [0, 2], [3, 2]])
@pytest.mark.parametrize("given", ["gamma and beta", "gamma", ""])
def test_layer_norm(run: Function, axes: list[int], given: str, target: Any) -> None:
    shape = (2, 3, 4, 5)
    places = sorted(axis % 4 for axis in axes)
    sizes = [shape[axis] for axis in places]
    values = {"gamma": noise(*sizes, seed=1), "beta": noise(*sizes, seed=2)}
    more: dict[str, Any] = {name: value for name, value in values.items() if name in given}
    x = noise(*shape)
    [result] = run(lambda x: mb.layer_norm(x=x, axes=axes, epsilon=0.01, **more), {"x": x}, target=target)
    broadcast = [size if axis in places else 1 for axis, size in enumerate(shape)]
    expected = normalized(x, tuple(places), 0.01)
    expected = expected * more.get("gamma", np.ones(sizes)).reshape(broadcast)
    expected = expected + more.get("beta", np.zeros(sizes)).reshape(broadcast)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("axes", [(1,), (2,), (1, 2), None])
def test_layer_norm_of_values_far_from_zero_and_unknown_sizes(lower: Function, axes: tuple[int, ...] | None) -> None:
    """None stands for all axes: coremltools documents that, and cannot build it."""
    x = noise(2, 64, 65) + 300
    result = lower(normalization.layer_norm, {"x": x}, axes=axes)
    np.testing.assert_allclose(result, normalized(x, axes, 1e-5), rtol=1e-3, atol=1e-4)


def test_layer_norm_refuses_repeated_axes(lower: Function) -> None:
    with pytest.raises(PackageError, match="distinct"):
        lower(normalization.layer_norm, {"x": noise(2, 3)}, axes=(1, -1))


def test_instance_norm_of_unknown_size(lower: Function) -> None:
    x = noise(2, 3, 5)
    np.testing.assert_allclose(
        lower(normalization.instance_norm, {"x": x}), normalized(x, (2,), 1e-5), rtol=1e-4, atol=1e-5
    )


@OLD_AND_NEW
@pytest.mark.parametrize("shape", [(2, 7, 5), (1, 7, 3, 4), (2, 7, 3, 2, 4)])
@pytest.mark.parametrize("size", [1, 3, 4, 9])
def test_local_response_norm(run: Function, shape: Any, size: int, target: Any) -> None:
    x = noise(*shape)
    [result] = run(
        lambda x: mb.local_response_norm(x=x, size=size, alpha=0.9, beta=0.6, k=1.7), {"x": x}, target=target
    )
    squares = np.pad(x.astype(np.float64) ** 2, [(0, 0), (size // 2, (size - 1) // 2)] + [(0, 0)] * (len(shape) - 2))
    sums = sum(squares[:, offset : offset + 7] for offset in range(size))
    np.testing.assert_allclose(result, x / (1.7 + 0.9 / size * sums) ** 0.6, rtol=1e-5)


def test_local_response_norm_matches_tensorflow_and_its_defaults(run: Function) -> None:
    x = noise(1, 7, 3, 4) * 30
    expected = tf.nn.lrn(x.transpose(0, 2, 3, 1), depth_radius=2, bias=1, alpha=1e-4 / 5, beta=0.75)
    [result] = run(lambda x: mb.local_response_norm(x=x, size=5), {"x": x})
    np.testing.assert_allclose(result, np.transpose(expected, (0, 3, 1, 2)), rtol=1e-5)


def test_norms_round_to_float16(run: Function) -> None:
    x = noise(1, 4, 6, 6)
    results = run(
        lambda x: (mb.instance_norm(x=x), mb.layer_norm(x=x, axes=[1]), mb.l2_norm(x=x)),
        {"x": x}, precision="float16", numerics="float16",
    )  # fmt: skip
    half = x.astype(np.float16).astype(np.float64)
    expected = [
        normalized(half, (2, 3), 1e-5), normalized(half, (1,), 1e-5), half / np.sqrt((half**2).sum((1, 2, 3)))
    ]  # fmt: skip
    for result, value in zip(results, expected, strict=True):
        assert np.array_equal(result, result.astype(np.float16))
        np.testing.assert_allclose(result, value, rtol=2e-3, atol=2e-3)

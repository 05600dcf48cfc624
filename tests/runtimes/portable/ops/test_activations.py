from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.errors import PackageError
from harness.quiet import quiet_imports
from harness.runtimes.portable.ops.activations import gelu

with quiet_imports():
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb

Function = Callable[..., Any]

# Both tails, the neighbourhood of 0, 0 itself, and the alpha (0.5) of the thresholded case.
X = np.concatenate([np.linspace(-12, 12, 59), [0, 0.5, -0.5, 100, -100]]).astype(np.float32).reshape(1, 4, 4, 4)
ALPHAS = np.array([0.25, -1.5, 0.1, 2], np.float32)
BETAS = np.array([1, -0.5, 3, 0.2], np.float32)
erf = np.vectorize(math.erf)


def channels(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float64).reshape(4, 1, 1)


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, x)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.exp(-softplus(-x))


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    shifted = np.exp(x - x.max(axis=axis, keepdims=True))
    return shifted / shifted.sum(axis=axis, keepdims=True)


# name -> (how MIL says it, the formula in float64)
CASES: dict[str, tuple[Function, Function]] = {
    "clamped_relu": (
        lambda x: mb.clamped_relu(x=x, alpha=-0.3, beta=2.5),
        lambda x: np.minimum(np.where(x >= 0, x, -0.3 * x), 2.5),
    ),
    "elu": (lambda x: mb.elu(x=x, alpha=1.7), lambda x: np.where(x > 0, x, 1.7 * np.expm1(x))),
    "gelu": (lambda x: mb.gelu(x=x), lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2)))),
    "gelu exact": (lambda x: mb.gelu(x=x, mode="EXACT"), lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2)))),
    "gelu tanh": (
        lambda x: mb.gelu(x=x, mode="TANH_APPROXIMATION"),
        lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    ),
    "gelu sigmoid": (lambda x: mb.gelu(x=x, mode="SIGMOID_APPROXIMATION"), lambda x: x * sigmoid(1.702 * x)),
    "leaky_relu": (lambda x: mb.leaky_relu(x=x, alpha=0.2), lambda x: np.where(x >= 0, x, 0.2 * x)),
    "linear_activation": (lambda x: mb.linear_activation(x=x, alpha=-2.0, beta=0.7), lambda x: -2 * x + 0.7),
    "prelu": (lambda x: mb.prelu(x=x, alpha=ALPHAS), lambda x: np.where(x > 0, x, channels(ALPHAS) * x)),
    "relu": (lambda x: mb.relu(x=x), lambda x: np.maximum(x, 0)),
    "relu6": (lambda x: mb.relu6(x=x), lambda x: np.clip(x, 0, 6)),
    "scaled_tanh": (lambda x: mb.scaled_tanh(x=x, alpha=1.7, beta=0.6), lambda x: 1.7 * np.tanh(0.6 * x)),
    "sigmoid": (lambda x: mb.sigmoid(x=x), sigmoid),
    "sigmoid_hard": (
        lambda x: mb.sigmoid_hard(x=x, alpha=0.15, beta=0.4),
        lambda x: np.clip(0.15 * x + 0.4, 0, 1),
    ),
    "silu": (lambda x: mb.silu(x=x), lambda x: x * sigmoid(x)),
    "softmax": (lambda x: mb.softmax(x=x), lambda x: softmax(x, -1)),
    "softmax channels": (lambda x: mb.softmax(x=x, axis=1), lambda x: softmax(x, 1)),
    "softmax negative axis": (lambda x: mb.softmax(x=x, axis=-2), lambda x: softmax(x, -2)),
    "softplus": (lambda x: mb.softplus(x=x), softplus),
    "softplus_parametric": (
        lambda x: mb.softplus_parametric(x=x, alpha=ALPHAS, beta=BETAS),
        lambda x: channels(ALPHAS) * softplus(channels(BETAS) * x),
    ),
    "softsign": (lambda x: mb.softsign(x=x), lambda x: x / (1 + np.abs(x))),
    "tanh": (lambda x: mb.tanh(x=x), np.tanh),
    "thresholded_relu": (lambda x: mb.thresholded_relu(x=x, alpha=0.5), lambda x: np.where(x >= 0.5, x, 0)),
}


@pytest.mark.parametrize("name", CASES)
def test_formula(run: Function, name: str) -> None:
    build, formula = CASES[name]
    (result,) = run(build, {"x": X}, target=ct.target.iOS15)
    np.testing.assert_allclose(result, formula(X.astype(np.float64)), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("name", ["elu", "prelu", "gelu", "softmax", "scaled_tanh", "softplus_parametric"])
def test_rounds_to_float16(run: Function, name: str) -> None:
    build, formula = CASES[name]
    (result,) = run(build, {"x": X}, target=ct.target.iOS17, precision="float16", numerics="float16")
    rounded = X.astype(np.float16).astype(np.float64)
    np.testing.assert_allclose(result, formula(rounded), rtol=2e-3, atol=2e-3)
    np.testing.assert_array_equal(result, result.astype(np.float16))


@pytest.mark.parametrize("shape", [(2, 4, 3), (1, 4, 2, 1, 3)])
def test_prelu_of_other_ranks(run: Function, shape: tuple[int, ...]) -> None:
    x = np.linspace(-3, 3, math.prod(shape), dtype=np.float32).reshape(shape)
    alpha = np.full(4, 0.3, np.float32)
    (result,) = run(lambda x: mb.prelu(x=x, alpha=alpha), {"x": x}, target=ct.target.iOS17)
    np.testing.assert_allclose(result, np.where(x > 0, x, 0.3 * x), rtol=1e-6)


def test_parameters_of_another_dtype(run: Function) -> None:
    """Since iOS17 a parameter may be float16 where x is float32."""
    (result,) = run(lambda x: mb.elu(x=x, alpha=np.float16(1.1)), {"x": X}, target=ct.target.iOS17)
    alpha = float(np.float16(1.1))
    np.testing.assert_allclose(result, np.where(X > 0, X, alpha * np.expm1(np.minimum(X, 0))), rtol=1e-5, atol=1e-6)


def test_unknown_gelu_mode() -> None:
    with pytest.raises(PackageError, match="TANH_APPROXIMATION"):
        gelu(None, mode="QUICK")  # type: ignore[arg-type]


@pytest.mark.parametrize("read", [lambda y: y, lambda y: mb.reshape(x=y, shape=(2, 5))], ids=["output", "reshape"])
@pytest.mark.parametrize(("numerics", "smallest"), [("float32", 2.0**-126), ("float16", 2.0**-25)])
def test_sigmoid_of_large_negative_numbers_keeps_its_digits(
    run: Function, read: Function, numerics: str, smallest: float
) -> None:
    """Beyond what the numbers hold it is 0, never a NaN."""
    x = np.array([[-1000, -104, -80, -50, -23, -15.5, -9, 0, 20, 1000]], np.float32)
    (result,) = run(lambda x: read(mb.sigmoid(x=x)), {"x": x}, target=ct.target.iOS17, precision=numerics,
                    numerics=numerics)  # fmt: skip
    expected = sigmoid(x.astype(np.float64))
    np.testing.assert_allclose(
        result.reshape(x.shape), expected, rtol=1e-3 if numerics == "float16" else 1e-6, atol=smallest
    )
    assert np.count_nonzero(result) == np.count_nonzero(expected > smallest)


def test_sigmoid_as_a_gate(run: Function) -> None:
    (result,) = run(lambda x: mb.mul(x=x, y=mb.sigmoid(x=x)), {"x": X}, target=ct.target.iOS15)
    np.testing.assert_allclose(result, X * sigmoid(X.astype(np.float64)), rtol=1e-5, atol=2e-6)

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.errors import PackageError
from harness.quiet import quiet_imports
from harness.runtimes.portable.ops import linear as module

with quiet_imports():
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb

Function = Callable[..., Any]


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("target", [ct.target.iOS15, ct.target.iOS17])
@pytest.mark.parametrize("shape", [(6,), (4, 6), (2, 3, 6), (2, 1, 2, 3, 6)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_linear(run: Function, shape: Any, with_bias: bool, target: Any) -> None:
    x, weight, bias = noise(*shape), noise(5, 6, seed=1), noise(5, seed=2)
    more = {"bias": bias} if with_bias else {}
    [result] = run(lambda x: mb.linear(x=x, weight=weight, **more), {"x": x}, target=target)
    expected = x.astype(np.float64) @ weight.T.astype(np.float64) + (bias if with_bias else 0)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


def test_linear_of_integers(run: Function) -> None:
    x, weight, bias = np.array([[1, -2], [3, 4]], np.int32), np.array([[5, 6], [7, -8]], np.int32), [1, 100]
    [result] = run(lambda x: mb.linear(x=x, weight=weight, bias=np.array(bias, np.int32)), {"x": x})
    assert result.tolist() == (x @ weight.T + bias).tolist()


# x, y, transpose_x, transpose_y
PRODUCTS: list[tuple[tuple[int, ...], tuple[int, ...], bool, bool]] = [
    ((3, 4), (4, 5), False, False),
    ((4, 3), (4, 5), True, False),
    ((3, 4), (5, 4), False, True),
    ((4, 3), (5, 4), True, True),
    ((4,), (4, 5), False, False),
    ((4,), (2, 5, 4), False, True),
    ((1, 3, 1, 4, 2), (1, 4, 4, 5), True, False),
    ((7, 4), (3, 2, 5, 4, 3), False, False),
]


@pytest.mark.parametrize("constant", ["", "x", "y"])
@pytest.mark.parametrize(("shape_x", "shape_y", "transpose_x", "transpose_y"), PRODUCTS)
def test_matmul(  # type: ignore[no-untyped-def]
    run, shape_x, shape_y, transpose_x, transpose_y, constant
) -> None:
    arrays = {"x": noise(*shape_x), "y": noise(*shape_y, seed=1)}
    fixed = {name: array for name, array in arrays.items() if name == constant}
    inputs = {name: array for name, array in arrays.items() if name != constant}
    flags = {"transpose_x": transpose_x, "transpose_y": transpose_y}

    def build(*given: Any) -> Any:
        return mb.matmul(**dict(zip(inputs, given, strict=True)), **fixed, **flags)

    target = ct.target.iOS17 if constant else ct.target.iOS15
    two: dict[str, Function] = {"": lambda x, y: build(x, y), "x": lambda y: build(y), "y": lambda x: build(x)}
    [result] = run(two[constant], inputs, target=target)
    x, y = (array.astype(np.float64) for array in arrays.values())
    x = x.swapaxes(-1, -2) if transpose_x else x
    y = y.swapaxes(-1, -2) if transpose_y else y
    np.testing.assert_allclose(result, x @ y, rtol=1e-4, atol=1e-5)


def test_matmul_of_vectors_and_of_integers(lower: Function, run: Function) -> None:
    x, y = noise(5), noise(5, seed=1)
    np.testing.assert_allclose(lower(module.matmul, {"x": x, "y": y}, transpose_y=True), x @ y, rtol=1e-5)
    np.testing.assert_allclose(lower(module.matmul, {"x": noise(3, 5), "y": y}), noise(3, 5) @ y, rtol=1e-4)
    whole = {"x": np.array([[1, 2], [3, -4]], np.int32), "y": np.array([[5, 6], [70000, 8]], np.int32)}
    [result] = run(lambda x, y: mb.matmul(x=x, y=y), whole)
    assert result.tolist() == (whole["x"] @ whole["y"]).tolist()


def test_matmul_with_a_constant_of_another_dtype(run: Function) -> None:
    x, y = noise(2, 3), np.array([[1, 2], [3, 4], [5, 6]], np.int32)
    [result] = run(lambda x: mb.matmul(x=x, y=y), {"x": x}, target=ct.target.iOS17)
    np.testing.assert_allclose(result, x @ y, rtol=1e-5)


@pytest.mark.parametrize(
    ("equation", "shape_x", "shape_y"),
    [
        ("nchw,nwhu->nchu", (2, 3, 4, 5), (2, 5, 4, 6)),
        ("abcd,adce->abce", (1, 3, 4, 5), (2, 5, 1, 6)),
        ("nchw,nwhu->nchu", (2, 3, 1, 5), (1, 5, 4, 6)),
        ("chw,whr->chr", (3, 4, 5), (5, 4, 6)),
        ("abc,cbd->abd", (3, 4, 5), (5, 1, 6)),
    ],
)
def test_einsum(run: Function, equation: str, shape_x: Any, shape_y: Any) -> None:
    x, y = noise(*shape_x), noise(*shape_y, seed=1)
    [result] = run(lambda x, y: mb.einsum(values=(x, y), equation=equation), {"x": x, "y": y})
    batch = [max(a, b) for a, b in zip(shape_x, shape_y, strict=True)]
    full_x, full_y = list(shape_x), list(shape_y)
    for axis in {-2, -len(shape_x) if len(shape_x) == 4 else -2}:
        full_x[axis] = full_y[axis] = batch[axis]
    expected = np.einsum(equation, np.broadcast_to(x, full_x), np.broadcast_to(y, full_y))
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


def test_einsum_refuses_other_equations(lower: Function) -> None:
    def build(x: Any, y: Any) -> Any:
        return module.einsum([x, y], "chw,wrh->chr")

    with pytest.raises(PackageError, match="equation"):
        lower(build, {"x": noise(2, 3, 4), "y": noise(4, 5, 3)})


def attention(query: np.ndarray, key: np.ndarray, value: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    scores = query.astype(np.float64) @ key.swapaxes(-1, -2) / np.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores + (np.where(mask, 0, -np.inf) if mask.dtype == bool else mask)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    result: np.ndarray = weights / weights.sum(axis=-1, keepdims=True) @ value
    return result


@pytest.mark.parametrize("batch", [(3,), (3, 2), (3, 2, 4)])
@pytest.mark.parametrize("mask", ["none", "bool", "float", "full"])
def test_attention(run: Function, lower: Function, batch: tuple[int, ...], mask: str) -> None:
    inputs = {"query": noise(*batch, 7, 16), "key": noise(*batch, 5, 16, seed=1), "value": noise(*batch, 5, 8, seed=2)}
    given = {
        "bool": np.array([[True, False, True, True, False]]),
        "float": np.array([[0.0, -np.inf, 2, -1, 0.5]], np.float32),
        "full": noise(*batch, 7, 5, seed=3),
    }.get(mask)
    expected = attention(*inputs.values(), given)  # type: ignore[arg-type]
    if given is not None:
        inputs["attn_mask"] = given
        [result] = run(
            lambda query, key, value, attn_mask: mb.scaled_dot_product_attention(
                query=query, key=key, value=value, attn_mask=attn_mask
            ),
            inputs,
        )
    else:
        [result] = run(
            lambda query, key, value: mb.scaled_dot_product_attention(query=query, key=key, value=value), inputs
        )
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)
    unknown = lower(module.scaled_dot_product_attention, inputs)
    np.testing.assert_allclose(unknown, expected, rtol=1e-4, atol=1e-5)


def test_float16(run: Function) -> None:
    x, weight = noise(3, 16), noise(4, 16, seed=1)
    [result] = run(lambda x: mb.linear(x=x, weight=weight), {"x": x}, precision="float16", numerics="float16")
    half = [array.astype(np.float16).astype(np.float64) for array in (x, weight)]
    assert np.array_equal(result, result.astype(np.float16))
    np.testing.assert_allclose(result, half[0] @ half[1].T, rtol=1e-3, atol=2e-3)

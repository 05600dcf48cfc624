from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.quiet import quiet_imports
from harness.runtimes.portable.onnx_graph import OnnxGraph, building
from harness.runtimes.portable.ops.elementwise import inverse, log, rsqrt
from harness.runtimes.portable.program import TensorType

with quiet_imports():
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb

Function = Callable[..., Any]

WIDE = np.array([[-3.7, -2.5, -1.5, -0.5, 0], [0.5, 1.5, 2.49, 3, 6.2]], np.float32)
UNIT = np.array([[-0.99, -0.5, -0.1, 0, 0.05], [0.3, 0.6, 0.9, 0.99, 0.7]], np.float32)
POSITIVE = np.array([[1e-3, 0.1, 0.5, 1, 2], [3, 10, 1e3, 1e5, 7]], np.float32)
INTEGERS = np.array([[-7, -3, -1, 0, 1], [2, 3, 5, 12, 20]], np.int32)

UNARY: dict[str, tuple[np.ndarray, Function]] = {
    "abs": (WIDE, np.abs),
    "acos": (UNIT, np.arccos),
    "asin": (UNIT, np.arcsin),
    "atan": (WIDE, np.arctan),
    "atanh": (UNIT, np.arctanh),
    "ceil": (WIDE, np.ceil),
    "cos": (WIDE, np.cos),
    "cosh": (WIDE, np.cosh),
    "erf": (WIDE, np.vectorize(math.erf)),
    "exp": (WIDE, np.exp),
    "exp2": (WIDE, np.exp2),
    "floor": (WIDE, np.floor),
    "inverse": (POSITIVE, lambda x: 1 / (x + 1e-4)),
    "log": (POSITIVE, np.log),
    "round": (WIDE, np.round),
    "rsqrt": (POSITIVE, lambda x: 1 / np.sqrt(x + 1e-12)),
    "sign": (WIDE, np.sign),
    "sin": (WIDE, np.sin),
    "sinh": (WIDE, np.sinh),
    "sqrt": (POSITIVE, np.sqrt),
    "square": (WIDE, np.square),
    "tan": (WIDE, np.tan),
    "tanh": (WIDE, np.tanh),
}


@pytest.mark.parametrize("name", UNARY)
def test_unary(run: Function, name: str) -> None:
    x, formula = UNARY[name]
    (result,) = run(lambda x: getattr(mb, name)(x=x), {"x": x}, target=ct.target.iOS15)
    np.testing.assert_allclose(result, formula(x.astype(np.float64)), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("name", ["exp", "sin", "square", "inverse", "rsqrt", "log", "tan"])
def test_unary_rounds_to_float16(run: Function, name: str) -> None:
    x, formula = UNARY[name]
    x = np.clip(x, -3, 100)

    def build(x):
        return getattr(mb, name)(x=x)

    (result,) = run(build, {"x": x}, target=ct.target.iOS17, precision="float16", numerics="float16")
    x = x.astype(np.float16).astype(np.float64)
    np.testing.assert_allclose(result, formula(x), rtol=2e-3, atol=1e-3)
    np.testing.assert_array_equal(result, result.astype(np.float16))


@pytest.mark.parametrize(
    ("name", "formula"), [("abs", np.abs), ("sign", np.sign), ("square", np.square), ("exp2", np.exp2)]
)
def test_unary_of_integers(run: Function, name: str, formula: Function) -> None:
    (result,) = run(lambda x: getattr(mb, name)(x=x), {"x": INTEGERS})
    assert result.dtype == np.int32
    np.testing.assert_array_equal(result, formula(INTEGERS).astype(np.int32))


def test_scalar(run: Function) -> None:
    (result,) = run(lambda x: mb.expand_dims(x=mb.exp(x=mb.squeeze(x=x)), axes=[0]), {"x": np.float32([2])})
    np.testing.assert_allclose(result, [math.exp(2)], rtol=1e-6)


@pytest.mark.parametrize("epsilon", [1e-3, 0.5])
@pytest.mark.parametrize(
    ("name", "formula"), [("inverse", lambda x: 1 / x), ("log", np.log), ("rsqrt", lambda x: 1 / np.sqrt(x))]
)
def test_epsilon(run: Function, name: str, formula: Function, epsilon: float) -> None:
    def build(x):
        return getattr(mb, name)(x=x, epsilon=np.float32(epsilon))

    (result,) = run(build, {"x": POSITIVE}, target=ct.target.iOS15)
    np.testing.assert_allclose(result, formula(POSITIVE.astype(np.float64) + epsilon), rtol=1e-5, atol=1e-6)


def test_default_epsilon_at_zero(run: Function) -> None:
    def build(x):
        return (mb.inverse(x=x), mb.log(x=x), mb.rsqrt(x=x))

    results = run(build, {"x": np.zeros((1, 2), np.float32)})
    np.testing.assert_allclose(np.stack(results)[:, 0, 0], [1e4, math.log(1.4e-45), 1e6], rtol=1e-3)


@pytest.mark.parametrize(("lower", "added"), [(inverse, [float(np.float16(1e-4))]), (log, []), (rsqrt, [])])
def test_default_epsilon_of_float16(lower: Function, added: list[float]) -> None:
    """A package may leave epsilon out; its default is a float16 then, which is 0 for log and rsqrt."""
    half = TensorType("fp16", (2,))
    with building(OnnxGraph()) as graph:
        lower(graph.declare("x", half), outputs=(half,))
    assert [float(array) for array in graph.constants.values()] == pytest.approx(added, rel=1e-7)


@pytest.mark.parametrize("target", [ct.target.iOS15, ct.target.iOS17])
def test_clip_and_threshold(run: Function, target: Any) -> None:
    def build(x):
        return (mb.clip(x=x, alpha=-1.2, beta=2.3), mb.threshold(x=x, alpha=0.7))

    clipped, above = run(build, {"x": WIDE}, target=target)
    np.testing.assert_array_equal(clipped, np.clip(WIDE, np.float32(-1.2), np.float32(2.3)))
    np.testing.assert_array_equal(above, np.maximum(WIDE, np.float32(0.7)))


def test_threshold_of_integers(run: Function) -> None:
    (result,) = run(lambda x: mb.threshold(x=x, alpha=np.int32(2)), {"x": INTEGERS})
    np.testing.assert_array_equal(result, np.maximum(INTEGERS, 2))


def test_clip_with_bounds_crossed(run: Function) -> None:
    """iOS15 allows it; value_inference gives beta."""
    (result,) = run(lambda x: mb.clip(x=x, alpha=3.0, beta=1.0), {"x": WIDE}, target=ct.target.iOS15)
    np.testing.assert_array_equal(result, np.ones_like(WIDE))


# Casts ------------------------------------------------------------------------------------------

FLOATS = np.array([-3.9, -1.2, -0.4, 0, 0.3, 0.99, 1.5, 127.9], np.float32)
WRAPPED = np.array([-40000, -32769, -300, -129, -1, 0, 127, 128, 255, 256, 32768, 65535, 65537], np.int32)


@pytest.mark.parametrize("dtype", ["int32", "int8", "int16", "bool"])
def test_cast_from_floats(run: Function, dtype: str) -> None:
    def build(x):
        return mb.cast(x=mb.cast(x=x, dtype=dtype), dtype="int32")

    (result,) = run(build, {"x": FLOATS})
    expected = FLOATS.astype(dtype).astype(np.int32)
    assert len(set(expected.tolist())) > 1
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16"])
def test_cast_wraps(run: Function, dtype: str) -> None:
    def build(x):
        return mb.cast(x=mb.cast(x=x, dtype=dtype), dtype="int32")

    (result,) = run(build, {"x": WRAPPED}, target=ct.target.iOS17)
    np.testing.assert_array_equal(result, WRAPPED.astype(dtype).astype(np.int32))


@pytest.mark.parametrize("numerics", ["float32", "float16"])
def test_cast_to_float16(run: Function, numerics: str) -> None:
    x = np.array([1 / 3, 2049, 1e-9], np.float32)

    def build(x):
        return mb.cast(x=mb.cast(x=x, dtype="fp16"), dtype="fp32")

    (result,) = run(build, {"x": x}, numerics=numerics)
    np.testing.assert_array_equal(result, x.astype(numerics).astype(np.float32))


def test_cast_of_booleans(run: Function) -> None:
    def build(x):
        return (lambda b: (mb.cast(x=b, dtype="fp32"), mb.cast(x=b, dtype="int32")))(mb.less(x=x, y=0.0))

    as_float, as_int = run(build, {"x": WIDE})
    np.testing.assert_array_equal(as_float, (WIDE < 0).astype(np.float32))
    np.testing.assert_array_equal(as_int, (WIDE < 0).astype(np.int32))


# Binary -----------------------------------------------------------------------------------------

LEFT = np.array([[-7.5, -6, -1, 0, 1.25], [2, 3, 5.5, 12, 20]], np.float32)
RIGHT = np.array([[2, -4, 3, 5, 1.25], [-3, -0.5, 2.5, -5, 7]], np.float32)

BINARY: dict[str, Function] = {
    "add": np.add,
    "floor_div": lambda x, y: np.floor(x / y),
    "maximum": np.maximum,
    "minimum": np.minimum,
    "mod": lambda x, y: x - y * np.floor(x / y),
    "mul": np.multiply,
    "real_div": np.divide,
    "sub": np.subtract,
    "equal": np.equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "not_equal": np.not_equal,
}


def as_numbers(build: Function) -> Function:
    """Booleans are no outputs of a model."""

    def built(**values: Any) -> Any:
        result = build(**values)
        return mb.cast(x=result, dtype="int32") if result.dtype.__name__ == "bool" else result

    return built


@pytest.mark.parametrize("right", [RIGHT, RIGHT[0], RIGHT[:, 2:3]], ids=["same", "row", "column"])
@pytest.mark.parametrize("name", BINARY)
def test_binary(run: Function, name: str, right: np.ndarray) -> None:
    def build(x, y):
        return as_numbers(getattr(mb, name))(x=x, y=y)

    (result,) = run(build, {"x": LEFT, "y": right}, target=ct.target.iOS15)
    expected = BINARY[name](LEFT.astype(np.float64), right.astype(np.float64))
    np.testing.assert_allclose(result, expected.astype(np.float64), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", BINARY)
def test_binary_of_integers(run: Function, name: str) -> None:
    """Floored and truncated division and the sign of the remainder, far from float32's 24 bits too."""
    large = 2**31 - 1
    x = np.array([-7, -6, 6, 7, 0, large, -large, large, 16777217, 5], np.int32)
    y = np.array([2, -4, -4, 2, 5, 2, 3, large, 2, -5], np.int32)

    def build(x, y):
        return as_numbers(getattr(mb, name))(x=x, y=y)

    (result,) = run(build, {"x": x, "y": y})
    assert result.dtype == np.int32
    with np.errstate(over="ignore"):
        exact = {
            "floor_div": np.floor_divide,
            "mod": np.mod,
            "real_div": lambda x, y: np.trunc(x.astype(np.float64) / y),
        }.get(name, BINARY[name])(x, y)
    np.testing.assert_array_equal(result, exact.astype(np.int32))


def test_integer_division_by_zero_does_not_stop_the_process(run: Function) -> None:
    x = np.array([6, 7], np.int32)

    def build(x, y):
        return (mb.real_div(x=x, y=y), mb.floor_div(x=x, y=y), mb.mod(x=x, y=y))

    results = run(build, {"x": x, "y": np.array([2, 0], np.int32)})
    assert [result[0] for result in results] == [3, 3, 0]


def test_mod_of_a_large_quotient(run: Function) -> None:
    x, y = np.array([1e6, -1e6], np.float32), np.array([0.7, 0.7], np.float32)
    (result,) = run(lambda x, y: mb.mod(x=x, y=y), {"x": x, "y": y})
    np.testing.assert_allclose(result, np.mod(x.astype(np.float64), y.astype(np.float64)), rtol=1e-5)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (np.float32([0.5, 2, 3, 1.5]), np.float32([3, -2, 0, 0.5])),
        (np.float32([-2, -0.5, 4, -3]), np.float32([3, 2, 0.5, -1])),
        (np.int32([2, -3, 7, 46340]), np.int32([10, 3, 0, 2])),
    ],
    ids=["positive", "negative", "integers"],
)
def test_pow(run: Function, x: np.ndarray, y: np.ndarray) -> None:
    (result,) = run(lambda x, y: mb.pow(x=x, y=y), {"x": x, "y": y})
    assert result.dtype == x.dtype
    np.testing.assert_allclose(result, np.power(x, y), rtol=1e-6)


@pytest.mark.parametrize("name", ["logical_and", "logical_or", "logical_xor"])
def test_logical(run: Function, name: str) -> None:
    def build(x: Any, y: Any) -> Any:
        booleans = [mb.cast(x=value, dtype="bool") for value in (x, y)]
        return mb.cast(x=getattr(mb, name)(x=booleans[0], y=booleans[1]), dtype="int32")

    x, y = np.int32([[0], [1]]), np.int32([0, 3])
    (result,) = run(build, {"x": x, "y": y})
    np.testing.assert_array_equal(result, getattr(np, name)(x, y))


def test_logical_not(run: Function) -> None:
    def build(x):
        return mb.cast(x=mb.logical_not(x=mb.cast(x=x, dtype="bool")), dtype="int32")

    (result,) = run(build, {"x": INTEGERS})
    np.testing.assert_array_equal(result, INTEGERS == 0)


@pytest.mark.parametrize("name", ["mul", "real_div", "mod", "pow"])
def test_binary_rounds_to_float16(run: Function, name: str) -> None:
    x, y = np.float32([1.1, 2.7, 3.3]), np.float32([0.3, 1.9, 2.2])

    def build(x, y):
        return getattr(mb, name)(x=x, y=y)

    (result,) = run(build, {"x": x, "y": y}, precision="float16", numerics="float16")
    x, y = (value.astype(np.float16).astype(np.float64) for value in (x, y))
    expected = {**BINARY, "pow": np.power}[name](x, y)
    np.testing.assert_array_equal(result, expected.astype(np.float16))


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.bool_])
def test_select(run: Function, dtype: type) -> None:
    """cond, a and b broadcast, rank 0 included."""
    condition = np.int32([[1], [0]])
    a, b = np.int32([[1, 0, 3], [4, 0, 6]]), np.int32([0, 1, 0])
    name = {np.float32: "fp32", np.int32: "int32", np.bool_: "bool"}[dtype]

    def build(condition: Any, a: Any, b: Any) -> Any:
        cond = mb.cast(x=condition, dtype="bool")
        a, b = (mb.cast(x=value, dtype=name) for value in (a, b))
        return mb.cast(x=mb.select(cond=cond, a=a, b=b), dtype="fp32")

    (result,) = run(build, {"condition": condition, "a": a, "b": b})
    expected = np.where(condition.astype(bool), a.astype(dtype), b.astype(dtype))
    np.testing.assert_array_equal(result, expected.astype(np.float32))


def test_select_of_scalars(run: Function) -> None:
    def build(x):
        return mb.select(cond=mb.less(x=x, y=0.0), a=-1.0, b=x)

    (result,) = run(build, {"x": WIDE})
    np.testing.assert_array_equal(result, np.where(WIDE < 0, -1, WIDE).astype(np.float32))

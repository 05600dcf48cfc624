"""Reductions, positions of extremes and running sums in what ONNX's own suite lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import UnsupportedError
from harness.frontends.onnx.convert import convert_onnx
from harness.runtimes import portable
from tests.frontends.onnx.checking import converted, node_model, reference

RANDOM = np.random.default_rng(4)
X = RANDOM.normal(0, 3, (2, 3, 4)).astype(np.float32)
INTEGERS = RANDOM.integers(-50, 50, (2, 3, 4)).astype(np.int32)
REDUCTIONS = ["Mean", "Sum", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSum", "LogSumExp"]
EXACT = ["Mean", "Sum", "Max", "Min", "Prod", "L1", "SumSquare"]


def check(proto: Any, given: dict[str, Any], evaluator: str = "onnxruntime") -> None:
    """Equal infinities; relative to the answer within 1e-5, integers equal. Zeros would not be."""
    with np.errstate(all="ignore"):
        (wanted,) = reference(proto, given, evaluator)
        (got,) = converted(proto, given)
    assert got.shape in (wanted.shape, wanted.shape or (1,))  # Core ML has no scalars
    tolerance = 1e-5 if wanted.dtype.kind == "f" else 0
    np.testing.assert_allclose(got.astype(np.float64), wanted.astype(np.float64), rtol=tolerance)
    assert np.any(wanted)


def values(name: str) -> Any:
    return np.abs(X) if name == "LogSum" else X


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axes", [None, [1], [-1, 0], [0, 1, 2]])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_axes(name: str, axes: list[int] | None, keepdims: int) -> None:
    x = values(name)
    given = {} if axes is None else {"axes": axes}
    check(*node_model(f"Reduce{name}", [x], 0, 11, keepdims=keepdims, **given))
    inputs = [x] if axes is None else [x, np.array(axes, np.int64)]
    check(*node_model(f"Reduce{name}", inputs, len(inputs) - 1, 18, keepdims=keepdims))


@pytest.mark.parametrize("name", REDUCTIONS)
def test_float16(name: str) -> None:
    x = values(name)
    proto, given = node_model(f"Reduce{name}", [x.astype(np.float16), np.array([1], np.int64)], 1, 18)
    (wanted,) = reference(*node_model(f"Reduce{name}", [x, np.array([1], np.int64)], 1, 18), "onnxruntime")
    np.testing.assert_allclose(converted(proto, given)[0].astype(np.float32), wanted, rtol=1e-2, atol=2e-2)
    assert np.abs(wanted).max() > 0.5


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_integers(name: str, kind: Any) -> None:
    """Means are truncated towards zero; products of five stay below 2**31."""
    if name in ("Mean", "L1", "SumSquare", "Max", "Min") and kind is np.int64:
        kind = np.int32  # ONNX Runtime has no other
    x = INTEGERS.astype(kind)
    check(*node_model(f"Reduce{name}", [x, np.array([2], np.int64)], 1, 18))


@pytest.mark.parametrize("name", ["L2", "LogSum", "LogSumExp"])
def test_fractions_of_integers_are_refused(name: str) -> None:
    with pytest.raises(UnsupportedError, match="rounded"):
        converted(*node_model(f"Reduce{name}", [INTEGERS], 0, 18))


@pytest.mark.parametrize("name", REDUCTIONS)
def test_no_axes(name: str) -> None:
    """Nothing is reduced, but each element is transformed."""
    given = {"noop_with_empty_axes": 1}
    check(*node_model(f"Reduce{name}", [values(name), np.array([], np.int64)], 1, 18, **given), evaluator="onnx")


@pytest.mark.parametrize("name", ["Sum", "LogSumExp", "L2", "Mean"])
def test_one_number(name: str) -> None:
    check(*node_model(f"Reduce{name}", [np.array(-3, np.float32)], 0, 18))


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_logarithms_of_infinities(precision: str, tmp_path: Path) -> None:
    inf = np.inf
    x = np.array([[-inf, -inf], [inf, 1], [-inf, 5], [1000, 1000]], np.float32)
    proto, given = node_model("ReduceLogSumExp", [x, np.array([1], np.int64)], 1, 18)
    artifact = convert_onnx(proto, precision, tmp_path / "a.mlpackage")
    (found,) = portable.load(artifact.path, numerics=precision).predict(given).values()
    np.testing.assert_allclose(found, reference(proto, given, "onnxruntime")[0], rtol=1e-3)


def test_logarithms_of_nothing() -> None:
    check(*node_model("ReduceLogSum", [np.array([[0, 0], [0, 2]], np.float32), np.array([1], np.int64)], 1, 18))


@pytest.mark.parametrize("kind", [np.float32, np.int32, np.uint8])
@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("axis", [0, -2, 2])
@pytest.mark.parametrize("operator", ["ArgMax", "ArgMin"])
def test_positions(operator: str, axis: int, last: int, kind: Any) -> None:
    x = RANDOM.integers(0, 3, (4, 5, 6)).astype(kind)  # many are alike
    check(*node_model(operator, [x], 0, 13, axis=axis, keepdims=last, select_last_index=last))


@pytest.mark.parametrize("kind", [np.float32, np.int32, np.int64])
@pytest.mark.parametrize(("exclusive", "reverse"), [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_running_sums(exclusive: int, reverse: int, kind: Any) -> None:
    x = INTEGERS.astype(kind)
    check(*node_model("CumSum", [x, np.array(-2)], 1, 14, exclusive=exclusive, reverse=reverse))


@pytest.mark.parametrize("kind", [np.float32, np.int32])
@pytest.mark.parametrize(("exclusive", "reverse"), [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_running_products(exclusive: int, reverse: int, kind: Any) -> None:
    x = INTEGERS[:, :, :3].astype(kind)
    given = {"exclusive": exclusive, "reverse": reverse}
    check(*node_model("CumProd", [x, np.array(-1)], 1, 26, **given), evaluator="onnx")
    if kind is np.float32:
        x[0, 0] = [np.inf, 2, -3]
        check(*node_model("CumProd", [x, np.array(-1)], 1, 26, **given), evaluator="onnx")

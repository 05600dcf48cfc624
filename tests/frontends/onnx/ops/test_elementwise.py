"""Activations, arithmetic, logic, types and reductions in what ONNX's own suite lacks: older opsets, float16, integers
at the ends of their ranges, infinities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from harness.errors import UnsupportedError
from tests.frontends.onnx.checking import converted, node_model, reference

RANDOM = np.random.default_rng(9)
INF = np.inf
X = RANDOM.normal(0, 2, (2, 3, 4)).astype(np.float32)
LINE = np.array([-INF, -1e30, -88, -3, -1, -1e-3, -1e-5, 0, 1e-5, 1e-3, 0.5, 1, 2.5, 88, 1e30, INF], np.float32)
LEAST, MOST = -(2**31), 2**31 - 1


def ints(*values: int, kind: Any = np.int32) -> Any:
    return np.array(values, kind)


def floats(*values: float, kind: Any = np.float32) -> Any:
    return np.array(values, kind)


Case = tuple[str, int, list[Any], dict[str, Any]]

ACTIVATIONS: dict[str, Case] = {
    "Relu of integers": ("Relu", 14, [ints(-5, 0, 7)], {}),
    "Selu": ("Selu", 6, [X], {"alpha": 1.5, "gamma": 2.0}),
    "Elu": ("Elu", 6, [X], {"alpha": 0.7}),
    "Celu": ("Celu", 12, [X], {"alpha": 0.7}),
    "LeakyRelu": ("LeakyRelu", 16, [LINE], {"alpha": 0.3}),
    "ThresholdedRelu": ("ThresholdedRelu", 10, [LINE], {"alpha": 0.4}),
    "Shrink": ("Shrink", 9, [LINE], {"bias": 0.3, "lambd": 0.4}),
    "HardSigmoid": ("HardSigmoid", 6, [LINE], {"alpha": 0.3, "beta": 0.4}),
    "HardSwish": ("HardSwish", 14, [X], {}),
    "Mish": ("Mish", 18, [X], {}),
    "Softplus": ("Softplus", 7, [LINE], {}),
    "Softsign": ("Softsign", 7, [LINE[1:-1]], {}),
    "Gelu": ("Gelu", 20, [X], {}),
    "Gelu by tanh": ("Gelu", 20, [X], {"approximate": "tanh"}),
    "PRelu, one slope": ("PRelu", 16, [X, floats(0.3)], {}),
    "PRelu, channels": ("PRelu", 9, [X, floats(0.3, -0.4, 2)[:, None]], {}),
    "PRelu, channels of images": ("PRelu", 9, [X[None], floats(0.3, -0.4)[:, None, None]], {}),
    "PRelu, last axis": ("PRelu", 9, [X, floats(0.3, -0.4, 2, 1)], {}),
    "PRelu, elements": ("PRelu", 16, [X, RANDOM.normal(size=X.shape).astype(np.float32)], {}),
    "Softmax": ("Softmax", 13, [X], {"axis": 1}),
    "Softmax, flattened": ("Softmax", 11, [X], {}),
    "Softmax, flattened at 0": ("Softmax", 9, [X], {"axis": 0}),
    "LogSoftmax": ("LogSoftmax", 13, [X * 100], {"axis": -2}),
    "LogSoftmax, flattened": ("LogSoftmax", 11, [X], {"axis": -1}),
    "Hardmax": ("Hardmax", 13, [np.round(X)], {"axis": 0}),
    "Hardmax, flattened": ("Hardmax", 11, [np.round(X)], {"axis": 1}),
}

ARITHMETIC: dict[str, Case] = {
    "Div of int32": ("Div", 14, [ints(7, -7, LEAST, MOST, LEAST, -9), ints(2, 2, 3, -4, 2, 9)], {}),
    "Div of int64": ("Div", 14, [ints(7, -7, -8, 1, kind=np.int64), ints(2, kind=np.int64)], {}),
    "Div of uint8": ("Div", 14, [ints(7, 255, 3, kind=np.uint8), ints(2, 7, 9, kind=np.uint8)], {}),
    "Mod of int32": ("Mod", 13, [ints(7, -7, LEAST, MOST), ints(3, 3, 7, -4)], {}),
    "Mod of int32 as in C": ("Mod", 13, [ints(7, -7, LEAST, MOST), ints(3, 3, 7, -4)], {"fmod": 1}),
    "Mod as in C": ("Mod", 13, [floats(7.5, -7, 9, 1e9), floats(3, 3, -4, 0.37)], {"fmod": 1}),
    "Pow, constant": ("Pow", 15, [ints(3, -7, 2, 46340), ints(2)], {}),
    "Pow of int64 by float": ("Pow", 15, [ints(3, -7, 2, 1290, kind=np.int64), floats(3)], {}),
    "Pow to the 0th": ("Pow", 15, [ints(3, 0, -2), ints(0)], {}),
    "Pow, exact": ("Pow", 15, [ints(3, -7, 2, -1, -1, 1, 0, 5, 5), ints(19, 11, 30, 77, 78, 99, 4, 0, 1)], {}),
    "Pow, negative": ("Pow", 15, [ints(3, -1, -1, 1, 2), ints(-2, -3, -4, -5, -1)], {}),
    "Pow of floats by integers": ("Pow", 15, [floats(0.5, -2, 3), ints(3, 2, -1)], {}),
    "Pow of floats": ("Pow", 7, [floats(0.5, 2, 3), floats(0.3)], {}),
    "Mean": ("Mean", 13, [X, X[:1], X[:, :1] * 7], {}),
    "Sum": ("Sum", 8, [X, X[:1], X[:, :1]], {}),
    "Max of int8": ("Max", 13, [ints(-128, 5, 7, kind=np.int8), ints(-1, kind=np.int8)], {}),
    "Min": ("Min", 8, [X, X[:1], X[:, :1]], {}),
    "Abs of int8": ("Abs", 13, [ints(-128, -5, 127, kind=np.int8)], {}),
    "Neg of int8": ("Neg", 13, [ints(-128, -5, 127, kind=np.int8)], {}),
    "Sign of int32": ("Sign", 13, [ints(LEAST, -5, 0, MOST)], {}),
    "Log": ("Log", 13, [floats(1e-30, 1e-3, 1, 7, 1e30, INF)], {}),
    "Log of 0": ("Log", 13, [floats(0, 2)], {}),
    "Reciprocal": ("Reciprocal", 13, [LINE[2:7]], {}),
    "Round": ("Round", 11, [floats(0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 2.4999)], {}),
    "Asinh": ("Asinh", 9, [LINE], {}),
    "Acosh": ("Acosh", 9, [floats(1, 1.0001, 1.5, 7, 1e10, 1e30, INF)], {}),
    "Atanh": ("Atanh", 9, [floats(-0.999, -0.5, 1e-4, 0.3, 0.9999)], {}),
    "Clip": ("Clip", 13, [X, floats(-1).reshape(()), floats(0.5).reshape(())], {}),
    "Clip from below": ("Clip", 11, [X, floats(-1).reshape(())], {}),
    "Clip from above": ("Clip", 13, [X, None, floats(0.5).reshape(())], {}),
    "Clip, crossed": ("Clip", 13, [X, floats(1).reshape(()), floats(-0.5).reshape(())], {}),
    "Clip of int8": ("Clip", 12, [ints(-128, 5, 127, kind=np.int8), ints(-7, kind=np.int8).reshape(()),
                                  ints(7, kind=np.int8).reshape(())], {}),
    "Clip by attributes": ("Clip", 6, [X], {"min": -0.5, "max": 1.0}),
    "Clip by one attribute": ("Clip", 6, [X], {"max": 1.0}),
}  # fmt: skip

# Ones that ONNX Runtime does not have.
BY_DEFINITION: dict[str, Case] = {
    "Add of uint8": ("Add", 14, [ints(250, 3, kind=np.uint8), ints(9, 4, kind=np.uint8)], {}),
    "Sub of uint16": ("Sub", 14, [ints(2, 3, kind=np.uint16), ints(9, 1, kind=np.uint16)], {}),
    "Mul of int8": ("Mul", 14, [ints(-128, 100, 3, kind=np.int8), ints(-128, 3, -1, kind=np.int8)], {}),
    "Mul of uint16": ("Mul", 14, [ints(65535, 300, kind=np.uint16), ints(65535, 300, kind=np.uint16)], {}),
    "BitwiseNot of uint16": ("BitwiseNot", 18, [ints(0, 65535, 77, kind=np.uint16)], {}),
    "BitwiseNot of int32": ("BitwiseNot", 18, [ints(LEAST, MOST, 77)], {}),
}
for _kind in (np.int8, np.uint8, np.int16, np.uint16, np.int32):
    _limits = np.iinfo(_kind)
    _values = RANDOM.integers(_limits.min, int(_limits.max) + 1, 40).astype(_kind)
    _others = RANDOM.integers(_limits.min, int(_limits.max) + 1, 40).astype(_kind)
    _values[:2] = _limits.min, _limits.max
    _name = np.dtype(_kind).name
    for _operator in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
        BY_DEFINITION[f"{_operator} of {_name}"] = (_operator, 18, [_values, _others], {})
    _shifts = (np.arange(40) % (_limits.bits + 3)).astype(_kind)
    for _direction in ("LEFT", "RIGHT"):
        for _reverse in (1, -1):
            _case: Case = ("BitShift", 28, [_values[::_reverse].copy(), _shifts], {"direction": _direction})
            BY_DEFINITION[f"BitShift {_direction} of {_name}, {_reverse}"] = _case
BY_DEFINITION["BitShift by a negative number"] = (
    "BitShift", 28, [ints(5, -5), ints(-1, -3)], {"direction": "RIGHT"},
)  # fmt: skip

LOGIC: dict[str, Case] = {
    "IsNaN": ("IsNaN", 13, [floats(1, np.nan, INF)], {}),
    "IsInf": ("IsInf", 10, [floats(1, np.nan, INF, -INF, 3e38)], {}),
    "IsInf, negative": ("IsInf", 10, [floats(1, np.nan, INF, -INF)], {"detect_positive": 0}),
    "IsInf, positive": ("IsInf", 10, [floats(1, np.nan, INF, -INF)], {"detect_negative": 0}),
    "Equal of booleans": ("Equal", 13, [np.array([True, False]), np.array([True, True])], {}),
    "Less of int64": ("Less", 13, [ints(LEAST, 4, MOST, kind=np.int64), ints(4, kind=np.int64)], {}),
    "LessOrEqual": ("LessOrEqual", 16, [X, X[:1]], {}),
    "Where of a wide condition": ("Where", 16, [X > 0, X[:1, :1], floats(7)], {}),
    "Where of a narrow condition": ("Where", 16, [X[0, 0] > 0, X, X * 3], {}),
    "Where of int64": ("Where", 9, [X[0, 0] > 0, ints(1, 2, 3, 4, kind=np.int64), ints(9, kind=np.int64)], {}),
    "Cast, truncated": ("Cast", 13, [floats(-2.7, 2.7, 0.5, -0.5, 1e6)], {"to": TensorProto.INT32}),
    "Cast to uint8": ("Cast", 13, [floats(2.7, 0.5, 255.5)], {"to": TensorProto.UINT8}),
    "Cast to int8": ("Cast", 13, [floats(-2.7, -128, 127.9)], {"to": TensorProto.INT8}),
    "Cast to bool": ("Cast", 13, [floats(-2.7, 0, 0.3, 1e-30)], {"to": TensorProto.BOOL}),
    "Cast of integers to bool": ("Cast", 13, [ints(-2, 0, 256)], {"to": TensorProto.BOOL}),
    "Cast of bool": ("Cast", 13, [np.array([True, False])], {"to": TensorProto.UINT8}),
    "Cast wraps": ("Cast", 13, [ints(-2, 0, 256, 300, LEAST, MOST)], {"to": TensorProto.UINT8}),
    "Cast wraps with a sign": ("Cast", 13, [ints(-2, 128, 65535, LEAST, kind=np.int64)], {"to": TensorProto.INT16}),
    "And with low bits": ("BitwiseAnd", 18, [ints(LEAST, -5, 300, MOST), ints(255)], {}),
}


def run(case: Case, evaluator: str, constants: int) -> None:
    operator, opset, inputs, attributes = case
    proto, given = node_model(operator, inputs, constants, opset, **attributes)
    proto.ir_version = 10 if opset > 18 else 8
    with np.errstate(all="ignore"):
        finite_check(proto, given, evaluator)


def finite_check(proto: Any, given: dict[str, Any], evaluator: str) -> None:
    """Infinities are equal, others within the tolerance relative to the answer; zeros would not be."""
    for wanted, got in zip(reference(proto, given, evaluator), converted(proto, given), strict=True):
        assert got.shape == (wanted.shape or (1,))
        tolerance = 2e-3 if wanted.dtype == np.float16 else 2e-5 if wanted.dtype.kind == "f" else 0
        np.testing.assert_allclose(
            got.astype(np.float64), wanted.astype(np.float64), rtol=tolerance, atol=tolerance * 1e-2
        )
        assert np.any(wanted)


TABLES = {"activations": ACTIVATIONS, "arithmetic": ARITHMETIC, "logic": LOGIC}
# Further inputs computed, or constants. Constant floats only as exponents of integers.
ALL = [
    (table, name, constants)
    for table, cases in TABLES.items()
    for name, (_, _, inputs, _) in cases.items()
    for constants in sorted({0, len(inputs) - 1})
    if (name, constants) != ("Pow of int64 by float", 0)
]


@pytest.mark.parametrize(("table", "name", "constants"), ALL)
def test_against_onnx_runtime(table: str, name: str, constants: int) -> None:
    run(TABLES[table][name], "onnxruntime", constants)


@pytest.mark.parametrize("name", BY_DEFINITION)
def test_by_definition(name: str) -> None:
    run(BY_DEFINITION[name], "onnx", 0)


HALF = {
    name: case
    for table in (ACTIVATIONS, ARITHMETIC)
    for name, case in table.items()
    if case[2][0].dtype == np.float32 and case[2][0].shape == X.shape and name != "Celu"  # ONNX has none
}


@pytest.mark.parametrize("name", HALF)
def test_float16(name: str) -> None:
    """The types of constants are the model's own."""
    operator, opset, inputs, attributes = HALF[name]
    halves = [None if item is None else item.astype(np.float16) for item in inputs]
    proto, given = node_model(operator, halves, len(inputs) - 1, opset, **attributes)
    wanted = reference(*node_model(operator, inputs, len(inputs) - 1, opset, **attributes), "onnxruntime")
    (got,) = converted(proto, given)
    np.testing.assert_allclose(got.astype(np.float32), wanted[0], rtol=1e-2, atol=1e-2)
    assert np.abs(wanted[0]).max() > 0.1


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes"),
    [
        ("Sub", [ints(1, kind=np.uint32), ints(2, kind=np.uint32)], {}),
        ("Pow", [ints(2, 3), floats(0.5, 1)], {}),
        ("Cast", [ints(-1)], {"to": TensorProto.UINT32}),
        ("BitShift", [ints(1, kind=np.uint32), ints(2, kind=np.uint32)], {"direction": "LEFT"}),
        ("BitwiseNot", [ints(1, kind=np.uint64)], {}),
    ],
)
def test_refused(operator: str, inputs: list[Any], attributes: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError):
        converted(*node_model(operator, inputs, 0, 18, **attributes))

"""Sizes, axes and bounds that a model computes: what the declared shapes tell, and what they do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from harness.errors import UnsupportedError
from tests.frontends.onnx.checking import check, converted, node_model

RANDOM = np.random.default_rng(8)
X = RANDOM.normal(size=(2, 3, 4)).astype(np.float32)


def vector(*items: int) -> Any:
    return np.array(items, np.int64)


# Operator, inputs, declared shapes of the outputs, attributes.
CASES: dict[str, tuple[str, list[Any], list[tuple[int, ...]], dict[str, Any]]] = {
    "reduced, one axis of several alike": ("ReduceSum", [X.reshape(2, 2, 6)[:, :, :2].copy(), vector(1)],
                                           [(2, 2)], {"keepdims": 0}),
    "reduced, two axes": ("ReduceMax", [X, vector(-1, 0)], [(1, 3, 1)], {}),
    "squeezed": ("Squeeze", [X[:, None], vector(1)], [(2, 3, 4)], {}),
    "unsqueezed": ("Unsqueeze", [X, vector(-1)], [(2, 3, 4, 1)], {}),
    "expanded": ("Expand", [X[:, :1], vector(5, 2, 3, 4)], [(5, 2, 3, 4)], {}),
    "tiled": ("Tile", [X, vector(1, 2, 3)], [(2, 6, 12)], {}),
    "split": ("Split", [X, vector(1, 3)], [(2, 3, 1), (2, 3, 3)], {"axis": 2}),
    "sliced backwards": ("Slice", [X, vector(-1, 0), vector(-9, 2), vector(2, 1), vector(-2, 1)], [(2, 2, 2)], {}),
    "sliced": ("Slice", [X, vector(1), vector(9), vector(2)], [(2, 3, 3)], {}),
    "greatest": ("TopK", [X, vector(2)], [(2, 3, 2), (2, 3, 2)], {}),
    "lower triangle": ("Trilu", [X, np.array(-1)], [(2, 3, 4)], {"upper": 0}),
    "sums along a computed axis": ("CumSum", [X, np.array(-2)], [(2, 3, 4)], {"reverse": 1}),
    "one hot": ("OneHot", [np.array([1, -1, 2]), np.array(4), np.array([0.5, 2], np.float32)], [(4, 3)], {"axis": 0}),
}  # fmt: skip


def declared(name: str) -> Any:
    operator, inputs, shapes, attributes = CASES[name]
    proto, given = node_model(operator, inputs, 0, 18, len(shapes), **attributes)
    for value, shape in zip(proto.graph.output, shapes, strict=True):
        kind = value.type.tensor_type.elem_type
        value.CopyFrom(helper.make_tensor_value_info(value.name, kind, shape))
    return proto, given


@pytest.mark.parametrize("name", CASES)
def test_declared_shapes_tell(name: str) -> None:
    check(*declared(name))


def test_several_axes_that_fit_are_refused() -> None:
    proto, given = node_model("ReduceSum", [np.ones((2, 2, 2), np.float32), vector(0, 1)], 0, 18, keepdims=0)
    kind = proto.graph.output[0].type.tensor_type.elem_type
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("y0", kind, (2,)))
    with pytest.raises(UnsupportedError, match="does not tell which"):
        converted(proto, given)


LOGIC: dict[str, tuple[str, list[Any], dict[str, Any]]] = {
    "and": ("BitwiseAnd", [np.array([7, -5, 2**31 - 1], np.int32), np.array([-2, 12, -(2**31)], np.int32)], {}),
    "or": ("BitwiseOr", [np.array([7, -5, 9], np.int32), np.array([-2, 12, 64], np.int32)], {}),
    "xor": ("BitwiseXor", [np.array([7, 250, 9], np.uint8), np.array([2, 12, 64], np.uint8)], {}),
    "shift": ("BitShift", [np.array([7, 250, 9], np.uint8), np.array([2, 1, 9], np.uint8)], {"direction": "LEFT"}),
    "division": ("Div", [np.array([7, -7, 9], np.int32), np.array([2, 2, -4], np.int32)], {}),
    "remainder": ("Mod", [np.array([7, -7, 9], np.int32), np.array([3, 3, -4], np.int32)], {}),
    "remainder of C": ("Mod", [np.array([7.5, -7, 9], np.float32), np.array([3, 3, -4], np.float32)], {"fmod": 1}),
    "sequence backwards": ("ReverseSequence", [X, np.array([2, 1, 2])], {}),
    "nonzero": ("NonZero", [np.array([[0, 2.0], [3, 0]], np.float32)], {}),
    "kept": ("Compress", [X, np.array([True, False, True])], {"axis": 1}),
    "determinant": ("Det", [RANDOM.normal(size=(2, 3, 3)).astype(np.float32)], {}),
}


@pytest.mark.parametrize("name", LOGIC)
def test_integers_and_selection(name: str) -> None:
    operator, inputs, attributes = LOGIC[name]
    proto, given = node_model(operator, inputs, 0, 18, **attributes)
    check(proto, given, evaluator="onnxruntime" if operator in ("Div", "NonZero", "Compress", "Det") else "onnx")

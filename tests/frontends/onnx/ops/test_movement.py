"""Reshapes, joins and repetitions of every type, opset by opset."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.errors import UnsupportedError
from tests.frontends.onnx.checking import check, converted, node_model

X = np.random.default_rng(19).normal(size=(3, 4, 5)).astype(np.float32)
X[0, 0, 0] = 1
TYPES = (np.float32, np.bool_, np.uint8, np.int32, np.int64)


def _as(dtype: Any) -> Any:
    return X > 0 if dtype is np.bool_ else (np.abs(X) * 60).astype(dtype)


@pytest.mark.parametrize("dtype", TYPES)
def test_of_every_type(dtype: Any) -> None:
    x = _as(dtype)
    for operator, inputs, opset, outputs, attributes in (
        ("Reshape", [x, [0, -1]], 13, 1, {}), ("Reshape", [x, [-1]], 7, 1, {}),
        ("Reshape", [x[:1, :1, :1], []], 7, 1, {}),
        ("Squeeze", [x[:, :1], [-2]], 13, 1, {}), ("Squeeze", [x[:, :1]], 13, 1, {}),
        ("Squeeze", [x[:, :1]], 11, 1, {"axes": [-2]}), ("Squeeze", [x[:1, :, :1]], 9, 1, {}),
        ("Unsqueeze", [x, [-1, 0]], 13, 1, {}), ("Unsqueeze", [x, [2]], 13, 1, {}),
        ("Unsqueeze", [x], 11, 1, {"axes": [4, 0]}),
        ("Concat", [x, x, x], 13, 1, {"axis": -1}), ("Concat", [x], 13, 1, {"axis": 0}),
        ("Split", [x, [1, 3]], 13, 2, {"axis": 1}), ("Split", [x], 11, 2, {"axis": -1, "split": [2, 3]}),
        ("Split", [x], 13, 2, {"axis": 1}), ("Split", [x], 18, 3, {"axis": 2, "num_outputs": 3}),
        ("Expand", [x[:, :1], [2, 1, 4, 1]], 13, 1, {}), ("Expand", [x, [1]], 13, 1, {}),
        ("Tile", [x, [1, 2, 3]], 13, 1, {}), ("Transpose", [x], 13, 1, {}),
        ("Transpose", [x], 13, 1, {"perm": [1, 0, 2]}),
        ("Flatten", [x], 13, 1, {"axis": 0}), ("Flatten", [x], 13, 1, {"axis": -1}),
        ("Flatten", [x], 9, 1, {"axis": 3}),
    ):  # fmt: skip
        arrays = [np.array(item, np.int64) if isinstance(item, list) else item for item in inputs]
        constants = sum(isinstance(item, list) for item in inputs)
        check(*node_model(operator, arrays, constants, opset, outputs, **attributes))


def test_flexible() -> None:
    for shape in ([0, -1], [0, 0, -1], [-1, 0, 0], [0, 2, 2, -1], [4, -1], [0, 0, 0, 1], [0, 4, 5], [-1]):
        check(*node_model("Reshape", [X, np.array(shape)], 1, 13, flexible=True))
        # Only the first axis is flexible.
        proto, inputs = node_model("Reshape", [X, np.array(shape)], 1, 13)
        if shape[0] == 0:
            proto.graph.input[0].type.tensor_type.shape.dim[0].Clear()
            proto.graph.output[0].type.tensor_type.shape.dim[0].Clear()
            check(proto, inputs)
    for axis in range(-3, 4):
        check(*node_model("Flatten", [X], 0, 13, flexible=True, axis=axis))
    for attributes in ({}, {"start": 1}, {"start": -2, "end": -1}):
        check(*node_model("Shape", [X], 0, 15, flexible=True, **attributes))
    check(*node_model("Size", [X], 0, 13, flexible=True))


@pytest.mark.parametrize("dtype", TYPES)
def test_computed_shapes(dtype: Any) -> None:
    """Which no declared shape tells."""
    x = _as(dtype)
    check(*node_model("Expand", [x[:, :1], np.array([2, 1, 4, 1])], 0, 13))
    check(*node_model("Expand", [x[:, :1], np.array([4, 1])], 0, 13))
    check(*node_model("Expand", [x[:, :1], np.array([4, 1])], 1, 13, flexible=True))
    for constants in (0, 1):
        check(*node_model("Tile", [x, np.array([1, 2, 3])], constants, 13, flexible=True))
    check(*node_model("Tile", [x, np.array([1, 2, 3])], 0, 13))


@pytest.mark.parametrize(("operator", "inputs", "outputs"), [
    ("Tile", [X, np.array([1, 0, 1])], 1), ("Expand", [X, np.array([0, 1, 1, 1])], 1),
    ("Slice", [X, np.array([2]), np.array([2])], 1),
])  # fmt: skip
def test_nothing_is_refused(operator: str, inputs: list[Any], outputs: int) -> None:
    with pytest.raises(UnsupportedError, match="without elements"):
        converted(*node_model(operator, inputs, len(inputs) - 1, 13, outputs))

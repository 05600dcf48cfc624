"""Padding in what ONNX's own suite lacks: every type, axis and mode."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from tests.frontends.onnx.checking import check, node_model

RANDOM = np.random.default_rng(7)
X = RANDOM.normal(size=(2, 3, 5, 4)).astype(np.float32) * 50
AMOUNTS = [
    [0, 0, 1, 2, 0, 0, 3, 0],
    [1, 0, 1, 0, 0, 2, 0, 3],
    [0, 0, -1, 1, 0, 0, 2, -2],
    [0, -1, 0, 0, -1, 0, 0, -1],
]
TYPES = (np.float32, np.int8, np.uint8, np.int32, np.int64, np.bool_)


@pytest.mark.parametrize(("mode", "dtype"), list(product(("constant", "reflect", "edge", "wrap"), TYPES)))
def test_pad(mode: str, dtype: Any) -> None:
    x = np.abs(X).astype(dtype) if dtype is not np.bool_ else X > 0
    for amounts in AMOUNTS:
        inputs = [x, np.array(amounts)]
        check(*node_model("Pad", inputs, 1, 19, mode=mode))
        if mode == "constant":
            check(*node_model("Pad", [*inputs, np.array(7).astype(dtype)], 2, 19))


def test_large_integers() -> None:
    """Beyond what float32 holds."""
    x = np.array([[2**24 + 1, 2**31 - 1]], np.int32)
    check(*node_model("Pad", [x, np.array([1, 0, 0, 2]), np.array(-(2**24) - 1, np.int32)], 2, 13), tolerance=0)


def test_computed_value() -> None:
    proto, inputs = node_model("Pad", [X, np.array([0, 0, 1, 2, 0, 0, 3, 0]), np.array(7, np.float32)], 2, 13)
    tensor = next(item for item in proto.graph.initializer if item.name == "x2")
    proto.graph.initializer.remove(tensor)
    value = type(proto.graph.input[0])(name="x2")
    value.type.tensor_type.elem_type = 1
    value.type.tensor_type.shape.SetInParent()
    proto.graph.input.append(value)
    check(proto, inputs | {"x2": np.array(7, np.float32)})


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_opset_2_and_flexible(mode: str) -> None:
    amounts = [0, 0, 1, 2, 0, 0, 3, 0]
    check(*node_model("Pad", [X], 0, 2 if mode == "none" else 10, mode=mode, pads=amounts, value=3.0))
    check(*node_model("Pad", [X, np.array(amounts)], 1, 13, flexible=True, mode=mode))


@pytest.mark.parametrize("shape", [[3, 8], [4, 3], [8, 2], [2, 9]])
def test_center_crop_pad(shape: list[int]) -> None:
    check(*node_model("CenterCropPad", [X, np.array(shape)], 1, 18, axes=[-2, 3]), evaluator="onnx")


@pytest.mark.parametrize(("operator", "mode", "dtype"), [
    ("DepthToSpace", "DCR", np.float32), ("DepthToSpace", "CRD", np.float32), ("SpaceToDepth", None, np.float32),
    ("DepthToSpace", "DCR", np.int32), ("DepthToSpace", "CRD", np.int32), ("SpaceToDepth", None, np.int32),
])  # fmt: skip
def test_space(operator: str, mode: str | None, dtype: Any) -> None:
    x = RANDOM.integers(0, 1000, (2, 8, 4, 6)).astype(dtype)
    evaluator = "onnxruntime" if dtype is np.float32 else "onnx"
    check(*node_model(operator, [x], 0, 13, blocksize=2, **({"mode": mode} if mode else {})), evaluator=evaluator)

"""Quantised operators against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.frontends.onnx.checking import check, node_model

RANDOM = np.random.default_rng(6)


def integers(kind: Any, *shape: int) -> Any:
    limits = np.iinfo(kind)
    return RANDOM.integers(limits.min, limits.max + 1, shape).astype(kind)


def scalar(value: float, kind: Any = np.float32) -> Any:
    return np.array(value, kind)


X = RANDOM.normal(0, 3, (2, 3, 4)).astype(np.float32)
SCALES = np.array([0.1, 0.02, 0.3], np.float32)

CASES: dict[str, tuple[str, list[Any], dict[str, Any]]] = {
    "to uint8": ("QuantizeLinear", [X, scalar(0.05), scalar(128, np.uint8)], {}),
    "to int8, each channel": ("QuantizeLinear", [X, SCALES, np.array([1, -2, 3], np.int8)], {"axis": 1}),
    "from int8, each channel": ("DequantizeLinear", [integers(np.int8, 2, 3, 4), SCALES], {"axis": 1}),
    "from uint8": ("DequantizeLinear", [integers(np.uint8, 2, 3), scalar(0.1), scalar(7, np.uint8)], {}),
    "matrices": (
        "MatMulInteger",
        [integers(np.uint8, 3, 5), integers(np.uint8, 5, 4), scalar(12, np.uint8), scalar(0, np.uint8)],
        {},
    ),
    "convolution": ("ConvInteger", [integers(np.uint8, 1, 2, 6, 6), integers(np.uint8, 3, 2, 3, 3),
                                    scalar(5, np.uint8)], {"pads": [1, 1, 1, 1]}),
    "quantised convolution": (
        "QLinearConv",
        [integers(np.uint8, 1, 2, 6, 6), scalar(0.02), scalar(100, np.uint8), integers(np.int8, 3, 2, 3, 3),
         SCALES, np.zeros(3, np.int8), scalar(0.6), scalar(120, np.uint8),
         RANDOM.integers(-500, 500, 3).astype(np.int32)],
        {"strides": [2, 2]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("are_constants", [False, True], ids=["computed", "constant"])
def test_operators(name: str, are_constants: bool) -> None:
    operator, inputs, attributes = CASES[name]
    # Constant weights, and bias, as ONNX Runtime wants them.
    constants = len(inputs) - 1 if are_constants or operator == "QLinearConv" else 0
    check(*node_model(operator, inputs, constants, 13, **attributes))

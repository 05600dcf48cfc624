"""Convolutions in what ONNX's own suite lacks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.errors import UnsupportedError
from tests.frontends.onnx.checking import check, converted, node_model

RANDOM = np.random.default_rng(4)


def normal(*shape: int) -> Any:
    return RANDOM.normal(size=shape).astype(np.float32)


CONV: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((2, 4, 9), (6, 4, 3), {"pads": [2, 1], "strides": [2]}),
    ((2, 4, 9), (6, 2, 3), {"group": 2, "dilations": [2], "auto_pad": "SAME_LOWER"}),
    ((1, 4, 7, 8), (4, 1, 3, 2), {"group": 4, "pads": [0, 1, 2, 3], "strides": [2, 1]}),
    ((1, 4, 7, 8), (5, 4, 3, 2), {"dilations": [2, 3], "auto_pad": "SAME_UPPER"}),
    ((1, 4, 7, 8), (5, 4, 3, 2), {"auto_pad": "VALID", "kernel_shape": [3, 2]}),
    ((1, 2, 5, 6, 4), (4, 1, 2, 3, 3), {"group": 2, "pads": [1, 0, 1, 0, 2, 1], "dilations": [1, 2, 1]}),
]
TRANSPOSED: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((2, 4, 5), (4, 3, 3), {"strides": [2], "output_padding": [1], "pads": [1, 0]}),
    ((2, 4, 5), (4, 1, 4), {"group": 2, "strides": [3], "dilations": [2]}),
    ((1, 4, 4, 5), (4, 3, 3, 2), {"strides": [2, 1], "auto_pad": "SAME_UPPER"}),
    ((1, 4, 4, 5), (4, 3, 3, 4), {"strides": [2, 1], "auto_pad": "SAME_LOWER"}),
    ((1, 4, 4, 5), (4, 3, 3, 3), {"strides": [2, 2], "output_shape": [8, 11]}),
    ((1, 4, 4, 5), (4, 3, 3, 3), {"strides": [3, 3], "pads": [2, 2, 2, 2], "output_padding": [2, 1]}),
    ((1, 4, 4, 5), (4, 1, 2, 2), {"group": 4, "dilations": [2, 3], "pads": [1, 2, 2, 3]}),
    ((1, 2, 3, 4, 3), (2, 2, 2, 3, 2), {"strides": [2, 1, 2], "pads": [0, 1, 0, 1, 1, 0]}),
]


@pytest.mark.parametrize("constants", [2, 1, 0])
@pytest.mark.parametrize(("shape", "weight", "attributes"), CONV)
def test_conv(shape: Any, weight: Any, attributes: Any, constants: int) -> None:
    inputs = [normal(*shape), normal(*weight), normal(weight[0])]
    # ONNX Runtime has no dilations with auto_pad.
    evaluator = "onnx" if "dilations" in attributes and "auto_pad" in attributes else "onnxruntime"
    check(*node_model("Conv", inputs, constants, 11, **attributes), evaluator=evaluator)


@pytest.mark.parametrize("constants", [2, 0])
@pytest.mark.parametrize(("shape", "weight", "attributes"), TRANSPOSED)
def test_conv_transpose(shape: Any, weight: Any, attributes: Any, constants: int) -> None:
    inputs = [normal(*shape), normal(*weight), normal(weight[1] * attributes.get("group", 1))]
    check(*node_model("ConvTranspose", inputs, constants, 11, **attributes))


def test_sizes_that_are_refused() -> None:
    """Windows less than the stride: ONNX's evaluator and ONNX Runtime differ."""
    inputs = [normal(1, 4, 4, 5), normal(4, 3, 3, 2)]
    for given in ({"auto_pad": "SAME_UPPER"}, {"auto_pad": "SAME_UPPER", "output_shape": [13, 16]}):
        with pytest.raises(UnsupportedError, match="no window reaches"):
            converted(*node_model("ConvTranspose", inputs, 1, 11, strides=[2, 3], **given))


def test_flexible_conv_transpose() -> None:
    inputs = [normal(1, 4, 4, 5), normal(4, 3, 4, 4)]
    check(*node_model("ConvTranspose", inputs, 1, 11, flexible=True, strides=[2, 2], pads=[1, 1, 1, 1]))


@pytest.mark.parametrize("attributes", [{"strides": [2, 3]}, {"pads": [1, 0, 2, 1], "strides": [3, 3]}])
def test_col2im(attributes: Any) -> None:
    """Strides that do not divide the image leave zeros at its end."""
    pads = attributes.get("pads", [0] * 4)
    grid = [(8 + pads[axis] + pads[axis + 2] - 2) // attributes["strides"][axis] + 1 for axis in (0, 1)]
    x = normal(2, 3 * 4, grid[0] * grid[1])
    check(*node_model("Col2Im", [x, np.array([8, 8]), np.array([2, 2])], 2, 18, **attributes))

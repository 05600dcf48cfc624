"""Sampling at computed places, in what ONNX's own suite lacks."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from tests.frontends.onnx.checking import check, node_model

RANDOM = np.random.default_rng(8)


def normal(*shape: int) -> Any:
    return RANDOM.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    ("mode", "padding", "align"),
    list(product(("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection"), (0, 1))),
)
def test_grid_sample(mode: str, padding: str, align: int) -> None:
    """Far outside too."""
    grid = RANDOM.uniform(-2.5, 2.5, size=(2, 4, 7, 2)).astype(np.float32)
    check(
        *node_model(
            "GridSample", [normal(2, 3, 5, 6), grid], 0, 16, mode=mode, padding_mode=padding, align_corners=align
        )
    )


@pytest.mark.parametrize(
    ("mode", "padding", "align"), list(product(("linear", "nearest"), ("zeros", "border", "reflection"), (0, 1)))
)
def test_volumes(mode: str, padding: str, align: int) -> None:
    grid = RANDOM.uniform(-1.5, 1.5, size=(2, 2, 3, 4, 3)).astype(np.float32)
    x = normal(2, 3, 4, 5, 6)
    check(*node_model("GridSample", [x, grid], 0, 20, mode=mode, padding_mode=padding, align_corners=align))


@pytest.mark.parametrize("constants", [2, 0])
@pytest.mark.parametrize("opset", [10, 16])
def test_roi_align(opset: int, constants: int) -> None:
    rois = np.array([[0, 0, 9, 7], [2.2, 1.1, 5.3, 4.9], [-3, -2, 4, 12], [5, 5, 5.2, 5.1]], np.float32)
    inputs = [normal(2, 3, 8, 10), rois, np.array([0, 1, 1, 0])]
    given = {"output_height": 3, "output_width": 4, "spatial_scale": 0.8}
    check(*node_model("RoiAlign", inputs, constants, opset, sampling_ratio=2, **given))
    if constants:
        check(*node_model("RoiAlign", inputs, constants, opset, **given))


@pytest.mark.parametrize("align", [0, 1])
@pytest.mark.parametrize("size", [[2, 3, 4, 5], [2, 3, 4, 5, 2]])
def test_affine_grid(size: list[int], align: int) -> None:
    theta = normal(2, len(size) - 2, len(size) - 1)
    check(*node_model("AffineGrid", [theta, np.array(size)], 1, 20, align_corners=align), evaluator="onnx")


@pytest.mark.parametrize(
    ("group", "offset_group", "attributes"),
    [(1, 1, {"pads": [1, 1, 1, 1]}), (2, 1, {"strides": [2, 1]}), (1, 2, {"dilations": [1, 2], "pads": [0, 1, 1, 2]})],
)
def test_deform_conv(group: int, offset_group: int, attributes: dict[str, Any]) -> None:
    strides, rates, pads = (attributes.get(name, other) for name, other in
                            (("strides", [1, 1]), ("dilations", [1, 1]), ("pads", [0] * 4)))  # fmt: skip
    out = [(size + pads[at] + pads[at + 2] - 2 * rates[at] - 1) // strides[at] + 1 for at, size in enumerate((6, 7))]
    inputs = [
        normal(2, 4, 6, 7), normal(6, 4 // group, 3, 3), normal(2, offset_group * 18, *out), normal(6),
        normal(2, offset_group * 9, *out),
    ]  # fmt: skip
    proto = node_model("DeformConv", inputs, 0, 19, group=group, offset_group=offset_group, **attributes)
    check(*proto, evaluator="onnx")

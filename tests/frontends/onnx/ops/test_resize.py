"""Resize in what ONNX's own suite lacks: every combination of modes, and opsets before 19."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from harness.errors import UnsupportedError
from tests.frontends.onnx.checking import check, converted, node_model

RANDOM = np.random.default_rng(3)
IMAGE = RANDOM.normal(size=(2, 3, 5, 6)).astype(np.float32)
COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
SCALES = ([1, 1, 2, 3], [1, 1, 0.6, 1.5])
SIZES = ([2, 3, 9, 4], [2, 3, 10, 12], [2, 3, 1, 3])
ROUNDING = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


def resize(opset: int = 19, image: Any = IMAGE, scales: Any = None, sizes: Any = None, **attributes: Any) -> Any:
    inputs = [image, None, None, None]
    if opset < 13:
        inputs[1] = inputs[2] = np.zeros(0, np.float32)
    if scales is not None:
        inputs = [*inputs[:2], np.array(scales, np.float32)]
    else:
        inputs[3] = np.array(sizes)
    return node_model("Resize", inputs, len(inputs) - 1, opset, **attributes)


@pytest.mark.parametrize(("coordinates", "rounding"), list(product(COORDINATES, ROUNDING)))
def test_nearest(coordinates: str, rounding: str) -> None:
    for scales in SCALES:
        if coordinates == "align_corners" and scales is SCALES[1]:
            continue  # ONNX Runtime and ONNX differ
        check(*resize(scales=scales, coordinate_transformation_mode=coordinates, nearest_mode=rounding))
    for sizes in SIZES:
        check(*resize(sizes=sizes, coordinate_transformation_mode=coordinates, nearest_mode=rounding))


@pytest.mark.parametrize(
    ("mode", "coordinates"), list(product(("linear", "cubic"), (*COORDINATES, "half_pixel_symmetric")))
)
def test_interpolated(mode: str, coordinates: str) -> None:
    for scales in SCALES:
        if coordinates == "align_corners" and scales is SCALES[1]:
            continue
        check(*resize(scales=scales, mode=mode, coordinate_transformation_mode=coordinates))
    for sizes in SIZES:
        check(*resize(sizes=sizes, mode=mode, coordinate_transformation_mode=coordinates))


@pytest.mark.parametrize("scales", [[1, 1, 0.6, 1.5], [2, 1, 0.4, 0.6]])
def test_align_corners_of_fractions(scales: list[float]) -> None:
    """A size that is no whole number, as ONNX has it."""
    check(*resize(scales=scales, mode="linear", coordinate_transformation_mode="align_corners"), evaluator="onnx")


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("sizes", [[2, 3, 2, 3], [2, 3, 3, 9]])
def test_antialias(mode: str, sizes: list[int]) -> None:
    check(*resize(sizes=sizes, mode=mode, antialias=1), evaluator="onnx")
    check(*resize(sizes=sizes, mode=mode, antialias=1, exclude_outside=1))


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_opsets(opset: int) -> None:
    check(*resize(opset, sizes=[2, 3, 7, 4], mode="linear"))
    check(*resize(opset, scales=[1, 1, 2, 2], mode="nearest", nearest_mode="floor",
                  coordinate_transformation_mode="asymmetric"))  # fmt: skip
    check(*resize(opset, sizes=[2, 3, 7, 9], mode="cubic", exclude_outside=1, cubic_coeff_a=-0.5))
    if opset < 13:
        check(*resize(opset, scales=[1, 1, 1.5, 1.5], coordinate_transformation_mode="tf_half_pixel_for_nn",
                      nearest_mode="floor"))  # fmt: skip


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("scales", [[1, 1, 2, 3], [1, 1, 0.5, 0.7], [1, 1, 1.6, 1]])
def test_before_opset_11(mode: str, scales: list[float]) -> None:
    vector = np.array(scales, np.float32)
    check(*node_model("Resize", [IMAGE, vector], 1, 10, mode=mode))
    if min(scales) >= 1:
        check(*node_model("Upsample", [IMAGE, vector], 1, 9, mode=mode))
        check(*node_model("Upsample", [IMAGE], 0, 7, mode=mode, scales=[float(scale) for scale in scales]))


def test_crop() -> None:
    roi = np.array([0, 0, 0.2, -0.3, 1, 1, 0.9, 1.2], np.float32)
    for mode in ("nearest", "linear"):
        proto = node_model(
            "Resize", [IMAGE, roi, None, np.array([2, 3, 4, 7])], 3, 19, mode=mode, extrapolation_value=9.0,
            coordinate_transformation_mode="tf_crop_and_resize",
        )  # fmt: skip
        check(*proto)


@pytest.mark.parametrize("shape", [(2, 5), (3, 4, 5), (1, 2, 4, 5, 3)])
def test_ranks(shape: tuple[int, ...]) -> None:
    image = RANDOM.normal(size=shape).astype(np.float32)
    sizes = [size if axis < len(shape) - 2 else size * 2 - 1 for axis, size in enumerate(shape)]
    for mode in ("nearest", "linear"):
        check(*resize(image=image, sizes=sizes, mode=mode))
    # Axes in the middle.
    check(*resize(image=image, sizes=[shape[0] * 2, *shape[1:]], mode="linear"), evaluator="onnx")


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
def test_aspect_ratio(policy: str) -> None:
    check(*resize(sizes=[8, 7], axes=[2, 3], mode="linear", keep_aspect_ratio_policy=policy), evaluator="onnx")


def test_integers() -> None:
    image = RANDOM.integers(0, 255, (1, 3, 4, 4), dtype=np.uint8)
    check(*resize(image=image, scales=[1, 1, 2, 2]))
    with pytest.raises(UnsupportedError, match="interpolated integers"):
        converted(*resize(image=image, scales=[1, 1, 2, 2], mode="linear"))


@pytest.mark.parametrize(
    "attributes",
    [
        {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
        {"mode": "linear"},
        {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"},
        {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
    ],
)
def test_flexible_sizes(attributes: dict[str, Any]) -> None:
    inputs = [IMAGE, None, np.array([1, 1, 2, 3], np.float32)]
    check(*node_model("Resize", inputs, 2, 18, flexible=True, **attributes))

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.errors import PackageError
from harness.quiet import quiet_imports
from harness.runtimes.portable.ops import crop_resize as module

with quiet_imports():
    import coremltools as ct
    import tensorflow as tf
    from coremltools.converters.mil.mil import Builder as mb

Function = Callable[..., Any]
SIXTEEN = np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)
MODES = ["DEFAULT", "STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "OFFSET_CORNERS", "UNALIGN_CORNERS"]
# Corners (top, left, bottom, right) in pixels of a 6 x 8 image; the last two leave it.
BOXES = np.array([[1, 2, 4, 6], [0, 0, 5, 7], [2.25, 1.5, 3.75, 1.5], [-1, 3, 2, 9], [3.5, -2, 7, 4]], np.float32)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def points(mode: str, start: float, end: float, count: int) -> list[float]:
    """The formulas of resize_bilinear for Xin = end - start + 1, moved by ``start``."""
    size = end - start + 1
    if mode == "ALIGN_CORNERS" and count == 1:
        return [(start + end) / 2]
    grids: dict[str, Callable[[int], float]] = {
        "ALIGN_CORNERS": lambda i: i * (size - 1) / max(count - 1, 1),
        "STRICT_ALIGN_CORNERS": lambda i: i * (size - 1) / max(count - 1, 1),
        "DEFAULT": lambda i: i * size / count,
        "OFFSET_CORNERS": lambda i: (i + 0.5) * max(1, size - 1) / count,
        "UNALIGN_CORNERS": lambda i: (i + 0.5) * size / count - 0.5,
    }
    return [start + min(max(grids[mode](i), 0), size - 1) for i in range(count)]


def cropped(image: np.ndarray, box: Any, height: int, width: int, mode: str, pad: float) -> np.ndarray:
    """(C, height, width) of an image (C, H, W)."""
    top, left, bottom, right = (float(number) for number in box)
    result = np.full((len(image), height, width), float(pad))
    for i, y in enumerate(points(mode, top, bottom, height)):
        for j, x in enumerate(points(mode, left, right, width)):
            if 0 <= y <= image.shape[1] - 1 and 0 <= x <= image.shape[2] - 1:
                rows = np.maximum(0, 1 - np.abs(y - np.arange(image.shape[1])))
                columns = np.maximum(0, 1 - np.abs(x - np.arange(image.shape[2])))
                result[:, i, j] = np.einsum("chw,h,w->c", image.astype(np.float64), rows, columns)
    return result


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(3, 5), (1, 2), (9, 1)])
@pytest.mark.parametrize("order", ["CORNERS_HEIGHT_FIRST", "CORNERS_WIDTH_FIRST", "CENTER_SIZE_HEIGHT_FIRST",
                                   "CENTER_SIZE_WIDTH_FIRST"])  # fmt: skip
def test_boxes(run: Function, mode: str, size: tuple[int, int], order: str) -> None:
    x, indices = noise(2, 3, 6, 8), np.array([1, 0, 1, 1, 0], np.int32)
    height = BOXES[:, [0, 2]]
    width = BOXES[:, [1, 3]]
    if order.startswith("CENTER"):
        height, width = (np.stack([s.mean(axis=1), s[:, 1] - s[:, 0] + 1], axis=1) for s in (height, width))
    first, second = (height, width) if "HEIGHT" in order else (width, height)
    boxes = np.stack([first[:, 0], second[:, 0], first[:, 1], second[:, 1]], axis=1).astype(np.float32)
    [result] = run(
        lambda x, boxes, indices: mb.crop_resize(
            x=x, boxes=boxes, box_indices=indices, target_height=size[0], target_width=size[1],
            box_coordinate_mode=order, sampling_mode=mode, pad_value=-3.0,
        ),
        {"x": x, "boxes": boxes, "indices": indices}, target=ct.target.iOS17,
    )  # fmt: skip
    expected = [cropped(x[k], box, *size, mode, -3.0) for k, box in zip(indices, BOXES, strict=True)]
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("target", [ct.target.iOS15, ct.target.iOS16])
@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize("normalized", [True, False])
def test_roi(run: Function, target: Any, indexed: bool, normalized: bool) -> None:
    x, scale = noise(2, 3, 6, 8), 0.5
    divided = BOXES / (np.array([5, 7, 5, 7], np.float32) if normalized else np.float32(1)) / np.float32(scale)
    indices = [1, 0, 1, 1, 0]
    roi = np.insert(divided, 0, indices, axis=1) if indexed else divided
    more = {"pad_value": 2.0} if target == ct.target.iOS16 else {}
    [result] = run(
        lambda x, roi: mb.crop_resize(
            x=x, roi=roi, target_height=3, target_width=4, normalized_coordinates=normalized, spatial_scale=scale,
            sampling_mode="OFFSET_CORNERS", **more,
        ),
        {"x": x, "roi": roi.astype(np.float32).reshape(5, 1, -1, 1, 1)}, target=target,
    )  # fmt: skip
    images = [[index] if indexed else [0, 1] for index in indices]
    expected = [
        [cropped(x[k], box, 3, 4, "OFFSET_CORNERS", more.get("pad_value", 0.0)) for k in chosen]
        for chosen, box in zip(images, BOXES, strict=True)
    ]
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


def test_one_box_for_each_image_by_default(run: Function) -> None:
    x = noise(2, 1, 6, 8)
    [result] = run(lambda x: mb.crop_resize(x=x, boxes=BOXES[:2], target_height=2, target_width=3), {"x": x})
    expected = [cropped(x[k], BOXES[k], 2, 3, "DEFAULT", 0) for k in range(2)]
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


def test_matches_tensorflow(run: Function) -> None:
    x = noise(2, 3, 6, 8)
    boxes = np.array([[0.1, 0.2, 0.8, 0.9], [0.9, 0.7, 0.1, 0.2], [0.3, -0.4, 1.2, 0.5]], np.float32)
    indices = np.array([0, 1, 1], np.int32)
    expected = tf.image.crop_and_resize(x.transpose(0, 2, 3, 1), boxes, indices, [4, 5], extrapolation_value=7)
    [result] = run(
        lambda x: mb.crop_resize(
            x=x, boxes=boxes, box_indices=indices, target_height=4, target_width=5, normalized_coordinates=True,
            sampling_mode="ALIGN_CORNERS", pad_value=7.0,
        ),
        {"x": x}, target=ct.target.iOS17,
    )  # fmt: skip
    np.testing.assert_allclose(result, np.transpose(expected, (0, 3, 1, 2)), rtol=1e-4, atol=1e-5)


# coremltools' tests of iOS14, iOS15 and iOS16, which compare with devices.
DEVICE_CASES: list[tuple[list[Any], int, bool, str, list[float]]] = [
    ([[1, 1, 2, 2]], 2, False, "ALIGN_CORNERS", [6, 7, 10, 11]),
    ([[1, 1, 2, 2]], 1, False, "ALIGN_CORNERS", [8.5]),
    ([[0, 0, 0, 1 / 3, 1 / 3]], 2, True, "ALIGN_CORNERS", [1, 2, 5, 6]),
    ([[2, 2, 1, 1]], 2, False, "ALIGN_CORNERS", [11, 10, 7, 6]),
    ([[2, 2, 1, 1]], 2, True, "UNALIGN_CORNERS", [3.5, 5.5, 11.5, 13.5]),
    ([[0, 0.1, 0.3, 1.3, 1], [0, 0.5, 1.8, 1, 0.3], [0, 0, 0.4, 0.6, 0.7]], 2, True, "ALIGN_CORNERS",
     [3.1, 5.2, 10, 10, 10, 7.9, 10, 13.9, 2.2, 3.1, 9.4, 10.3]),
]  # fmt: skip


@pytest.mark.parametrize(("roi", "size", "normalized", "mode", "expected"), DEVICE_CASES)
def test_values_of_devices(
    run: Function, roi: list[Any], size: int, normalized: bool, mode: str, expected: list[float]
) -> None:
    boxes = np.array(roi, np.float32).reshape(len(roi), 1, -1, 1, 1)
    [result] = run(
        lambda x: mb.crop_resize(
            x=x, roi=boxes, target_height=size, target_width=size, normalized_coordinates=normalized,
            sampling_mode=mode, pad_value=10.0,
        ),
        {"x": SIXTEEN}, target=ct.target.iOS16,
    )  # fmt: skip
    np.testing.assert_allclose(result.reshape(-1), expected, rtol=1e-4)


def test_the_last_point_of_a_box_stays_in_the_image(run: Function) -> None:
    """a + (b - a) is not always b in float32; a point beyond the border would be the padding."""
    x = noise(1, 1, 64, 64)
    boxes = np.random.default_rng(0).uniform(0, 0.9, (50, 4)).astype(np.float32)
    boxes[:, 2:] = 1
    [result] = run(
        lambda x: mb.crop_resize(
            x=x, boxes=boxes, box_indices=np.zeros(50, np.int32), target_height=4, target_width=4,
            normalized_coordinates=True, sampling_mode="ALIGN_CORNERS", pad_value=1000.0,
        ),
        {"x": x}, target=ct.target.iOS17,
    )  # fmt: skip
    assert np.abs(result).max() < 10
    np.testing.assert_allclose(result[:, 0, -1, -1], x[0, 0, -1, -1], rtol=1e-5)


@pytest.mark.parametrize("shape", [(3, 5, 8), (2, 3, 5, 8), (1, 2, 3, 5, 8)])
def test_crop(run: Function, lower: Function, shape: tuple[int, ...]) -> None:
    x = noise(*shape)
    [result] = run(
        lambda x: mb.crop(x=x, crop_height=[0, 1], crop_width=[2, 0]), {"x": x},
        precision="float16", numerics="float16",
    )  # fmt: skip
    assert np.array_equal(result, x[..., :4, 2:].astype(np.float16).astype(np.float32))
    unknown = lower(module.crop, {"x": x}, crop_height=(1, 2), crop_width=(3, 4))
    assert np.array_equal(unknown, x[..., 1:3, 3:4])


def test_float16(run: Function) -> None:
    [result] = run(
        lambda x: mb.crop_resize(
            x=x, boxes=np.array([[0, 0, 3, 3]], np.float32), target_height=3, target_width=2,
            sampling_mode="ALIGN_CORNERS",
        ),
        {"x": SIXTEEN / 3}, precision="float16", numerics="float16",
    )  # fmt: skip
    expected = cropped(SIXTEEN[0] / 3, [0, 0, 3, 3], 3, 2, "ALIGN_CORNERS", 0)
    assert np.array_equal(result, result.astype(np.float16))
    np.testing.assert_allclose(result[0], expected, rtol=2e-3)
    assert math.isclose(float(result[0, 0, 0, 0]), 1 / 3, rel_tol=1e-3)


def test_refuses_what_mil_has_not(lower: Function) -> None:
    x = {"x": noise(1, 1, 4, 4)}
    with pytest.raises(PackageError, match="roi or boxes"):
        lower(module.crop_resize, x)
    with pytest.raises(PackageError, match="box_coordinate_mode"):
        lower(module.crop_resize, x | {"boxes": BOXES}, box_coordinate_mode="CORNERS")

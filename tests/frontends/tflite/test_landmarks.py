"""MediaPipe's crops about landmarks, against models of its kernels: the interpreter in TensorFlow lacks them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flatbuffers import flexbuffers

from harness.errors import ConversionError
from harness.frontends.tflite.convert import convert_tflite
from harness.frontends.tflite.reader import parse_graph
from harness.runtimes import portable
from tests.frontends.tflite.building import Tensor, one_operator

RANDOM = np.random.default_rng(23)
SUBSET = [3, 8, 8, 11, 1]
IN_PIXELS = {
    "subset_idxs": SUBSET, "left_rotation_idx": 2, "right_rotation_idx": 9, "target_rotation_radians": 0.7,
    "output_height": 5, "output_width": 8, "scale_x": 1.5, "scale_y": 1.25,
}  # fmt: skip
IN_RANGE = {
    "input_hw": [20, 30], "output_hw": [5, 8], "dimensions": 3, "landmarks_range": 64, "bbox_size_multiplier": 1.5,
    "left_rotation_idx": 2, "right_rotation_idx": 9, "subset": SUBSET,
}  # fmt: skip


def run(
    operator: str, version: int, options: dict[str, Any] | None, inputs: list[Any], shape: tuple[int, ...], folder: Path
) -> Any:
    content = one_operator(
        operator, [Tensor(x.shape) for x in inputs], [Tensor(shape)], version=version,
        custom_options=b"" if options is None else bytes(flexbuffers.Dumps(options)),
    )  # fmt: skip
    artifact = convert_tflite(parse_graph(content, "model"), "float32", folder / "a.mlpackage")
    given = {f"input_{index}": value.astype(np.float32) for index, value in enumerate(inputs)}
    return portable.load(artifact.path).predict(given)["output_0"]


def turn(angle: float) -> Any:
    return np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])


def affine(scale: Any, offset: Any) -> Any:
    return np.array([[scale[0], 0, offset[0]], [0, scale[1], offset[1]], [0, 0, 1]])


def as_kernels_write_it(matrix: Any) -> Any:
    whole = np.eye(4)
    whole[:2, :2], whole[:2, 3] = matrix[:2, :2], matrix[:2, 2]
    return whole[None]


def box(points: Any, angle: float) -> tuple[Any, Any]:
    """The size of the upright box about the turned subset, and its middle turned back."""
    turned = points[SUBSET, :2] @ turn(angle)[:2, :2].T
    low, high = turned.min(axis=0), turned.max(axis=0)
    return high - low, turn(-angle)[:2, :2] @ ((low + high) / 2)


def matrix_in_pixels(points: Any, options: dict[str, Any]) -> Any:
    dx, dy = points[options["right_rotation_idx"], :2] - points[options["left_rotation_idx"], :2]
    angle = options["target_rotation_radians"] - math.atan2(dy, dx)
    size, middle = box(points, angle)
    crop = np.array([options["output_width"], options["output_height"]])
    scale = np.array([options["scale_x"], options["scale_y"]]) * size / crop
    return as_kernels_write_it(
        affine((1, 1), middle) @ turn(-angle) @ affine(scale, (0, 0)) @ affine((1, 1), -crop / 2)
    )


def matrix_in_range(points: Any, options: dict[str, Any]) -> Any:
    dx, dy = points[options["right_rotation_idx"], :2] - points[options["left_rotation_idx"], :2]
    angle = -math.atan(dy / dx) if dx else -math.copysign(math.pi / 2, dy)
    size, middle = box(points, angle)
    rotation = turn(-angle)
    rotation[:2, 2] = middle / options["landmarks_range"] * 2 - 1
    whole, crop = (np.array(options[name][::-1]) - 1 for name in ("input_hw", "output_hw"))
    scale = size * options["bbox_size_multiplier"] / options["landmarks_range"]
    to_relative, to_absolute = affine(2 / crop, (-1, -1)), affine(whole / 2, whole / 2)
    return as_kernels_write_it(to_absolute @ rotation @ affine(scale, (0, 0)) @ to_relative)


def across(dx: float, dy: float) -> Any:
    """Landmarks of which the ninth lies so from the second."""
    points = RANDOM.uniform(0, 60, (12, 3))
    points[9, :2] = points[2, :2] + (dx, dy)
    return points.astype(np.float32).astype(np.float64)


@pytest.mark.parametrize(
    "direction", [(20, 7), (-9, 4), (-12, -30), (3, -8), (0, 5), (0, -5), (-6, 0), (4, 0), (1e-5, 2e-5)]
)
def test_matrix_of_a_crop(direction: tuple[float, float], tmp_path: Path) -> None:
    points = across(*direction)
    for version, options, kernel, shape in (
        (1, IN_RANGE, matrix_in_range, (1, 1, 1, 36)),
        (2, IN_PIXELS, matrix_in_pixels, (1, 12, 3)),
    ):
        found = run("Landmarks2TransformMatrix", version, options, [points.reshape(shape)], (1, 4, 4), tmp_path)
        np.testing.assert_allclose(found, kernel(points, options), rtol=1e-5, atol=2e-5)


def test_landmarks_at_one_place_have_no_direction(tmp_path: Path) -> None:
    points = across(0, 0)
    found = run("Landmarks2TransformMatrix", 2, IN_PIXELS, [points[None]], (1, 4, 4), tmp_path)
    np.testing.assert_allclose(found, matrix_in_pixels(points, IN_PIXELS), rtol=1e-5, atol=2e-5)


def crop(x: Any, matrix: Any, sizes: tuple[int, int], corner: float) -> Any:
    result = np.zeros((1, *sizes, x.shape[3]))
    for row, column in np.ndindex(*sizes):
        place = matrix[0, :2] @ [column + corner, row + corner, 0, 1] - corner
        if (place < 0).any() or place[0] > x.shape[2] - 1 or place[1] > x.shape[1] - 1:
            continue
        (left, top), (right, low) = np.floor(place).astype(int), np.ceil(place).astype(int)
        along_x, along_y = place - (left, top)
        upper = x[0, top, left] * (1 - along_x) + x[0, top, right] * along_x
        lower = x[0, low, left] * (1 - along_x) + x[0, low, right] * along_x
        result[0, row, column] = upper * (1 - along_y) + lower * along_y
    return result


@pytest.mark.parametrize(
    "matrix",
    [
        [[0.9, -0.35, 0, 1.3], [0.4, 0.8, 0, 0.23]],  # partly outside
        [[1, 0, 0, 0], [0, 1, 0, 0]],  # on the pixels and on the border
        [[-1.5, 0.25, 0, 9.75], [0.5, -0.75, 0, 4.5]],
    ],
)
def test_crop(matrix: list[list[float]], tmp_path: Path) -> None:
    x, whole = RANDOM.normal(size=(1, 6, 11, 3)), np.eye(4)[None]
    whole[0, :2] = matrix
    shape = (1, 7, 9, 3)
    for operator, version, corner, options in (
        ("TransformTensor", 1, 0, {"mode": "bilinear", "output_size": [7, 9]}),
        ("TransformTensorBilinear", 1, 0, {"output_size": [7, 9]}),
        ("TransformTensorBilinear", 2, 0.5, {"output_height": 7, "output_width": 9}),
    ):
        expected = crop(x, whole, (7, 9), corner)
        found = run(operator, version, options, [x, whole], shape, tmp_path)
        np.testing.assert_allclose(found, expected, atol=2e-5)
        assert 0.05 < (expected == 0).mean() < 0.95


@pytest.mark.parametrize("dimensions", [2, 3])
def test_landmarks_on_the_image(dimensions: int, tmp_path: Path) -> None:
    points, matrix = RANDOM.normal(size=(12, dimensions)), RANDOM.normal(size=(1, 4, 4))
    for version, options, scale, shape in (
        (1, {"dimensions": dimensions, "scale": 2.5}, 2.5, (1, 2, 1, 6 * dimensions)),
        (2, None, 1, (1, 12, dimensions)),
    ):
        expected = points.copy()
        expected[:, :2] = points[:, :2] @ matrix[0, :2, :2].T + scale * matrix[0, :2, 3]
        found = run("TransformLandmarks", version, options, [points.reshape(shape), matrix], shape, tmp_path)
        np.testing.assert_allclose(found, expected.reshape(shape), atol=1e-5)


@pytest.mark.parametrize(
    ("operator", "version", "options", "shapes"),
    [
        ("Landmarks2TransformMatrix", 2, IN_PIXELS | {"subset_idxs": [1, 12]}, [(1, 12, 3)]),
        ("Landmarks2TransformMatrix", 2, IN_PIXELS | {"left_rotation_idx": -1}, [(1, 12, 3)]),
        ("Landmarks2TransformMatrix", 2, IN_PIXELS | {"subset_idxs": []}, [(1, 12, 3)]),
        ("Landmarks2TransformMatrix", 2, IN_PIXELS | {"scale_x": 0.0}, [(1, 12, 3)]),
        ("Landmarks2TransformMatrix", 2, IN_PIXELS | {"another": 1}, [(1, 12, 3)]),
        ("Landmarks2TransformMatrix", 2, {}, [(1, 12, 3)]),
        ("Landmarks2TransformMatrix", 1, IN_RANGE | {"output_hw": [5, 1]}, [(1, 1, 1, 36)]),
        ("Landmarks2TransformMatrix", 1, IN_RANGE | {"dimensions": 2}, [(1, 1, 1, 36)]),
        ("TransformTensor", 1, {"mode": "nearest", "output_size": [2, 2]}, [(1, 4, 4, 1), (1, 4, 4)]),
        ("TransformTensorBilinear", 2, {"output_height": 0, "output_width": 2}, [(1, 4, 4, 1), (1, 4, 4)]),
        ("TransformTensorBilinear", 2, {"output_height": 2, "output_width": 2}, [(2, 4, 4, 1), (1, 4, 4)]),
        ("TransformLandmarks", 1, {"dimensions": 4}, [(1, 1, 1, 12), (1, 4, 4)]),
        ("TransformLandmarks", 2, None, [(1, 12, 4), (1, 4, 4)]),
    ],
)
def test_what_describes_no_crop_is_refused(
    operator: str, version: int, options: dict[str, Any] | None, shapes: list[tuple[int, ...]], tmp_path: Path
) -> None:
    with pytest.raises(ConversionError, match=operator):
        run(operator, version, options, [np.zeros(shape) for shape in shapes], (1, 4, 4), tmp_path)

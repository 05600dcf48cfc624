from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.errors import PackageError
from harness.quiet import quiet_imports
from harness.runtimes.portable.ops import sampling

with quiet_imports():
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb

Function = Callable[..., Any]
PADDINGS = ["constant", "border", "reflection", "symmetric"]
COORDINATES = ["unnormalized", "normalized_minus_one_to_one", "normalized_zero_to_one"]


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def pixel(coordinate: float, size: int, mode: str, align_corners: bool) -> float:
    if mode == "unnormalized":
        return coordinate
    share = (coordinate + 1) / 2 if mode == "normalized_minus_one_to_one" else coordinate
    return share * (size - 1) if align_corners else share * size - 0.5


def folded(coordinate: float, size: int, padding: str) -> float:
    """Mirror step by step until it is inside."""
    low, high = (-0.5, size - 0.5) if padding == "symmetric" else (0.0, size - 1.0)
    if padding in ("reflection", "symmetric"):
        if high == low:
            return low
        while not low <= coordinate <= high:
            coordinate = 2 * low - coordinate if coordinate < low else 2 * high - coordinate
    return coordinate if padding == "constant" else min(max(coordinate, 0), size - 1)


def sampled(
    x: np.ndarray, coordinates: np.ndarray, kind: str, padding: str, value: float, mode: str, align_corners: bool
) -> np.ndarray:
    """One output pixel at a time, in float64."""
    batch, channels, height, width = x.shape
    result = np.zeros((batch, channels, *coordinates.shape[1:3]))
    for image, row, column in np.ndindex(batch, *coordinates.shape[1:3]):
        across, down = (float(number) for number in coordinates[image, row, column])
        px = folded(pixel(across, width, mode, align_corners), width, padding)
        py = folded(pixel(down, height, mode, align_corners), height, padding)

        def tap(i: int, j: int, image: int = image) -> np.ndarray:
            if 0 <= i < height and 0 <= j < width:
                return x[image, :, i, j].astype(np.float64)
            return np.full(channels, value)

        if kind == "nearest":
            result[image, :, row, column] = tap(round(py), round(px))
            continue
        i, j = math.floor(py), math.floor(px)
        for di, dj in itertools.product((0, 1), (0, 1)):
            weight = (1 - abs(py - i - di)) * (1 - abs(px - j - dj))
            if weight > 0:
                result[image, :, row, column] += weight * tap(i + di, j + dj)
    return result


@pytest.mark.parametrize("kind", ["bilinear", "nearest"])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("mode", COORDINATES)
@pytest.mark.parametrize("align_corners", [True, False])
def test_resample(run: Function, kind: str, padding: str, mode: str, align_corners: bool) -> None:
    x = noise(2, 3, 5, 7)
    coordinates = noise(2, 6, 4, 2, seed=1) * (8 if mode == "unnormalized" else 2)
    arguments = {
        "sampling_mode": kind, "padding_mode": padding, "padding_value": 0.7, "coordinates_mode": mode,
        "align_corners": align_corners,
    }  # fmt: skip
    [result] = run(
        lambda x, coordinates: mb.resample(x=x, coordinates=coordinates, **arguments),
        {"x": x, "coordinates": coordinates}, target=ct.target.iOS15,
    )  # fmt: skip
    expected = sampled(x, coordinates, kind, padding, 0.7, mode, align_corners)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


# coremltools' iOS15/test_image_resizing.py: the arguments, and what devices give for both coordinate tensors.
DEVICE_CASES: list[tuple[tuple[Any, ...], list[float], list[float]]] = [
    (("bilinear", "constant", 6.17, "normalized_minus_one_to_one", True), [8.585, 6.17, 27.5, 6.17],
     [27.5, 44, 27.5, 44]),
    (("nearest", "border", -1.0, "unnormalized", False), [11, 11, 11, 44], [11, 44, 11, 44]),
    (("bilinear", "reflection", -1.0, "normalized_zero_to_one", True), [22, 36.3, 11, 34.1], [11, 44, 11, 44]),
    (("nearest", "symmetric", -1.0, "normalized_zero_to_one", False), [22, 33, 11, 33], [11, 44, 11, 44]),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "floats", "integers"), DEVICE_CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_resample_gives_the_values_of_devices(
    run: Function, arguments: tuple[Any, ...], floats: list[float], integers: list[float], dtype: Any
) -> None:
    x = np.array([11, 22, 33, 44], np.float32).reshape(1, 1, 2, 2)
    numbers = [-1, -2, -3.7, -1, 0, 0, 3.5, 1.2] if dtype is np.float32 else [0, 0, 1, 1, 0, 0, 1, 1]
    names = ("sampling_mode", "padding_mode", "padding_value", "coordinates_mode", "align_corners")
    [result] = run(
        lambda x, coordinates: mb.resample(x=x, coordinates=coordinates, **dict(zip(names, arguments, strict=True))),
        {"x": x, "coordinates": np.array(numbers, dtype).reshape(1, 2, 2, 2)},
    )
    np.testing.assert_allclose(result.reshape(-1), floats if dtype is np.float32 else integers, rtol=1e-5)


@pytest.mark.parametrize("padding", PADDINGS)
def test_an_image_of_one_column_and_unknown_sizes(lower: Function, padding: str) -> None:
    x, coordinates = noise(1, 2, 4, 1), noise(1, 3, 3, 2, seed=1) * 3
    result = lower(
        sampling.resample, {"x": x, "coordinates": coordinates}, sampling_mode="bilinear", padding_mode=padding,
        padding_value=0.5, coordinates_mode="unnormalized", align_corners=True,
    )  # fmt: skip
    expected = sampled(x, coordinates, "bilinear", padding, 0.5, "unnormalized", True)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


def affine_arguments(mode: str, align_corners: bool, **more: Any) -> dict[str, Any]:
    return {
        "sampling_mode": "bilinear", "padding_mode": "constant", "padding_value": 0.0, "coordinates_mode": mode,
        "align_corners": align_corners,
    } | more  # fmt: skip


@pytest.mark.parametrize(
    ("size", "expected"),
    [((3, 3), [10.752501, 2.5025, 0, 1.98, 0, 0, 0, 0, 0]),
     ((2, 5), [10.752501, 5.94, 2.5025, 0.44, 0, 0, 0, 0, 0, 0])],
)  # fmt: skip
def test_affine_gives_the_values_of_devices(run: Function, size: tuple[int, int], expected: list[float]) -> None:
    """coremltools' iOS15/test_image_resizing.py."""
    inputs = {
        "x": np.array([11, 22, 33, 44], np.float32).reshape(1, 1, 2, 2),
        "matrix": np.array([[-1, -2, -3.7, -1, 3.5, 1.2]], np.float32),
    }
    arguments = affine_arguments("normalized_minus_one_to_one", True)
    [result] = run(
        lambda x, matrix: mb.affine(
            x=x, transform_matrix=matrix, output_height=size[0], output_width=size[1], **arguments
        ),
        inputs,
    )
    np.testing.assert_allclose(result.reshape(-1), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("matrices", [1, 2])
@pytest.mark.parametrize("mode", COORDINATES)
@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("size", [(4, 6), (1, 3)])
def test_affine(lower: Function, matrices: int, mode: str, align_corners: bool, size: tuple[int, int]) -> None:
    """coremltools builds one mode only; Core ML documents these."""
    x = noise(2, 3, 5, 7)
    matrix = np.array([[0.9, 0.2, 0.1, -0.3, 1.1, 0.05], [1, 0, 0, 0, 1, 0]], np.float32)[:matrices]
    result = lower(
        sampling.affine, {"x": x, "transform_matrix": matrix}, output_height=size[0], output_width=size[1],
        **affine_arguments(mode, align_corners, padding_value=0.3),
    )  # fmt: skip

    def axis(count: int) -> np.ndarray:
        if mode == "unnormalized":
            return np.arange(count, dtype=np.float64)
        low = -1.0 if mode == "normalized_minus_one_to_one" else 0.0
        if align_corners:
            return np.linspace(low, 1, count) if count > 1 else np.array([(low + 1) / 2])
        edges = np.linspace(low, 1, count + 1)
        return (edges[1:] + edges[:-1]) / 2

    across, down = np.meshgrid(axis(size[1]), axis(size[0]))
    coordinates = np.stack(
        [
            np.stack([a0 * across + a1 * down + a2, b0 * across + b1 * down + b2], axis=-1)
            for a0, a1, a2, b0, b1, b2 in np.resize(matrix, (2, 6)).astype(np.float64)
        ]
    )
    expected = sampled(x, coordinates, "bilinear", "constant", 0.3, mode, align_corners)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


def test_the_identity_in_float16(run: Function) -> None:
    x = noise(1, 2, 5, 7)
    down, across = np.meshgrid(np.arange(5), np.arange(7), indexing="ij")
    coordinates = np.stack([across, down], axis=-1)[None].astype(np.float32)
    [result] = run(
        lambda x, coordinates: mb.resample(
            x=x, coordinates=coordinates, **affine_arguments("unnormalized", True)
        ),
        {"x": x, "coordinates": coordinates}, precision="float16", numerics="float16",
    )  # fmt: skip
    assert np.array_equal(result, x.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("name", ["sampling_mode", "padding_mode", "coordinates_mode"])
def test_refuses_other_modes(lower: Function, name: str) -> None:
    with pytest.raises(PackageError, match=name):
        lower(
            sampling.resample, {"x": noise(1, 1, 2, 2), "coordinates": noise(1, 1, 1, 2)},
            **affine_arguments("unnormalized", True, **{name: "other"}),
        )  # fmt: skip

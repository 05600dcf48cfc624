"""Sampling of images at computed coordinates (coremltools ``image_resizing.py`` of iOS15, iOS16 and iOS17)."""

from __future__ import annotations

import numpy as np

from harness.errors import PackageError
from harness.runtimes.portable.onnx_graph import Tensor, cast_to, constant, op
from harness.runtimes.portable.ops.sizes import shape_vector, size_of
from harness.runtimes.portable.registry import lowers

_PADDING_MODES = ("constant", "border", "reflection", "symmetric")
_COORDINATES_MODES = ("unnormalized", "normalized_minus_one_to_one", "normalized_zero_to_one")


def gather_pixels(rows: Tensor, image: Tensor, size: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Pixels (..., C) of ``rows`` (B * H * W, C) at int64 coordinates, which are clamped to the image.

    ``image`` is the image's index, ``size`` [H, W].
    """
    height, width = op.Slice(size, [0], [1]), op.Slice(size, [1], [2])
    y = op.Min(op.Max(y, 0), op.Sub(height, 1))
    x = op.Min(op.Max(x, 0), op.Sub(width, 1))
    return op.Gather(rows, op.Add(op.Mul(op.Add(op.Mul(image, height), y), width), x), axis=0)


def pixel_rows(x: Tensor) -> Tensor:
    """(B, C, H, W) as (B * H * W, C)."""
    return op.Reshape(op.Transpose(x, perm=[0, 2, 3, 1]), shape_vector([-1, size_of(x, 1)]))


def bilinear(rows: Tensor, image: Tensor, size: Tensor, y: Tensor, x: Tensor, outside: float | None) -> Tensor:
    """(..., C): the mean of the four pixels around float coordinates; ``outside`` is the value of a pixel
    that is not there, None takes the nearest one."""
    top, left = op.Floor(y), op.Floor(x)
    weight_y, weight_x = op.Unsqueeze(op.Sub(y, top), [-1]), op.Unsqueeze(op.Sub(x, left), [-1])

    def tap(down: int, right: int) -> Tensor:
        row, column = cast_to(op.Add(top, float(down)), "int64"), cast_to(op.Add(left, float(right)), "int64")
        pixel = gather_pixels(rows, image, size, row, column)
        return pixel if outside is None else _where_inside(pixel, size, row, column, outside)

    def between(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
        return op.Add(a, op.Mul(op.Sub(b, a), weight))

    upper = between(tap(0, 0), tap(0, 1), weight_x)
    return between(upper, between(tap(1, 0), tap(1, 1), weight_x), weight_y)


def _where_inside(pixels: Tensor, size: Tensor, y: Tensor, x: Tensor, outside: float) -> Tensor:
    limits = cast_to(size, y.dtype)
    inside = op.And(
        op.And(op.GreaterOrEqual(y, 0), op.Less(y, op.Slice(limits, [0], [1]))),
        op.And(op.GreaterOrEqual(x, 0), op.Less(x, op.Slice(limits, [1], [2]))),
    )
    return op.Where(op.Unsqueeze(inside, [-1]), pixels, np.array(outside, np.float32))


def _pixel_coordinate(coordinate: Tensor, size: Tensor, mode: str, align_corners: bool) -> Tensor:
    """In pixels, 0 the middle of the first; ``size`` is the axis's, in float."""
    if mode == "unnormalized":
        return coordinate
    if mode == "normalized_minus_one_to_one":
        coordinate = op.Mul(op.Add(coordinate, 1.0), 0.5)
    if align_corners:
        return op.Mul(coordinate, op.Sub(size, 1.0))
    return op.Sub(op.Mul(coordinate, size), 0.5)


def _folded(coordinate: Tensor, size: Tensor, symmetric: bool) -> Tensor:
    """Mirrored into the image: at the middle of the border pixel, or, ``symmetric``, at its outer edge."""
    low, span = (-0.5, size) if symmetric else (0.0, op.Sub(size, 1.0))
    distance = op.Abs(op.Sub(coordinate, low))
    # An axis of one pixel has no span to mirror in.
    period = op.Max(op.Mul(span, 2.0), constant(np.array([1e-30], np.float32)))
    rest = op.Sub(distance, op.Mul(op.Floor(op.Div(distance, period)), period))
    return op.Add(op.Min(rest, op.Sub(period, rest)), low)


def _sample(
    x: Tensor,
    coordinates: Tensor,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> Tensor:
    """``x`` (B, C, H, W) at ``coordinates`` (B, H2, W2, 2), each (x, y)."""
    sampling, padding, mode = sampling_mode.lower(), padding_mode.lower(), coordinates_mode.lower()
    for name, value, supported in (
        ("sampling_mode", sampling, ("bilinear", "nearest")),
        ("padding_mode", padding, _PADDING_MODES),
        ("coordinates_mode", mode, _COORDINATES_MODES),
    ):
        if value not in supported:
            raise PackageError(f"unknown {name}", received=repr(value), supported=supported)
    size = op.Shape(x, start=2)
    places = []
    for axis in (1, 0):  # y, then x
        length = cast_to(op.Slice(size, [1 - axis], [2 - axis]), "fp32")
        place = op.Squeeze(op.Slice(coordinates, [axis], [axis + 1], [3]), [3])
        place = _pixel_coordinate(place, length, mode, align_corners)
        if padding in ("reflection", "symmetric"):
            place = _folded(place, length, padding == "symmetric")
        if padding != "constant":
            place = op.Min(op.Max(place, constant(np.zeros(1, np.float32))), op.Sub(length, 1.0))
        places.append(place)
    y, column = places
    image = op.Reshape(op.Range(np.array(0), op.Squeeze(op.Shape(x, end=1), [0]), np.array(1)), [-1, 1, 1])
    rows, outside = pixel_rows(x), padding_value if padding == "constant" else None
    if sampling == "bilinear":
        result = bilinear(rows, image, size, y, column, outside)
    else:
        # Halves go to the even pixel, as in PyTorch and in coremltools' iOS15/test_image_resizing.py.
        y, column = (cast_to(op.Round(place), "int64") for place in (y, column))
        result = gather_pixels(rows, image, size, y, column)
        if outside is not None:
            result = _where_inside(result, size, y, column, outside)
    return op.Transpose(result, perm=[0, 3, 1, 2])


@lowers("resample")
def resample(
    x: Tensor,
    coordinates: Tensor,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> Tensor:
    """``x`` (B, C, H, W) at ``coordinates`` (B, H2, W2, 2), each (x, y), as PyTorch's grid_sample.

    Beyond the image a pixel is ``padding_value`` (constant), the border's, or mirrored: about the
    middle of the border pixel (reflection) or about its edge (symmetric).
    """
    where = cast_to(coordinates, "fp32")
    return _sample(x, where, sampling_mode, padding_mode, padding_value, coordinates_mode, align_corners)


@lowers("affine")
def affine(
    x: Tensor,
    transform_matrix: Tensor,
    output_height: int,
    output_width: int,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> Tensor:
    """``x`` (B, C, H, W) resampled at (a0 x + a1 y + a2, b0 x + b1 y + b2), for matrices (B or 1, 6).

    (x, y) runs over the output in the same coordinates; an axis of one pixel is its middle.
    """

    def axis(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        pixels = np.arange(count, dtype=np.float64)
        if coordinates_mode.lower() == "unnormalized":
            return pixels
        share = (pixels + 0.5) / count
        if align_corners and count > 1:
            share = pixels / (count - 1)
        return share * 2 - 1 if coordinates_mode.lower() == "normalized_minus_one_to_one" else share

    across, down = np.meshgrid(axis(output_width), axis(output_height))
    grid = np.stack([across, down, np.ones_like(down)], axis=-1).reshape(1, -1, 3).astype(np.float32)
    matrix = op.Transpose(op.Reshape(transform_matrix, [-1, 2, 3]), perm=[0, 2, 1])
    places = op.Reshape(op.MatMul(constant(grid), matrix), [-1, output_height, output_width, 2])
    return _sample(x, places, sampling_mode, padding_mode, padding_value, coordinates_mode, align_corners)

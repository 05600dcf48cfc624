"""MediaPipe's crops about landmarks (custom operators, ``mediapipe/util/tflite/operations``): a matrix that maps a crop
onto the image, the crop itself, and landmarks of the crop on the image.

A matrix is (1, 4, 4), of which the first two rows count: x' = m[0] * x + m[1] * y + m[3], and so y'. Options are
FlexBuffers (``tensorflow/lite/delegates/gpu/common/custom_parsers.cc``). All of it is of a single image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import mb
from harness.frontends.dispatch import Array, Var
from harness.frontends.tflite.layout import channels_first, channels_last, is_known
from harness.frontends.tflite.registry import translates


@translates("Landmarks2TransformMatrix")
def matrix_of_landmarks(
    landmarks: Var,
    *,
    input_hw: list[int],
    output_hw: list[int],
    dimensions: int,
    landmarks_range: float,
    bbox_size_multiplier: float,
    left_rotation_idx: int,
    right_rotation_idx: int,
    subset: list[int],
) -> Var:
    """Landmarks of x, y, z in (1, 1, 1, 3 * number), in units of the image's size over ``landmarks_range``."""
    whole, crop = (np.array(sizes[::-1], np.float64) for sizes in (input_hw, output_hw))
    if dimensions != 3 or len(whole) != 2 or len(crop) != 2 or min(*whole, *crop) < 2 or landmarks_range <= 0:
        raise UnsupportedError(
            "options that describe no crop",
            received=f"dimensions {dimensions}, input_hw {input_hw}, output_hw {output_hw}, range {landmarks_range}",
            supported="3 dimensions, a positive range and at least 2 rows and columns",
        )
    points = _points(landmarks, 3)
    across = _across(points, left_rotation_idx, right_rotation_idx)
    # The kernel's arc tangent is of a quotient: it never turns the crop by more than a quarter.
    is_left = mb.less(x=_part(across, 0), y=np.float32(0))
    across = mb.select(cond=is_left, a=mb.mul(x=across, y=np.float32(-1)), b=across)
    return _crop_matrix(
        points, across, 0.0, subset,
        image=(whole - 1) / 2,
        extent=bbox_size_multiplier / landmarks_range * 2 / (crop - 1),
        center=(whole - 1) / landmarks_range,
        shift=-(crop - 1) / 2,
    )  # fmt: skip


@translates("Landmarks2TransformMatrix", since=2)
def matrix_of_landmarks_in_pixels(
    landmarks: Var,
    *,
    subset_idxs: list[int],
    left_rotation_idx: int,
    right_rotation_idx: int,
    target_rotation_radians: float,
    output_height: int,
    output_width: int,
    scale_x: float,
    scale_y: float,
) -> Var:
    """Landmarks of x, y, z in (1, number, 3)."""
    if min(output_height, output_width) < 1 or min(scale_x, scale_y) <= 0:
        raise UnsupportedError(
            "options that describe no crop",
            received=f"{output_height} x {output_width}, scales {scale_x} and {scale_y}",
            supported="positive sizes and scales",
        )
    points = _points(landmarks, 3)
    crop = np.array([output_width, output_height], np.float64)
    return _crop_matrix(
        points, _across(points, left_rotation_idx, right_rotation_idx), target_rotation_radians, subset_idxs,
        image=np.ones(2), extent=np.array([scale_x, scale_y]) / crop, center=np.ones(2), shift=-crop / 2,
    )  # fmt: skip


def _crop_matrix(
    points: Var, across: Var, target: float, subset: list[int], *, image: Array, extent: Array, center: Array,
    shift: Array,
) -> Var:  # fmt: skip
    """The matrix of the upright box about the ``subset`` of ``points``, after a turn that gives ``across`` the angle
    ``target``.

    With the turn back R, that is diag(image) R diag(size * extent), which maps ``shift`` to ``center`` times the box's
    middle. All of the latter four are of (x, y).
    """
    if not subset:
        raise UnsupportedError("a crop about no landmarks", received=f"subset {subset}", supported="at least one")
    # Components of the direction instead of its angle, which MIL cannot tell: (1, 0) stands for a direction that is
    # none, whose angle is 0 in C. Divided by the greater first, so that no square overflows or vanishes.
    length = mb.reduce_max(x=mb.abs(x=across), axes=[2], keep_dims=True)
    is_none = mb.cast(x=mb.equal(x=length, y=np.float32(0)), dtype="fp32")
    across = mb.add(x=across, y=mb.mul(x=is_none, y=np.array([[[1, 0]]], np.float32)))
    across = mb.real_div(x=across, y=mb.add(x=length, y=is_none))
    across = mb.real_div(x=across, y=mb.reduce_l2_norm(x=across, axes=[2], keep_dims=True))
    # The turn is by target - angle. Its inverse (cos, sin; -sin, cos), of which each element is a combination of the
    # direction's two components.
    cos, sin = math.cos(target), math.sin(target)
    combinations = np.array([[cos, sin], [sin, -cos], [-sin, cos], [cos, sin]], np.float32)
    back = mb.reshape(x=mb.matmul(x=across, y=combinations[None], transpose_y=True), shape=[1, 2, 2])
    corners = _landmarks(points, sorted(set(subset)))
    turned = mb.matmul(x=corners, y=back)  # of row vectors: the turn is the transpose of its inverse
    greatest, least = (
        mb.reduce_max(x=turned, axes=[1], keep_dims=True),
        mb.reduce_min(x=turned, axes=[1], keep_dims=True),
    )
    scales = mb.mul(x=mb.sub(x=greatest, y=least), y=_row(extent))
    linear = mb.mul(x=mb.mul(x=back, y=_row(image).reshape(1, 2, 1)), y=scales)
    middle = mb.matmul(x=mb.mul(x=mb.add(x=greatest, y=least), y=np.float32(0.5)), y=back, transpose_y=True)
    moved = mb.matmul(x=_row(shift), y=linear, transpose_y=True)
    offset = mb.add(x=mb.mul(x=middle, y=_row(center)), y=moved)
    columns = [linear, np.zeros((1, 2, 1), np.float32), mb.reshape(x=offset, shape=[1, 2, 1])]
    rest = np.eye(4, dtype=np.float32)[None, 2:]
    return mb.concat(values=[mb.concat(values=columns, axis=2), rest], axis=1)


@translates("TransformTensor", "TransformTensorBilinear")
def crop_of_corners(x: Var, matrix: Var, *, output_size: list[int], mode: str = "bilinear") -> Var:
    """The matrix maps indices of pixels."""
    if mode != "bilinear" or len(output_size) != 2:
        raise UnsupportedError("how it samples", received=f"{mode} to {output_size}", supported="bilinear, 2 sizes")
    return _crop(x, matrix, output_size, corner=0.0)


@translates("TransformTensorBilinear", since=2)
def crop_of_pixels(x: Var, matrix: Var, *, output_height: int, output_width: int) -> Var:
    """The matrix maps places in the image, in which a pixel's middle is half a pixel from its corner."""
    return _crop(x, matrix, [output_height, output_width], corner=0.5)


def _crop(x: Var, matrix: Var, sizes: Sequence[int], corner: float) -> Var:
    """``x`` (1, H, W, C) between its pixels; 0 beyond the middles of the outermost."""
    height, width = x.shape[1:3]
    if not all(is_known(size) and size == 1 for size in x.shape[:1]) or not (is_known(height) and is_known(width)):
        raise UnsupportedError("images", received=tuple(x.shape), supported="one, of a known size")
    if min(sizes) < 1:
        raise UnsupportedError("sizes of a crop must be positive", received=list(sizes))
    rows, columns = np.indices(sizes).astype(np.float32)[:, None, :, :, None]
    along_x, along_y, offset = (mb.reshape(x=_column(matrix, index), shape=[1, 1, 1, 2]) for index in (0, 1, 3))
    if corner:
        half = mb.add(x=mb.mul(x=along_x, y=np.float32(corner)), y=mb.mul(x=along_y, y=np.float32(corner)))
        offset = mb.add(x=offset, y=mb.sub(x=half, y=np.float32(corner)))
    places = mb.add(x=mb.add(x=mb.mul(x=columns, y=along_x), y=mb.mul(x=rows, y=along_y)), y=offset)
    sampled = mb.resample(
        x=channels_first(x), coordinates=places, sampling_mode="bilinear", padding_mode="constant",
        padding_value=np.float32(0), coordinates_mode="unnormalized", align_corners=True,
    )  # fmt: skip
    # A place outside is 0, where resampling would fade out over the width of a pixel.
    last = np.array([width - 1, height - 1], np.float32).reshape(1, 1, 1, 2)
    is_inside = mb.logical_and(x=mb.greater_equal(x=places, y=np.float32(0)), y=mb.less_equal(x=places, y=last))
    weight = mb.reduce_min(x=mb.cast(x=is_inside, dtype="fp32"), axes=[3], keep_dims=False)
    return channels_last(mb.mul(x=sampled, y=mb.expand_dims(x=weight, axes=[1])))


@translates("TransformLandmarks")
def transformed_landmarks(x: Var, matrix: Var, *, dimensions: int, scale: float = 1.0) -> Var:
    """Landmarks in (1, H, W, number * dimensions); ``scale`` is one of the matrix' offsets."""
    return _transformed(x, matrix, dimensions, scale)


@translates("TransformLandmarks", since=2)
def transformed_landmarks_in_rows(x: Var, matrix: Var) -> Var:
    """Landmarks in (1, number, 2 or 3)."""
    return _transformed(x, matrix, x.shape[-1], 1.0)


def _transformed(x: Var, matrix: Var, dimensions: int, scale: float) -> Var:
    """x and y by the matrix; z as it is."""
    if dimensions not in (2, 3):
        raise UnsupportedError("dimensions of landmarks", received=dimensions, supported="2 or 3")
    points = _points(x, dimensions)
    linear = mb.slice_by_index(x=matrix, begin=[0, 0, 0], end=[1, 2, 2])
    offset = mb.mul(x=mb.reshape(x=_column(matrix, 3), shape=[1, 1, 2]), y=np.float32(scale))
    result = mb.add(x=mb.matmul(x=_plane(points), y=linear, transpose_y=True), y=offset)
    if dimensions == 3:
        result = mb.concat(values=[result, _part(points, 2)], axis=2)
    return mb.reshape(x=result, shape=[int(size) for size in x.shape])


def _points(x: Var, dimensions: int) -> Var:
    """(1, number, dimensions) of landmarks in any shape."""
    if not all(is_known(size) for size in x.shape) or x.shape[0] != 1 or x.shape[-1] % dimensions:
        raise UnsupportedError(
            "landmarks", received=tuple(x.shape), supported=f"those of one image, {dimensions} numbers for each"
        )
    shape = (1, math.prod(int(size) for size in x.shape) // dimensions, dimensions)
    return x if tuple(x.shape) == shape else mb.reshape(x=x, shape=shape)


def _across(points: Var, left: int, right: int) -> Var:
    """(1, 1, 2) from the left landmark to the right one."""
    return mb.sub(x=_landmarks(points, [right]), y=_landmarks(points, [left]))


def _landmarks(points: Var, indices: list[int]) -> Var:
    """x and y of some."""
    if not all(0 <= index < points.shape[1] for index in indices):
        raise UnsupportedError("indices of landmarks", received=indices, supported=f"0 to {points.shape[1] - 1}")
    return mb.gather(x=_plane(points), indices=np.array(indices, np.int32), axis=1)


def _plane(points: Var) -> Var:
    """x and y of (1, number, 2 or 3)."""
    if points.shape[2] == 2:
        return points
    return mb.slice_by_index(x=points, begin=[0, 0, 0], end=[1, points.shape[1], 2])


def _part(points: Var, axis: int) -> Var:
    """(1, number, 1): one component."""
    return mb.slice_by_index(x=points, begin=[0, 0, axis], end=[1, points.shape[1], axis + 1])


def _column(matrix: Var, index: int) -> Var:
    """(1, 2, 1) of the rows that count."""
    return mb.slice_by_index(x=matrix, begin=[0, 0, index], end=[1, 2, index + 1])


def _row(values: Array) -> Array:
    return np.asarray(values, np.float32).reshape(1, 1, 2)

"""Crops, and boxes resized to one size (coremltools ``image_resizing.py`` of iOS15, iOS16 and iOS17)."""

from __future__ import annotations

import numpy as np

from harness.errors import PackageError
from harness.runtimes.portable.onnx_graph import Tensor, cast_to, constant, op
from harness.runtimes.portable.ops.resize import check_sampling_mode, sampling_points
from harness.runtimes.portable.ops.sampling import bilinear, pixel_rows
from harness.runtimes.portable.ops.sizes import minus, shape_vector, size_of
from harness.runtimes.portable.registry import lowers

# Where height and width (start and end, or middle and size) stand in a box.
_BOX_MODES = {
    "CORNERS_HEIGHT_FIRST": (0, 1),
    "CORNERS_WIDTH_FIRST": (1, 0),
    "CENTER_SIZE_HEIGHT_FIRST": (0, 1),
    "CENTER_SIZE_WIDTH_FIRST": (1, 0),
}


@lowers("crop", moves=True)
def crop(x: Tensor, crop_height: tuple[int, ...], crop_width: tuple[int, ...]) -> Tensor:
    """The last two axes without the first and the last elements that are counted."""
    ends = shape_vector([minus(size_of(x, -2), crop_height[1]), minus(size_of(x, -1), crop_width[1])])
    return op.Slice(x, [crop_height[0], crop_width[0]], ends, [-2, -1])


@lowers("crop_resize")
def crop_resize(
    x: Tensor,
    roi: Tensor | None = None,
    boxes: Tensor | None = None,
    box_indices: Tensor | None = None,
    target_height: int = 1,
    target_width: int = 1,
    normalized_coordinates: bool = False,
    spatial_scale: float = 1.0,
    box_coordinate_mode: str = "CORNERS_HEIGHT_FIRST",
    sampling_mode: str = "DEFAULT",
    pad_value: float = 0.0,
) -> Tensor:
    """Boxes of ``x`` (B, C, H, W), resized bilinearly.

    ``roi`` (N, 1, 4, 1, 1) crops every image: (N, B, C, h, w); (N, 1, 5, 1, 1) begins with the image's
    index: (N, 1, C, h, w). Since iOS17 ``boxes`` (N, 4) and ``box_indices`` (N), if not given 0, 1, ...:
    (N, C, h, w). Normalized coordinates count in H - 1 and W - 1. A point outside of the image is
    ``pad_value``, as TensorFlow's extrapolation_value.

    A box of middle m and size s is m - (s - 1) / 2 to m + (s - 1) / 2 (the example of Accelerate's
    BNNSCropResize). coremltools' one device value for UNALIGN_CORNERS is of an inverted box and is
    that of the whole image (``iOS15/test_image_resizing.py``); so inverted boxes are taken there.
    """
    check_sampling_mode(sampling_mode)
    if box_coordinate_mode not in _BOX_MODES:
        raise PackageError("unknown box_coordinate_mode", received=box_coordinate_mode, supported=list(_BOX_MODES))
    if boxes is not None:
        corners, image = cast_to(boxes, "fp32"), box_indices
        if image is None:
            image = op.Range(np.array(0), op.Squeeze(op.Shape(boxes, end=1), [0]), np.array(1))
    elif roi is not None:
        corners, image = op.Squeeze(roi, [1, 3, 4]), None
        if roi.size(2) == 5:
            image, corners = op.Squeeze(op.Slice(corners, [0], [1], [1]), [1]), op.Slice(corners, [1], [5], [1])
    else:
        raise PackageError("crop_resize needs roi or boxes")
    size = op.Shape(x, start=2)
    last = op.Sub(cast_to(size, "fp32"), 1.0)

    def points(axis: int, count: int) -> Tensor:
        """(N, count) coordinates along H (0) or W (1)."""
        place = _BOX_MODES[box_coordinate_mode][axis]
        end_of_image = op.Slice(last, [axis], [axis + 1])
        first, second = (
            op.Mul(op.Slice(corners, [column], [column + 1], [1]), spatial_scale) for column in (place, place + 2)
        )
        if normalized_coordinates:
            first, second = op.Mul(first, end_of_image), op.Mul(second, end_of_image)
        if box_coordinate_mode.startswith("CENTER"):
            half = op.Mul(op.Sub(second, 1.0), 0.5)
            first, second = op.Sub(first, half), op.Add(first, half)
        if sampling_mode == "UNALIGN_CORNERS":
            inverted = op.Less(second, first)
            first = op.Where(inverted, constant(np.zeros(1, np.float32)), first)
            second = op.Where(inverted, end_of_image, second)
        return sampling_points(sampling_mode, first, second, count)

    y, column = op.Unsqueeze(points(0, target_height), [2]), op.Unsqueeze(points(1, target_width), [1])
    zero = constant(np.zeros(1, np.float32))
    inside = op.And(
        op.And(op.GreaterOrEqual(y, zero), op.LessOrEqual(y, op.Slice(last, [0], [1]))),
        op.And(op.GreaterOrEqual(column, zero), op.LessOrEqual(column, op.Slice(last, [1], [2]))),
    )
    y, column, inside = (op.Unsqueeze(item, [1]) for item in (y, column, inside))
    if image is None:
        images = op.Range(np.array(0), op.Squeeze(op.Shape(x, end=1), [0]), np.array(1))
        image = op.Reshape(images, [1, -1, 1, 1])
    else:
        image = op.Reshape(cast_to(image, "int64"), [-1, 1, 1, 1])
    values = bilinear(pixel_rows(x), image, size, y, column, None)
    values = op.Where(op.Unsqueeze(inside, [-1]), values, np.array(pad_value, np.float32))
    result = op.Transpose(values, perm=[0, 1, 4, 2, 3])
    return result if boxes is None else op.Squeeze(result, [1])

"""Resizing of whole images (coremltools ``image_resizing.py`` of iOS15, iOS16 and iOS17)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.errors import PackageError
from harness.runtimes.portable.onnx_graph import Tensor, cast_to, constant, op
from harness.runtimes.portable.ops.sizes import Size, shape_vector, size_of
from harness.runtimes.portable.program import TensorType
from harness.runtimes.portable.registry import lowers

SAMPLING_MODES = ("DEFAULT", "STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "OFFSET_CORNERS", "UNALIGN_CORNERS")
# Those that ONNX's Resize has: (its coordinate_transformation_mode).
_ONNX_MODES = {
    "DEFAULT": "asymmetric",
    "STRICT_ALIGN_CORNERS": "align_corners",
    "ALIGN_CORNERS": "align_corners",
    "UNALIGN_CORNERS": "half_pixel",
}


def check_sampling_mode(mode: str) -> None:
    """Raise PackageError unless MIL has the mode."""
    if mode not in SAMPLING_MODES:
        raise PackageError("unknown sampling_mode", received=repr(mode), supported=SAMPLING_MODES)


def sampling_points(mode: str, start: Tensor, end: Tensor, count: Size) -> Tensor:
    """``count`` coordinates in the interval from ``start`` to ``end``, along a new last axis.

    ``start`` and ``end`` (..., 1) are the first and the last element's coordinate. The formulas are
    those of coremltools' ``resize_bilinear``, with X - 1 = end - start.
    """
    if isinstance(count, int):
        steps, number = constant(np.arange(count, dtype=np.float32)), constant(np.array([count], np.float32))
    else:
        steps = cast_to(op.Range(np.array(0), op.Squeeze(count, [0]), np.array(1)), "fp32")
        number = cast_to(count, "fp32")
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        share = op.Div(steps, op.Max(op.Sub(number, 1.0), constant(np.ones(1, np.float32))))
        if mode == "ALIGN_CORNERS":
            share = op.Where(op.Equal(number, 1.0), np.array([0.5], np.float32), share)
        # In this form the last point is ``end`` exactly, and does not fall out of the image.
        return op.Add(op.Mul(start, op.Sub(constant(np.ones(1, np.float32)), share)), op.Mul(end, share))
    extent = op.Max(op.Sub(end, start), constant(np.zeros(1, np.float32)))
    if mode == "DEFAULT":
        points = op.Div(op.Mul(steps, op.Add(extent, 1.0)), number)
    elif mode == "OFFSET_CORNERS":
        spacing = op.Div(op.Max(extent, constant(np.ones(1, np.float32))), number)
        points = op.Mul(op.Add(steps, 0.5), spacing)
    else:
        points = op.Sub(op.Div(op.Mul(op.Add(steps, 0.5), op.Add(extent, 1.0)), number), 0.5)
    return op.Add(start, op.Min(op.Max(points, constant(np.zeros(1, np.float32))), extent))


def _last_index(size: Size) -> Tensor:
    if isinstance(size, int):
        return constant(np.array([size - 1], np.int64))
    return op.Sub(size, 1)


def _whole_axis(mode: str, size: Size, target: Size) -> Tensor:
    return sampling_points(mode, constant(np.zeros(1, np.float32)), cast_to(_last_index(size), "fp32"), target)


def _linear_along(x: Tensor, axis: int, target: Size, mode: str) -> Tensor:
    size = size_of(x, axis)
    points = _whole_axis(mode, size, target)
    below = op.Floor(points)
    first = cast_to(below, "int64")
    second = op.Min(op.Add(first, 1), _last_index(size))
    weight = op.Sub(points, below)
    trailing = x.rank - 1 - axis % x.rank
    weight = op.Unsqueeze(weight, list(range(1, trailing + 1))) if trailing else weight
    low, high = op.Gather(x, first, axis=axis), op.Gather(x, second, axis=axis)
    return op.Add(low, op.Mul(op.Sub(high, low), weight))


def _nearest_along(x: Tensor, axis: int, target: Size, mode: str) -> Tensor:
    """``mode`` ASYMMETRIC is floor(i * size / target), in integers; DEFAULT and UNALIGN_CORNERS take the
    pixel under the middle of the output's pixel; the others round their grid points, halves up."""
    size = size_of(x, axis)
    if isinstance(size, int) and size == target and mode != "OFFSET_CORNERS":
        return x
    if mode in ("ASYMMETRIC", "DEFAULT", "UNALIGN_CORNERS"):
        double, offset = (1, 0) if mode == "ASYMMETRIC" else (2, 1)
        if isinstance(size, int) and isinstance(target, int):
            index = constant((np.arange(target, dtype=np.int64) * double + offset) * size // (double * target))
        else:
            count = constant(np.array([target], np.int64)) if isinstance(target, int) else target
            steps = op.Range(np.array(0), op.Squeeze(count, [0]), np.array(1))
            scaled = op.Mul(op.Add(op.Mul(steps, double), offset), [size] if isinstance(size, int) else size)
            index = op.Div(scaled, op.Mul(count, double))
    else:
        points = _whole_axis(mode, size, target)
        index = op.Min(cast_to(op.Floor(op.Add(points, 0.5)), "int64"), _last_index(size))
    return op.Gather(x, index, axis=axis)


def _onnx_resize(
    x: Tensor, targets: Sequence[Size], mode: str, coordinates: str, nearest_mode: str | None = None
) -> Tensor:
    """ONNX's Resize of the last axes; by factors where they say the same, which ONNX Runtime lays out better."""
    kept = x.rank - len(targets)
    scales: np.ndarray[tuple[int, ...], np.dtype[np.float32]] | None = None
    if x.has_static_shape and all(isinstance(target, int) for target in targets):
        sizes = np.array(x.static_shape[kept:])
        wanted = np.array([int(target) for target in targets if isinstance(target, int)])
        factors = (wanted / sizes).astype(np.float32)
        if np.array_equal(np.floor(sizes.astype(np.float32) * factors), wanted):
            scales = np.concatenate([np.ones(kept, np.float32), factors])
    kept_sizes = [size_of(x, axis) for axis in range(kept)]
    new_shape = None if scales is not None else shape_vector([*kept_sizes, *targets])
    return op.Resize(
        x, None, scales, new_shape, mode=mode, coordinate_transformation_mode=coordinates, nearest_mode=nearest_mode
    )


def _linear(x: Tensor, targets: Sequence[Size], mode: str) -> Tensor:
    """Linear interpolation of the last axes."""
    centered = mode == "ALIGN_CORNERS" and any(not isinstance(target, int) or target == 1 for target in targets)
    if mode in _ONNX_MODES and not centered and len(targets) == 2 and x.rank > 2:
        return _onnx_resize(x, targets, "linear", _ONNX_MODES[mode])
    for axis, target in enumerate(targets, -len(targets)):
        x = _linear_along(x, axis, target, mode)
    return x


def _nearest(x: Tensor, targets: Sequence[Size], mode: str) -> Tensor:
    """Nearest neighbour along the last axes; ONNX's Resize rounds as MIL does for whole factors only."""
    sizes = [size_of(x, axis) for axis in range(-len(targets), 0)]
    whole = all(
        isinstance(size, int) and isinstance(target, int) and size > 0 and target % size == 0
        for size, target in zip(sizes, targets, strict=True)
    )
    if whole and mode in ("ASYMMETRIC", "DEFAULT", "UNALIGN_CORNERS") and x.is_float:
        return _onnx_resize(x, targets, "nearest", "asymmetric", "floor")
    for axis, target in enumerate(targets, -len(targets)):
        x = _nearest_along(x, axis, target, mode)
    return x


def _scaled(x: Tensor, axis: int, scale: float, declared: int | None) -> Size:
    """floor(size * scale), in float32 as coremltools infers it."""
    if declared is not None:
        return declared
    size = size_of(x, axis)
    if isinstance(size, int):
        return int(np.floor(np.float32(scale) * np.float32(size)))
    return cast_to(op.Floor(op.Mul(cast_to(size, "fp32"), scale)), "int64")


def _scaled_sizes(x: Tensor, height: float, width: float, outputs: tuple[TensorType, ...]) -> list[Size]:
    declared = outputs[0].shape
    return [_scaled(x, -2, height, declared[-2]), _scaled(x, -1, width, declared[-1])]


@lowers("upsample_nearest_neighbor", moves=True)
def upsample_nearest_neighbor(
    x: Tensor,
    scale_factor_height: float = 1.0,
    scale_factor_width: float = 1.0,
    *,
    outputs: tuple[TensorType, ...],
) -> Tensor:
    """Element floor(i * H / H2), H2 = floor(H * factor): the factor is computed again from the sizes
    (coremltools' ``iOS15/test_image_resizing.py``)."""
    return _nearest(x, _scaled_sizes(x, scale_factor_height, scale_factor_width, outputs), "ASYMMETRIC")


@lowers("resize_nearest_neighbor", moves=True)
def resize_nearest_neighbor(x: Tensor, target_size_height: int, target_size_width: int) -> Tensor:
    """Element floor((i + 0.5) * H / H2): TensorFlow's half_pixel_centers, with which coremltools'
    ``test_v2_ops.py`` compares devices."""
    return _nearest(x, [target_size_height, target_size_width], "DEFAULT")


@lowers("upsample_bilinear")
def upsample_bilinear(
    x: Tensor,
    scale_factor_height: float = 1.0,
    scale_factor_width: float = 1.0,
    align_corners: bool = True,
    half_pixel_centers: bool | None = None,
    *,
    outputs: tuple[TensorType, ...],
) -> Tensor:
    """Bilinear to floor(size * factor); half_pixel_centers is the opposite of align_corners, if not given."""
    half_pixel = not align_corners if half_pixel_centers is None else half_pixel_centers
    if align_corners and half_pixel:
        raise PackageError("align_corners and half_pixel_centers of upsample_bilinear are both true")
    mode = "STRICT_ALIGN_CORNERS" if align_corners else "UNALIGN_CORNERS" if half_pixel else "DEFAULT"
    return _linear(x, _scaled_sizes(x, scale_factor_height, scale_factor_width, outputs), mode)


@lowers("resize_bilinear")
def resize_bilinear(
    x: Tensor, target_size_height: int = 1, target_size_width: int = 1, sampling_mode: str = "DEFAULT"
) -> Tensor:
    """Bilinear to a size; the grid of ``sampling_mode`` is in ``sampling_points``."""
    check_sampling_mode(sampling_mode)
    return _linear(x, [target_size_height, target_size_width], sampling_mode)


@lowers("resize")
def resize(
    x: Tensor,
    shape: Tensor,
    resized_dims: int,
    interpolation_mode: str = "LINEAR",
    sampling_mode: str = "DEFAULT",
) -> Tensor:
    """The last ``resized_dims`` axes get the last sizes of ``shape``; a 0 keeps a size.

    Nearest neighbour with DEFAULT takes half-pixel centers (``iOS17/test_image_resizing.py``: 2 to 3
    elements gives 0, 1, 1; coremltools' TensorFlow tests agree).
    """
    check_sampling_mode(sampling_mode)
    if interpolation_mode not in ("LINEAR", "NEAREST_NEIGHBOR"):
        raise PackageError("unknown interpolation_mode", received=repr(interpolation_mode))
    if resized_dims == 0:
        return op.Identity(x)
    targets: list[Size] = []
    for axis in range(-resized_dims, 0):
        if shape.value is not None:
            target = int(shape.value[axis])
            targets.append(target if target else size_of(x, axis))
            continue
        chosen = cast_to(op.Slice(shape, [axis], [axis + 1 or 2**31], [0]), "int64")
        kept = op.Shape(x, start=x.rank + axis, end=x.rank + axis + 1)
        targets.append(op.Where(op.Equal(chosen, 0), kept, chosen))
    if interpolation_mode == "NEAREST_NEIGHBOR":
        return _nearest(x, targets, sampling_mode)
    return _linear(cast_to(x, "fp32"), targets, sampling_mode)

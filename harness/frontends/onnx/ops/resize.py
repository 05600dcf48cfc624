"""Resizing. Every mode of it is separable, so that each axis is picked (nearest) or multiplied by a constant matrix of
weights; MIL's own resizing is used where it computes the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.errors import ConversionError, UnsupportedError
from harness.frontends.builder import mb
from harness.frontends.dispatch import Array, Value, Var
from harness.frontends.expect import axis_of
from harness.frontends.onnx.declared import declared_shape, known_or_none
from harness.frontends.onnx.graph import Node
from harness.frontends.onnx.registry import translates

_FLOATS = ("float32", "float16", "")
# MIL's names of the coordinates that ONNX calls so.
_SAMPLING = {
    "half_pixel": "UNALIGN_CORNERS", "align_corners": "STRICT_ALIGN_CORNERS", "asymmetric": "DEFAULT",
}  # fmt: skip
_NEAREST: dict[str, Callable[[Array], Array]] = {
    "round_prefer_floor": lambda x: np.ceil(x - np.float32(0.5)),
    "round_prefer_ceil": lambda x: np.floor(x + np.float32(0.5)),
    "floor": np.floor,
    "ceil": np.ceil,
}


@dataclass(frozen=True)
class _Axis:
    """``old`` elements become ``new``. ``scale`` is what the model says, ``new / old`` where it gives sizes."""

    old: int
    new: int
    scale: float
    roi: tuple[float, float] = (0.0, 1.0)

    @property
    def is_kept(self) -> bool:
        return self.old == self.new and self.scale == 1

    @property
    def is_whole(self) -> bool:
        """Whether the scale is that of the sizes."""
        return abs(self.new - self.old * self.scale) < 1e-6


@dataclass(frozen=True)
class _Method:
    """The attributes of Resize."""

    mode: str
    coordinates: str
    nearest: str = "round_prefer_floor"
    cubic: float = -0.75
    antialias: bool = False
    excludes_outside: bool = False
    extrapolation: float = 0.0


def _positions(axis: _Axis, coordinates: str, kind: type[Any] = np.float64) -> Array:
    """Where each output lies in the input (ONNX, Resize, coordinate_transformation_mode)."""
    index, scale, old = np.arange(axis.new, dtype=kind), kind(axis.scale), kind(axis.old)
    length = old * scale
    half, one = kind(0.5), kind(1)
    if coordinates == "asymmetric":
        return index / scale
    if coordinates == "align_corners":
        return index * (old - one) / (length - one) if axis.new > 1 and length != 1 else np.zeros(axis.new, kind)
    if coordinates == "pytorch_half_pixel" and length <= 1:
        return np.zeros(axis.new, kind)
    if coordinates in ("half_pixel", "pytorch_half_pixel"):
        return (index + half) / scale - half
    if coordinates == "half_pixel_symmetric":
        return old / 2 * (one - kind(axis.new) / length) + (index + half) / scale - half
    if coordinates == "tf_half_pixel_for_nn":
        return (index + half) / scale
    if coordinates == "tf_crop_and_resize":
        start, end = (kind(value) for value in axis.roi)
        if length == 1:
            return np.full(axis.new, (start + end) * (old - one) / 2, kind)
        return start * (old - one) + index * (end - start) * (old - one) / (length - one)
    raise UnsupportedError("unknown coordinate_transformation_mode", received=coordinates)


def _outside(axis: _Axis, method: _Method) -> Array:
    """Which outputs lie beyond the input and are not its edge but a given value."""
    if method.coordinates != "tf_crop_and_resize":
        return np.zeros(axis.new, bool)
    where = _positions(axis, method.coordinates)
    return (where < 0) | (where > axis.old - 1)


def _nearest_rows(axis: _Axis, method: _Method) -> Array:
    """The input of each output, in float32 as ONNX Runtime computes it."""
    where = _positions(axis, method.coordinates, np.float32)
    mode = method.nearest
    if mode == "simple":  # before opset 11 nothing says how: this is ONNX Runtime's rule
        mode = "ceil" if axis.scale < 1 else "floor"
    if mode not in _NEAREST:
        raise UnsupportedError("unknown nearest_mode", received=mode, supported=list(_NEAREST))
    return np.clip(_NEAREST[mode](where), 0, axis.old - 1).astype(np.int32)


def _cubic(distance: Array, a: float) -> Array:
    """Keys' kernel."""
    x = np.abs(distance)
    near, far = ((a + 2) * x - (a + 3)) * x * x + 1, ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def _weights(axis: _Axis, method: _Method) -> Array:
    """(new, old): the share of each input in each output."""
    radius = {"linear": 1, "cubic": 2}[method.mode]
    stretch = min(axis.scale, 1.0) if method.antialias else 1.0
    where = _positions(axis, method.coordinates)
    left = np.ceil(where).astype(np.int64) - 1
    first = int(np.floor(-radius / stretch)) + 1
    taps = left[:, None] + np.arange(first, 2 - first)[None, :]
    distance = (taps - where[:, None]) * stretch
    shares = _cubic(distance, method.cubic) if method.mode == "cubic" else np.clip(1 - np.abs(distance), 0, 1)
    if method.antialias:
        shares = shares / shares.sum(axis=1, keepdims=True)
    if method.excludes_outside:
        shares = np.where((taps < 0) | (taps >= axis.old), 0.0, shares)
        shares = shares / shares.sum(axis=1, keepdims=True)
    matrix = np.zeros((axis.new, axis.old))
    np.add.at(matrix, (np.arange(axis.new)[:, None], np.clip(taps, 0, axis.old - 1)), shares)
    return matrix


def along_axis(x: Var, matrix: Array, axis: int) -> Var:
    """``x`` with one axis multiplied by a constant matrix (new, old)."""
    rank = len(x.shape)
    matrix = np.ascontiguousarray(matrix, np.float32)
    if rank == 1:
        column = mb.matmul(x=matrix, y=mb.expand_dims(x=x, axes=[1]))
        return mb.squeeze(x=column, axes=[1])
    if axis == rank - 1:
        return mb.matmul(x=x, y=np.ascontiguousarray(matrix.T))
    if axis == rank - 2:
        return mb.matmul(x=np.broadcast_to(matrix, (1,) * (rank - 2) + matrix.shape).copy(), y=x)
    shape = [int(size) for size in x.shape]
    before, after = int(np.prod(shape[:axis])), int(np.prod(shape[axis + 1 :]))
    folded = mb.reshape(x=x, shape=[before, shape[axis], after])
    result = mb.matmul(x=matrix[None], y=folded)
    return mb.reshape(x=result, shape=[*shape[:axis], len(matrix), *shape[axis + 1 :]])


def pick(x: Var, rows: dict[int, Array]) -> Var:
    """Rows of each axis: by a strided slice where they are evenly spaced, else by a gather."""
    rank = len(x.shape)
    begin, end, stride = [0] * rank, [int(size) for size in x.shape], [1] * rank
    for axis, row in rows.items():
        steps = np.diff(row)
        if len(row) < x.shape[axis] and (not steps.size or (steps[0] > 0 and np.all(steps == steps[0]))):
            step = int(steps[0]) if steps.size else 1
            begin[axis], end[axis], stride[axis] = int(row[0]), int(row[-1]) + 1, step
        else:
            x = mb.gather(x=x, indices=np.asarray(row, np.int32), axis=axis)
            end[axis] = len(row)
    if begin == [0] * rank and end == [int(size) for size in x.shape] and stride == [1] * rank:
        return x
    return mb.slice_by_index(x=x, begin=begin, end=end, stride=stride)


def _resized(x: Var, axes: dict[int, _Axis], method: _Method, dtype: str) -> Var:
    changed = {axis: item for axis, item in axes.items() if not item.is_kept or item.roi != (0.0, 1.0)}
    if not changed:
        return x
    if any(item.new < 1 for item in changed.values()):
        raise UnsupportedError("Core ML has no tensors without elements", received="a size of 0")
    is_image = len(x.shape) == 4 and min(changed) >= 2
    outside = {axis: _outside(item, method) for axis, item in changed.items()}
    if method.mode == "nearest":
        rows = {axis: _nearest_rows(item, method) for axis, item in changed.items()}
        if (
            is_image
            and dtype in _FLOATS
            and all(
                item.new % item.old == 0 and np.array_equal(rows[axis], np.arange(item.new) // (item.new // item.old))
                for axis, item in changed.items()
            )
        ):
            factors = [changed[axis].new // changed[axis].old if axis in changed else 1 for axis in (2, 3)]
            x = mb.upsample_nearest_neighbor(
                x=x, scale_factor_height=float(factors[0]), scale_factor_width=float(factors[1])
            )
        else:
            x = pick(x, rows)
    elif method.mode in ("linear", "cubic"):
        if dtype not in _FLOATS:
            raise UnsupportedError("interpolated integers", received=dtype, supported="float32, float16, mode nearest")
        x = _interpolated(x, changed, method, is_image)
    else:
        raise UnsupportedError("unknown mode", received=method.mode, supported=["nearest", "linear", "cubic"])
    return _extrapolated(x, outside, method.extrapolation, dtype)


def _interpolated(x: Var, changed: dict[int, _Axis], method: _Method, is_image: bool) -> Var:
    coordinates = method.coordinates
    if coordinates == "pytorch_half_pixel" and all(item.new > 1 for item in changed.values()):
        coordinates = "half_pixel"
    shrinks = any(item.scale < 1 for item in changed.values())
    if (
        method.mode == "linear" and is_image and coordinates in _SAMPLING and not (method.antialias and shrinks)
        and all(item.is_whole and item.new > 1 for item in changed.values())
    ):  # fmt: skip
        height, width = (changed[axis].new if axis in changed else int(x.shape[axis]) for axis in (2, 3))
        return mb.resize_bilinear(
            x=x, target_size_height=height, target_size_width=width, sampling_mode=_SAMPLING[coordinates]
        )
    # Those that shrink most come first, so that the others have less to do.
    for axis, item in sorted(changed.items(), key=lambda pair: pair[1].new / pair[1].old):
        x = along_axis(x, _weights(item, method), axis)
    return x


def _extrapolated(x: Var, outside: dict[int, Array], value: float, dtype: str) -> Var:
    if not any(mask.any() for mask in outside.values()):
        return x
    if dtype not in _FLOATS:
        raise UnsupportedError("extrapolated integers", received=dtype, supported="float32, float16")
    shape = [int(size) for size in x.shape]
    mask = np.zeros(shape, bool)
    for axis, beyond in outside.items():
        mask |= beyond.reshape([-1 if other == axis else 1 for other in range(len(shape))])
    return mb.select(cond=mask, a=np.full(shape, value, np.float32), b=x)


def _flexible(x: Var, scales: Sequence[float], method: _Method) -> Var:
    """Images of any size by whole factors, where the sizes need not be known."""
    factors = [float(scale) for scale in scales]
    if len(factors) == 4 and factors[:2] == [1, 1] and all(factor == int(factor) for factor in factors):
        keywords = {"scale_factor_height": factors[2], "scale_factor_width": factors[3]}
        probes = [_Axis(size, size * int(factor), factor) for factor in factors[2:] for size in (2, 7, 64)]
        if method.mode == "nearest" and all(
            np.array_equal(_nearest_rows(probe, method), np.arange(probe.new) // int(probe.scale)) for probe in probes
        ):
            return mb.upsample_nearest_neighbor(x=x, **keywords)
        corners = method.coordinates == "align_corners"
        if method.mode == "linear" and (corners or method.coordinates in ("half_pixel", "pytorch_half_pixel")):
            return mb.upsample_bilinear(x=x, align_corners=corners, **keywords)
    raise UnsupportedError(
        "this resizing of flexible sizes", received=f"{method.mode}, {method.coordinates}, scales {factors}",
        supported="images (N, C, H, W) by whole factors, aligned by corners or half pixels",
    )  # fmt: skip


@translates("Resize", since=11)
def resize(
    x: Var,
    roi: Value | None = None,
    scales: Array | None = None,
    sizes: Value | None = None,
    *,
    antialias: int = 0,
    axes: tuple[int, ...] | None = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
    node: Node,
) -> Var:
    """To sizes, or by scales, of the named axes."""
    method = _Method(
        mode, coordinate_transformation_mode, nearest_mode, cubic_coeff_a, bool(antialias), bool(exclude_outside),
        extrapolation_value,
    )  # fmt: skip
    rank = len(x.shape)
    chosen = [axis_of("the input", axis, len(x.shape)) for axis in axes] if axes is not None else list(range(rank))
    for what, numbers in (("scales", scales), ("sizes", sizes)):
        count = 0 if numbers is None else int(np.prod(numbers.shape))
        if count not in (0, len(chosen)):
            raise ConversionError(f"there are {count} {what}", supported=f"{len(chosen)}, one for each axis")
    regions = [(0.0, 1.0)] * len(chosen)
    if coordinate_transformation_mode == "tf_crop_and_resize":
        if not isinstance(roi, np.ndarray):
            raise UnsupportedError("the region of interest must be a constant", received="a value that is computed")
        regions = [(float(roi[at]), float(roi[at + len(chosen)])) for at in range(len(chosen))]
    known = known_or_none(sizes)
    if sizes is not None and known is None:
        if keep_aspect_ratio_policy != "stretch":
            raise UnsupportedError("computed sizes that keep the aspect ratio", received=keep_aspect_ratio_policy)
        shape = declared_shape(node, "sizes")
        known = np.array([shape[axis] for axis in chosen])
    if known is not None and known.size:
        given = [_static(x.shape[axis]) for axis in chosen]
        wanted = [int(size) for size in known]
        factors = [new / old for new, old in zip(wanted, given, strict=True)]
        if keep_aspect_ratio_policy != "stretch":
            factor = min(factors) if keep_aspect_ratio_policy == "not_larger" else max(factors)
            factors = [factor] * len(given)
            wanted = [int(np.floor(old * factor + 0.5)) for old in given]
    elif scales is not None and scales.size:
        factors = [float(scale) for scale in scales.reshape(-1)]
        if not all(isinstance(size, int | np.integer) for size in x.shape):
            spread = [1.0] * rank
            for axis, factor in zip(chosen, factors, strict=True):
                spread[axis] = factor
            return _flexible(x, spread, method)
        given = [int(x.shape[axis]) for axis in chosen]
        wanted = [int(np.floor(old * np.float32(factor))) for old, factor in zip(given, factors, strict=True)]
    else:
        raise UnsupportedError("neither scales nor sizes are given")
    items = (_Axis(*item) for item in zip(given, wanted, factors, regions, strict=True))
    return _resized(x, dict(zip(chosen, items, strict=True)), method, node.input_dtype())


def _static(size: Any) -> int:
    if not isinstance(size, int | np.integer):
        raise UnsupportedError("a flexible size resized to a fixed one", received=size, supported="scales")
    return int(size)


@translates("Resize", since=10)
@translates("Upsample", since=9)
def resize_by_scales(x: Var, scales: Array, *, mode: str = "nearest", node: Node) -> Var:
    """Asymmetric coordinates."""
    # Before opset 11 nearest has no mode of rounding.
    method = _Method(mode.replace("bilinear", "linear"), "asymmetric", "simple")
    if not all(isinstance(size, int | np.integer) for size in x.shape):
        return _flexible(x, scales.reshape(-1).tolist(), method)
    axes = {}
    for axis, factor in enumerate(scales.reshape(-1)):
        size = int(x.shape[axis])
        axes[axis] = _Axis(size, int(np.floor(size * np.float32(factor))), float(factor))
    return _resized(x, axes, method, node.input_dtype())


@translates("Upsample", since=7)
def upsample_by_attribute(x: Var, *, scales: tuple[float, ...], mode: str = "nearest", node: Node) -> Var:
    """Asymmetric coordinates; scales were an attribute."""
    return resize_by_scales(x, np.array(scales, np.float32), mode=mode, node=node)

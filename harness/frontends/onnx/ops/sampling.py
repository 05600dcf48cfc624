"""Values at computed places: GridSample, AffineGrid, DeformConv, RoiAlign."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import dtype_of, like, mb
from harness.frontends.dispatch import Array, Value, Var
from harness.frontends.expect import check_rank, of_each_axis
from harness.frontends.onnx.registry import translates
from harness.frontends.program import as_var

_CUBIC = -0.75
_MODES = {"bilinear": "linear", "bicubic": "cubic", "linear": "linear", "cubic": "cubic", "nearest": "nearest"}
# Powers of the distance (3 to 0) that weigh a tap: Keys' kernel within 1, and from 1 to 2.
_NEAR = (_CUBIC + 2, -(_CUBIC + 3), 0.0, 1.0)
_FAR = (_CUBIC, -5 * _CUBIC, 8 * _CUBIC, -4 * _CUBIC)


@translates("GridSample", since=16)
def grid_sample(x: Var, grid: Var, *, align_corners: int = 0, mode: str = "linear", padding_mode: str = "zeros") -> Var:
    """x (N, C, *D) at grid (N, *O, len(D)), the last axis first, -1 to 1."""
    if mode not in _MODES or padding_mode not in ("zeros", "border", "reflection"):
        raise UnsupportedError("unknown mode or padding_mode", received=f"{mode}, {padding_mode}")
    if dtype_of(x) not in ("fp32", "fp16"):
        raise UnsupportedError("MIL samples floats", received=dtype_of(x))
    mode = _MODES[mode]
    if len(x.shape) == 4 and mode != "cubic":
        mirrored = "reflection" if align_corners else "symmetric"
        return mb.resample(
            x=x, coordinates=grid, sampling_mode={"linear": "bilinear"}.get(mode, mode),
            padding_mode={"zeros": "constant", "reflection": mirrored}.get(padding_mode, padding_mode),
            padding_value=like(x, 0), coordinates_mode="normalized_minus_one_to_one",
            align_corners=bool(align_corners),
        )  # fmt: skip
    if not all(isinstance(size, int | np.integer) for size in (*x.shape, *grid.shape)):
        raise UnsupportedError("this sampling of flexible sizes", supported="images, mode linear or nearest")
    batch, channels, *sizes = (int(size) for size in x.shape)
    spatial, outer = len(sizes), [int(size) for size in grid.shape[1:-1]]
    count = int(np.prod(outer))
    flat: Any = None
    weights: Any = None
    for axis, size in enumerate(sizes):
        last = spatial - 1 - axis
        place = mb.slice_by_index(
            x=mb.reshape(x=grid, shape=[batch, count, spatial]), begin=[0, 0, last], end=[batch, count, last + 1]
        )
        index, weight = _taps(mb.reshape(x=place, shape=[batch, 1, count]), size, mode, padding_mode, align_corners)
        taps = int(index.shape[1])
        shape = [batch, *(taps if other == axis else 1 for other in range(spatial)), count]
        index, weight = mb.reshape(x=index, shape=shape), mb.reshape(x=weight, shape=shape)
        flat = index if flat is None else mb.add(x=mb.mul(x=flat, y=np.int32(size)), y=index)
        weights = weight if weights is None else mb.mul(x=weights, y=weight)
    taps = int(np.prod(flat.shape[1:-1]))
    values = mb.gather(
        x=mb.reshape(x=x, shape=[batch, channels, -1]), indices=mb.reshape(x=flat, shape=[batch, taps * count]),
        axis=2, batch_dims=1,
    )  # fmt: skip
    values = mb.reshape(x=values, shape=[batch, channels, taps, count])
    shares = mb.reshape(x=weights, shape=[batch, 1, taps, count])
    total = mb.reduce_sum(x=mb.mul(x=values, y=shares), axes=[2], keep_dims=False)
    return mb.reshape(x=total, shape=[batch, channels, *outer])


def _taps(place: Var, size: int, mode: str, padding: str, align: int) -> tuple[Var, Var]:
    """Indices and weights (N, taps, Q) of normalised places (N, 1, Q) along one axis."""
    factor, shift = ((size - 1) / 2, (size - 1) / 2) if align else (size / 2, (size - 1) / 2)
    where = mb.add(x=mb.mul(x=place, y=like(place, factor)), y=like(place, shift))
    if mode == "nearest":
        where = mb.round(x=where)
    low, high = (0.0, size - 1.0) if align else (-0.5, size - 0.5)
    # Cubic taps are taken to the border one by one, as PyTorch and ONNX Runtime do.
    if padding == "border" and mode != "cubic":
        where = _clamped(where, size)
    elif padding == "reflection":
        where = _mirrored(where, low, high)
    first, last = {"nearest": (0, 0), "linear": (0, 1), "cubic": (-1, 2)}[mode]
    offsets = np.arange(first, last + 1).reshape(1, -1, 1)
    index = mb.add(x=mb.floor(x=where), y=like(where, offsets))
    distance = mb.abs(x=mb.sub(x=where, y=index))
    if mode == "cubic":
        powers = np.array([_FAR, _NEAR, _NEAR, _FAR]).T.reshape(4, 1, 4, 1)
        weight = like(where, powers[0])
        for power in powers[1:]:
            weight = mb.add(x=mb.mul(x=distance, y=weight), y=like(where, power))
    else:
        weight = mb.sub(x=like(where, 1), y=distance)
    if padding == "zeros":
        inside = mb.logical_and(
            x=mb.greater_equal(x=index, y=like(index, 0)), y=mb.less_equal(x=index, y=like(index, size - 1))
        )
        weight = mb.select(cond=inside, a=weight, b=mb.mul(x=weight, y=like(weight, 0)))
    elif padding == "reflection":
        index = _mirrored(index, low, high)
    return mb.cast(x=_clamped(index, size), dtype="int32"), weight


def _clamped(x: Var, size: int) -> Var:
    return mb.minimum(x=mb.maximum(x=x, y=like(x, 0)), y=like(x, size - 1))


def _mirrored(x: Var, low: float, high: float) -> Var:
    """Reflected at both bounds until between them."""
    if high <= low:
        raise UnsupportedError("reflection along an axis of one element")
    period = 2 * (high - low)
    distance = mb.abs(x=mb.sub(x=x, y=like(x, low)))
    turns = mb.floor(x=mb.mul(x=distance, y=like(x, 1 / period)))
    rest = mb.sub(x=distance, y=mb.mul(x=turns, y=like(x, period)))
    return mb.add(x=mb.minimum(x=rest, y=mb.sub(x=like(x, period), y=rest)), y=like(x, low))


@translates("AffineGrid", since=20)
def affine_grid(theta: Var, size: tuple[int, ...], *, align_corners: int = 0) -> Var:
    """theta (N, d, d + 1) applied to the homogeneous places of an image of ``size`` (N, C, *D)."""
    sizes = tuple(of_each_axis("size", size, len(size), 1, 1))[2:]
    if align_corners and 1 in sizes:
        raise UnsupportedError("align_corners along an axis of one element", received=size)
    along = [np.linspace(-1, 1, count) if align_corners else (np.arange(count) * 2 + 1) / count - 1 for count in sizes]
    places = [*np.meshgrid(*along, indexing="ij")[::-1], np.ones(sizes)]
    rows = np.stack(places, axis=-1).reshape(1, -1, len(places)).astype(np.float32)
    grid = mb.matmul(x=like(theta, rows), y=theta, transpose_y=True)
    return mb.reshape(x=grid, shape=[size[0], *sizes, len(sizes)])


@translates("DeformConv", since=19)
def deform_conv(
    x: Var,
    weight: Value,
    offset: Var,
    bias: Value | None = None,
    mask: Var | None = None,
    *,
    dilations: tuple[int, ...] | None = None,
    group: int = 1,
    kernel_shape: tuple[int, ...] | None = None,
    offset_group: int = 1,
    pads: tuple[int, ...] | None = None,
    strides: tuple[int, ...] | None = None,
) -> Var:
    """A convolution whose taps are displaced by ``offset`` (N, offset_group * K * 2, H2, W2), (y, x) of each, bilinear
    with zeros outside, and weighed by ``mask`` (N, offset_group * K, H2, W2)."""
    if len(x.shape) != 4:
        raise UnsupportedError("MIL samples images", received=f"rank {len(x.shape)}", supported="rank 4")
    check_rank("the weight", weight, 4)
    check_rank("the offset", offset, 4)
    of_each_axis("pads", pads, 4, 0, 0)
    batch, channels, height, width = (int(size) for size in x.shape)
    outputs, _, *kernel = (int(size) for size in weight.shape)
    rows, columns = (int(size) for size in offset.shape[2:])
    taps, places = int(np.prod(kernel)), rows * columns
    steps, rates = of_each_axis("strides", strides, 2, 1, 1), of_each_axis("dilations", dilations, 2, 1, 1)
    begins = (pads or (0, 0))[:2]
    y = np.arange(kernel[0])[:, None, None, None] * rates[0] + np.arange(rows)[:, None] * steps[0] - begins[0]
    x_ = np.arange(kernel[1])[:, None, None] * rates[1] + np.arange(columns) * steps[1] - begins[1]
    base = np.stack(np.broadcast_arrays(x_, y), axis=-1).reshape(1, taps, places, 2)
    moved = mb.reshape(x=offset, shape=[batch * offset_group, taps, 2, places])
    moved = mb.reverse(x=mb.transpose(x=moved, perm=[0, 1, 3, 2]), axes=[3])
    per_group = channels // offset_group
    sampled = mb.resample(
        x=mb.reshape(x=x, shape=[batch * offset_group, per_group, height, width]),
        coordinates=mb.add(x=moved, y=like(moved, base)), sampling_mode="bilinear", padding_mode="constant",
        padding_value=like(x, 0), coordinates_mode="unnormalized", align_corners=True,
    )  # fmt: skip
    if mask is not None:
        sampled = mb.mul(x=sampled, y=mb.reshape(x=mask, shape=[batch * offset_group, 1, taps, places]))
    sampled = mb.reshape(x=sampled, shape=[batch, group, channels // group * taps, places])
    kernels = mb.reshape(x=as_var(weight), shape=[1, group, outputs // group, channels // group * taps])
    result = mb.reshape(x=mb.matmul(x=kernels, y=sampled), shape=[batch, outputs, rows, columns])
    return result if bias is None else mb.add(x=result, y=mb.reshape(x=as_var(bias), shape=[1, outputs, 1, 1]))


@translates("RoiAlign", since=16)
def roi_align(
    x: Var,
    rois: Value,
    batch_indices: Var,
    *,
    coordinate_transformation_mode: str = "half_pixel",
    mode: str = "avg",
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
) -> Var:
    """The mean of bilinear samples in each cell of each region (x1, y1, x2, y2): bilinear weights are separable, so
    that it is a product with a matrix for the rows and one for the columns of each region."""
    if mode != "avg":
        raise UnsupportedError("RoiAlign of the greatest weighted pixel", received=f"mode {mode}", supported="avg")
    of_each_axis("output_height and output_width", (output_height, output_width), 2, 1, 1)
    half = coordinate_transformation_mode == "half_pixel"
    matrices = []
    for axis, cells in ((1, output_height), (0, output_width)):
        size = int(x.shape[3 - axis])
        if isinstance(rois, np.ndarray):
            matrices.append(
                like(x, _cells(rois[:, [axis, axis + 2]], size, cells, sampling_ratio, spatial_scale, half))
            )
        elif sampling_ratio > 0:
            matrices.append(_computed_cells(rois, axis, size, cells, sampling_ratio, spatial_scale, half))
        else:
            raise UnsupportedError("as many samples as computed regions ask for", received="sampling_ratio=0")
    images = mb.gather(x=x, indices=batch_indices, axis=0)
    across = mb.matmul(x=images, y=matrices[1], transpose_y=True)
    return mb.matmul(x=matrices[0], y=across)


def _cells(bounds: Array, size: int, cells: int, ratio: int, scale: float, half: bool) -> Array:
    """(R, 1, cells, size): the share of each row in each cell."""
    bounds = bounds.astype(np.float32) * np.float32(scale) - np.float32(0.5 if half else 0.0)
    result = np.zeros((len(bounds), 1, cells, size))
    for region, (start, end) in enumerate(bounds):
        length = end - start if half else max(end - start, np.float32(1))
        count = ratio if ratio > 0 else int(np.ceil(length / np.float32(cells)))
        if count < 1:
            continue
        fractions = (np.arange(cells)[:, None] + (np.arange(count) + 0.5) / count) / cells
        where = start + length * fractions
        weights = np.clip(1 - np.abs(np.clip(where, 0, size - 1)[..., None] - np.arange(size)), 0, 1)
        result[region, 0] = (weights * ((where >= -1) & (where <= size))[..., None]).mean(axis=1)
    return result


def _computed_cells(rois: Var, axis: int, size: int, cells: int, ratio: int, scale: float, half: bool) -> Var:
    count = int(rois.shape[0])
    shift = 0.5 if half else 0.0
    scaled = mb.sub(x=mb.mul(x=rois, y=like(rois, scale)), y=like(rois, shift))
    start = mb.slice_by_index(x=scaled, begin=[0, axis], end=[count, axis + 1])
    length = mb.sub(x=mb.slice_by_index(x=scaled, begin=[0, axis + 2], end=[count, axis + 3]), y=start)
    if not half:
        length = mb.maximum(x=length, y=like(length, 1))
    fractions = ((np.arange(cells)[:, None] + (np.arange(ratio) + 0.5) / ratio) / cells).reshape(1, -1)
    where = mb.add(x=mb.mul(x=length, y=like(length, fractions)), y=start)
    inside = mb.logical_and(
        x=mb.greater_equal(x=where, y=like(where, -1)), y=mb.less_equal(x=where, y=like(where, size))
    )
    column = mb.expand_dims(x=_clamped(where, size), axes=[2])
    distance = mb.abs(x=mb.sub(x=column, y=like(where, np.arange(size).reshape(1, 1, -1))))
    weights = mb.relu(x=mb.sub(x=like(where, 1), y=distance))
    shown = mb.expand_dims(x=mb.cast(x=inside, dtype=dtype_of(where)), axes=[2])
    weights = mb.reshape(x=mb.mul(x=weights, y=shown), shape=[count, cells, ratio, size])
    return mb.expand_dims(x=mb.reduce_mean(x=weights, axes=[2], keep_dims=False), axes=[1])


@translates("RoiAlign", since=10)
def roi_align_of_corners(
    x: Var, rois: Value, batch_indices: Var, *, mode: str = "avg", output_height: int = 1, output_width: int = 1,
    sampling_ratio: int = 0, spatial_scale: float = 1.0,
) -> Var:  # fmt: skip
    """Before opset 16 coordinates are not shifted by half a pixel."""
    return roi_align(
        x, rois, batch_indices, coordinate_transformation_mode="output_half_pixel", mode=mode,
        output_height=output_height, output_width=output_width, sampling_ratio=sampling_ratio,
        spatial_scale=spatial_scale,
    )  # fmt: skip

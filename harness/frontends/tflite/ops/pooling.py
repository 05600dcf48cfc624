"""Pools, resizing, and exchanges between space and channels."""

from __future__ import annotations

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends import space
from harness.frontends.builder import mb
from harness.frontends.dispatch import Array, Value, Var
from harness.frontends.expect import of_each_axis
from harness.frontends.tflite.layout import channels_first, channels_last, is_known, known, sizes
from harness.frontends.tflite.node import Node
from harness.frontends.tflite.ops.activations import fused
from harness.frontends.tflite.ops.convolution import same_padding
from harness.frontends.tflite.quantization import from_raw, raw
from harness.frontends.tflite.registry import translates


def _pooled(name: str, first: Var, padding: str, kernel: list[int], strides: list[int], **keywords: object) -> Var:
    """Channels first, as is the result."""
    mode: dict[str, object] = {"pad_type": "valid"}
    if padding == "SAME":
        pads = same_padding(first.shape[2:], kernel, strides, [1, 1])
        mode = {"pad_type": "same"} if pads is None else {"pad_type": "custom", "pad": pads}
    result: Var = getattr(mb, name)(x=first, kernel_sizes=kernel, strides=strides, **mode, **keywords)
    return result


@translates("MAX_POOL_2D")
def max_pool_2d(
    x: Var, *, padding: str, stride_w: int, stride_h: int, filter_width: int, filter_height: int,
    fused_activation_function: str,
) -> Var:  # fmt: skip
    """Greatest value of each window."""
    kernel, strides = [filter_height, filter_width], [stride_h, stride_w]
    return fused(
        channels_last(_pooled("max_pool", channels_first(x), padding, kernel, strides)), fused_activation_function
    )


@translates("AVERAGE_POOL_2D")
def average_pool_2d(
    x: Var, *, padding: str, stride_w: int, stride_h: int, filter_width: int, filter_height: int,
    fused_activation_function: str, node: Node,
) -> Var:  # fmt: skip
    """Mean of each window, without what SAME pads. Of integers as they are stored, without a new scale."""
    first, kernel, strides = channels_first(x), [filter_height, filter_width], [stride_h, stride_w]
    is_of_integers = node.has_integer_kernel()
    if is_of_integers:
        first = raw(first, node.tensor(0))
    result = _pooled("avg_pool", first, padding, kernel, strides, exclude_padding_from_average=True)
    if is_of_integers:
        return channels_last(from_raw(result, node.outputs[0], fused_activation_function))
    return fused(channels_last(result), fused_activation_function)


@translates("L2_POOL_2D")
def l2_pool_2d(
    x: Var, *, padding: str, stride_w: int, stride_h: int, filter_width: int, filter_height: int,
    fused_activation_function: str,
) -> Var:  # fmt: skip
    """Root of the mean of squares of each window, without what SAME pads."""
    squares = mb.square(x=channels_first(x))
    means = _pooled(
        "avg_pool", squares, padding, [filter_height, filter_width], [stride_h, stride_w],
        exclude_padding_from_average=True,
    )  # fmt: skip
    return fused(channels_last(mb.sqrt(x=means)), fused_activation_function)


@translates("RESIZE_BILINEAR")
def resize_bilinear(x: Var, size: Value, *, align_corners: bool, half_pixel_centers: bool, node: Node) -> Var:
    """MIL's STRICT_ALIGN_CORNERS, UNALIGN_CORNERS and DEFAULT are align-corners, half-pixel and asymmetric."""
    mode = "STRICT_ALIGN_CORNERS" if align_corners else "UNALIGN_CORNERS" if half_pixel_centers else "DEFAULT"
    first, wanted = channels_first(x), known(size)
    if wanted is None:
        return channels_last(mb.resize(x=first, shape=size, resized_dims=np.uint32(2), sampling_mode=mode))
    sizes = [int(item) for item in wanted]

    def resized(value: Var) -> Var:
        result: Var = mb.resize_bilinear(
            x=value, target_size_height=sizes[0], target_size_width=sizes[1], sampling_mode=mode
        )
        return result

    given = first.shape[2:]
    if not node.has_integer_kernel() or not all(isinstance(each, int | np.integer) for each in given):
        return channels_last(resized(first))
    # Integers are weighted with whole 1024ths.
    first = raw(first, node.tensor(0))
    weights = [
        _in_1024ths(int(old), new, align_corners, half_pixel_centers) for old, new in zip(given, sizes, strict=True)
    ]
    if all(is_exact for _, is_exact in weights):
        result = resized(first)
    else:
        rows, columns = (np.asarray(matrix / 1024, np.float32) for matrix, _ in weights)
        result = mb.matmul(x=rows, y=mb.matmul(x=first, y=columns, transpose_y=True))
    is_dense = any(((matrix % 64) != 0).any() for matrix, _ in weights)
    return channels_last(from_raw(result, node.outputs[0], is_dense=is_dense))


def _in_1024ths(given: int, wanted: int, align_corners: bool, half_pixel_centers: bool) -> tuple[Array, bool]:
    """(wanted, given) by which one axis is resized, and whether they are what they would be in real numbers
    (``reference/resize_bilinear.h``)."""
    old, new = (given - 1, wanted - 1) if align_corners and wanted > 1 else (given, wanted)
    scale = (1024 * old + new // 2) // new
    places = np.arange(wanted) * scale
    if half_pixel_centers:
        places += scale // 2 - 512
    low = np.maximum(places, 0) // 1024
    high = np.minimum(-(-places // 1024), given - 1)
    share = places - 1024 * low
    matrix = np.zeros((wanted, given), np.int64)
    np.add.at(matrix, (np.arange(wanted), low), 1024 - share)
    np.add.at(matrix, (np.arange(wanted), high), share)
    is_exact = scale * new == 1024 * old and not (half_pixel_centers and scale % 2)
    return matrix, is_exact


@translates("RESIZE_NEAREST_NEIGHBOR")
def resize_nearest_neighbor(x: Var, size: Value, *, align_corners: bool, half_pixel_centers: bool) -> Var:
    """Rows and columns picked as in ``reference_ops/resize_nearest_neighbor.h``: whole factors by upsampling."""

    if known(size) is None or not all(is_known(item) for item in x.shape[1:3]):
        return channels_last(_picked_nearest(channels_first(x), size, align_corners, half_pixel_centers))
    given = [int(item) for item in x.shape[1:3]]
    wanted = of_each_axis("size", sizes(size), 2, 1, 1)
    if not align_corners and all(new % old == 0 for new, old in zip(wanted, given, strict=True)):
        factors = [float(new // old) for new, old in zip(wanted, given, strict=True)]
        resized = mb.upsample_nearest_neighbor(
            x=channels_first(x), scale_factor_height=factors[0], scale_factor_width=factors[1]
        )
        return channels_last(resized)
    picked = channels_first(x)
    for axis, (old, new) in enumerate(zip(given, wanted, strict=True), start=2):
        scale = np.float32((old - 1) / (new - 1) if align_corners and new > 1 else old / new)
        offset = np.float32(0.5 if half_pixel_centers else 0)
        position = (np.arange(new, dtype=np.float32) + offset) * scale
        # TfLiteRound: halves away from zero.
        indices = np.floor(position + np.float32(0.5)) if align_corners else np.floor(position)
        picked = mb.gather(x=picked, indices=np.clip(indices, 0, old - 1).astype(np.int32), axis=axis)
    return channels_last(picked)


def _picked_nearest(x: Var, size: Value, align_corners: bool, half_pixel_centers: bool) -> Var:
    """The same of an image (N, C, H, W), where sizes are only known when the model runs."""

    def single(number: Var) -> Var:
        return mb.cast(x=number, dtype="fp32")

    zero, one = np.float32(0), np.float32(1)
    shape = mb.shape(x=x)
    for axis in (2, 3):
        old = mb.slice_by_index(x=shape, begin=[axis], end=[axis + 1])
        new = mb.slice_by_index(x=size, begin=[axis - 2], end=[axis - 1])
        if align_corners:
            scale = mb.real_div(x=mb.sub(x=single(old), y=one), y=mb.maximum(x=mb.sub(x=single(new), y=one), y=one))
        else:
            scale = mb.real_div(x=single(old), y=single(new))
        count = mb.squeeze(x=single(new), axes=[0])
        places = mb.range_1d(start=zero, end=count, step=one)
        offset = np.float32(0.5 if half_pixel_centers else 0)
        position = mb.mul(x=mb.add(x=places, y=offset), y=scale)
        position = mb.floor(x=mb.add(x=position, y=np.float32(0.5)) if align_corners else position)
        position = mb.minimum(x=position, y=mb.sub(x=single(old), y=one))
        x = mb.gather(x=x, indices=mb.cast(x=position, dtype="int32"), axis=axis)
    return x


@translates("SPACE_TO_DEPTH")
def space_to_depth(x: Var, *, block_size: int) -> Var:
    """TensorFlow's order of channels, which is MIL's."""
    return channels_last(space.space_to_depth(channels_first(x), blocksize=block_size))


@translates("DEPTH_TO_SPACE")
def depth_to_space(x: Var, *, block_size: int) -> Var:
    """TensorFlow's order of channels, which is MIL's."""
    return channels_last(space.depth_to_space(channels_first(x), blocksize=block_size))


@translates("LOCAL_RESPONSE_NORMALIZATION")
def local_response_normalization(x: Var, *, radius: int, bias: float, alpha: float, beta: float) -> Var:
    """x / (bias + alpha * sum of squares of the channels within radius)**beta; MIL's alpha is for the window's mean."""

    if len(x.shape) != 4:
        raise UnsupportedError("only images are normalised", received=f"rank {len(x.shape)}", supported="rank 4")
    size = 2 * radius + 1
    normed = mb.local_response_norm(
        x=channels_first(x), size=size, alpha=np.float32(alpha * size), beta=np.float32(beta), k=np.float32(bias)
    )
    return channels_last(normed)

"""MediaPipe's pools and their inverse (custom operators, ``mediapipe/util/tflite/operations``).

Their options are the bytes of ``TfLitePoolParams``. An index is a place within its window, row by row, plus 0.1, as a
float. Convolution2DTransposeBias is in convolution.py, crops about landmarks are in landmarks.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import mb
from harness.frontends.dispatch import Array, Var
from harness.frontends.tflite.layout import channels_first, channels_last
from harness.frontends.tflite.node import Node
from harness.frontends.tflite.ops.activations import fused
from harness.frontends.tflite.ops.convolution import same_padding
from harness.frontends.tflite.registry import translates
from harness.frontends.windows import first_greatest

_PADDINGS = {1: "SAME", 2: "VALID"}
_ACTIVATIONS = {0: "NONE", 1: "RELU", 2: "RELU_N1_TO_1", 3: "RELU6"}


@dataclass(frozen=True)
class _Pool:
    """``TfLitePoolParams`` (``tensorflow/lite/core/c/builtin_op_data.h``); ``kernel`` and ``strides`` are (y, x)."""

    padding: str
    strides: list[int]
    kernel: list[int]
    activation: str

    @classmethod
    def of(cls, node: Node) -> _Pool:
        content = node.operator.custom_options
        if len(content) < 24:
            raise UnsupportedError(
                "the custom options hold no parameters of a pool", received=f"{len(content)} bytes", supported="24"
            )
        padding, stride_x, stride_y, extent_x, extent_y, activation = np.frombuffer(content[:24], "<i4").tolist()
        if padding not in _PADDINGS or activation not in _ACTIVATIONS:
            raise UnsupportedError(
                "unknown padding or activation of a pool", received=f"{padding} and {activation}",
                supported=f"{_PADDINGS} and {_ACTIVATIONS}",
            )  # fmt: skip
        if min(stride_x, stride_y, extent_x, extent_y) < 1:
            raise UnsupportedError("windows and strides must be positive", received=(extent_y, extent_x))
        return cls(_PADDINGS[padding], [stride_y, stride_x], [extent_y, extent_x], _ACTIVATIONS[activation])


def _sizes(x: Var) -> list[int]:
    """(N, C, H, W), which all have to be known."""
    if not all(isinstance(size, int | np.integer) for size in x.shape):
        raise UnsupportedError("the image has to be of a known size", received=tuple(x.shape))
    return [int(size) for size in x.shape]


@translates("MaxPoolingWithArgmax2D")
def max_pooling_with_argmax(x: Var, *, node: Node) -> tuple[Var, Var]:
    """The greatest of each window, and where in it the first such is."""
    pool = _Pool.of(node)
    x = channels_first(x)
    height_and_width = _sizes(x)[2:]
    if pool.padding == "SAME":
        pads = same_padding(height_and_width, pool.kernel, pool.strides, [1, 1])
        assert pads is not None
        if any(pads):
            x = mb.pad(x=x, pad=[0, 0, 0, 0, *pads], mode="constant", constant_val=np.float32(-np.inf))

    def mark(place: tuple[int, ...]) -> np.float32:
        return np.float32(place[0] * pool.kernel[1] + place[1]) + np.float32(0.1)

    greatest, places = first_greatest(x, pool.kernel, pool.strides, [1, 1], mark)
    return fused(channels_last(greatest), pool.activation), channels_last(places)


@translates("MaxUnpooling2D")
def max_unpooling(x: Var, indices: Var, *, node: Node) -> Var:
    """x at its places in zeros of ``kernel`` times its size. Neither padding nor an activation has any effect."""
    pool = _Pool.of(node)
    x = channels_first(x)
    places = mb.floor(x=channels_first(indices))
    sizes = _sizes(x)[2:]
    whole = [size * extent for size, extent in zip(sizes, pool.kernel, strict=True)]
    if pool.strides == pool.kernel:
        # Windows tile the result: each element is its window's value where the window's index names it.
        rows, columns = np.indices(pool.kernel)
        window = (rows * pool.kernel[1] + columns).astype(np.float32)
        return channels_last(_where(_repeated(places, pool.kernel), np.tile(window, sizes), _repeated(x, pool.kernel)))
    # Else windows overlap or leave gaps: one tap after the other, so that what a later window writes stays.
    pads = [
        max((size - 1) * stride + extent - out, 0) // 2
        for size, stride, extent, out in zip(sizes, pool.strides, pool.kernel, whole, strict=True)
    ]
    values = _spread(x, pool.strides)
    numbers = _spread(mb.add(x=places, y=np.float32(1)), pool.strides)
    result: Var | None = None
    for row in reversed(range(pool.kernel[0])):
        for column in reversed(range(pool.kernel[1])):
            begins = [row - pads[0], column - pads[1]]
            number = np.float32(row * pool.kernel[1] + column + 1)
            hit = mb.equal(x=_placed(numbers, begins, whole), y=number)
            value = _placed(values, begins, whole)
            result = mb.select(cond=hit, a=value, b=mb.mul(x=value, y=np.float32(0)) if result is None else result)
    assert result is not None
    return channels_last(result)


def _repeated(x: Var, factors: list[int]) -> Var:
    return mb.upsample_nearest_neighbor(
        x=x, scale_factor_height=float(factors[0]), scale_factor_width=float(factors[1])
    )


def _where(numbers: Var, wanted: Array, value: Var) -> Var:
    """``value`` where ``numbers`` are the wanted ones, else 0."""
    hit = mb.equal(x=numbers, y=wanted[None, None])
    return mb.select(cond=hit, a=value, b=np.zeros([1] * 4, np.float32))


def _spread(x: Var, strides: list[int]) -> Var:
    """x with zeros between its elements, so that they are ``strides`` apart."""
    channels = int(x.shape[1])
    ones = np.ones((channels, 1, 1, 1), np.float32)
    return mb.conv_transpose(x=x, weight=ones, strides=strides, groups=channels, pad_type="valid")


def _placed(x: Var, begins: list[int], sizes: list[int]) -> Var:
    """x with its first element at ``begins`` of an image of zeros, or cut where it lies outside."""
    given = [int(size) for size in x.shape[2:]]
    cut = [max(-begin, 0) for begin in begins]
    ends = [min(size, whole - begin) for size, whole, begin in zip(given, sizes, begins, strict=True)]
    kept = mb.slice_by_index(
        x=x, begin=[0, 0, *cut], end=[0, 0, *ends], begin_mask=[True, True, False, False],
        end_mask=[True, True, False, False],
    )  # fmt: skip
    pads = [
        amount
        for begin, end, whole in zip(begins, ends, sizes, strict=True)
        for amount in (max(begin, 0), whole - begin - end)
    ]
    return mb.pad(x=kept, pad=[0, 0, 0, 0, *pads], mode="constant", constant_val=np.float32(0))

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.errors import PackageError
from harness.quiet import quiet_imports
from harness.runtimes.portable.ops import space

with quiet_imports():
    import coremltools as ct
    import tensorflow as tf
    from coremltools.converters.mil.mil import Builder as mb

Function = Callable[..., Any]


def numbers(*shape: int) -> np.ndarray:
    return np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)


def nhwc(x: np.ndarray) -> np.ndarray:
    return np.transpose(x, (0, 2, 3, 1))


def nchw(x: Any) -> np.ndarray:
    return np.transpose(np.asarray(x), (0, 3, 1, 2))


def pixel_shuffle(x: np.ndarray, factor: int) -> np.ndarray:
    """PyTorch's definition: out[n, c, h * r + i, w * r + j] = x[n, c * r * r + i * r + j, h, w]."""
    n, c, h, w = x.shape
    result = np.zeros((n, c // factor**2, h * factor, w * factor), x.dtype)
    for channel, i, j in np.ndindex(c // factor**2, factor, factor):
        result[:, channel, i::factor, j::factor] = x[:, channel * factor**2 + i * factor + j]
    return result


@pytest.mark.parametrize("target", [ct.target.iOS15, ct.target.iOS18])
@pytest.mark.parametrize("block", [2, 3])
def test_depth_and_space_match_tensorflow(run: Function, block: int, target: Any) -> None:
    deep, wide = numbers(2, 2 * block**2, 3, 4), numbers(2, 3, 2 * block, 3 * block)
    results = run(
        lambda x, y: (mb.depth_to_space(x=x, block_size=block), mb.space_to_depth(x=y, block_size=block)),
        {"x": deep, "y": wide}, target=target,
    )  # fmt: skip
    assert np.array_equal(results[0], nchw(tf.nn.depth_to_space(nhwc(deep), block)))
    assert np.array_equal(results[1], nchw(tf.nn.space_to_depth(nhwc(wide), block)))


@pytest.mark.parametrize("factor", [2, 3])
def test_pixel_shuffle_and_its_inverse(run: Function, factor: int) -> None:
    x = numbers(2, 2 * factor**2, 3, 4)
    shuffled = pixel_shuffle(x, factor)
    results = run(
        lambda x, y: (mb.pixel_shuffle(x=x, upscale_factor=factor),
                      mb.pixel_unshuffle(x=y, downscale_factor=np.uint32(factor))),
        {"x": x, "y": shuffled}, precision="float16", numerics="float16",
    )  # fmt: skip
    assert np.array_equal(results[0], shuffled)
    assert np.array_equal(results[1], x)


@pytest.mark.parametrize("block", [[2, 2], [2, 3]])
@pytest.mark.parametrize("margins", [[[0, 0], [0, 0]], [[1, 3], [2, 4]]])
def test_space_and_batch_match_tensorflow(run: Function, block: list[int], margins: list[list[int]]) -> None:
    x, y = numbers(2, 3, 4, 6), numbers(12, 3, 4, 5)
    results = run(
        lambda x, y: (mb.space_to_batch(x=x, block_shape=block, paddings=margins),
                      mb.batch_to_space(x=y, block_shape=block, crops=margins)),
        {"x": x, "y": y},
    )  # fmt: skip
    assert np.array_equal(results[0], nchw(tf.space_to_batch(nhwc(x), block, margins)))
    assert np.array_equal(results[1], nchw(tf.raw_ops.BatchToSpaceND(input=nhwc(y), block_shape=block, crops=margins)))


def test_values_of_devices(run: Function) -> None:
    """coremltools' iOS14/test_tensor_transformation.py."""
    x = np.array([[[[1, 2, 3, 4], [5, 6, 7, 8]]], [[[9, 10, 11, 12], [13, 14, 15, 16]]]], np.float32)
    [result] = run(lambda x: mb.space_to_batch(x=x, block_shape=[2, 2], paddings=[[0, 0], [2, 0]]), {"x": x})
    rows = [[0, 1, 3], [0, 9, 11], [0, 2, 4], [0, 10, 12], [0, 5, 7], [0, 13, 15], [0, 6, 8], [0, 14, 16]]
    assert result.reshape(8, 3).tolist() == rows
    [back] = run(lambda x: mb.batch_to_space(x=x, block_shape=[2, 2], crops=[[0, 0], [2, 0]]), {"x": result})
    assert np.array_equal(back, x)


def test_unknown_sizes(lower: Function) -> None:
    x = numbers(2, 8, 4, 6)
    assert np.array_equal(lower(space.pixel_unshuffle, {"x": pixel_shuffle(x, 2)}, downscale_factor=2), x)
    margins = np.array([[1, 1], [2, 0]])
    batch = lower(space.space_to_batch, {"x": x}, block_shape=(2, 2), paddings=margins)
    assert np.array_equal(batch, nchw(tf.space_to_batch(nhwc(x), [2, 2], margins)))
    assert np.array_equal(lower(space.batch_to_space, {"x": batch}, block_shape=(2, 2), crops=margins), x)


def test_refuses_other_block_shapes(lower: Function) -> None:
    with pytest.raises(PackageError, match="block_shape and crops"):
        lower(space.batch_to_space, {"x": numbers(4, 1, 2, 2)}, block_shape=(2,), crops=np.array([[0, 0]]))

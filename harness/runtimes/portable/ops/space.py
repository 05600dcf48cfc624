"""Exchanges between space and channels or batch (coremltools ``tensor_transformation.py`` of iOS15, iOS16)."""

from __future__ import annotations

from harness.errors import PackageError
from harness.runtimes.portable.onnx_graph import Tensor, op
from harness.runtimes.portable.ops.sizes import minus, over, shape_vector, size_of, times
from harness.runtimes.portable.registry import lowers
from harness.tensors import Array


@lowers("depth_to_space", moves=True)
def depth_to_space(x: Tensor, block_size: int) -> Tensor:
    """Channel (i * block + j) * C + c becomes pixel (i, j) of a block of channel c, as in TensorFlow."""
    return op.DepthToSpace(x, blocksize=block_size, mode="DCR")


@lowers("space_to_depth", moves=True)
def space_to_depth(x: Tensor, block_size: int) -> Tensor:
    """The inverse of depth_to_space."""
    return op.SpaceToDepth(x, blocksize=block_size)


@lowers("pixel_shuffle", moves=True)
def pixel_shuffle(x: Tensor, upscale_factor: int) -> Tensor:
    """Channel c * factor^2 + i * factor + j becomes pixel (i, j) of a block of channel c, as in PyTorch."""
    return op.DepthToSpace(x, blocksize=upscale_factor, mode="CRD")


@lowers("pixel_unshuffle", moves=True)
def pixel_unshuffle(x: Tensor, downscale_factor: int) -> Tensor:
    """The inverse of pixel_shuffle: space_to_depth of one channel at a time."""
    blocks = op.SpaceToDepth(op.Reshape(x, [-1, 1, 0, 0]), blocksize=downscale_factor)
    batch, channels, height, width = (size_of(x, axis) for axis in range(4))
    sizes = [batch, times(channels, downscale_factor**2), over(height, downscale_factor), over(width, downscale_factor)]
    return op.Reshape(blocks, shape_vector(sizes), allowzero=1)


def _pairs(block_shape: tuple[int, ...], amounts: Array, what: str) -> tuple[int, int, list[list[int]]]:
    if len(block_shape) != 2 or amounts.shape != (2, 2):
        raise PackageError(
            f"block_shape and {what} must have the shapes (2,) and (2, 2)",
            received=f"{(len(block_shape),)} and {amounts.shape}",
        )
    return block_shape[0], block_shape[1], amounts.tolist()


@lowers("space_to_batch", moves=True)
def space_to_batch(x: Tensor, block_shape: tuple[int, ...], paddings: Array) -> Tensor:
    """Pixel (i, j) of each block of ``x`` (N, C, H, W), padded with zeros, becomes image (i * b + j) * N + n."""
    high, wide, ((top, bottom), (left, right)) = _pairs(block_shape, paddings, "paddings")
    padded = op.Pad(x, [0, 0, top, left, 0, 0, bottom, right])
    batch, channels = size_of(padded, 0), size_of(padded, 1)
    rows, columns = over(size_of(padded, 2), high), over(size_of(padded, 3), wide)
    split = op.Reshape(padded, shape_vector([batch, channels, rows, high, columns, wide]), allowzero=1)
    moved = op.Transpose(split, perm=[3, 5, 0, 1, 2, 4])
    return op.Reshape(moved, shape_vector([times(batch, high * wide), channels, rows, columns]), allowzero=1)


@lowers("batch_to_space", moves=True)
def batch_to_space(x: Tensor, block_shape: tuple[int, ...], crops: Array) -> Tensor:
    """The inverse of space_to_batch: ``crops`` are cut off where it padded."""
    high, wide, ((top, bottom), (left, right)) = _pairs(block_shape, crops, "crops")
    batch, channels, rows, columns = (size_of(x, axis) for axis in range(4))
    batch = over(batch, high * wide)
    split = op.Reshape(x, shape_vector([high, wide, batch, channels, rows, columns]), allowzero=1)
    moved = op.Transpose(split, perm=[2, 3, 4, 0, 5, 1])
    size = [times(rows, high), times(columns, wide)]
    joined = op.Reshape(moved, shape_vector([batch, channels, *size]), allowzero=1)
    return op.Slice(joined, [top, left], shape_vector([minus(size[0], bottom), minus(size[1], right)]), [2, 3])

"""The values of constants that are stored packed or sparse. Pure functions of arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.frontends.dispatch import Array

# Bits of an element, by type. Texts, resources and variants have none.
BITS = {
    "float64": 64, "float32": 32, "float16": 16, "bfloat16": 16, "complex128": 128, "complex64": 64, "bool": 8,
    "int64": 64, "int32": 32, "int16": 16, "int8": 8, "int4": 4, "int2": 2,
    "uint64": 64, "uint32": 32, "uint16": 16, "uint8": 8, "uint4": 4,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class SparseDimension:
    """A level of the tree that a sparse tensor is stored as.

    Dense: every index below ``size``. Else ``segments`` says where in ``indices`` those of each node above lie (CSR).
    """

    size: int
    segments: Array | None = None
    indices: Array | None = None


@dataclass(frozen=True, eq=False)
class Sparsity:
    """How a sparse tensor is stored: levels in the order in which its dimensions, then those of a block, are walked.

    ``traversal_order[i]`` is the dimension of level i, where dimensions of blocks are numbered after the tensor's own;
    ``block_map[k]`` is the dimension that block dimension k divides.
    """

    traversal_order: tuple[int, ...]
    block_map: tuple[int, ...]
    levels: tuple[SparseDimension, ...]


def stored_bytes(count: int, dtype: str) -> int:
    """Bytes of ``count`` elements; those of less than a byte are packed without gaps."""
    return (count * BITS[dtype] + 7) // 8


def unpack(stored: Array, count: int, dtype: str) -> Array:
    """``count`` elements of the uint8 array ``stored``: a view, or int8 for int4 and int2, uint8 for uint4, float32
    for bfloat16. Packed elements begin at the low bits of each byte.
    """
    elements: Any = stored
    if dtype == "bool":
        elements = elements != 0
    elif dtype == "bfloat16":
        elements = (elements.view("<u2").astype(np.uint32) << 16).view(np.float32)
    elif BITS[dtype] >= 8:
        elements = elements.view(np.dtype(dtype).newbyteorder("<"))
    else:
        bits = BITS[dtype]
        elements = (elements[:, None] >> np.arange(0, 8, bits, dtype=np.uint8)).reshape(-1)[:count]
        elements &= np.uint8((1 << bits) - 1)
        if not dtype.startswith("u"):
            sign = np.int8(1 << (bits - 1))
            elements = (elements.view(np.int8) ^ sign) - sign
    values: Array = elements
    return values


def densify(values: Array, shape: tuple[int, ...], sparsity: Sparsity) -> Array:
    """A sparse tensor's elements, in stored order, at their places among zeros; what DENSIFY computes."""
    sizes = list(shape)
    for block, dimension in enumerate(sparsity.block_map):
        sizes[dimension] //= _block_size(sparsity, len(shape) + block)
    strides = [0] * len(sparsity.traversal_order)
    stride = 1
    for dimension in reversed(range(len(shape))):
        step = stride
        for block, blocked in enumerate(sparsity.block_map):
            if blocked == dimension:
                strides[len(shape) + block] = stride
                step = stride * _block_size(sparsity, len(shape) + block)
        strides[dimension] = step
        stride *= shape[dimension]
    places = np.zeros(1, np.int64)
    for dimension, level in zip(sparsity.traversal_order, sparsity.levels, strict=True):
        if level.segments is None or level.indices is None:
            places = (places[:, None] + strides[dimension] * np.arange(level.size)).reshape(-1)
        else:
            segments = level.segments.astype(np.int64)
            places = np.repeat(places, segments[1:] - segments[:-1]) + strides[dimension] * level.indices.astype(
                np.int64
            )
    dense = np.zeros(stride, values.dtype)
    dense[places] = values
    return dense.reshape(shape)


def _block_size(sparsity: Sparsity, dimension: int) -> int:
    return sparsity.levels[sparsity.traversal_order.index(dimension)].size

"""Compressed weights (coremltools ``iOS16/constexpr_ops.py``, ``iOS18/compression.py``).

Evaluated once, when the program is loaded. iOS16 packs indices and masks into bytes and gives the
shape apart; iOS18 has tensors of sub-byte types.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.errors import PackageError
from harness.runtimes.portable.registry import kernel
from harness.runtimes.portable.weights import unpack_bits
from harness.tensors import Array


def _unpacked(packed: Array, bits: int, shape: tuple[int, ...]) -> Any:
    """Integers of ``bits`` each out of bytes, lowest bits first."""
    data = packed.astype(np.uint8)
    count = int(np.prod(shape))
    values = data[:count] if bits == 8 else unpack_bits(data, f"uint{bits}", count)
    return values.reshape(shape)


def _spread(parameter: Array, shape: tuple[int, ...]) -> Any:
    """One element for each block, repeated over the block: ``parameter`` at the size of the leading ``shape``."""
    for axis, size in enumerate(shape):
        if size % parameter.shape[axis]:
            raise PackageError(
                f"axis {axis} of size {size} is no multiple of its {parameter.shape[axis]} blocks",
                remedy="Compress the model again",
            )
        blocks = parameter.shape[axis]
        if blocks not in (1, size):
            parameter = np.repeat(parameter, size // blocks, axis)
    return parameter


def _masked(nonzero_data: Array, mask: Array) -> Array:
    """Values at the places of a mask, zeros elsewhere."""
    dense = np.zeros(mask.shape, nonzero_data.dtype)
    places = mask != 0
    if np.count_nonzero(places) != nonzero_data.size:
        raise PackageError(
            "a sparse weight has another number of values than places",
            received=f"{nonzero_data.size} values",
            supported=f"{np.count_nonzero(places)} places",
            remedy="Compress the model again",
        )
    dense[places] = nonzero_data
    return dense


def _shift_scale(data: Array, scale: Array, offset: Array | None) -> Array:
    """scale * (data - offset), each element of scale and offset standing for a block."""
    values: Any = data.astype(np.float32)
    if offset is not None:
        values = values - _spread(offset, data.shape)
    scaled: Array = values * _spread(scale, data.shape)
    return scaled


def _look_up(indices: Array, lut: Array, vector_axis: int | None) -> Array:
    """Elements of the tables in ``lut`` (*blocks, palettes, vector); a vector extends ``vector_axis``."""
    tables = _spread(lut, indices.shape)
    tables = np.broadcast_to(tables, (*indices.shape, *lut.shape[-2:]))
    found = np.take_along_axis(tables, indices.astype(np.int64)[..., None, None], axis=-2)[..., 0, :]
    if lut.shape[-1] == 1 or vector_axis is None:
        scalars: Array = found[..., 0]
        return scalars
    axis = vector_axis % indices.ndim
    shape = list(indices.shape)
    shape[axis] *= lut.shape[-1]
    return np.moveaxis(found, -1, axis + 1).reshape(shape)


@kernel("constexpr_affine_dequantize")
def constexpr_affine_dequantize(quantized_data: Array, zero_point: Array, scale: Array, axis: int) -> Array:
    """scale * (data - zero_point), both scalars or vectors along ``axis``."""
    shape = [1] * quantized_data.ndim
    shape[axis] = -1
    values: Any = quantized_data.astype(np.float32)
    scaled: Array = (values - zero_point.reshape(shape)) * scale.reshape(shape)
    return scaled


@kernel("constexpr_cast", moves=True)
def constexpr_cast(source_val: Array, output_dtype: str) -> Array:
    """float16 to float32; both are kept in float32 here."""
    return source_val


@kernel("constexpr_lut_to_dense", moves=True)
def constexpr_lut_to_dense(
    indices: Array, lut: Array, shape: tuple[int, ...] | None = None, vector_axis: int | None = None
) -> Array:
    """Look indices up in one table (iOS16, ``shape``) or in one for each block (iOS18)."""
    if shape is not None:
        dense: Array = lut[_unpacked(indices, int(np.log2(lut.size)), shape)]
        return dense
    return _look_up(indices, lut, vector_axis)


@kernel("constexpr_sparse_to_dense", moves=True)
def constexpr_sparse_to_dense(nonzero_data: Array, mask: Array, shape: tuple[int, ...] | None = None) -> Array:
    """Values at the places of a mask, which is packed into bytes in iOS16 (``shape``)."""
    return _masked(nonzero_data, mask if shape is None else _unpacked(mask, 1, shape))


@kernel("constexpr_blockwise_shift_scale")
def constexpr_blockwise_shift_scale(data: Array, scale: Array, offset: Array | None = None) -> Array:
    """scale * (data - offset) by blocks."""
    return _shift_scale(data, scale, offset)


@kernel("constexpr_lut_to_sparse", moves=True)
def constexpr_lut_to_sparse(
    indices_mask: Array, indices_nonzero_data: Array, lut: Array, vector_axis: int | None = None
) -> tuple[Array, Array]:
    """Mask and values of a sparse weight whose values are looked up."""
    dense = _look_up(_masked(indices_nonzero_data, indices_mask), lut, vector_axis)
    if lut.shape[-1] > 1 and vector_axis is not None:
        indices_mask = np.repeat(indices_mask, lut.shape[-1], axis=vector_axis)
    return indices_mask, dense[indices_mask != 0]


@kernel("constexpr_sparse_blockwise_shift_scale")
def constexpr_sparse_blockwise_shift_scale(
    data_mask: Array, nonzero_data: Array, scale: Array, offset: Array | None = None
) -> tuple[Array, Array]:
    """Mask and values of a sparse weight whose values are quantized by blocks."""
    return data_mask, _shift_scale(_masked(nonzero_data, data_mask), scale, offset)[data_mask != 0]

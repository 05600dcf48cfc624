"""Constants that a package holds in fewer bytes than their values take: operations ``constexpr_*`` of MIL.

Weights of convolutions and dense layers stay as they are stored.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from harness.frontends.builder import mb
from harness.frontends.dispatch import Array, Value, Var

# A compressed constant of fewer elements costs more than it saves.
FEWEST_COMPRESSED = 256


def is_compressed(value: Value) -> bool:
    """Whether a value is such a constant."""
    operation = getattr(value, "op", None)
    return operation is not None and operation.op_type.startswith("constexpr")


def is_sparse(value: Value) -> bool:
    """Whether it is stored as its elements that are not zero."""
    return is_compressed(value) and value.op.op_type == "constexpr_sparse_to_dense"  # type: ignore[union-attr]


def dequantized(values: Array, scales: Array, zero_points: Array, axis: int, name: str | None = None) -> Var:
    """scale * (8-bit integers - zero point), one pair for all or one for each index of ``axis``."""
    keywords = {} if name is None else {"name": name}
    result: Var = mb.constexpr_affine_dequantize(
        quantized_data=np.ascontiguousarray(values),
        zero_point=scalar_or_vector(zero_points.astype(values.dtype)),
        scale=scalar_or_vector(scales.astype(np.float32)),
        axis=np.int32(axis),
        **keywords,
    )
    return result


def scalar_or_vector(values: Any) -> Any:
    """One value for all as a scalar, which is how MIL tells it from one for each index."""
    return values[0] if len(values) == 1 else values


def sparse_if_less(values: Array, itemsize: int, dense_itemsize: int, name: str | None = None) -> Var | None:
    """float32 numbers that the file holds sparse, so in the package too; None where all of them take fewer bytes.
    ``itemsize`` is that of one number in the package, ``dense_itemsize`` where all are stored."""
    stored = int(np.count_nonzero(values)) * itemsize + (values.size + 7) // 8
    if values.size < FEWEST_COMPRESSED or stored >= values.size * dense_itemsize:
        return None
    return sparse_constant(values, name)


def cast_constant(values: Array) -> Var:
    """float16 numbers that the program computes with as float32."""
    result: Var = mb.constexpr_cast(source_val=np.ascontiguousarray(values), output_dtype="fp32")
    return result


def sparse_constant(values: Array, name: str | None = None) -> Var:
    """Numbers of which many are zero, as those that are not and a bit for each place."""
    from coremltools.converters.mil.mil import types

    is_stored = values != 0
    keywords: dict[str, Any] = {} if name is None else {"name": name}
    if _has_short_types():
        keywords |= {"mask": is_stored.astype(types.np_uint1_dtype)}
    else:
        mask = np.packbits(is_stored.reshape(-1), bitorder="little")
        keywords |= {"mask": mask, "shape": np.array(values.shape, np.uint32)}
    result: Var = mb.constexpr_sparse_to_dense(nonzero_data=np.ascontiguousarray(values[is_stored]), **keywords)
    return result


def half_byte_constant(integers: Array, table: Array, name: str | None = None) -> Var:
    """``table[integers]`` of 16 float32, where integers from 0 to 15 take four bits each."""
    from coremltools.converters.mil.mil import types

    keywords: dict[str, Any] = {} if name is None else {"name": name}
    table = table.astype(np.float32)
    if _has_short_types():
        keywords |= {
            "indices": integers.astype(types.np_uint4_dtype),
            "lut": table.reshape([1] * integers.ndim + [16, 1]),
        }
    else:
        flat = np.zeros(integers.size + integers.size % 2, np.uint8)
        flat[: integers.size] = integers.reshape(-1)
        shape = np.array(integers.shape, np.uint32)
        keywords |= {"indices": flat[0::2] | flat[1::2] << 4, "lut": table, "shape": shape}
    result: Var = mb.constexpr_lut_to_dense(**keywords)
    return result


def _has_short_types() -> bool:
    """Whether the program that is being built has types of one and four bits: from iOS18 on. Before, they are packed
    into bytes, and the shape is told apart."""
    from coremltools import target
    from coremltools.converters.mil.mil.block import curr_opset_version

    return bool(curr_opset_version() >= target.iOS18)


def rearranged(weight: Value, change: Callable[[Array], Array], axis: Callable[[int], int]) -> Var | None:
    """A compressed constant whose elements are put elsewhere, compressed as it is; None for any other value.
    ``axis`` says where an axis is after the change.
    """
    if isinstance(weight, np.ndarray) or not is_compressed(weight):
        return None
    operation = weight.op
    if operation.op_type == "constexpr_affine_dequantize":
        return dequantized(
            change(operation.quantized_data.val), np.atleast_1d(operation.scale.val),
            np.atleast_1d(operation.zero_point.val), axis(int(operation.axis.val)),
        )  # fmt: skip
    if operation.op_type == "constexpr_cast":
        return cast_constant(change(operation.source_val.val))
    if operation.op_type == "constexpr_sparse_to_dense":
        return sparse_constant(change(operation.materialized_val_inference()))
    if operation.op_type == "constexpr_lut_to_dense":
        return half_byte_constant(change(_half_bytes(operation)), operation.lut.val.reshape(-1))
    return None


def decompressed(value: Value) -> Array | None:
    """The numbers that a compressed constant stands for; None for any other value."""
    if isinstance(value, np.ndarray) or not is_compressed(value):
        return None
    return np.asarray(value.op.materialized_val_inference())


def _half_bytes(operation: Any) -> Array:
    stored = operation.indices.val
    if _has_short_types():
        return np.asarray(stored.astype(np.uint8))
    shape = tuple(int(size) for size in operation.shape.val)
    integers: Array = np.stack([stored & 15, stored >> 4], -1).reshape(-1)[: math.prod(shape)].reshape(shape)
    return integers

"""TFLite computes on NHWC, Core ML on NCHW: each such operator stands between two transposes, which cancel in pairs
(coremltools' pass ``reduce_transposes``)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.frontends.builder import mb
from harness.frontends.dispatch import Array, Value, Var


def channels_first(x: Var) -> Var:
    """(N, *D, C) to (N, C, *D)."""

    rank = len(x.shape)
    return mb.transpose(x=x, perm=[0, rank - 1, *range(1, rank - 1)])


def channels_last(x: Var) -> Var:
    """(N, C, *D) to (N, *D, C)."""

    rank = len(x.shape)
    return mb.transpose(x=x, perm=[0, *range(2, rank), 1])


def transposed_weight(weight: Value, perm: Sequence[int]) -> Value:
    """A weight with its axes in another order, at once where it is a constant; compressed ones stay compressed."""

    if isinstance(weight, np.ndarray):
        return np.ascontiguousarray(weight.transpose(perm))
    operation = weight.op
    if operation is not None and operation.op_type == "constexpr_affine_dequantize":
        data: Array = operation.quantized_data.val
        axis = int(operation.axis.val)
        return mb.constexpr_affine_dequantize(
            quantized_data=np.ascontiguousarray(data.transpose(perm)),
            zero_point=operation.zero_point.val,
            scale=operation.scale.val,
            axis=np.int32(list(perm).index(axis)),
        )
    if weight.val is not None:
        return np.ascontiguousarray(weight.val.transpose(perm))
    return mb.transpose(x=weight, perm=list(perm))


def known(value: Value) -> Array | None:
    """What a value is known to be when the model is converted, or None."""
    if isinstance(value, np.ndarray):
        return value
    return None if value.val is None else np.asarray(value.val)

"""Reductions (coremltools ``iOS15`` and ``iOS17``: ``reduction.py``)."""

from __future__ import annotations

from collections.abc import Callable

from harness.runtimes.portable.onnx_graph import Tensor, cast_to, op
from harness.runtimes.portable.registry import lowers

# Those of integers that are no integers are computed in float64 and truncated, as numpy's.
_FRACTIONAL = frozenset({"reduce_l2_norm", "reduce_log_sum", "reduce_log_sum_exp", "reduce_mean"})
_REDUCTIONS = {
    "reduce_l1_norm": "ReduceL1",
    "reduce_l2_norm": "ReduceL2",
    "reduce_log_sum": "ReduceLogSum",
    "reduce_log_sum_exp": "ReduceLogSumExp",
    "reduce_max": "ReduceMax",
    "reduce_mean": "ReduceMean",
    "reduce_min": "ReduceMin",
    "reduce_prod": "ReduceProd",
    "reduce_sum": "ReduceSum",
    "reduce_sum_square": "ReduceSumSquare",
}


def _reduction(name: str, onnx_name: str) -> Callable[..., Tensor]:
    def reduce(x: Tensor, axes: tuple[int, ...] | None = None, keep_dims: bool = False) -> Tensor:
        """Reduce the given axes, or all."""
        if name in _FRACTIONAL and not x.is_float:
            x = cast_to(x, "fp64")
        result: Tensor = getattr(op, onnx_name)(x, axes, keepdims=int(keep_dims))
        return result

    return reduce


for _name, _onnx_name in _REDUCTIONS.items():
    lowers(_name, moves=_name in ("reduce_max", "reduce_min"))(_reduction(_name, _onnx_name))


@lowers("reduce_argmax", moves=True)
def reduce_argmax(x: Tensor, axis: int = -1, keep_dims: bool = False, output_dtype: str = "int32") -> Tensor:
    """The index of the first maximum along an axis."""
    return op.ArgMax(x, axis=axis, keepdims=int(keep_dims))


@lowers("reduce_argmin", moves=True)
def reduce_argmin(x: Tensor, axis: int = -1, keep_dims: bool = False, output_dtype: str = "int32") -> Tensor:
    """The index of the first minimum along an axis."""
    return op.ArgMin(x, axis=axis, keepdims=int(keep_dims))

"""Reductions, positions of extremes, and sums along an axis."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from harness.frontends.builder import mb
from harness.frontends.dispatch import Array, Var
from harness.frontends.tflite.registry import translates

_REDUCTIONS = {
    "MEAN": "reduce_mean", "SUM": "reduce_sum", "REDUCE_MAX": "reduce_max", "REDUCE_MIN": "reduce_min",
    "REDUCE_PROD": "reduce_prod",
}  # fmt: skip


def _reduction(mil_name: str) -> Callable[..., Var]:
    def reduce(x: Var, axes: Array, *, keep_dims: bool) -> Var:

        chosen = sorted({int(axis) % len(x.shape) for axis in axes.reshape(-1)})
        if not chosen:
            return x
        result: Var = getattr(mb, mil_name)(x=x, axes=chosen, keep_dims=keep_dims)
        return result

    return reduce


for _operator, _mil_name in _REDUCTIONS.items():
    translates(_operator)(_reduction(_mil_name))


def _any_or_all(x: Var, axes: Array, keep_dims: bool, mil_name: str) -> Var:

    chosen = sorted({int(axis) % len(x.shape) for axis in axes.reshape(-1)})
    reduced = getattr(mb, mil_name)(x=mb.cast(x=x, dtype="int32"), axes=chosen, keep_dims=keep_dims)
    return mb.cast(x=reduced, dtype="bool")


@translates("REDUCE_ANY")
def reduce_any(x: Var, axes: Array, *, keep_dims: bool) -> Var:
    """Whether any holds."""
    return _any_or_all(x, axes, keep_dims, "reduce_max")


@translates("REDUCE_ALL")
def reduce_all(x: Var, axes: Array, *, keep_dims: bool) -> Var:
    """Whether all hold."""
    return _any_or_all(x, axes, keep_dims, "reduce_min")


@translates("ARG_MAX")
def arg_max(x: Var, axis: int, *, output_type: str = "") -> Var:
    """The first greatest."""

    return mb.reduce_argmax(x=x, axis=axis, keep_dims=False)


@translates("ARG_MIN")
def arg_min(x: Var, axis: int, *, output_type: str = "") -> Var:
    """The first least."""

    return mb.reduce_argmin(x=x, axis=axis, keep_dims=False)


@translates("CUMSUM")
def cumsum(x: Var, axis: int, *, exclusive: bool = False, reverse: bool = False) -> Var:
    """Sums of what comes before, with or without the element itself."""

    return mb.cumsum(x=x, axis=axis, exclusive=exclusive, reverse=reverse)


@translates("TOPK_V2")
def top_k(x: Var, k: int) -> tuple[Var, Var]:
    """The greatest of the last axis, sorted, and where they are."""

    values, indices = mb.topk(x=x, k=k, axis=-1, ascending=False)
    return values, indices


@translates("BATCH_MATMUL")
def batch_matmul(
    x: Var, y: Var, *, adj_x: bool = False, adj_y: bool = False, asymmetric_quantize_inputs: bool = False
) -> Var:
    """Matrix products of the last two axes."""

    return mb.matmul(x=x, y=y, transpose_x=adj_x, transpose_y=adj_y)


@translates("ONE_HOT")
def one_hot(indices: Var, depth: int, on: Array, off: Array, *, axis: int = -1) -> Var:
    """``on`` where the index along ``axis`` is the value."""

    kind = np.float32 if on.dtype.kind == "f" else np.int32
    result: Var = mb.one_hot(
        indices=indices, one_hot_vector_size=depth, axis=axis,
        on_value=kind(on.reshape(()).item()), off_value=kind(off.reshape(()).item()),
    )  # fmt: skip
    return mb.cast(x=result, dtype="bool") if on.dtype.kind == "b" else result

"""Reductions, positions of extremes, and sums along an axis."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from harness.frontends.builder import dtype_of, mb
from harness.frontends.dispatch import Array, Var
from harness.frontends.integers import INTEGERS, truncated_quotient, wrapped
from harness.frontends.padding import fixed_size
from harness.frontends.selection import as_numbers, where
from harness.frontends.tflite.node import Node
from harness.frontends.tflite.quantization import requantized, steps
from harness.frontends.tflite.registry import translates
from harness.frontends.tflite.types import computed_type

_REDUCTIONS = {
    "SUM": "reduce_sum", "REDUCE_MAX": "reduce_max", "REDUCE_MIN": "reduce_min",
    "REDUCE_PROD": "reduce_prod",
}  # fmt: skip


def _axes(x: Var, axes: Array) -> list[int]:
    return sorted({int(axis) % len(x.shape) for axis in axes.reshape(-1)})


def _reduction(mil_name: str) -> Callable[..., Var]:
    def reduce(x: Var, axes: Array, *, keep_dims: bool, node: Node) -> Var:
        chosen = _axes(x, axes)
        if not chosen:
            return x
        dtype = computed_type(node.inputs[0])
        result: Var = getattr(mb, mil_name)(x=x, axes=chosen, keep_dims=keep_dims)
        return wrapped(result, dtype) if mil_name in ("reduce_sum", "reduce_prod") else result

    return reduce


for _operator, _mil_name in _REDUCTIONS.items():
    translates(_operator)(_reduction(_mil_name))


@translates("MEAN")
def mean(x: Var, axes: Array, *, keep_dims: bool, node: Node) -> Var:
    """Of integers, their sum and one multiplier, which the kernel divides by the count (``reduce.cc``)."""
    chosen = _axes(x, axes)
    sizes = [x.shape[axis] for axis in chosen]
    if not chosen:
        return x
    dtype = computed_type(node.inputs[0])
    if dtype in INTEGERS:
        whole = mb.reduce_sum(x=x, axes=chosen, keep_dims=keep_dims)
        count = math.prod(fixed_size(size) for size in sizes)
        return wrapped(truncated_quotient(whole, np.array(count, np.int32), is_signed=True), dtype)
    if not node.has_integer_kernel() or not all(isinstance(size, int | np.integer) for size in sizes):
        return mb.reduce_mean(x=x, axes=chosen, keep_dims=keep_dims)
    count = math.prod(int(size) for size in sizes)
    mantissa, exponent = math.frexp(float(node.scales(0)[0]) / float(node.scales(-1)[0]))
    shift = min(count.bit_length() - 1, 32, 31 + exponent)
    multiplier = (math.floor(mantissa * 2**31 + 0.5) << shift) // count * 2.0 ** (exponent - shift - 31)
    total = mb.reduce_sum(x=steps(x, node.tensor(0)), axes=chosen, keep_dims=keep_dims)
    return requantized(total, multiplier, node.outputs[0], exponent=exponent - shift)


def _any_or_all(x: Var, axes: Array, keep_dims: bool, mil_name: str) -> Var:
    chosen = _axes(x, axes)
    if not chosen:
        return x
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


def _extreme(mil_name: str, x: Var, axis: int) -> Var:
    numbers = mb.cast(x=x, dtype="int32") if dtype_of(x) == "bool" else x
    return getattr(mb, mil_name)(x=numbers, axis=axis % len(x.shape), keep_dims=False)


@translates("ARG_MAX")
def arg_max(x: Var, axis: int, *, output_type: str = "") -> Var:
    """The first greatest."""
    return _extreme("reduce_argmax", x, axis)


@translates("ARG_MIN")
def arg_min(x: Var, axis: int, *, output_type: str = "") -> Var:
    """The first least."""
    return _extreme("reduce_argmin", x, axis)


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
    x: Var, y: Var, *, adj_x: bool = False, adj_y: bool = False, asymmetric_quantize_inputs: bool = False, node: Node
) -> Var:
    """Matrix products of the last two axes."""
    if node.has_integer_kernel():
        product = mb.matmul(
            x=steps(x, node.tensor(0)), y=steps(y, node.tensor(1)), transpose_x=adj_x, transpose_y=adj_y
        )
        multiplier = float(node.scales(0)[0]) * float(node.scales(1)[0]) / float(node.scales(-1)[0])
        return requantized(product, multiplier, node.outputs[0])

    return mb.matmul(x=x, y=y, transpose_x=adj_x, transpose_y=adj_y)


@translates("ONE_HOT")
def one_hot(indices: Var, depth: int, on: Var, off: Var, *, axis: int = -1) -> Var:
    """``on`` where the index along the new axis is the value, else ``off``."""
    rank = len(indices.shape) + 1
    place = axis % rank
    numbers = np.arange(depth, dtype=np.int32).reshape([-1 if other == place else 1 for other in range(rank)])
    is_hot = mb.equal(x=mb.expand_dims(x=indices, axes=[place]), y=numbers)
    values = [mb.reshape(x=value, shape=[1] * rank) for value in (on, off)]
    return as_numbers(lambda on, off: where(is_hot, on, off), *values)

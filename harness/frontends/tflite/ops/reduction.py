"""Reductions, positions of extremes, and sums along an axis."""

from __future__ import annotations

import math

import numpy as np

from harness.frontends.builder import dtype_of, mb
from harness.frontends.dispatch import Array, Var
from harness.frontends.integers import INTEGERS, truncated_quotient, wrapped
from harness.frontends.padding import fixed_size
from harness.frontends.selection import as_numbers, where
from harness.frontends.tflite.layout import is_known
from harness.frontends.tflite.node import Node
from harness.frontends.tflite.quantization import Rounding, divided, reduced_multiplier, requantized, steps
from harness.frontends.tflite.registry import translates
from harness.frontends.tflite.types import computed_type

# Factors of one product of integers that are multiplied, and rounded, one after the other.
_MOST_FACTORS = 32


def _axes(x: Var, axes: Array) -> list[int]:
    return sorted({int(axis) % len(x.shape) for axis in axes.reshape(-1)})


@translates("REDUCE_MAX", "REDUCE_MIN")
def extreme(x: Var, axes: Array, *, keep_dims: bool, node: Node) -> Var:
    """The greatest or the least."""
    chosen = _axes(x, axes)
    reduce = mb.reduce_max if node.operator.name == "REDUCE_MAX" else mb.reduce_min
    return reduce(x=x, axes=chosen, keep_dims=keep_dims) if chosen else x


@translates("SUM")
def total(x: Var, axes: Array, *, keep_dims: bool, node: Node) -> Var:
    """Of integers, their sum and one multiplier."""
    chosen = _axes(x, axes)
    if not chosen:
        return x
    if node.has_integer_kernel():
        whole = mb.reduce_sum(x=steps(x, node.tensor(0)), axes=chosen, keep_dims=keep_dims)
        return requantized(whole, node.ratio(0), node.outputs[0], rounding=Rounding.ONCE)
    return wrapped(mb.reduce_sum(x=x, axes=chosen, keep_dims=keep_dims), computed_type(node.inputs[0]))


@translates("REDUCE_PROD")
def product(x: Var, axes: Array, *, keep_dims: bool, node: Node) -> Var:
    """Of integers, each product is rounded to steps of their own (``QuantizedReduceProd``); of many, only the last."""
    chosen = _axes(x, axes)
    sizes = [x.shape[axis] for axis in chosen]
    if not chosen:
        return x
    if not node.has_integer_kernel() or not all(map(is_known, sizes)):
        return wrapped(mb.reduce_prod(x=x, axes=chosen, keep_dims=keep_dims), computed_type(node.inputs[0]))
    count = math.prod(int(size) for size in sizes)
    step = float(node.scales(-1)[0]) ** (1 / count)
    multiplier = reduced_multiplier(float(node.scales(0)[0]) / step)
    factors = steps(x, node.tensor(0))
    if count > _MOST_FACTORS:
        scaled = mb.mul(x=factors, y=np.float32(multiplier))
        return divided(mb.reduce_prod(x=scaled, axes=chosen, keep_dims=keep_dims), 1, node.outputs[0])
    others = [axis for axis in range(len(x.shape)) if axis not in chosen]
    rest = [x.shape[axis] for axis in others]
    listed = mb.reshape(x=mb.transpose(x=factors, perm=[*chosen, *others]), shape=[count, *rest])
    result: Var | None = None
    for factor in mb.split(x=listed, num_splits=count, axis=0) if count > 1 else [listed]:
        whole = factor if result is None else mb.mul(x=result, y=factor)
        result = whole if result is None else _rounded_up(whole, multiplier)
    assert result is not None
    shape = [1 if axis in chosen else size for axis, size in enumerate(x.shape)] if keep_dims else rest
    return divided(mb.reshape(x=_rounded_up(result, multiplier), shape=shape), 1, node.outputs[0])


def _rounded_up(x: Var, multiplier: float) -> Var:
    """The product to the nearest integer, halves up."""
    return mb.floor(x=mb.add(x=mb.mul(x=x, y=np.float32(multiplier)), y=np.float32(0.5)))


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

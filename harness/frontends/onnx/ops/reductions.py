"""Reductions, positions of extremes, and sums along an axis."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import dtype_of, like, mb
from harness.frontends.dispatch import Value, Var
from harness.frontends.expect import axis_of, check_rank
from harness.frontends.integers import truncated_quotient
from harness.frontends.onnx.declared import known_or_none, reduced_axes
from harness.frontends.onnx.graph import Node
from harness.frontends.onnx.ops.elementwise import log
from harness.frontends.onnx.registry import translates

_REDUCTIONS = {
    "ReduceMean": "reduce_mean", "ReduceSum": "reduce_sum", "ReduceMax": "reduce_max", "ReduceMin": "reduce_min",
    "ReduceProd": "reduce_prod", "ReduceL1": "reduce_l1_norm", "ReduceL2": "reduce_l2_norm",
    "ReduceLogSumExp": "reduce_log_sum_exp", "ReduceSumSquare": "reduce_sum_square", "ReduceLogSum": "reduce_log_sum",
}  # fmt: skip
# Axes became an input: of ReduceSum in opset 13, of the others in 18.
_INPUT_SINCE = {"ReduceSum": 13}


# Of integers these are no integers.
_FRACTIONAL = frozenset({"reduce_l2_norm", "reduce_log_sum", "reduce_log_sum_exp"})


def _reduced(mil_name: str, x: Var, axes: list[int], keepdims: int, node: Node) -> Var:
    """Over some axes; over none where x has none, or ``noop_with_empty_axes`` says so: elements are transformed."""
    keep = bool(keepdims)

    def over(name: str, values: Var, keep: bool = keep) -> Var:
        return getattr(mb, name)(x=values, axes=axes, keep_dims=keep) if axes else values

    if node.input_dtype() == "bool":
        return mb.cast(x=over(mil_name, mb.cast(x=x, dtype="int32")), dtype="bool")
    if mil_name in _FRACTIONAL and dtype_of(x) == "int32":
        raise UnsupportedError("this reduction of integers is rounded in ways that differ", received=node.input_dtype())
    if mil_name == "reduce_mean" and dtype_of(x) == "int32":
        count = int(np.prod([int(x.shape[axis]) for axis in axes]))
        return truncated_quotient(over("reduce_sum", x), np.array(count, np.int32), is_signed=True)
    if mil_name == "reduce_log_sum":
        return log(over("reduce_sum", x))
    if mil_name == "reduce_log_sum_exp":
        # Shifted by the greatest, so that nothing overflows, if that is finite.
        greatest = over("reduce_max", x, True)
        is_infinite = mb.equal(x=mb.abs(x=greatest), y=like(x, np.inf))
        shift = mb.select(cond=is_infinite, a=like(x, 0), b=greatest)
        result = mb.add(x=log(over("reduce_sum", mb.exp(x=mb.sub(x=x, y=shift)), True)), y=shift)
        return result if keep or not axes else mb.squeeze(x=result, axes=axes)
    if mil_name == "reduce_l1_norm":
        return over("reduce_sum", mb.abs(x=x))
    if mil_name in ("reduce_l2_norm", "reduce_sum_square"):
        squares = over("reduce_sum", mb.mul(x=x, y=x))
        return mb.sqrt(x=squares) if mil_name == "reduce_l2_norm" else squares
    return over(mil_name, x)


def _by_input(mil_name: str) -> Callable[..., Var]:
    def reduce(
        x: Var, axes: Value | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0, node: Node
    ) -> Var:
        known = known_or_none(axes)
        if axes is not None and known is None:
            rank = len(x.shape)
            check_rank("the axes", axes, 1)
            fitting = reduced_axes([int(s) for s in x.shape], node, int(axes.shape[0]), bool(keepdims))
            result = _reduced(mil_name, x, fitting[0], keepdims, node)
            # Several give the same shape: chosen when the model runs.
            for chosen in fitting[1:]:
                is_this = mb.equal(x=mb.mod(x=axes, y=np.int32(rank)), y=np.int32(chosen[0]))
                is_this = mb.reshape(x=is_this, shape=[1] * max(1, len(result.shape)))
                whole = mb.logical_or(x=is_this, y=np.zeros([int(s) for s in result.shape] or [1], bool))
                result = mb.select(cond=whole, a=_reduced(mil_name, x, chosen, keepdims, node), b=result)
            return result
        chosen = [] if known is None else sorted(int(axis) % len(x.shape) for axis in known)
        if not chosen and not noop_with_empty_axes:
            chosen = list(range(len(x.shape)))
        return _reduced(mil_name, x, chosen, keepdims, node)

    return reduce


def _by_attribute(mil_name: str) -> Callable[..., Var]:
    def reduce(x: Var, *, axes: tuple[int, ...] | None = None, keepdims: int = 1, node: Node) -> Var:
        chosen = sorted(axis % len(x.shape) for axis in axes) if axes else list(range(len(x.shape)))
        return _reduced(mil_name, x, chosen, keepdims, node)

    return reduce


for _operator, _mil_name in _REDUCTIONS.items():
    translates(_operator)(_by_attribute(_mil_name))
    translates(_operator, since=_INPUT_SINCE.get(_operator, 18))(_by_input(_mil_name))


def _position(x: Var, axis: int, keepdims: int, last: int, mil_name: str, node: Node) -> Var:
    axis %= len(x.shape)
    if not last:
        return getattr(mb, mil_name)(x=x, axis=axis, keep_dims=bool(keepdims))
    backwards = getattr(mb, mil_name)(x=mb.reverse(x=x, axes=[axis]), axis=axis, keep_dims=bool(keepdims))
    return mb.sub(x=np.int32(int(x.shape[axis]) - 1), y=backwards)


@translates("ArgMax")
def arg_max(x: Var, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0, node: Node) -> Var:
    """Where the greatest is; the first of several unless told otherwise."""
    return _position(x, axis, keepdims, select_last_index, "reduce_argmax", node)


@translates("ArgMin")
def arg_min(x: Var, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0, node: Node) -> Var:
    """Where the least is; the first of several unless told otherwise."""
    return _position(x, axis, keepdims, select_last_index, "reduce_argmin", node)


@translates("CumSum", since=11)
def cumsum(x: Var, axis: Value, *, exclusive: int = 0, reverse: int = 0, node: Node) -> Var:
    """Sums of what comes before, with or without the element itself; of a computed axis, each one's sums are chosen
    from."""
    if node.input_dtype() not in ("float32", "float16", "int32", "int64"):
        raise UnsupportedError("sums of this type may wrap", received=node.input_dtype())

    def along(which: int) -> Var:
        return mb.cumsum(x=x, axis=which, exclusive=bool(exclusive), reverse=bool(reverse))

    rank = len(x.shape)
    known = known_or_none(axis)
    if known is not None:
        return along(axis_of("the input", int(known[0]), len(x.shape)))
    chosen = mb.mod(x=mb.reshape(x=axis, shape=[1] * rank), y=np.int32(rank))
    nowhere = np.zeros([int(size) for size in x.shape], bool)
    result = along(0)
    for which in range(1, rank):
        is_this = mb.logical_or(x=mb.equal(x=chosen, y=np.int32(which)), y=nowhere)
        result = mb.select(cond=is_this, a=along(which), b=result)
    return result

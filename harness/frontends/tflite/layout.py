"""TFLite computes on NHWC, Core ML on NCHW. A value that was computed channels first is remembered as the twin of its
transposed form, and what only works on elements is computed on twins: transposes that nothing reads leave the program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from harness.frontends.builder import mb
from harness.frontends.dispatch import Array, Value, Var

# By the identity of a value: the value, which is kept alive, and its twin.
_twins: ContextVar[dict[int, tuple[Var, Var]]] = ContextVar("twins")


@contextmanager
def remembering_layouts() -> Iterator[None]:
    """While one program is built."""
    token = _twins.set({})
    try:
        yield
    finally:
        _twins.reset(token)


def channels_first(x: Var) -> Var:
    """(N, *D, C) to (N, C, *D): the twin where there is one."""
    known_twin = twin(x)
    if known_twin is not None:
        return known_twin
    rank = len(x.shape)
    first: Var = mb.transpose(x=x, perm=[0, rank - 1, *range(1, rank - 1)])
    _twins.get()[id(x)] = (x, first)
    return first


def channels_last(x: Var) -> Var:
    """(N, C, *D) to (N, *D, C), with x as its twin."""
    rank = len(x.shape)
    result: Var = mb.transpose(x=x, perm=[0, *range(2, rank), 1])
    _twins.get()[id(result)] = (result, x)
    return result


def twin(x: Value) -> Var | None:
    """The same value channels first, where it is there already."""
    found = _twins.get().get(id(x))
    return None if found is None else found[1]


def pointwise(compute: Callable[[Var], Var], x: Var) -> Var:
    """``compute`` works on elements: done on the twin where there is one."""
    first = twin(x)
    return compute(x) if first is None else channels_last(compute(first))


def operands_first(values: Sequence[Value | None]) -> list[Value | None] | None:
    """Operands of an elementwise operator channels first, if at least one is so already and the others can be:
    constants, and inputs of the model. None where it is not worth it."""
    rank = max((len(value.shape) for value in values if value is not None), default=0)
    if rank < 3 or not any(value is not None and twin(value) is not None for value in values):
        return None
    result: list[Value | None] = []
    for value in values:
        first = value if value is None or _is_scalar(value) else _first(value, rank)
        if first is None and value is not None:
            return None
        result.append(first)
    return result


def _is_scalar(value: Value) -> bool:
    return all(isinstance(size, int | np.integer) and size == 1 for size in value.shape)


def _first(value: Value, rank: int) -> Value | None:
    known_value = known(value)
    if known_value is not None:
        whole = known_value.reshape([1] * (rank - known_value.ndim) + list(known_value.shape))
        return np.ascontiguousarray(np.moveaxis(whole, -1, 1))
    assert not isinstance(value, np.ndarray)
    if len(value.shape) != rank:
        return None
    if value.op is None:
        return channels_first(value)
    return twin(value)


def first_axis(axis: int, rank: int) -> int:
    """Where an axis of (N, *D, C) is in (N, C, *D)."""
    axis %= rank
    return 0 if axis == 0 else 1 if axis == rank - 1 else axis + 1


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

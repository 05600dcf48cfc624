"""TFLite computes on NHWC, Core ML on NCHW. A value that was computed channels first is remembered as the twin of its
transposed form, and what can be is computed on twins (axes.py): transposes that nothing reads leave the program.
"""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import mb
from harness.frontends.dispatch import Array, Value, Var
from harness.frontends.tflite.compression import decompressed, is_compressed, rearranged

# By the identity of a value: the value, which is kept alive, and its twin.
_twins: ContextVar[MutableMapping[int, tuple[Var, Var]]] = ContextVar("twins")
# By the identity of a matrix: the matrix, and the value of more axes whose rows along the last axis it lists.
_rows: ContextVar[MutableMapping[int, tuple[Var, Var]]] = ContextVar("rows")


@contextmanager
def remembering_layouts() -> Iterator[None]:
    """While one program, or one block inside it, is built: a block knows the twins outside of it, not the reverse."""
    tokens = [(memory, memory.set(ChainMap({}, memory.get({})))) for memory in (_twins, _rows)]
    try:
        yield
    finally:
        for memory, token in tokens:
            memory.reset(token)


def channels_first(x: Var) -> Var:
    """(N, *D, C) to (N, C, *D): the twin where there is one."""
    known_twin = twin(x)
    if known_twin is not None:
        return known_twin
    first = reordered(x, first_order(len(x.shape)))
    _twins.get()[id(x)] = (x, first)
    return first


def channels_last(x: Var) -> Var:
    """(N, C, *D) to (N, *D, C), with x as its twin."""
    result = reordered(x, last_order(len(x.shape)))
    _twins.get()[id(result)] = (result, x)
    return result


def reordered(x: Var, order: Sequence[int]) -> Var:
    """Axes in another order; a reshape where only axes of size 1 move. A transpose of a transpose is one, or none."""
    if x.op is not None and x.op.op_type == "transpose":
        inner = [int(axis) % len(order) for axis in x.op.perm.val]
        x, order = x.op.x, [inner[axis] for axis in order]
        if order == sorted(order):
            return x
    sizes = [x.shape[axis] for axis in order]
    if is_reshape(x.shape, order) and sum(not is_known(size) for size in sizes) <= 1:
        result: Var = mb.reshape(x=x, shape=[int(size) if is_known(size) else -1 for size in sizes])
    else:
        result = mb.transpose(x=x, perm=list(order))
    return result


def first_order(rank: int) -> list[int]:
    """The axes of (N, *D, C) in the order (N, C, *D)."""
    return [0, rank - 1, *range(1, rank - 1)]


def last_order(rank: int) -> list[int]:
    """The axes of (N, C, *D) in the order (N, *D, C)."""
    return [0, *range(2, rank), 1]


def is_reshape(shape: Sequence[object], order: Sequence[int]) -> bool:
    """Whether the elements lie in memory as before after their axes were put in another order."""
    moved = [axis for axis in order if not (is_known(shape[axis]) and shape[axis] == 1)]
    return moved == sorted(moved)


def is_known(size: object) -> bool:
    """Whether a size is a number when the model is converted."""
    return isinstance(size, int | np.integer)


def sizes(shape: Value) -> list[Any]:
    """The sizes that a vector holds: numbers, or expressions of sizes that are not known yet."""
    constant = known(shape)
    if constant is not None:
        return [int(size) for size in constant.reshape(-1)]
    assert not isinstance(shape, np.ndarray)
    if shape.sym_val is None:
        raise UnsupportedError("a size must follow from the shapes of inputs", received="one that is computed")
    return [int(size) if is_known(size) else size for size in np.asarray(shape.sym_val).reshape(-1)]


def twin(x: Value) -> Var | None:
    """The same value channels first, where it is there already."""
    found = _twins.get().get(id(x))
    return None if found is None else found[1]


def listed_rows(whole: Var) -> Var:
    """(..., C) as (number, C): what is computed for each row may be computed on the whole, in its layout."""
    rows: Var = mb.reshape(x=whole, shape=[-1, int(whole.shape[-1])])
    _rows.get()[id(rows)] = (rows, whole)
    return rows


def whole_of(rows: Value) -> Var | None:
    """What a matrix lists the rows of, where that is known."""
    found = _rows.get().get(id(rows))
    return None if found is None else found[1]


def pointwise(compute: Callable[[Var], Var], x: Var) -> Var:
    """``compute`` works on elements: done on the twin where there is one."""
    first = twin(x)
    return compute(x) if first is None else channels_last(compute(first))


def along_channels(compute: Callable[[Var, int], Var], x: Var) -> Var:
    """``compute`` works along one axis, the last: done on the twin, along axis 1, where there is one."""
    first = twin(x)
    return compute(x, -1) if first is None else channels_last(compute(first, 1))


def operands_first(values: Sequence[Value | None]) -> list[Value | None] | None:
    """Operands of an elementwise operator channels first, if at least one is so already or an image that the model is
    given. None where it is not worth it: an operand as large as the result would have to be transposed that is no
    image."""
    rank = max((len(value.shape) for value in values if value is not None), default=0)
    if rank < 3 or not any(_is_first(value, rank) or _is_given_image(value, rank) for value in values):
        return None
    largest = max(_elements(value) for value in values if value is not None)
    result: list[Value | None] = []
    for value in values:
        if value is None or _is_scalar(value):
            result.append(value)
            continue
        known_value = known(value)
        if known_value is not None:
            whole = known_value.reshape([1] * (rank - known_value.ndim) + list(known_value.shape))
            result.append(np.ascontiguousarray(whole.transpose(first_order(rank))))
            continue
        assert not isinstance(value, np.ndarray)
        if is_compressed(value) and len(value.shape) == rank:
            result.append(transposed_weight(value, first_order(rank)))
            continue
        is_costly = not _is_first(value, rank) and not is_reshape(value.shape, first_order(len(value.shape)))
        if rank == 3 and is_costly and value.op is not None and _elements(value) >= largest:
            return None
        missing = rank - len(value.shape)
        result.append(channels_first(mb.expand_dims(x=value, axes=list(range(missing))) if missing else value))
    return result


def _is_first(value: Value | None, rank: int) -> bool:
    return value is not None and len(value.shape) == rank and twin(value) is not None


def _is_given_image(value: Value | None, rank: int) -> bool:
    """Whether it is an input: convolutions of it and of what is computed from it are to share one transpose."""
    return (
        value is not None and known(value) is None and value.op is None and len(value.shape) == rank > 3  # type: ignore[union-attr]
    )


def _is_scalar(value: Value) -> bool:
    return all(is_known(size) and size == 1 for size in value.shape)


def _elements(value: Value) -> int:
    """How many there are at least."""
    return math.prod(int(size) for size in value.shape if is_known(size))


def first_axis(axis: int, rank: int) -> int:
    """Where an axis of (N, *D, C) is in (N, C, *D)."""
    axis %= rank
    return 0 if axis == 0 else 1 if axis == rank - 1 else axis + 1


def transposed_weight(weight: Value, perm: Sequence[int]) -> Value:
    """A weight with its axes in another order, at once where it is a constant; compressed ones stay compressed."""

    if isinstance(weight, np.ndarray):
        return np.ascontiguousarray(weight.transpose(perm))
    compressed = rearranged(weight, lambda data: data.transpose(perm), list(perm).index)
    if compressed is not None:
        return compressed
    if weight.val is not None:
        return np.ascontiguousarray(weight.val.transpose(perm))
    return mb.transpose(x=weight, perm=list(perm))


def unfolded_weight(weight: Value, places: int) -> Value:
    """A dense layer's weight (O, I) as that of a convolution over ``places`` axes of one place each."""
    shape = (*weight.shape, *([1] * places))
    if isinstance(weight, np.ndarray):
        return weight.reshape(shape)
    compressed = rearranged(weight, lambda data: data.reshape(shape), lambda axis: axis)
    return weight.val.reshape(shape) if compressed is None else compressed


def known(value: Value) -> Array | None:
    """What a value is known to be when the model is converted, or None."""
    if isinstance(value, np.ndarray):
        return value
    if is_compressed(value):
        # Those of integers are to stay what they are.
        is_plain = value.op.op_type in ("constexpr_cast", "constexpr_sparse_to_dense")
        return decompressed(value) if is_plain else None
    if value.val is None:
        return None
    numbers = np.asarray(value.val)
    # MIL keeps sizes that were picked from a shape that is known in part as objects.
    return numbers.astype(np.int32) if numbers.dtype == object else numbers

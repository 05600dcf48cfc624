"""Operators that speak of axes, computed on channels-first twins: which of their inputs and options name axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.frontends.builder import mb
from harness.frontends.dispatch import Array, Value, Var
from harness.frontends.tflite.channel_parts import joined_channels, split_channels
from harness.frontends.tflite.layout import (
    channels_first,
    channels_last,
    first_axis,
    first_order,
    is_known,
    is_reshape,
    known,
    last_order,
    listed_rows,
    operands_first,
    reordered,
    twin,
    whole_of,
)

# They compute each element from elements at the same place, so that the layout does not matter. Not POW: coremltools'
# reduce_transposes takes MIL's pow for an operation of one input and leaves the other transposed.
POINTWISE = frozenset(
    {
        "ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "ADD_N", "FLOOR_DIV",
        "FLOOR_MOD", "RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "LOGISTIC", "TANH", "LEAKY_RELU", "ELU",
        "HARD_SWISH", "GELU", "ABS", "NEG", "EXP", "LOG", "SIN", "COS", "SQRT", "RSQRT", "SQUARE", "FLOOR",
        "CEIL", "ROUND", "SIGN", "CAST", "QUANTIZE", "DEQUANTIZE", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL",
        "EQUAL", "NOT_EQUAL", "LOGICAL_AND", "LOGICAL_OR", "LOGICAL_NOT", "SELECT_V2", "ATAN2", "ZEROS_LIKE",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Axes:
    """``option`` holds an axis or several; inputs ``lists`` hold axes, inputs ``rows`` an entry for each axis.

    ``data`` is the input that is computed with (-1: every one). ``drops``: an axis that is named is not in the result.
    """

    option: str = ""
    lists: tuple[int, ...] = ()
    rows: tuple[int, ...] = ()
    data: int = 0
    drops: bool = False


_REDUCTION = Axes(lists=(1,), drops=True)  # unless keep_dims
AXES: Mapping[str, Axes] = {
    "CONCATENATION": Axes("axis", data=-1),
    "SPLIT": Axes(lists=(0,), data=1),
    "SPLIT_V": Axes(lists=(2,)),
    "UNPACK": Axes("axis", drops=True),
    "SQUEEZE": Axes("squeeze_dims", drops=True),
    "PAD": Axes(rows=(1,)),
    "PADV2": Axes(rows=(1,)),
    "MIRROR_PAD": Axes(rows=(1,)),
    "SLICE": Axes(rows=(1, 2)),
    "TILE": Axes(rows=(1,)),
    "BROADCAST_TO": Axes(rows=(1,)),
    "REVERSE_V2": Axes(lists=(1,)),
    "CUMSUM": Axes(lists=(1,)),
    "GATHER": Axes("axis"),
    "ARG_MAX": Axes(lists=(1,), drops=True),
    "ARG_MIN": Axes(lists=(1,), drops=True),
    "MEAN": _REDUCTION,
    "SUM": _REDUCTION,
    "REDUCE_MAX": _REDUCTION,
    "REDUCE_MIN": _REDUCTION,
    "REDUCE_PROD": _REDUCTION,
    "REDUCE_ANY": _REDUCTION,
    "REDUCE_ALL": _REDUCTION,
}


@dataclass(frozen=True)
class OnTwins:
    """The same operator with other inputs and options. ``place`` takes each result to what the model calls it."""

    inputs: Sequence[Value | None]
    options: Mapping[str, Any]
    place: Callable[[Var], Var] = channels_last


def on_twins(name: str, inputs: Sequence[Value | None], options: Mapping[str, Any]) -> OnTwins | None:
    """How an operator is computed channels first, or None where it is not there so, or would not be the same."""
    if name in POINTWISE:
        operands = operands_first(inputs)
        return None if operands is None else OnTwins(operands, options)
    if name == "STRIDED_SLICE":
        return _strided_slice(inputs, options)
    use = AXES.get(name)
    if use is None or use.data >= len(inputs):
        return None
    value = inputs[max(use.data, 0)]
    rank = 0 if value is None else len(value.shape)
    if use.data < 0:
        operands = operands_first(inputs)
        if operands is None or any(item is None or len(item.shape) != rank for item in operands):
            return None
    else:
        first = None if value is None else twin(value)
        if first is None:
            return None
        operands = list(inputs)
        operands[use.data] = first
    named: set[int] = set()
    changed = dict(options)
    if use.option:
        given = options[use.option]
        if given is None or given == ():
            return None  # every axis of size 1
        axes = [given] if isinstance(given, int) else list(given)
        named |= {axis % rank for axis in axes}
        moved = [first_axis(axis, rank) for axis in axes]
        changed[use.option] = moved[0] if isinstance(given, int) else tuple(moved)
    for index in use.lists:
        listed = _constant(inputs, index)
        if listed is None:
            return None
        named |= {int(axis) % rank for axis in listed.reshape(-1)}
        operands[index] = np.array([first_axis(int(axis), rank) for axis in listed.reshape(-1)], np.int32).reshape(
            listed.shape
        )
    for index in use.rows:
        rows = _constant(inputs, index)
        if rows is None or len(rows) != rank:
            return None
        operands[index] = np.ascontiguousarray(rows[first_order(rank)])
    if name == "GATHER":
        indices = inputs[1]
        if indices is None or len(indices.shape) > 1 or options["batch_dims"]:
            return None
        drops = len(indices.shape) == 0
    else:
        drops = use.drops and not options.get("keep_dims", False)
    return OnTwins(operands, changed, _placing(rank, named if drops else set()))


def _constant(inputs: Sequence[Value | None], index: int) -> Array | None:
    value = inputs[index] if index < len(inputs) else None
    return None if value is None else known(value)


def _placing(rank: int, dropped: set[int]) -> Callable[[Var], Var]:
    """Takes a result, computed on (N, C, *D) without ``dropped`` axes of (N, *D, C), to the order of the latter."""
    if not dropped:
        return channels_last
    left = [axis for axis in range(rank) if axis not in dropped]
    computed = sorted(left, key=lambda axis: first_axis(axis, rank))
    order = [computed.index(axis) for axis in left]
    if order == sorted(order):
        return lambda result: result
    return channels_last if order == last_order(len(left)) else lambda result: reordered(result, order)


def _strided_slice(inputs: Sequence[Value | None], options: Mapping[str, Any]) -> OnTwins | None:
    """The four vectors with an entry for each axis and their masks likewise; no new axes."""
    x = inputs[0]
    first = None if x is None else twin(x)
    vectors = [_constant(inputs, index) for index in (1, 2, 3)]
    if first is None or options["new_axis_mask"] or any(vector is None for vector in vectors):
        return None
    rank, count, ellipsis = len(first.shape), len(vectors[0]), options["ellipsis_mask"]  # type: ignore[arg-type]
    if ellipsis & (ellipsis - 1):
        return None
    # Which entry speaks of each axis; None: it is taken whole.
    before = (ellipsis.bit_length() - 1) if ellipsis else count
    after = count - before - 1 if ellipsis else 0
    entries: list[int | None] = [*range(before), *([None] * (rank - before - after)), *range(count - after, count)]
    order = [entries[axis] for axis in first_order(rank)]
    rows = [
        np.array([fill if entry is None else vector[entry] for entry in order], np.int32)  # type: ignore[index]
        for vector, fill in zip(vectors, (0, 0, 1), strict=True)
    ]

    def moved(mask: int, whole: bool) -> int:
        return sum(1 << axis for axis, entry in enumerate(order)
                   if (whole if entry is None else mask >> entry & 1))  # fmt: skip

    masks = {"begin_mask": True, "end_mask": True, "shrink_axis_mask": False}
    changed = {name: moved(options[name], whole) for name, whole in masks.items()}
    dropped = {
        axis for axis, entry in enumerate(entries) if entry is not None and options["shrink_axis_mask"] >> entry & 1
    }
    return OnTwins([first, *rows], {**options, **changed, "ellipsis_mask": 0}, _placing(rank, dropped))


def transposed(x: Var, order: Sequence[int]) -> Var:
    """Axes in another order, where that may be what a twin is already."""
    rank, first = len(x.shape), twin(x)
    if list(order) == list(range(rank)):
        return x
    if rank >= 3 and list(order) == first_order(rank):
        return channels_first(x)
    if first is not None:
        return reordered(first, [first_axis(axis, rank) for axis in order])
    if rank >= 3 and list(order) == last_order(rank):
        return channels_last(x)
    return reordered(x, order)


def reshaped(x: Var, sizes: Sequence[Any]) -> Var | None:
    """In another shape (-1: what is left), on the twin where images and channels stay what they are.

    A size may be an expression; None where there are several.
    """
    if x.op is not None and _is_shape_of(x, sizes):
        return x
    whole = whole_of(x)
    if whole is not None and _is_shape_of(whole, sizes):
        return whole
    if not all(map(is_known, sizes)):
        if sum(not is_known(size) or size == -1 for size in sizes) > 1:
            return None
        sizes = [size if is_known(size) else -1 for size in sizes]
    first, rank = twin(x), len(x.shape)
    if first is not None and is_reshape(x.shape, first_order(rank)):
        result: Var = mb.reshape(x=first, shape=list(sizes))
        return result
    if first is not None and len(sizes) >= 3:
        given = [int(size) if is_known(size) else None for size in x.shape]
        wanted = _without_rest(given, list(sizes))
        if wanted is not None and (wanted[0], wanted[-1]) == (given[0], given[-1]) and wanted[-1] is not None:
            shape = [-1 if size is None else size for size in (wanted[0], wanted[-1], *wanted[1:-1])]
            return channels_last(mb.reshape(x=first, shape=shape))
    by_parts = _by_parts(x, list(sizes))
    if by_parts is not None:
        return by_parts
    if rank in (3, 4) and len(sizes) == 2 and is_known(x.shape[-1]) and sizes[1] == x.shape[-1]:
        return listed_rows(x)
    return mb.reshape(x=x, shape=list(sizes))


def _by_parts(x: Var, sizes: list[int]) -> Var | None:
    """Where channels are split or joined."""
    if len(x.shape) < 3 or len(sizes) < 3:
        return None
    wanted = _without_rest([int(size) if is_known(size) else None for size in x.shape], sizes)
    if wanted is None or not (wanted[0] == x.shape[0] or (wanted[0] is None and not is_known(x.shape[0]))):
        return None
    split = split_channels(x, wanted)
    return joined_channels(x, wanted) if split is None else split


def _is_shape_of(whole: Var, sizes: Sequence[Any]) -> bool:
    """Whether the sizes are those of ``whole``, of whose elements there are as many."""
    if len(sizes) != len(whole.shape):
        return False
    left = [given for given, size in zip(sizes, whole.shape, strict=True) if given != size]
    return not left or (len(left) == 1 and is_known(left[0]) and left[0] == -1)


def _without_rest(given: list[int | None], wanted: list[int]) -> list[int | None] | None:
    """``wanted`` with a number for -1; None for it where it is the one unknown size of ``given``; None: unknown."""
    unknown = [size for size in given if size is None]
    if 0 in wanted or len(unknown) > 1 or wanted.count(-1) > 1:
        return None
    present = math.prod(size for size in given if size is not None)
    asked = math.prod(size for size in wanted if size != -1)
    if unknown:
        fits = present == asked if given[0] is None else present % asked == 0
        return [None if size == -1 else size for size in wanted] if fits and -1 in wanted else None
    return [present // asked if size == -1 else size for size in wanted]


def widened(x: Var, axis: int) -> Var:
    """A new axis of size 1 before ``axis``."""
    rank, first = len(x.shape), twin(x)
    axis %= rank + 1
    if first is not None and 0 < axis < rank:
        return channels_last(mb.expand_dims(x=first, axes=[axis + 1]))
    result: Var = mb.expand_dims(x=x, axes=[axis])
    return result


def stacked(values: Sequence[Var], axis: int) -> Var:
    """Along a new axis."""
    rank = len(values[0].shape)
    axis %= rank + 1
    firsts = [twin(value) for value in values]
    if 0 < axis < rank and all(first is not None for first in firsts):
        return channels_last(mb.stack(values=firsts, axis=axis + 1))
    result: Var = mb.stack(values=list(values), axis=axis)
    return result


def sizes_of(x: Var) -> Value:
    """The sizes; a constant where all are known."""
    if all(is_known(size) for size in x.shape):
        return np.array(x.shape, np.int32)
    first = twin(x)
    if first is None:
        result: Var = mb.shape(x=x)
    else:
        result = mb.gather(x=mb.shape(x=first), indices=np.array(last_order(len(x.shape)), np.int32), axis=0)
    return result

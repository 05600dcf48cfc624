"""Branches and loops. What is known when the model is converted is decided then: a constant condition takes its
branch, a short loop of known length is written out; all else becomes MIL's ``cond`` and ``while_loop``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.blocks import LARGEST_UNROLLED, branch, of_this_block, scalar
from harness.frontends.builder import dtype_of, mb
from harness.frontends.dispatch import Array, Value, Var
from harness.frontends.onnx.graph import Node, all_nodes
from harness.frontends.onnx.registry import translates
from harness.frontends.program import as_var

# Of one turn: its number, the condition and the carried values; gives the next condition, carried values, and what
# is collected.
Step = Callable[[Value, Value, list[Value]], tuple[Value, list[Value], list[Value]]]


@translates("If")
def if_(condition: Value, *, then_branch: Any, else_branch: Any, node: Node) -> tuple[Value, ...]:
    """One of two graphs."""
    translate = node.converter.block
    if isinstance(condition, np.ndarray):
        return tuple(translate(then_branch if condition.reshape(()) else else_branch))
    return branch(condition, lambda: translate(then_branch), lambda: translate(else_branch), str(node))


@translates("Loop")
def loop(
    trip_count: Value | None = None, condition: Value | None = None, *carried: Value, body: Any, node: Node
) -> tuple[Value, ...]:
    """Repeats a graph while its condition holds, ``trip_count`` times at most."""
    if isinstance(condition, np.ndarray) and not condition.reshape(()):
        trip_count = np.array(0)
    kept = len(carried)

    def step(number: Value, going: Value, values: list[Value]) -> tuple[Value, list[Value], list[Value]]:
        goes_on, *results = node.converter.block(body, [number, going, *values])
        return goes_on, results[:kept], results[kept:]

    values, collected = repeat(
        trip_count, np.array(True) if condition is None else condition, step, carried, nodes_of(body), str(node)
    )
    return (*values, *collected)


@translates("Scan", since=9)
def scan(
    *values: Value,
    body: Any,
    num_scan_inputs: int,
    scan_input_axes: tuple[int, ...] = (),
    scan_input_directions: tuple[int, ...] = (),
    scan_output_axes: tuple[int, ...] = (),
    scan_output_directions: tuple[int, ...] = (),
    node: Node,
) -> tuple[Value, ...]:
    """Repeats a graph over the slices of tensors."""
    states = values[: len(values) - num_scan_inputs]
    scanned = values[len(values) - num_scan_inputs :]
    axes = scan_input_axes or (0,) * num_scan_inputs
    backwards = scan_input_directions or (0,) * num_scan_inputs
    outputs = len(node.outputs) - len(states)
    count = size_of(scanned[0], axes[0])

    def step(number: Value, going: Value, carried: list[Value]) -> tuple[Value, list[Value], list[Value]]:
        parts = []
        for value, axis, is_backwards in zip(scanned, axes, backwards, strict=True):
            parts.append(taken(value, _from_the_end(count, number) if is_backwards else number, axis))
        results = node.converter.block(body, [*carried, *parts])
        return going, results[: len(states)], results[len(states) :]

    carried, collected = repeat(count, np.array(True), step, states, nodes_of(body), str(node))
    results = list(carried)
    for index, value in enumerate(collected):
        axis = (scan_output_axes or (0,) * outputs)[index]
        is_backwards = (scan_output_directions or (0,) * outputs)[index]
        results.append(_placed(value, axis, bool(is_backwards)))
    return tuple(results)


@translates("Scan", since=8)
def scan_8(
    lengths: Var | None = None,
    *values: Value,
    body: Any,
    num_scan_inputs: int,
    directions: tuple[int, ...] = (),
    node: Node,
) -> tuple[Value, ...]:
    """Opset 8: a batch of sequences, scanned one by one along axis 1."""
    if lengths is not None:
        raise UnsupportedError("sequences of different lengths are not scanned", received="the input sequence_lens")
    batch = size_of(values[0], 0)
    if not isinstance(batch, np.ndarray):
        raise UnsupportedError("the batch must be known when the model is converted", received="a flexible batch")
    each = []
    for index in range(int(batch)):
        parts = [taken(value, np.array(index), 0) for value in values]
        each.append(
            scan(*parts, body=body, num_scan_inputs=num_scan_inputs, scan_input_directions=directions, node=node)
        )
    return tuple(stacked(list(results)) for results in zip(*each, strict=True))


def repeat(
    count: Value | None, condition: Value, step: Step, carried: Sequence[Value], nodes: int, where: str
) -> tuple[list[Value], list[Value]]:
    """Take ``step`` while ``condition`` holds, ``count`` times at most (None: no bound).

    Gives the carried values and the collected ones, stacked along a new first axis. ``nodes`` is the size of a step.
    """
    if isinstance(count, np.ndarray) and isinstance(condition, np.ndarray) and count.reshape(()) <= 0:
        _, _, collected = step(np.array(0, np.int64), condition, list(carried))
        if collected:
            raise UnsupportedError(f"{where} makes no turn: Core ML has no tensors without elements")
        return list(carried), []
    if isinstance(count, np.ndarray) and isinstance(condition, np.ndarray):
        turns = int(count.reshape(()))
        if turns * nodes <= LARGEST_UNROLLED or turns == 1:
            written = _unrolled(turns, condition, step, carried)
            if written is not None:
                return written
    return _looped(count, condition, step, carried, where)


def _unrolled(
    turns: int, condition: Value, step: Step, carried: Sequence[Value]
) -> tuple[list[Value], list[Value]] | None:
    """The steps one after the other; None where a condition depends on what is computed."""
    values, collected = list(carried), []
    for number in range(turns):
        condition, values, items = step(np.array(number, np.int64), condition, values)
        collected.append(items)
        if number + 1 < turns and not isinstance(condition, np.ndarray):
            return None
        if isinstance(condition, np.ndarray) and not condition.reshape(()):
            break
    return values, [stacked(list(items)) for items in zip(*collected, strict=True)]


def _looped(
    count: Value | None, condition: Value, step: Step, carried: Sequence[Value], where: str
) -> tuple[list[Value], list[Value]]:
    start = [as_var(value) for value in carried]
    # One step outside of the loop tells what is collected; nothing uses it, so that it leaves the program again.
    number = mb.identity(x=np.int32(0))
    first_condition, first, samples = step(number, condition, list(start))
    examples: list[Var] = [as_var(value) for value in samples]
    # From true follows true, whatever is computed: the length is the count.
    is_always = all(isinstance(item, np.ndarray) and bool(item.reshape(())) for item in (condition, first_condition))
    for before, after in zip(start, map(as_var, first), strict=True):
        if tuple(before.shape) != tuple(after.shape) or before.dtype != after.dtype:
            raise UnsupportedError(
                f"{where} carries a value that changes its shape or type",
                received=f"{dtype_of(before)} {tuple(before.shape)}, then {dtype_of(after)} {tuple(after.shape)}",
            )
    length = int(count.reshape(())) if isinstance(count, np.ndarray) and is_always else None
    lists = [_list(sample, length, where) for sample in examples]
    limit = None if count is None else scalar(as_var(count))
    kept = len(start)

    def holds(number: Var, going: Var, *values: Var) -> Var:
        if limit is None:
            return mb.logical_and(x=going, y=going)
        return mb.logical_and(x=mb.less(x=number, y=limit), y=going)

    def body(number: Var, going: Var, *values: Var) -> list[Var]:
        goes_on, results, items = step(number, np.array(True) if is_always else going, list(values[:kept]))
        written = [
            mb.list_write(ls=ls, index=number, value=_element(item))
            for ls, item in zip(values[kept:], map(as_var, items), strict=True)
        ]
        going = scalar(as_var(goes_on))
        return [mb.add(x=number, y=np.int32(1)), *of_this_block([going, *results]), *written]

    results = mb.while_loop(
        _cond=holds, _body=body, loop_vars=(as_var(np.array(0)), scalar(as_var(condition)), *start, *lists)
    )
    turns, _, *rest = results
    indices = np.arange(length, dtype=np.int32) if length is not None else None
    collected = []
    for ls, sample in zip(rest[kept:], examples, strict=True):
        which = mb.range_1d(start=np.int32(0), end=turns, step=np.int32(1)) if indices is None else indices
        value = mb.list_gather(ls=ls, indices=which)
        value = mb.squeeze(x=value, axes=[1]) if not sample.shape else value
        collected.append(mb.cast(x=value, dtype="bool") if dtype_of(sample) == "bool" else value)
    return list(rest[:kept]), collected


def _list(sample: Var, length: int | None, where: str) -> Var:
    """A list of what is collected; bool is kept as int32, scalars as vectors."""
    shape = tuple(sample.shape) or (1,)
    if not all(isinstance(size, int | np.integer) for size in shape):
        raise UnsupportedError(f"{where} collects values of a size that is not known", received=shape)
    dtype = dtype_of(sample)
    return mb.make_list(
        init_length=length or 1, dynamic_length=length is None, elem_shape=tuple(int(size) for size in shape),
        dtype="int32" if dtype == "bool" else dtype,
    )  # fmt: skip


def _element(value: Var) -> Var:
    value = mb.cast(x=value, dtype="int32") if dtype_of(value) == "bool" else value
    return value if value.shape else mb.expand_dims(x=value, axes=[0])


def nodes_of(graph: Any) -> int:
    """How many nodes a graph has, those of inner graphs included."""
    return sum(1 for _ in all_nodes(graph))


def size_of(value: Value, axis: int) -> Value:
    """How long an axis is; a MIL value where that is not known."""
    size = value.shape[axis]
    if isinstance(size, int | np.integer):
        return np.array(int(size), np.int64)
    return mb.gather(x=mb.shape(x=value), indices=np.int32(axis % len(value.shape)), axis=0)


def taken(value: Value, index: Value, axis: int) -> Value:
    """One slice, without the axis."""
    if isinstance(value, np.ndarray) and isinstance(index, np.ndarray):
        return np.asarray(np.take(value, int(index), axis=axis))
    x = as_var(value)
    if isinstance(index, np.ndarray):
        axis %= len(x.shape)
        first = [int(index) if other == axis else 0 for other in range(len(x.shape))]
        mask = [other != axis for other in range(len(x.shape))]
        return mb.slice_by_index(
            x=x, begin=first, end=[item + 1 for item in first], begin_mask=mask, end_mask=mask,
            squeeze_mask=[not item for item in mask],
        )  # fmt: skip
    return mb.gather(x=x, indices=index, axis=axis)


def stacked(values: list[Value]) -> Value:
    """Along a new first axis."""
    if all(isinstance(value, np.ndarray) for value in values):
        return np.stack(values)
    return mb.stack(values=[as_var(value) for value in values], axis=0)


def _from_the_end(count: Value, number: Value) -> Value:
    if isinstance(count, np.ndarray) and isinstance(number, np.ndarray):
        return np.asarray(count - 1 - number)
    return mb.sub(x=mb.sub(x=as_var(count), y=np.int32(1)), y=as_var(number))


def _placed(value: Value, axis: int, is_backwards: bool) -> Value:
    """A collected value with its first axis reversed and moved to ``axis``."""
    rank = len(value.shape)
    axis %= rank
    order = [*range(1, axis + 1), 0, *range(axis + 1, rank)]
    if isinstance(value, np.ndarray):
        array: Array = (value[::-1] if is_backwards else value).transpose(order)
        return array
    if is_backwards:
        value = mb.reverse(x=value, axes=[0])
    return mb.transpose(x=value, perm=order) if axis else value

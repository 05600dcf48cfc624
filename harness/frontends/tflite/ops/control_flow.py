"""Branches, loops, calls and variables.

What is known when the model is converted is decided then: a constant condition takes its branch, a short loop whose
end is known is written out; all else becomes MIL's ``cond`` and ``while_loop``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from harness.errors import ConversionError, UnsupportedError
from harness.frontends.blocks import LARGEST_UNROLLED, branch, known_truth, of_this_block, scalar
from harness.frontends.builder import dtype_of, mb
from harness.frontends.dispatch import Value, Var
from harness.frontends.program import as_var
from harness.frontends.tflite.graph import TensorInfo
from harness.frontends.tflite.layout import remembering_layouts
from harness.frontends.tflite.node import Node
from harness.frontends.tflite.quantization import remembering_integers
from harness.frontends.tflite.registry import translates
from harness.frontends.tflite.variables import Variable, assigns, variable_of
from harness.frontends.tflite.verify import called_subgraphs


@translates("IF")
def if_(
    condition: Value, *inputs: Value, then_subgraph_index: int, else_subgraph_index: int, node: Node
) -> tuple[Value, ...]:
    """One of two subgraphs."""
    truth = known_truth(condition)
    if truth is not None:
        return tuple(_called(node, then_subgraph_index if truth else else_subgraph_index, inputs))
    variables = _Carried(node)

    def taken(index: int) -> Callable[[], list[Value]]:
        def translate() -> list[Value]:
            with variables.in_a_block():
                return [*_called(node, index, inputs), *variables.values()]

        return translate

    if not node.outputs and not variables.names:
        return ()
    results = branch(as_var(condition), taken(then_subgraph_index), taken(else_subgraph_index), str(node))
    variables.assign(results[len(node.outputs) :])
    return tuple(results[: len(node.outputs)])


@translates("WHILE")
def while_(*inputs: Value, cond_subgraph_index: int, body_subgraph_index: int, node: Node) -> tuple[Value, ...]:
    """Repeats a subgraph while another says so."""
    written = _unrolled(node, inputs, cond_subgraph_index, body_subgraph_index)
    if written is not None:
        return tuple(written)
    body = node.graph.subgraphs[body_subgraph_index]
    # What the body hands on as it is needs not be carried, and stays constant where it is.
    changing = [at for at in range(len(inputs)) if body.outputs[at] != body.inputs[at]]
    if any(isinstance(inputs[at], Variable) for at in changing):
        raise UnsupportedError(f"{node} changes which variable it means")
    variables = _Carried(node)
    count = len(changing)
    if not changing and not variables.names:
        raise UnsupportedError(f"{node} changes nothing, so that it ends never or at once")

    def whole(values: Sequence[Value]) -> list[Value]:
        result = list(inputs)
        for at, value in zip(changing, values, strict=False):
            result[at] = value
        return result

    def holds(*values: Var) -> Var:
        with variables.in_a_block(values[count:]):
            (going,) = _called(node, cond_subgraph_index, whole(values))
            return of_this_block([scalar(as_var(going))])[0]

    def turn(*values: Var) -> list[Var]:
        with variables.in_a_block(values[count:]):
            results = _called(node, body_subgraph_index, whole(values))
            changed = [as_var(results[at]) for at in changing]
            for at, before, after in zip(changing, values, changed, strict=False):
                if len(before.shape) != len(after.shape) or before.dtype != after.dtype:
                    raise UnsupportedError(
                        f"{node} carries a value that changes its rank or type: {at}",
                        received=f"{dtype_of(before)} {tuple(before.shape)}, then {dtype_of(after)} "
                        f"{tuple(after.shape)}",
                    )
            return of_this_block([*changed, *variables.values()])

    start = [as_var(inputs[at]) for at in changing] + [as_var(value) for value in variables.values()]
    results = mb.while_loop(_cond=holds, _body=turn, loop_vars=tuple(start))
    results = list(results) if isinstance(results, tuple | list) else [results]
    variables.assign(results[count:])
    return tuple(whole(results[:count]))


def _unrolled(node: Node, inputs: Sequence[Value], condition: int, body: int) -> list[Value] | None:
    """The turns one after the other; None where the end is not known, or far."""
    converter = node.converter
    before = dict(converter.variables.values)
    values = list(inputs)
    first = converter.written
    while True:
        (going,) = _called(node, condition, values)
        truth = known_truth(going)
        if truth is False:
            return values
        if truth is None or converter.written - first > LARGEST_UNROLLED:
            converter.variables.values.update(before)
            return None
        values = _called(node, body, values)


@translates("CALL")
def call(*inputs: Value, subgraph: int, node: Node) -> tuple[Value, ...]:
    """Another subgraph, in this place."""
    return tuple(_called(node, subgraph, inputs))


@translates("CALL_ONCE")
def call_once(*, init_subgraph_index: int, node: Node) -> tuple[Value, ...]:
    """What initialises the variables."""
    node.converter.initialize(init_subgraph_index)
    return ()


@translates("VAR_HANDLE")
def var_handle(*, container: str, shared_name: str, node: Node) -> Variable:
    """A variable by its name."""
    return variable_of(node.operator)


@translates("READ_VARIABLE")
def read_variable(variable: Value, *, node: Node) -> Value:
    """What it holds."""
    return node.converter.variables.read(_variable(variable, node))


@translates("ASSIGN_VARIABLE")
def assign_variable(variable: Value, value: Value, *, node: Node) -> tuple[Value, ...]:
    """What it holds from now on."""
    node.converter.variables.values[_variable(variable, node)] = value
    return ()


def _variable(value: object, node: Node) -> Variable:
    if not isinstance(value, Variable):
        raise ConversionError(f"{node} is given no variable", received=type(value).__name__)
    return value


class _Carried:
    """The variables that a branch or a loop has to carry: all of them, where any of its subgraphs assigns one."""

    def __init__(self, node: Node) -> None:
        self._held: dict[Variable, Value] = node.converter.variables.values
        self.names = list(self._held) if assigns(node.graph, called_subgraphs(node.operator)) else []

    def values(self) -> list[Value]:
        """What they hold now."""
        return [self._held[name] for name in self.names]

    def assign(self, values: Sequence[Value]) -> None:
        """They hold ``values`` from now on."""
        self._held.update(zip(self.names, values, strict=True))

    @contextmanager
    def in_a_block(self, values: Sequence[Value] | None = None) -> Iterator[None]:
        """While an inner block is built, in which they begin with ``values``; afterwards all is as it was."""
        before = dict(self._held)
        if values is not None:
            self.assign(values)
        try:
            with remembering_layouts(), remembering_integers():
                yield
            unknown = self._held.keys() - before.keys()
            if unknown:
                raise UnsupportedError(f"{', '.join(map(str, unknown))} is assigned for the first time in a block")
        finally:
            self._held.clear()
            self._held.update(before)


def _called(node: Node, index: int, inputs: Sequence[Value]) -> list[Value]:
    """The outputs of a subgraph, translated into the block being built."""
    called = node.graph.subgraphs[index]
    outer = node.inputs[1:] if node.operator.name == "IF" else node.inputs
    _check_grids(node, zip(outer, (called.tensors[at] for at in called.inputs), strict=True))
    if len(called.outputs) == len(node.outputs):  # else it is a loop's condition
        _check_grids(node, zip(node.outputs, (called.tensors[at] for at in called.outputs), strict=True))
    return node.converter.subgraph(index, inputs)


def _check_grids(node: Node, pairs: Iterable[tuple[TensorInfo | None, TensorInfo]]) -> None:
    """Integers that cross into a subgraph mean the same there."""
    for outer, inner in pairs:
        one, other = (None if tensor is None else tensor.quantization for tensor in (outer, inner))
        if one is None and other is None:
            continue
        if (
            one is None
            or other is None
            or not (np.array_equal(one.scales, other.scales) and np.array_equal(one.zero_points, other.zero_points))
        ):
            raise UnsupportedError(f"{node} passes a quantised tensor to one of another scale", received=inner.name)

"""Cuts a block into steps: maximal runs of lowered ops, each one ONNX Runtime session, with numpy
kernels and control flow between them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.errors import HarnessError, PackageError, PredictionError, UnsupportedError
from harness.runtimes.portable.numerics import Numerics, rounds, stored
from harness.runtimes.portable.onnx_graph import OnnxGraph, Tensor, building, current_graph
from harness.runtimes.portable.program import (
    Block,
    Constant,
    Operation,
    TensorType,
    Type,
    Value,
)
from harness.runtimes.portable.registry import (
    KERNELS,
    LOWERINGS,
    Implementation,
    python_value,
    wants_handle,
    wants_list,
)
from harness.runtimes.portable.sessions import GraphSession

Environment = dict[str, Any]

# Ops that read or write a state buffer: they keep their order.
_ORDERED = frozenset({"read_state", "write_state", "coreml_update_state"})
# A damaged or wrong program must not hang; no network for images turns as often.
MAXIMUM_TURNS = 100_000

# What numpy and Python raise where an op's values do not go together.
_UNFIT = (ValueError, IndexError, TypeError, KeyError, ArithmeticError, AssertionError, MemoryError)
_CONTROL_FLOW = frozenset({"cond", "while_loop"})


@dataclass
class Step:
    """Something that reads values and defines others. ``run`` takes the values, and where observed
    values of inner blocks go."""

    reads: tuple[str, ...]
    defines: tuple[str, ...]
    run: Callable[[Environment, Environment | None], None]
    frees: tuple[str, ...] = ()


@dataclass
class CompiledBlock:
    """Steps in order. Values are dropped after their last use."""

    steps: list[Step]
    outputs: tuple[str, ...]
    constants: Environment
    observe: frozenset[str] = frozenset()

    def run(self, environment: Environment, observed: Environment | None = None) -> list[Any]:
        """Execute; ``environment`` holds the inputs by name. Returns the outputs in order.

        ``observed`` receives the observed values of this block and of those inside it; of a loop, those
        of its last turn.
        """
        values = dict(environment)
        if observed is not None:
            for name in self.observe:
                if name in values or name in self.constants:
                    observed[name] = values[name] if name in values else self.constants[name]
        for step in self.steps:
            step.run(values, observed)
            if observed is not None:
                observed.update((name, values[name]) for name in step.defines if name in self.observe)
            for name in step.frees:
                values.pop(name, None)
        return [values[name] if name in values else self.constants[name] for name in self.outputs]


@dataclass
class Compiler:
    """Compiles the blocks of one function for one set of input shapes."""

    numerics: Numerics
    opset: str
    observe: frozenset[str] = frozenset()

    def block(self, block: Block, types: dict[str, Type], constants: Environment) -> CompiledBlock:
        """``types`` and ``constants``: what is visible from outside, and outlives the block."""
        types = dict(types) | {value.name: value.type for value in block.inputs}
        arguments = {value.name for value in block.inputs}
        constants = {name: value for name, value in constants.items() if name not in arguments}
        pending: list[Operation] = []
        for operation in block.operations:
            types.update((output.name, output.type) for output in operation.outputs)
            if not self._fold(operation, types, constants):
                if operation.type not in _CONTROL_FLOW:
                    _implementation(operation)
                pending.append(operation)
        pending = _needed(pending, {*block.outputs, *self.observe})
        steps = [
            self._segment(group, pending, block.outputs, types, constants)
            if group[0].type in LOWERINGS
            else self._single(group[0], types, constants)
            for group in _groups(pending)
        ]
        # The sessions hold their own weights; only what is read beside them is kept.
        needed = set(block.outputs) | self.observe
        for operation in pending:
            if operation.type not in LOWERINGS:
                needed.update(operation.uses())
        for name in constants.keys() - needed:
            del constants[name]
        outer = types.keys() - _defined(block)
        _plan_releases(steps, set(block.outputs) | outer | self.observe)
        return CompiledBlock(steps, block.outputs, constants, self.observe)

    def _fold(self, operation: Operation, types: dict[str, Type], constants: Environment) -> bool:
        """Evaluate constants and compressed weights when the program is loaded."""
        if operation.type == "const":
            literal = operation.attributes.get("val") or operation.inputs.get("val", (None,))[0]
            if not isinstance(literal, Constant):
                raise PackageError(f"op {operation} has no value")
            constants[operation.outputs[0].name] = stored(literal.value, operation.outputs[0].type)
            return True
        if operation.type.startswith("constexpr_"):
            implementation = _implementation(operation)
            if all(name in constants for name in operation.uses()):
                arguments = self._kernel_arguments(implementation, operation)
                self._run_kernel(implementation, operation, arguments, constants, constants)
                return True
        return False

    # Kernels and control flow -------------------------------------------------------------------

    def _single(self, operation: Operation, types: dict[str, Type], constants: Environment) -> Step:
        defines = tuple(output.name for output in operation.outputs)
        reads = tuple(name for name in operation.uses() if name not in constants)
        if operation.type == "cond":
            run = self._cond(operation, types, constants)
        elif operation.type == "while_loop":
            run = self._while_loop(operation, types, constants)
        else:
            implementation = _implementation(operation)
            arguments = self._kernel_arguments(implementation, operation)

            def run(values: Environment, observed: Environment | None) -> None:
                self._run_kernel(implementation, operation, arguments, values, constants)

        return Step(reads, defines, run)

    def _kernel_arguments(
        self, implementation: Implementation, operation: Operation
    ) -> list[tuple[str, Any, tuple[str | Constant, ...]]]:
        hints = implementation.parameters(operation)
        return [(name, hints[name], operation.inputs[name]) for name in operation.inputs]

    def _run_kernel(
        self,
        implementation: Implementation,
        operation: Operation,
        arguments: list[tuple[str, Any, tuple[str | Constant, ...]]],
        values: Environment,
        constants: Environment,
    ) -> None:
        bound = {}
        for name, hint, bindings in arguments:
            items = [_runtime_value(binding, values, constants) for binding in bindings]
            where = f"input {name!r} of op {operation}"
            bound[name] = items if wants_list(hint) else python_value(hint, items[0], where)
        try:
            results = implementation.function(**bound, **implementation.context(operation, self.opset))
        except HarnessError as error:
            raise type(error)(f"op {operation}: {error}") from error
        except _UNFIT as error:
            raise PredictionError(f"op {operation} failed", received=error) from error
        results = results if isinstance(results, tuple) else (results,)
        numerics: Numerics = "float32" if implementation.moves else self.numerics
        for output, result in zip(operation.outputs, results, strict=True):
            values[output.name] = stored(result, output.type, numerics)

    def _cond(
        self, operation: Operation, types: dict[str, Type], constants: Environment
    ) -> Callable[[Environment, Environment | None], None]:
        if len(operation.blocks) != 2:
            raise PackageError(f"op {operation} has {len(operation.blocks)} blocks", supported="2")
        branches = [self.block(block, types, constants) for block in operation.blocks]
        predicate = _only(operation, "pred")

        def run(values: Environment, observed: Environment | None) -> None:
            chosen = bool(np.asarray(_runtime_value(predicate, values, constants)).reshape(()))
            results = branches[0 if chosen else 1].run(values, observed)
            values.update(zip((output.name for output in operation.outputs), results, strict=True))

        return run

    def _while_loop(
        self, operation: Operation, types: dict[str, Type], constants: Environment
    ) -> Callable[[Environment, Environment | None], None]:
        if len(operation.blocks) != 2:
            raise PackageError(f"op {operation} has {len(operation.blocks)} blocks", supported="2")
        condition_block, body_block = operation.blocks
        condition = self.block(condition_block, types, constants)
        body = self.block(body_block, types, constants)
        start = operation.inputs["loop_vars"]

        def bind(block: Block, loop: list[Any]) -> Environment:
            return dict(zip((value.name for value in block.inputs), loop, strict=True))

        def run(values: Environment, observed: Environment | None) -> None:
            loop = [_runtime_value(binding, values, constants) for binding in start]
            turns = 0
            while bool(np.asarray(condition.run(values | bind(condition_block, loop), observed)[0]).reshape(())):
                turns += 1
                if turns > MAXIMUM_TURNS:
                    raise PredictionError(
                        f"op {operation} has not ended", received=f"{turns - 1:,} turns", supported="as many at most"
                    )
                loop = body.run(values | bind(body_block, loop), observed)
            values.update(zip((output.name for output in operation.outputs), loop, strict=True))

        return run

    # Segments -----------------------------------------------------------------------------------

    def _segment(
        self,
        group: Sequence[Operation],
        pending: Sequence[Operation],
        block_outputs: tuple[str, ...],
        types: dict[str, Type],
        constants: Environment,
    ) -> Step:
        members = {id(operation) for operation in group}
        made = {output.name for operation in group for output in operation.outputs}
        used_outside = set(block_outputs) | self.observe
        readers: dict[str, set[str]] = defaultdict(set)
        for operation in pending:
            if id(operation) not in members:
                used_outside.update(operation.uses())
            for name in operation.uses():
                readers[name].add(operation.type)
        for name in block_outputs:
            readers[name].add("output")
        graph = OnnxGraph()
        handles: dict[str, Tensor] = {}
        inputs: dict[str, Tensor] = {}

        def handle(binding: str | Constant) -> Tensor:
            if isinstance(binding, Constant):
                return graph.constant(stored(binding.value, binding.type), "literal", _dtype(binding.type))
            if binding not in handles:
                type_ = types[binding]
                if binding in constants:
                    handles[binding] = graph.constant(constants[binding], binding, _dtype(type_))
                elif isinstance(type_, TensorType):
                    handles[binding] = inputs[binding] = graph.declare(binding, type_)
                else:
                    raise PackageError(f"{binding!r} is not a tensor", received=type(type_).__name__)
            return handles[binding]

        with building(graph):
            for operation in group:
                read_by = frozenset().union(*(readers[output.name] for output in operation.outputs))
                results = self._lower(operation, handle, read_by)
                for output, result in zip(operation.outputs, results, strict=True):
                    handles[output.name] = result
        outputs = {name: handles[name] for name in sorted(made & used_outside)}
        session = GraphSession(graph, list(inputs.values()), list(outputs.values()))
        input_names = tuple(inputs)
        output_names = tuple(outputs)

        def run(values: Environment, observed: Environment | None) -> None:
            results = session.run([values[name] for name in input_names])
            for name, result in zip(output_names, results, strict=True):
                values[name] = result

        return Step(input_names, output_names, run)

    def _lower(
        self, operation: Operation, handle: Callable[[str | Constant], Tensor], readers: frozenset[str]
    ) -> list[Tensor]:
        implementation = LOWERINGS[operation.type]
        bound: dict[str, Any] = {}
        for name, hint in implementation.parameters(operation).items():
            items = [handle(binding) for binding in operation.inputs[name]]
            where = f"input {name!r} of op {operation}"
            if wants_handle(hint):
                bound[name] = items if wants_list(hint) else items[0]
            else:
                if items[0].value is None:
                    raise PredictionError(f"{where} must be a constant", remedy="Make it one in the source model")
                bound[name] = python_value(hint, items[0].value, where)
        try:
            results = implementation.function(**bound, **implementation.context(operation, self.opset, readers))
        except HarnessError as error:
            raise type(error)(f"op {operation}: {error}") from error
        except _UNFIT as error:
            raise PackageError(f"op {operation} does not fit its inputs", received=repr(error)) from error
        results = results if isinstance(results, tuple | list) else (results,)
        if len(results) != len(operation.outputs):
            raise PackageError(f"op {operation} declares {len(operation.outputs)} outputs", supported=len(results))
        return [
            self._finish(result, output, implementation)
            for result, output in zip(results, operation.outputs, strict=True)
        ]

    def _finish(self, result: Tensor, output: Value, implementation: Implementation) -> Tensor:
        if not isinstance(output.type, TensorType):
            raise PackageError(f"{output.name!r} is not a tensor", received=type(output.type).__name__)
        graph = current_graph()
        result = graph.retype(result, output.type)
        if rounds(self.numerics, output.type) and not implementation.moves:
            result = graph.round_to_float16(result)
        return result


def _implementation(operation: Operation) -> Implementation:
    implementation = KERNELS.get(operation.type) or LOWERINGS.get(operation.type)
    if implementation is None:
        raise UnsupportedError(
            f"op {operation} is not one that the portable runtime executes",
            remedy="See `harness list limitations`",
        )
    return implementation


def _runtime_value(binding: str | Constant, values: Environment, constants: Environment) -> Any:
    if isinstance(binding, Constant):
        return stored(binding.value, binding.type)
    return values[binding] if binding in values else constants[binding]


def _only(operation: Operation, name: str) -> str | Constant:
    if len(operation.inputs.get(name, ())) != 1:
        raise PackageError(f"op {operation} lacks its input {name!r}")
    return operation.inputs[name][0]


def _dtype(type_: Type) -> str:
    return type_.dtype if isinstance(type_, TensorType) else ""


def _defined(block: Block) -> set[str]:
    return {output.name for operation in block.operations for output in operation.outputs}


def _needed(operations: Sequence[Operation], wanted: set[str]) -> list[Operation]:
    """Without those whose results nothing reads; what writes state stays."""
    wanted = set(wanted)
    kept = []
    for operation in reversed(operations):
        names = {output.name for output in operation.outputs}
        if not names or operation.type in _ORDERED or operation.blocks or names & wanted:
            kept.append(operation)
            wanted.update(operation.uses())
    return kept[::-1]


def _groups(operations: Sequence[Operation]) -> list[list[Operation]]:
    """Runs of lowered ops, as long as dependencies let them be; every other op alone."""
    producer = {output.name: i for i, item in enumerate(operations) for output in item.outputs}
    waits: list[set[int]] = [{producer[name] for name in item.uses() if name in producer} for item in operations]
    previous: int | None = None
    for index, item in enumerate(operations):
        if item.type in _ORDERED or item.type in _CONTROL_FLOW:
            if previous is not None:
                waits[index].add(previous)
            previous = index
    groups: list[list[Operation]] = []
    left = list(range(len(operations)))
    done: set[int] = set()
    while left:
        for lowered in (True, False):
            group: list[int] = []
            for index in left:
                if (operations[index].type in LOWERINGS) is lowered and waits[index] <= done:
                    group.append(index)
                    done.add(index)
            if group:
                taken = set(group)
                left = [index for index in left if index not in taken]
                items = [operations[index] for index in group]
                groups.extend([items] if lowered else [[item] for item in items])
    return groups


def _plan_releases(steps: list[Step], keep: set[str]) -> None:
    last: dict[str, int] = {}
    for index, step in enumerate(steps):
        for name in (*step.reads, *step.defines):
            last[name] = index
    for index, step in enumerate(steps):
        step.frees = tuple(name for name, at in last.items() if at == index and name not in keep)

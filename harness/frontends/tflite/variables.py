"""Resource variables: constants where nothing assigns them, values of one prediction where they are assigned before
they are read, else state of the program (iOS18), which lasts from one prediction to the next."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from harness.errors import ConversionError, UnsupportedError
from harness.frontends.builder import dtype_of, mb
from harness.frontends.dispatch import Array, Value, Var
from harness.frontends.program import as_var
from harness.frontends.tflite.compression import decompressed
from harness.frontends.tflite.graph import Operator, Subgraph, TensorInfo, TFLiteGraph
from harness.frontends.tflite.layout import known
from harness.frontends.tflite.quantization import activation_of_steps, grid_of, is_quantized, steps
from harness.frontends.tflite.verify import called_subgraphs
from harness.tensors import TensorSpec

# Core ML keeps state since this target, in float16: of an 8-bit variable the steps, which it holds exactly.
STATE_TARGETS = ("iOS18", "iOS26")
# A tensor of type resource stands for a variable among these only.
OPERATORS = frozenset({"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE", "CALL", "IF", "WHILE"})


@dataclass(frozen=True)
class Variable:
    """A variable as operators pass it to each other; it has no shape and no operation, as MIL values have."""

    container: str
    name: str
    shape: tuple[int, ...] = ()
    op: None = None
    val: None = None

    def __str__(self) -> str:
        return f"variable {self.name!r}"


@dataclass
class Variables:
    """What variables hold at this point of the program."""

    states: Mapping[Variable, State] = field(default_factory=dict)
    values: dict[Variable, Value] = field(default_factory=dict)
    initial: dict[Variable, Value] = field(default_factory=dict)

    def read(self, variable: Variable) -> Value:
        """Its value. Raises ConversionError where nothing has assigned it."""
        if variable not in self.values:
            raise ConversionError(f"{variable} is read before anything assigns it", remedy="Export the model anew")
        return self.values[variable]

    def begin(self, before: Mapping[Variable, Value], inputs: Mapping[str, Var]) -> None:
        """After some were initialised that held ``before``: what is state has what the last prediction left.

        Core ML's state is zero at first, so that it holds the distance from the initial value.
        """
        for variable, value in list(self.values.items()):
            if value is before.get(variable):
                continue
            if variable in before:
                raise UnsupportedError(f"{variable} is initialised twice")
            if variable not in self.states:
                continue
            state, initial = self.states[variable], _constant(value)
            if initial is None or initial.dtype != np.float32:
                raise UnsupportedError(
                    f"{variable} lasts from one prediction to the next and does not begin with a constant float32",
                    received="a value that is computed" if initial is None else initial.dtype,
                )
            kept = mb.cast(x=mb.read_state(input=inputs[state.spec.name]), dtype="fp32")
            if state.grid is not None:
                initial = np.round(initial / np.float32(grid_of(state.grid).scale))
            self.initial[variable] = initial
            held = mb.add(x=kept, y=initial) if initial.any() else kept
            self.values[variable] = held if state.grid is None else activation_of_steps(held, state.grid)

    def end(self, inputs: Mapping[str, Var]) -> None:
        """Store what is state."""
        for variable, state in self.states.items():
            spec = state.spec
            if variable not in self.initial:
                raise UnsupportedError(f"{variable} lasts from one prediction to the next and has no first value")
            value = as_var(self.values[variable])
            if dtype_of(value) != "fp32" or tuple(value.shape) != spec.shape:
                raise UnsupportedError(
                    f"{variable} changes its shape or type", received=f"{dtype_of(value)} {tuple(value.shape)}",
                    supported=f"fp32 {spec.shape}",
                )  # fmt: skip
            if state.grid is not None:
                value = steps(value, state.grid, maybe_half=True)
            initial = self.initial[variable]
            if isinstance(initial, np.ndarray) and initial.any():
                value = mb.sub(x=value, y=initial)
            mb.coreml_update_state(state=inputs[spec.name], value=mb.cast(x=value, dtype="fp16"))


@dataclass(frozen=True)
class State:
    """A variable that lasts: its name and shape in the program, and the tensor whose 8-bit grid it lies on, if any."""

    spec: TensorSpec
    grid: TensorInfo | None


def _constant(value: Value) -> Array | None:
    """A constant, of a compressed one what it stands for."""
    found = decompressed(value)
    return known(value) if found is None else found


@dataclass(frozen=True)
class _Access:
    variable: Variable
    is_assignment: bool
    is_certain: bool
    tensor: TensorInfo


def states_of(graph: TFLiteGraph, subgraph: Subgraph, taken: Collection[str]) -> dict[Variable, State]:
    """The variables that last from one prediction to the next, with names (none is ``taken``) and shapes.

    Raises UnsupportedError for those without a fixed shape or whose integers do not always mean the same.
    """
    first: dict[Variable, _Access] = {}
    assigned = set()
    accesses = list(_accesses(graph, subgraph, {}, is_certain=True))
    for access in accesses:
        first.setdefault(access.variable, access)
        if access.is_assignment:
            assigned.add(access.variable)
    lasting = [
        access
        for variable, access in first.items()
        if variable in assigned and not (access.is_assignment and access.is_certain)
    ]
    states: dict[Variable, State] = {}
    for access in lasting:
        name = re.sub(r"\W", "_", f"state_{access.variable.name}", flags=re.ASCII)
        while name in taken or any(state.spec.name == name for state in states.values()):
            name += "_"
        if access.tensor.is_flexible:
            raise UnsupportedError(f"{access.variable} lasts and has no fixed shape", received=access.tensor.shape)
        same = [other.tensor for other in accesses if other.variable == access.variable]
        grids = {grid_of(tensor) if is_quantized(tensor) else None for tensor in same}
        if len(grids) > 1:
            raise UnsupportedError(
                f"{access.variable} lasts and its integers mean different values in different places",
                received="; ".join(map(str, grids)),
                supported="one scale and zero point",
            )
        (grid,) = grids
        is_exact = grid is not None and grid.is_byte
        states[access.variable] = State(TensorSpec(name, access.tensor.shape), access.tensor if is_exact else None)
    return states


def target_for(states: Collection[Variable], target: str | None, name: str) -> str:
    """The target of model ``name``: the given one, else the oldest that has what it needs.

    Raises UnsupportedError where the given one keeps no state and the model does.
    """
    if target is None:
        return STATE_TARGETS[0] if states else "iOS17"
    if states and target not in STATE_TARGETS:
        raise UnsupportedError(
            f"model {name} keeps {', '.join(map(str, states))} from one prediction to the next, which {target} cannot",
            supported=STATE_TARGETS,
            remedy=f"Convert for {STATE_TARGETS[0]}, or name no target",
        )
    return target


def variable_of(operator: Operator) -> Variable:
    """What a VAR_HANDLE stands for."""
    return Variable(operator.options["container"], operator.options["shared_name"])


def _accesses(
    graph: TFLiteGraph, subgraph: Subgraph, handles: Mapping[int, Variable], is_certain: bool
) -> Iterator[_Access]:
    """Reads and assignments in order, those of called subgraphs included, of what CALL_ONCE calls not."""
    handles = dict(handles)
    for operator in subgraph.operators:
        if operator.name == "VAR_HANDLE":
            handles[operator.outputs[0]] = variable_of(operator)
        elif operator.name in ("READ_VARIABLE", "ASSIGN_VARIABLE"):
            variable = handles.get(operator.inputs[0])
            is_assignment = operator.name == "ASSIGN_VARIABLE"
            if variable is not None:
                tensor = subgraph.tensors[operator.inputs[1] if is_assignment else operator.outputs[0]]
                yield _Access(variable, is_assignment, is_certain, tensor)
        elif operator.name in ("IF", "WHILE", "CALL"):
            given = operator.inputs[1:] if operator.name == "IF" else operator.inputs
            for index in called_subgraphs(operator):
                called = graph.subgraphs[index]
                inner = {
                    parameter: handles[argument]
                    for parameter, argument in zip(called.inputs, given, strict=True)
                    if argument in handles
                }
                yield from _accesses(graph, called, inner, is_certain and operator.name == "CALL")
                if operator.name == "WHILE":
                    handles |= {
                        output: handles[argument]
                        for output, argument in zip(operator.outputs, given, strict=True)
                        if argument in handles
                    }


def assigns(graph: TFLiteGraph, indices: tuple[int, ...]) -> bool:
    """Whether subgraphs, or what they call, assign a variable."""
    for index in indices:
        for operator in graph.subgraphs[index].operators:
            if operator.name == "ASSIGN_VARIABLE" or assigns(graph, called_subgraphs(operator)):
                return True
    return False

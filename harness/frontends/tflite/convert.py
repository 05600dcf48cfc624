"""TensorFlow Lite to an ML Program: what cannot be said is found first; each operator is one translation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from harness.artifact import Artifact
from harness.errors import ConversionError, UnknownNameError, UnsupportedError
from harness.frontends.blame import blame
from harness.frontends.builder import dtype_of
from harness.frontends.dispatch import Translation, Value, Var
from harness.frontends.left import Left, listed
from harness.frontends.program import InputRange, Names, ProgramBuilder, Scope, as_var, identifier, write_program
from harness.frontends.tflite import ops  # noqa: F401 (fills the table of translations)
from harness.frontends.tflite.axes import on_twins
from harness.frontends.tflite.compression import is_compressed, sparse_if_less
from harness.frontends.tflite.dilation import with_dilations
from harness.frontends.tflite.graph import Operator, Signature, Subgraph, TensorInfo, TFLiteGraph
from harness.frontends.tflite.inexact import BY_A_STEP, HALF_STATE, HALVES, Inexact
from harness.frontends.tflite.labels import labels_of
from harness.frontends.tflite.layout import known, pointwise, remembering_layouts, twin
from harness.frontends.tflite.node import Node
from harness.frontends.tflite.options import custom_attributes
from harness.frontends.tflite.quantization import (
    RANGES,
    dequantized_constant,
    from_integers,
    grid_of,
    is_quantized,
    lies_on_grid,
    reinterpreted,
    remembering_integers,
    rounded,
    to_integers,
)
from harness.frontends.tflite.reader import read_graph
from harness.frontends.tflite.registry import TRANSLATIONS
from harness.frontends.tflite.shapes import check_axes
from harness.frontends.tflite.sizes import remember_sizes
from harness.frontends.tflite.variables import OPERATORS as RESOURCE_OPERATORS
from harness.frontends.tflite.variables import Variable, Variables, states_of, target_for
from harness.frontends.tflite.verify import called_subgraphs
from harness.memory import collection_paused
from harness.quiet import quiet_conversion
from harness.tensors import TensorSpec

# Operators of a program whose subgraphs are written out, far beyond what any device takes.
_MOST_WRITTEN = 200_000
COMPUTED = frozenset(
    {"float32", "float16", "bool", "int4", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"}
)


# Elements of a result that is treated as a constant: bounds, sizes, axes.
_LARGEST_FOLDED = 1024


@collection_paused()
def convert_tflite(
    source: Path | TFLiteGraph,
    precision: str,
    destination: Path,
    *,
    signature: str | None = None,
    target: str | None = None,
    ranges: Mapping[tuple[str, int], InputRange] | None = None,
) -> Artifact:
    """Write a ``.tflite`` file as an ``.mlpackage``; inputs and outputs keep the signature's names.

    ``target`` is iOS17 unless given, or iOS18 where the model keeps state from one prediction to the next.
    Quantised inputs and outputs are the integers of the file, as int32. Raises ModelFileError, UnknownNameError,
    UnsupportedError (all that stands in the way, by operator) or ConversionError.
    """
    if precision not in ("float32", "float16"):
        raise UnknownNameError("there is no such precision", received=precision, supported=("float32", "float16"))
    graph = read_graph(source) if isinstance(source, Path) else source
    with blame(f"model {graph.name}"), quiet_conversion(), remembering_layouts(), remembering_integers():
        interface = graph.interface(signature)
        _refuse_unsupported(graph, interface)
        features = Features(interface)
        converter = Converter(graph, precision)
        builder = converter.program(interface, features, target, ranges)
    provenance = {"route": "tflite", "coremltools": version("coremltools")}
    artifact = write_program(
        builder, precision, destination, provenance, f"model {graph.name}", converter.source_names()
    )
    converter.inexact.inspect(_called(graph, interface))
    return replace(
        artifact,
        input_names=features.inputs,
        output_names=features.outputs,
        warnings=tuple(f"model {graph.name}: {message}" for message in converter.inexact.messages()),
    )


class Features:
    """What the package calls a signature's inputs and outputs: identifiers, all different."""

    def __init__(self, interface: Signature) -> None:
        taken: set[str] = set()
        self.inputs = {name: identifier(name, "input", taken) for name in interface.inputs}
        self.outputs = {name: identifier(name, "output", taken) for name in interface.outputs}


def _refuse_unsupported(graph: TFLiteGraph, interface: Signature) -> None:
    left: list[Left] = []
    has_custom = False
    for subgraph in _called(graph, interface):
        for operator in subgraph.operators:
            name = subgraph.tensors[operator.outputs[0]].name if operator.outputs else f"{operator.index}"
            if TRANSLATIONS.find(operator.name, operator.version) is None:
                left.append(Left(f"custom operator {operator.name}" if operator.is_custom else operator.name, name))
                has_custom |= operator.is_custom
                continue
            for index in (*operator.inputs, *operator.outputs):
                tensor = subgraph.tensors[index] if index >= 0 else None
                if tensor is None or (tensor.dtype == "resource" and operator.name in RESOURCE_OPERATORS):
                    continue
                known_types = COMPUTED | {"complex64"} if operator.name in COMPLEX else COMPUTED
                if tensor.dtype not in known_types and not tensor.is_constant:
                    left.append(Left(operator.name, name, tensor.dtype))
                    break
    if left:
        own = "Translate custom operators in a file of your own, --plugin FILE (docs/tflite.md)"
        raise UnsupportedError(
            f"model {graph.name} cannot be said in Core ML: there is no translation of {listed(left)}",
            remedy=own if has_custom else "See `harness list limitations`",
        )


def _called(graph: TFLiteGraph, interface: Signature) -> list[Subgraph]:
    """The interface's subgraph and those that are called from there."""
    pending, found = [interface.subgraph], set[int]()
    while pending:
        index = pending.pop()
        if index not in found:
            found.add(index)
            pending += [call for operator in graph.subgraphs[index].operators for call in called_subgraphs(operator)]
    return [graph.subgraphs[index] for index in sorted(found)]


class Converter:
    """One model. Translations of control flow call ``subgraph``."""

    def __init__(self, graph: TFLiteGraph, precision: str) -> None:
        self.graph = replace(graph, subgraphs=tuple(map(with_dilations, graph.subgraphs)))
        self.precision = precision
        self.names = Names()
        self.variables = Variables()
        self.inexact = Inexact()
        self.written = 0  # operators so far, those of a subgraph each time that it is called
        self._labels = {id(subgraph): labels_of(subgraph) for subgraph in self.graph.subgraphs}
        self._given: Mapping[str, Var] = {}

    def program(
        self,
        interface: Signature,
        features: Features,
        target: str | None,
        ranges: Mapping[tuple[str, int], InputRange] | None,
    ) -> ProgramBuilder:
        """The called subgraph as a function. ``ranges`` is by the signature's names."""
        subgraph = self.graph.subgraphs[interface.subgraph]
        specs = [spec_of(subgraph.tensors[index], features.inputs[name]) for name, index in interface.inputs.items()]
        unknown = sorted({name for name, _ in ranges or {}} - set(features.inputs))
        if unknown:
            raise UnknownNameError(
                f"model {self.graph.name} has no such input", received=", ".join(unknown), supported=features.inputs
            )
        bounds = {(features.inputs[name], axis): bound for (name, axis), bound in (ranges or {}).items()}
        states = states_of(self.graph, subgraph, features.inputs.values())
        self.variables.states = states
        for operator in subgraph.operators if any(state.grid is None for state in states.values()) else ():
            if operator.name == "ASSIGN_VARIABLE":
                self.inexact.note(operator, HALF_STATE)
        chosen = target_for(states, target, self.graph.name)
        builder = ProgramBuilder(specs, chosen, bounds, tuple(state.spec for state in states.values()))
        with builder.building() as given:
            self._given = given
            values: dict[int, Value] = {}
            for name, index in interface.inputs.items():
                tensor = subgraph.tensors[index]
                value = given[features.inputs[name]]
                values[index] = from_integers(value, tensor) if is_quantized(tensor) else value
            scope = self._run(subgraph, values)
            outputs: dict[str, Value] = {}
            for name, index in interface.outputs.items():
                tensor, result = subgraph.tensors[index], self._value(subgraph, index, scope)
                outputs[features.outputs[name]] = (
                    to_integers(as_var(result), tensor) if is_quantized(tensor) else result
                )
            self.variables.end(given)
            builder.finish(outputs)
        return builder

    def source_names(self) -> set[str]:
        """Names of values and of constants in the file."""
        return self.names.given.union(*self._labels.values())

    def initialize(self, index: int) -> None:
        """Translate what is called once: it gives the variables their first values."""
        before = dict(self.variables.values)
        self.subgraph(index, ())
        self.variables.begin(before, self._given)

    def subgraph(self, index: int, inputs: Sequence[Value]) -> list[Value]:
        """The outputs of another subgraph, translated into the block being built."""
        if self.written > _MOST_WRITTEN:
            raise UnsupportedError(
                f"model {self.graph.name} calls subgraphs within subgraphs so often that it amounts to more than "
                f"{_MOST_WRITTEN} operators"
            )
        subgraph = self.graph.subgraphs[index]
        scope = self._run(subgraph, dict(zip(subgraph.inputs, inputs, strict=True)))
        return [self._value(subgraph, output, scope) for output in subgraph.outputs]

    def _run(self, subgraph: Subgraph, inputs: Mapping[int, Value]) -> Scope:
        scope = Scope(values={str(index): value for index, value in inputs.items()})
        for operator in subgraph.operators:
            self._operator(subgraph, operator, scope)
        return scope

    def _operator(self, subgraph: Subgraph, operator: Operator, scope: Scope) -> None:
        self.written += 1
        infos = tuple(subgraph.tensors[index] if index >= 0 else None for index in operator.inputs)
        outputs = tuple(subgraph.tensors[index] for index in operator.outputs)
        node = Node(operator, infos, outputs, self.graph, self)
        with blame(str(node)):
            self._translate(subgraph, node, scope)

    def _translate(self, subgraph: Subgraph, node: Node, scope: Scope) -> None:
        operator, infos, outputs = node.operator, node.inputs, node.outputs
        translation = TRANSLATIONS.find(operator.name, operator.version)
        if translation is None:
            raise UnsupportedError(f"{node} has no translation", supported=TRANSLATIONS.operators())
        inputs = [self._value(subgraph, index, scope) if index >= 0 else None for index in operator.inputs]
        options = options_of(operator, translation)
        check_axes(node, inputs)
        rewritten = on_twins(operator.name, inputs, options)
        if rewritten is None:
            results = translation.call(
                inputs, options, node, str(node), lambda index: scope.materialize(str(operator.inputs[index]))
            )
            translation.check_results(results, str(node))
            remember_sizes(operator.name, inputs, options, results)
        else:
            operands = rewritten.inputs
            results = translation.call(
                operands,
                rewritten.options,
                node,
                str(node),
                lambda index: as_var(operands[index]),  # type: ignore[arg-type]
            )
            translation.check_results(results, str(node))
            results = tuple(rewritten.place(as_var(result)) for result in results)
        if len(results) < len(outputs):
            raise ConversionError(f"{node} has {len(outputs)} outputs", supported=f"{len(results)} are translated")
        for tensor, value in zip(outputs, results, strict=False):
            if value is None:
                continue
            if not _goes_with(value, tensor, operator, infos):
                raise ConversionError(
                    f"{node} computes what its output cannot hold", received=f"tensor {tensor.index} of {tensor.dtype}",
                    remedy="Check the file: TensorFlow Lite's converter writes no such operator",
                )  # fmt: skip
            if is_quantized(tensor):
                exact = operator.name == "QUANTIZE" or _only_moves(operator) or lies_on_grid(value, tensor)
                if not exact:
                    is_halved = tensor.dtype == "int16" and self.precision == "float16"
                    self.inexact.note(operator, HALVES if is_halved else BY_A_STEP)
                value = _on_grid(as_var(value), operator, infos, tensor)
            value = _folded(value)
            scope.values[str(tensor.index)] = value
            name = self._labels[id(subgraph)][tensor.index]
            first = twin(value)
            if first is not None:
                self.names.give(first, name)
                name += "_channels_last"
            self.names.give(value, name)

    def _value(self, subgraph: Subgraph, index: int, scope: Scope) -> Value:
        value = scope.find(str(index))
        if value is not None:
            return value
        tensor = subgraph.tensors[index]
        if tensor.is_variable:
            # A layer's state before the first step.
            return np.zeros(tensor.shape, np.float32)
        if not tensor.is_constant:
            raise ConversionError(f"tensor {index} {tensor.name!r} is read before it is computed")
        scope.values[str(index)] = self._constant(tensor, self._labels[id(subgraph)][index])
        return scope.values[str(index)]

    def _constant(self, tensor: TensorInfo, name: str) -> Value:
        is_half = self.precision == "float16"
        if is_quantized(tensor):
            return dequantized_constant(tensor, name, 2 if is_half else 4)
        values = tensor.array()
        if tensor.sparsity is None or values.dtype not in (np.dtype(np.float32), np.dtype(np.float16)):
            return values
        # float16 weights become float32 by an operator of the file, and are judged there.
        itemsize = 2 if is_half or values.dtype == np.float16 else 4
        sparse = sparse_if_less(values, itemsize, itemsize, name)
        return values if sparse is None else sparse


def options_of(operator: Operator, translation: Translation) -> Mapping[str, Any]:
    """What is bound to a translation's attributes. One that takes the node alone reads custom options itself."""
    if not operator.is_custom or (translation.wants_node and not translation.attributes):
        return operator.options
    return custom_attributes(operator)


# They compute with complex numbers, which are pairs (ops/fourier.py).
COMPLEX = frozenset({"RFFT2D", "REAL", "IMAG", "COMPLEX_ABS", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "CAST"})
# Their results are values of their input, which lie on the grid already.
_MOVES = frozenset(
    {
        "RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS", "SLICE", "STRIDED_SLICE", "SPLIT", "SPLIT_V", "GATHER",
        "TILE",
        "SPACE_TO_DEPTH", "DEPTH_TO_SPACE", "MAX_POOL_2D", "REVERSE_V2", "UNPACK", "BROADCAST_TO", "PACK",
        "IF", "WHILE", "CALL", "READ_VARIABLE",
    }
)  # fmt: skip


# Only their kernels make reals of integers that stand for reals, or the reverse.
_BETWEEN = frozenset({"QUANTIZE", "DEQUANTIZE", "CAST"})


def _goes_with(value: Value, tensor: TensorInfo, operator: Operator, inputs: Sequence[TensorInfo | None]) -> bool:
    """Whether a tensor declares what is computed for it: integers that stand for reals where the first input is such;
    real numbers, or others."""
    first = inputs[0] if inputs else None
    if first is not None and not first.is_constant and not operator.is_custom and operator.name not in _BETWEEN:
        kinds = [_is_activation(each) for each in (first, tensor)]
        if None not in kinds and kinds[0] != kinds[1]:
            return False
    if is_quantized(tensor) or tensor.dtype not in COMPUTED:
        return True  # what is not computed with: pairs for complex numbers, what stands for resources
    if isinstance(value, Variable):
        return False
    computed = str(value.dtype) if isinstance(value, np.ndarray) else dtype_of(value)
    if tensor.dtype == "float16" and computed in ("fp32", "float32"):
        # No kernel but that of CAST makes float16 of anything else.
        return any(each is not None and each.dtype == "float16" for each in inputs)
    return tensor.dtype.startswith("float") == ("fp" in computed or "float" in computed)


def _is_activation(tensor: TensorInfo) -> bool | None:
    """Whether its integers stand for reals; None where they are numbers of their own, or indices."""
    if tensor.dtype in RANGES and is_quantized(tensor):
        return True
    return False if tensor.dtype.startswith("float") else None


def _only_moves(operator: Operator) -> bool:
    return operator.name in _MOVES and operator.options.get("fused_activation_function", "NONE") == "NONE"


def _folded(value: Value) -> Value:
    """A small result that coremltools has computed from constants, as one: what asks for constants takes it."""
    if isinstance(value, np.ndarray) or twin(value) is not None or value.op is None:
        return value
    found = known(value)
    if found is None or is_compressed(value) or found.size > _LARGEST_FOLDED:
        return value
    return found


def _on_grid(value: Var, operator: Operator, inputs: Sequence[TensorInfo | None], tensor: TensorInfo) -> Var:
    """A result as its quantised tensor can hold it."""
    if not _only_moves(operator):
        return value if lies_on_grid(value, tensor) else pointwise(lambda x: rounded(x, tensor), value)
    source = next((each for each in inputs if each is not None and each.dtype == tensor.dtype), None)
    if source is None or not is_quantized(source) or grid_of(source) == grid_of(tensor):
        return value
    return pointwise(lambda x: reinterpreted(x, source, tensor), value)


def spec_of(tensor: TensorInfo, name: str) -> TensorSpec:
    """An input or output as a model's user sees it. Raises UnsupportedError where no program takes its type."""
    if tensor.dtype not in COMPUTED:
        raise UnsupportedError(f"input {name!r} is of type {tensor.dtype}", supported=sorted(COMPUTED))
    return TensorSpec(name, tensor.shape_signature or tensor.shape, str(np.dtype(tensor.dtype)))

"""ONNX to an ML Program: what cannot be said is found first; constants are folded; each node is one translation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from harness.artifact import Artifact
from harness.errors import ConversionError, InternalError, UnknownNameError, UnsupportedError, one_line
from harness.frontends.blame import blame
from harness.frontends.dispatch import Value
from harness.frontends.left import Left, listed
from harness.frontends.onnx import ops  # noqa: F401 (fills the table of translations)
from harness.frontends.onnx.consistency import check_node
from harness.frontends.onnx.graph import (
    DOMAINS,
    Node,
    OnnxModel,
    ValueType,
    all_nodes,
    array_of,
    attributes_of,
    check_model,
    dtype_name,
    read_model,
    value_type,
    value_types,
)
from harness.frontends.onnx.registry import TRANSLATIONS
from harness.frontends.program import InputRange, Names, ProgramBuilder, Scope, identifier, write_program
from harness.memory import collection_paused
from harness.quiet import quiet_conversion
from harness.tensors import Array, TensorSpec

# What MIL computes with; narrow and wide integers are int32 in the program.
COMPUTED = frozenset(
    {
        "float32", "float16", "bool", "int2", "int4", "int8", "int16", "int32", "int64", "uint2", "uint4", "uint8",
        "uint16", "uint32", "uint64",
    }
)  # fmt: skip
# Floats of which float32 holds every value: taken as float32 where the model only casts them.
_HELD_BY_FLOAT32 = frozenset(
    {
        "bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu",
        "float4_e2m1fn",
    }
)  # fmt: skip
_CASTS = frozenset({"Cast", "CastLike"})
_NOT_FOLDED = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial", "Dropout"}
)
_LARGEST_FOLDED = 2**26  # elements
_LARGEST_SIZE = 2**31 - 1


@collection_paused()
def convert_onnx(
    source: Path | Any,
    precision: str,
    destination: Path,
    *,
    name: str = "model",
    target: str = "iOS17",
    ranges: Mapping[tuple[str, int], InputRange] | None = None,
) -> Artifact:
    """Write an ``.onnx`` file, or a ``ModelProto``, as an ``.mlpackage``.

    Inputs and outputs keep their order and shapes; their names are made identifiers (the artifact maps them).
    ``ranges`` bounds flexible dimensions by input name and axis. Raises ModelFileError, UnsupportedError (all that
    stands in the way, by node) or ConversionError.
    """
    if precision not in ("float32", "float16"):
        raise UnknownNameError("there is no such precision", received=precision, supported=("float32", "float16"))
    model = read_model(source) if isinstance(source, Path) else check_model(source, name)
    with blame(f"model {model.name}"), quiet_conversion():
        model = _with_functions_inlined(model)
        _refuse_unsupported(model)
        builder, names = Converter(model).program(target, ranges)
    provenance = {"route": "onnx", "onnx": version("onnx"), "coremltools": version("coremltools")}
    artifact = write_program(builder, precision, destination, provenance, f"model {model.name}")
    return names.applied(artifact)


def _with_functions_inlined(model: OnnxModel) -> OnnxModel:
    """Functions of the model, and operators that ONNX defines by others and we do not translate, become nodes."""
    import onnx
    from onnx import inliner

    def is_expanded(node: Any) -> bool:
        if node.domain not in DOMAINS:
            return any(node.domain == item.domain and node.op_type == item.name for item in model.proto.functions)
        return _translation(model, node) is None

    if not any(is_expanded(node) for node in all_nodes(model.graph)):
        return model
    kept = [("", operator) for operator in TRANSLATIONS.operators()]
    explicit = onnx.ModelProto()
    explicit.CopyFrom(model.proto)
    for node in all_nodes(explicit.graph):
        if node.domain in DOMAINS and is_expanded(node):
            _write_defaults(node, model.opsets.get("", 1))
    # The inliner asks for the types of constants too.
    typed = {item.name for item in (*explicit.graph.input, *explicit.graph.value_info)}
    for tensor in explicit.graph.initializer:
        if tensor.name not in typed:
            explicit.graph.value_info.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    try:
        proto = inliner.inline_selected_functions(explicit, kept, exclude=True, inline_schema_functions=True)
    except Exception as error:  # onnx raises whatever its inliner does
        expanded = [Left(node.op_type, node.name) for node in all_nodes(model.graph) if is_expanded(node)]
        raise ConversionError(
            f"onnx cannot expand the functions of model {model.name} by which it defines {listed(expanded)}",
            received=one_line(error),
        ) from error
    return check_model(proto, model.name, model.folder)


def _write_defaults(node: Any, opset: int) -> None:
    """Attributes that a node leaves at their defaults, which the inliner would lose in the function's body."""
    import onnx

    try:
        schema = onnx.defs.get_schema(node.op_type, opset)
    except onnx.defs.SchemaError:
        return
    given = {attribute.name for attribute in node.attribute}
    for name, attribute in schema.attributes.items():
        if name not in given and attribute.default_value.type != onnx.AttributeProto.UNDEFINED:
            node.attribute.append(attribute.default_value)


def _translation(model: OnnxModel, node: Any) -> Any:
    domain = "" if node.domain in DOMAINS else node.domain
    operator = node.op_type if not domain else f"{domain}::{node.op_type}"
    return TRANSLATIONS.find(operator, model.opsets.get(domain, 1))


def _refuse_unsupported(model: OnnxModel) -> None:
    """Raise UnsupportedError with every node and input that stands in the way."""
    problems: list[str] = []
    initializers = {tensor.name for tensor in model.graph.initializer}
    for item in model.graph.input:
        type_ = value_type(item.type)
        is_known = type_.dtype in COMPUTED or _is_only_cast(model.graph, item.name, type_)
        if item.name not in initializers and (not is_known or type_.shape is None):
            problems.append(f"input {item.name!r} is of type {type_.dtype}, shape {type_.shape}")
        elif any(size is not None and size > _LARGEST_SIZE for size in type_.shape or ()):
            problems.append(f"input {item.name!r} is larger than 32 bits count, shape {type_.shape}")
        elif item.name not in initializers and type_.shape and 0 in type_.shape and not is_empty(type_):
            problems.append(f"input {item.name!r} holds no element, shape {type_.shape}")
    left: list[Left] = []
    _find_untranslated(model, model.graph, initializers, {}, left)
    if left:
        problems.append(f"there is no translation of {listed(left)}")
    if problems:
        raise UnsupportedError(
            f"model {model.name} cannot be said in Core ML: {'; '.join(problems)}",
            remedy="See `harness list limitations`",
        )


def _find_untranslated(
    model: OnnxModel, graph: Any, constants: set[str], outer: Mapping[str, ValueType], left: list[Left]
) -> None:
    types = {**outer, **value_types(graph)}
    constants = set(constants) | {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        inner = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
        folds = not inner and node.op_type not in _NOT_FOLDED and all(name in constants for name in node.input if name)
        if node.op_type == "Shape" and (shape := types.get(node.input[0], ValueType("")).shape) is not None:
            folds = folds or None not in shape
        name = node.name or (node.output[0] if node.output else "")
        if folds:
            constants.update(node.output)
        elif _translation(model, node) is None:
            left.append(Left(node.op_type, name, f"domain {node.domain}" if node.domain else ""))
        elif dtype := _uncomputed_type(node, types, constants):
            left.append(Left(node.op_type, name, dtype))
        for subgraph in inner:
            _find_untranslated(model, subgraph, constants, types, left)


def _uncomputed_type(node: Any, types: Mapping[str, ValueType], constants: set[str]) -> str:
    """A type among a node's values that MIL does not compute with."""
    for name in (*node.input, *node.output):
        dtype = types[name].dtype if name in types and name not in constants else ""
        is_cast = node.op_type in _CASTS and name in node.input and dtype in _HELD_BY_FLOAT32
        if dtype and dtype not in COMPUTED and not is_cast:
            return dtype
    return ""


def _is_only_cast(graph: Any, name: str, type_: ValueType) -> bool:
    """Whether an input is of narrow floats, which nothing computes with before they are cast."""
    readers = [node for node in all_nodes(graph) if name in node.input]
    return type_.dtype in _HELD_BY_FLOAT32 and all(node.op_type in _CASTS for node in readers)


def _compressed_weights(graph: Any) -> set[str]:
    """Dequantised 8-bit constants that stay 8-bit in the package: all that reads them are convolutions and products,
    as their weights."""
    stored = {tensor.name: tensor for tensor in graph.initializer}
    found = set()
    for node in graph.node:
        is_stored = node.op_type == "DequantizeLinear" and {*node.input} - {""} <= stored.keys() and len(node.input) > 1
        if is_stored and dtype_name(stored[node.input[0]].data_type) in ("int8", "uint8"):
            found.add(node.output[0])
    for node in all_nodes(graph):
        is_dilated = any(attribute.name == "dilations" and set(attribute.ints) != {1} for attribute in node.attribute)
        reads_weight = node.op_type in ("Conv", "MatMul") and not is_dilated
        found -= {name for index, name in enumerate(node.input) if index != 1 or not reads_weight}
    inner = [attribute.g for node in all_nodes(graph) for attribute in node.attribute if attribute.HasField("g")]
    return found - {item.name for part in (graph, *inner) for item in part.output}


def _typed(item: Any) -> tuple[Any, ValueType]:
    return item, value_type(item.type)


def is_empty(type_: ValueType) -> bool:
    """Whether it is a vector without elements: as an input it says nothing (no axes, say), and is a constant."""
    return type_.shape == (0,) and type_.dtype in COMPUTED


class _FeatureNames:
    """Identifiers of the package's inputs and outputs, by the model's own names."""

    def __init__(self) -> None:
        self.inputs: dict[str, str] = {}
        self.outputs: dict[str, str] = {}

    def applied(self, artifact: Artifact) -> Artifact:
        """The artifact with its names mapped."""
        return replace(artifact, input_names=self.inputs, output_names=self.outputs)


class Converter:
    """One model. Translations of If, Loop and Scan call ``block`` for their graphs."""

    def __init__(self, model: OnnxModel) -> None:
        self.model = model
        self.names = Names()
        self.types: dict[str, ValueType] = {}
        self.compressed = _compressed_weights(model.graph)

    def program(
        self, target: str, ranges: Mapping[tuple[str, int], InputRange] | None
    ) -> tuple[ProgramBuilder, _FeatureNames]:
        """The whole main graph."""
        graph = self.model.graph
        initializers = {tensor.name for tensor in graph.initializer}
        declared = [item for item in graph.input if item.name not in initializers]
        empty = {item.name: np.empty(0, type_.dtype) for item, type_ in map(_typed, declared) if is_empty(type_)}
        given = [item for item in declared if item.name not in empty]
        names = _FeatureNames()
        taken: set[str] = set()
        names.inputs = {item.name: identifier(item.name, "input", taken) for item in given}
        names.outputs = {item.name: identifier(item.name, "output", taken) for item in graph.output}
        specs = []
        for item in given:
            type_ = value_type(item.type)
            assert type_.shape is not None
            dtype = "float32" if type_.dtype in _HELD_BY_FLOAT32 else type_.dtype
            specs.append(TensorSpec(names.inputs[item.name], type_.shape, dtype))
        renamed = {(names.inputs.get(name, name), axis): bounds for (name, axis), bounds in (ranges or {}).items()}
        builder = ProgramBuilder(specs, target, renamed)
        with builder.building() as values:
            scope = Scope(values=empty | {item.name: values[names.inputs[item.name]] for item in given})
            results = self.block(graph, scope)
            builder.finish({names.outputs[item.name]: value for item, value in zip(graph.output, results, strict=True)})
        return builder, names

    def block(self, graph: Any, scope: Scope) -> list[Value]:
        """Translate a graph's nodes into the block being built; its outputs in order."""
        self.types.update(value_types(graph))
        for tensor in graph.initializer:
            if tensor.name not in scope.values:
                scope.values[tensor.name] = array_of(tensor)
        for proto in graph.node:
            self._node(proto, scope)
        return [self._value(item.name, scope, f"output {item.name!r} of graph {graph.name!r}") for item in graph.output]

    def _node(self, proto: Any, scope: Scope) -> None:
        domain = "" if proto.domain in DOMAINS else proto.domain
        node = Node(
            operator=proto.op_type, domain=domain, name=proto.name or (proto.output[0] if proto.output else ""),
            version=self.model.opsets.get(domain, 1), inputs=tuple(proto.input), outputs=tuple(proto.output),
            attributes=attributes_of(proto), types=self.types, proto=proto, converter=_Inner(self, scope),
        )  # fmt: skip
        with blame(str(node)):
            try:
                results = self._results(node, scope)
            except InternalError as error:
                given = {name: scope.find(name) for name in node.inputs if name}
                check_node(node, {name: value for name, value in given.items() if value is not None},
                           self.model.opsets, error)  # fmt: skip
                raise
            for name, value in zip(node.outputs, results, strict=False):
                if name and value is not None:
                    scope.values[name] = value
                    self.names.give(value, name)

    def _results(self, node: Node, scope: Scope) -> Sequence[Any]:
        inputs = [self._value(name, scope, str(node)) if name else None for name in node.inputs]
        while inputs and inputs[-1] is None:
            inputs.pop()
        results = self._folded(node, inputs)
        if results is not None:
            return results
        translation = _translation(self.model, node.proto)
        if translation is None:
            raise UnsupportedError(f"{node} has no translation", supported=TRANSLATIONS.operators())
        return translation.call(
            inputs, node.attributes, node, str(node), lambda index: scope.materialize(node.inputs[index])
        )

    def _folded(self, node: Node, inputs: Sequence[Value | None]) -> list[Any] | None:
        """Values of a node whose inputs are all constant, by ONNX's reference evaluator; None where it is not one."""
        if node.outputs and node.outputs[0] in self.compressed:
            return None
        if node.operator in _NOT_FOLDED or any(attribute.HasField("g") for attribute in node.proto.attribute):
            return None
        if not all(value is None or isinstance(value, np.ndarray) for value in inputs):
            return None
        shapes = [node.output_shape(index) for index in range(len(node.outputs))]
        if any(shape and np.prod([float(size or 1) for size in shape]) > _LARGEST_FOLDED for shape in shapes):
            return None
        if node.operator == "Constant" and "value" in node.attributes:
            return [node.attributes["value"]]
        return _evaluate(node, list(inputs), self.model.opsets)

    def _value(self, name: str, scope: Scope, where: str) -> Value:
        value = scope.find(name)
        if value is None:
            raise ConversionError(f"{where} reads {name!r}, which nothing computes")
        return value


class _Inner:
    """What a translation with inner graphs is given: translates one in a scope of its own."""

    def __init__(self, converter: Converter, scope: Scope) -> None:
        self._converter, self._scope = converter, scope

    def is_compressed(self, name: str) -> bool:
        """Whether a dequantised constant stays 8-bit in the package."""
        return name in self._converter.compressed

    def block(self, graph: Any, inputs: Sequence[Value] = ()) -> list[Value]:
        """The outputs of ``graph``, translated into the block being built, with ``inputs`` for its inputs in order.
        Constants stay numpy arrays, which belong to no block."""
        names = [item.name for item in graph.input]
        scope = Scope(parent=self._scope, values=dict(zip(names, inputs, strict=True)))
        return self._converter.block(graph, scope)


def _evaluate(node: Node, inputs: Sequence[Any], opsets: Mapping[str, int]) -> list[Array] | None:
    """By onnx.reference; None where it has no implementation or fails, and the translation has to say what is wrong."""
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    names = [name for name, value in zip(node.inputs, inputs, strict=False) if value is not None]
    graph = helper.make_graph(
        [node.proto],
        "folded",
        [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in dict.fromkeys(names)],
        [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in node.outputs if name],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(key, value) for key, value in opsets.items()])
    feeds = {name: value for name, value in zip(node.inputs, inputs, strict=False) if value is not None}
    try:
        with np.errstate(all="ignore"):
            results = iter(ReferenceEvaluator(model).run(None, feeds))
    except Exception:  # the evaluator raises whatever numpy does
        return None
    values: list[Any] = [np.asarray(next(results)) if name else None for name in node.outputs]
    return values

"""What a converter of others refuses, said in one way: every operator, its nodes, and where it failed besides."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from harness.errors import ConversionError, UnsupportedError, one_line
from harness.frontends.blame import reason
from harness.frontends.left import Left, listed
from harness.frontends.onnx.graph import DOMAINS, all_nodes

_REMEDY = "Replace such operators in the model, or try another route"
# What tf2onnx does not translate of TFLite keeps TFLite's name with this before it.
_OF_TFLITE = "TFL_"


def refusal(
    converter: str, model: str, left: Iterable[Left], failure: str | None = None, at: str | None = None
) -> UnsupportedError:
    """The error that names them all. ``failure`` is what went wrong besides, and ``at`` which node."""
    besides = f"; besides, it fails at {at}" if failure and at else ""
    return UnsupportedError(
        f"{converter} cannot convert {model}: it does not translate {listed(left)}{besides}",
        received=failure,
        remedy=_REMEDY,
    )


def _failure(converter: str, model: str, at: str | None, failure: str) -> ConversionError:
    """The error where a converter fails, though it has all operators."""
    return ConversionError(
        f"{converter} cannot convert {model}" + (f": {at}" if at else ""),
        received=failure,
        remedy="Try another route, or replace the operator" if at else "Try another route",
    )


# Graphs of TensorFlow ------------------------------------------------------------------------------


def graph_nodes(graph_def: Any) -> Iterator[Any]:
    """Every ``NodeDef``, those of the functions that the graph calls included."""
    yield from graph_def.node
    for function in graph_def.library.function:
        yield from function.node_def


# coremltools ---------------------------------------------------------------------------------------

# ... passes over them, or makes them itself (convert_graph).
_UNTRANSLATED = frozenset({"NoOp", "Assert", "return"})


def coremltools_refusal(error: Exception, model: str, graph_def: Any) -> ConversionError:
    """From whatever coremltools raised. It folds constants before it translates, so only what was left of the graph
    then tells which operators are in the way; it names the first of them at most."""
    from coremltools.converters.mil.frontend.tensorflow.tf_op_registry import _TF_OPS_REGISTRY

    frames = list(_frames(error))
    parsed = next((vars(self)["tfssa"] for frame in frames if "tfssa" in _attributes(self := frame.get("self"))), None)
    graphs = [function.graph for function in parsed.functions.values()] if parsed is not None else []
    nodes = [node for graph in graphs for node in graph.values()] or list(graph_nodes(graph_def))
    left = [Left(node.op, node.name) for node in nodes if node.op not in _UNTRANSLATED | _TF_OPS_REGISTRY.keys()]
    at = _node(frames, "node", "tfnode", "while_node", "op")
    if left:
        is_one_of_them = any(f"TF op '{each.operator}'" in str(error) for each in left)
        return refusal("coremltools", model, left, None if is_one_of_them else reason(error), at)
    return _failure("coremltools", model, at, reason(error))


# tf2onnx -------------------------------------------------------------------------------------------


def check_translated(proto: Any, model: str) -> None:
    """Raise UnsupportedError where tf2onnx left operators as they were: no operators of ONNX, or others' attributes."""
    left = [each for node in all_nodes(proto.graph) if (each := _left_by_tf2onnx(node, proto)) is not None]
    if left:
        raise refusal("tf2onnx", model, left)


def _left_by_tf2onnx(node: Any, proto: Any) -> Left | None:
    import onnx

    if node.domain not in DOMAINS:
        return None
    opset = next((item.version for item in proto.opset_import if item.domain in DOMAINS), 1)
    try:
        known = onnx.defs.get_schema(node.op_type, opset).attributes
    except onnx.defs.SchemaError:
        known = None
    if known is not None and all(attribute.name in known for attribute in node.attribute):
        return None
    return Left(node.op_type.removeprefix(_OF_TFLITE), node.name)


def tf2onnx_refusal(error: Exception, model: str) -> ConversionError:
    """From whatever tf2onnx raised: with the operators that it has no handler for, if it came so far."""
    frames = list(_frames(error))
    left: list[Left] = []
    for frame in frames:
        if "ops_mapping" in frame and hasattr(graph := frame.get("g"), "get_nodes"):
            left += _unmapped(graph, frame["ops_mapping"])
    at = _node(frames, "node", "op")
    if left:
        return refusal("tf2onnx", model, left, reason(error, "tf2onnx"), at)
    return _failure("tf2onnx", model, at, reason(error, "tf2onnx"))


def _unmapped(graph: Any, mapping: Any) -> Iterator[Left]:
    for node in graph.get_nodes():
        if not node.need_skip() and not node.skip_conversion and node.type not in mapping:
            yield Left(node.type.removeprefix(_OF_TFLITE), node.name)
        for body in (node.get_body_graphs() or {}).values():
            yield from _unmapped(body, mapping)


# TFLiteConverter -----------------------------------------------------------------------------------

_NOT_BUILTIN = re.compile(
    r"error: (?P<place>loc\(.*?\): )?'tf\.(?P<operator>\w+)' op is neither a custom op nor a flex op"
    r"(?P<rest>.*?)(?=error: |\Z)",
    re.DOTALL,
)
_PLACE = re.compile(r'loc\(fused\["[^"]*", "([^"@]+)(?:@[^"]*)?"\]\)')
_SIGNATURE = re.compile(r'see current operation: [^\n]*?"tf\.\w+"\([^\n]*? : (\([^\n]*\) -> [^\n]*)')
_ELEMENT = re.compile(r"tensor<(?:[\d?*]+x)*(complex<f\d+>|[!\w.]+)>")
_ELEMENTS = {"complex<f32>": "complex64", "complex<f64>": "complex128", "i1": "bool", "!tf_type.string": "string"}
_PREFIXES = {"f": "float", "bf": "bfloat", "i": "int", "ui": "uint"}
# Types of which most builtin operators are: where others are in it, they may be what stands in the way.
_COMMON = frozenset({"float32", "int32", "bool"})


def tflite_refusal(error: Exception, model: str, graph_def: Any) -> ConversionError:
    """From TFLiteConverter's message: every operator that TensorFlow Lite has no builtin for, or not of these types."""
    text = str(error)
    left = [each for found in _NOT_BUILTIN.finditer(text) for each in _not_builtin(found, graph_def)]
    if left:
        return refusal("TFLiteConverter", model, left)
    said = [line.partition("error: ")[2] for line in text.splitlines() if "error: " in line]
    failure = one_line("; ".join(dict.fromkeys(said))) if said else reason(error, "tensorflow")
    return _failure("TFLiteConverter", model, None, failure)


def _not_builtin(found: re.Match[str], graph_def: Any) -> Iterator[Left]:
    """The node that is meant, or those that it may be: the converter gives Python's lines instead for most."""
    operator = found["operator"]
    signature = _SIGNATURE.search(found["rest"])
    elements = sorted({_dtype(each) for each in _ELEMENT.findall(signature[1])}) if signature else []
    named = _PLACE.match(found["place"] or "")
    alike = [node for node in graph_nodes(graph_def) if node.op == operator]
    detail = "" if {*elements} <= _COMMON else ", ".join(elements)
    if named:
        yield Left(operator, named[1], detail)
        return
    exact = [node for node in alike if _types(node) and _types(node) <= {*elements}]
    for node in exact or alike:
        yield Left(operator, node.name, detail)
    if not alike:
        yield Left(operator, "", detail)


def _dtype(element: str) -> str:
    if element in _ELEMENTS:
        return _ELEMENTS[element]
    prefix = element.rstrip("0123456789")
    return _PREFIXES.get(prefix, prefix) + element[len(prefix) :]


def _types(node: Any) -> set[str]:
    from tensorflow import dtypes

    return {dtypes.as_dtype(value.type).name for value in node.attr.values() if value.WhichOneof("value") == "type"}


# Frames --------------------------------------------------------------------------------------------


def _frames(error: BaseException) -> Iterator[dict[str, Any]]:
    """Local variables of the functions that an exception passed through, innermost last: messages leave out much."""
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame.f_locals
        trace = trace.tb_next


def _attributes(value: Any) -> Any:
    return getattr(value, "__dict__", {})


def _node(frames: list[dict[str, Any]], *names: str) -> str | None:
    """The innermost node or operation that a function was at, by the names of its variables."""
    for frame in reversed(frames):
        for value in map(frame.get, names):
            kinds = (getattr(value, attribute, None) for attribute in ("op_type", "op", "type"))
            kind = next((each for each in kinds if isinstance(each, str)), None)
            if kind and isinstance(getattr(value, "name", None), str):
                return f"{kind} node {value.name!r}"
    return None

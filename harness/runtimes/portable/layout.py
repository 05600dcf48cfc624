"""Float16 rounding that keeps ONNX Runtime's blocked convolution layout.

A ``Cast`` pair after every convolution stops ONNX Runtime from keeping activations in its blocked
layout (NCHWc), and costs two reorderings each. So the graph is optimised without those pairs, and
they are put back into the optimised graph, where each is the elementwise operation it always was.
A pair is left out only where every reader of the value is known not to be fused across it (Relu
commutes with rounding, which is monotone and keeps zero); if any place is not found again,
``round_in_layout`` says so and the plain graph is used.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from harness.runtimes.portable.onnx_graph import OnnxGraph

_PRODUCERS = frozenset({"Conv", "Resize"})
# Marks the Add of a split convolution.
_SPLIT = "split convolution"
# Every block size of the layout (8 or 16 channels) divides this.
_BLOCK = 16
_READERS = frozenset({"Relu", "Conv", "MaxPool", "Concat", "Resize", "Transpose"})
_BLOCKED_DOMAIN = "com.microsoft.nchwc"


def split_concatenations(graph: OnnxGraph, wanted: set[str]) -> None:
    """Replace Conv(Concat(a, b)) by Conv(a) + Conv(b), which ONNX Runtime computes as one accumulation.

    A skip connection's concatenation is then never written to memory. Only where it pays: two blocked
    inputs, no more outputs than inputs, and nothing else reads the concatenation (``wanted`` names the
    graph's outputs).
    """
    readers: dict[str, int] = defaultdict(int)
    for node in graph.nodes:
        for name in node.input:
            readers[name] += 1
    joins = {node.output[0]: node for node in graph.nodes if node.op_type == "Concat" and len(node.input) == 2}
    nodes: list[onnx.NodeProto] = []
    gone: set[str] = set()
    for node in graph.nodes:
        join = joins.get(node.input[0]) if node.op_type == "Conv" else None
        parts = (
            _split(graph, node, join) if join and readers[node.input[0]] == 1 and node.input[0] not in wanted else []
        )
        if parts:
            gone.add(node.input[0])
        nodes += parts or [node]
    graph.nodes = [node for node in nodes if not gone.intersection(node.output)]


def _split(graph: OnnxGraph, conv: onnx.NodeProto, join: onnx.NodeProto) -> list[onnx.NodeProto]:
    attributes = {item.name: helper.get_attribute_value(item) for item in conv.attribute}
    weight = graph.constants.get(conv.input[1])
    axis = helper.get_attribute_value(join.attribute[0])
    first = graph.channels(join.input[0])
    if weight is None or weight.ndim != 4 or first is None or axis not in (1, -3) or attributes.get("group", 1) != 1:
        return []
    outputs, inputs = weight.shape[:2]
    if first % _BLOCK or (inputs - first) % _BLOCK or outputs % _BLOCK or outputs > inputs:
        return []
    parts = []
    halves = (weight[:, :first], weight[:, first:])
    names = _part_names(conv.output[0])
    for name, half, source, bias in zip(names, halves, join.input, (conv.input[2:], []), strict=True):
        kernel = graph.constant(np.ascontiguousarray(half), conv.input[1])
        parts.append(helper.make_node("Conv", [source, kernel.name, *bias], [name], name=name, **attributes))
    parts.append(
        helper.make_node("Add", [part.output[0] for part in parts], [conv.output[0]], name=conv.name, doc_string=_SPLIT)
    )
    return parts


def _part_names(name: str) -> tuple[str, str]:
    """Of the convolutions that a split one becomes."""
    return f"{name}/first", f"{name}/second"


def round_in_layout(
    model: onnx.ModelProto,
    rounded: dict[str, str],
    optimise: Callable[[onnx.ModelProto, Path], None],
    path: Path,
) -> bool:
    """Write ``model``, optimised and with its roundings, to ``path``; False where that cannot be done exactly.

    ``rounded`` maps each rounded value to the value it is rounded from. ``optimise`` writes the
    optimised form of a model to a file, its weights beside it.
    """
    bare, deferred = _without_pairs(model, rounded)
    if not deferred:
        return False
    optimise(bare, path)
    optimised = onnx.load(path, load_external_data=False)
    if not any(node.domain == _BLOCKED_DOMAIN for node in optimised.graph.node):
        return False
    places = _places(optimised, bare, deferred)
    if places is None:
        return False
    path.write_bytes(_with_pairs(optimised, places).SerializeToString())
    return True


def _without_pairs(model: onnx.ModelProto, rounded: dict[str, str]) -> tuple[onnx.ModelProto, list[str]]:
    """A copy without the pairs that may wait, and the names of the values they round."""
    producer = {name: node for node in model.graph.node for name in node.output}
    readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in model.graph.node:
        for name in node.input:
            readers[name].append(node)
    outputs = {value.name for value in model.graph.output}
    renamed = {
        result: source
        for result, source in rounded.items()
        if result in producer
        and source in producer
        and result not in outputs
        and (producer[source].op_type in _PRODUCERS or producer[source].doc_string == _SPLIT)
        and len(readers[source]) == 1
        and all(node.op_type in _READERS for node in readers[result])
    }
    dropped = {name for result in renamed for name in (result, producer[result].input[0])}
    bare = copy.deepcopy(model)
    nodes = [node for node in bare.graph.node if not dropped.intersection(node.output)]
    for node in nodes:
        for index, name in enumerate(node.input):
            if name in renamed:
                node.input[index] = renamed[name]
    del bare.graph.node[:]
    bare.graph.node.extend(nodes)
    return bare, list(renamed.values())


def _places(optimised: onnx.ModelProto, bare: onnx.ModelProto, deferred: list[str]) -> list[str] | None:
    """For each value to be rounded, the value of the optimised graph that now stands for it."""
    producer = {name: node for node in optimised.graph.node for name in node.output}
    by_name = {node.name: node for node in optimised.graph.node}
    source = {name: node for node in bare.graph.node for name in node.output}
    passed_on = {node.input[0]: node.output[0] for node in bare.graph.node if node.op_type in ("Relu", "Identity")}
    places = []
    for name in deferred:
        # Fused nodes carry the name of the last value that they compute, blocked ones with a suffix.
        now: str | None = name
        names = list(_part_names(name))
        while now is not None:
            names.append(now)
            now = passed_on.get(now)
        nodes = (producer.get(now) or by_name.get(f"{now}_nchwc") for now in names)
        found = next(
            (node for node in nodes if node and _only_does_its_part(_behind(node, producer), source[name])), None
        )
        if found is None:
            return None
        places.append(_behind(found, producer).output[0])
    return places if len(set(places)) == len(places) else None


def _behind(node: onnx.NodeProto, producer: dict[str, onnx.NodeProto]) -> onnx.NodeProto:
    """The node whose blocked result ``node`` reorders, or ``node`` itself."""
    if node.op_type == "ReorderOutput" and node.domain == _BLOCKED_DOMAIN:
        return producer[node.input[0]]
    return node


def _only_does_its_part(node: onnx.NodeProto, source: onnx.NodeProto) -> bool:
    """Whether nothing was fused into ``node`` that does not commute with rounding."""
    if source.op_type == "Conv" or source.doc_string == _SPLIT:
        activation = next((item.s for item in node.attribute if item.name == "activation"), b"")
        # A fourth input is what a convolution adds its sums to.
        summed = len(node.input) == 4
        return "Conv" in node.op_type and activation in (b"", b"Relu") and summed == (source.op_type == "Add")
    return node.op_type in ("Resize", "Upsample")


def _with_pairs(optimised: onnx.ModelProto, places: list[str]) -> onnx.ModelProto:
    wanted = set(places)
    nodes: list[Any] = []
    for node in optimised.graph.node:
        nodes.append(node)
        for index, name in enumerate(node.output):
            if name in wanted:
                exact, half = f"{name}/exact", f"{name}/half"
                node.output[index] = exact
                nodes.append(helper.make_node("Cast", [exact], [half], to=TensorProto.FLOAT16))
                nodes.append(helper.make_node("Cast", [half], [name], to=TensorProto.FLOAT))
    del optimised.graph.node[:]
    optimised.graph.node.extend(nodes)
    return optimised

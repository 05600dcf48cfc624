"""Float16 rounding that keeps ONNX Runtime's blocked convolution layout.

A ``Cast`` pair after every convolution stops ONNX Runtime from keeping activations in its blocked
layout (NCHWc), and costs two reorderings each. So the graph is optimised without those pairs, and
they are put back into the optimised graph, where each is the elementwise operation it always was.
A pair is left out only where every reader of the value is known not to be fused across it (Relu
commutes with rounding, which is monotone and keeps zero); if any place is not found again,
``round_in_layout`` returns None and the plain graph is used.
"""

from __future__ import annotations

import copy
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

_PRODUCERS = frozenset({"Conv", "Resize"})
_READERS = frozenset({"Relu", "Conv", "MaxPool", "Concat", "Resize", "Transpose"})
_BLOCKED_DOMAIN = "com.microsoft.nchwc"


def round_in_layout(
    model: onnx.ModelProto,
    rounded: dict[str, str],
    optimise: Callable[[onnx.ModelProto, Path], None],
) -> onnx.ModelProto | None:
    """``model`` optimised, with its roundings; None where that cannot be done exactly.

    ``rounded`` maps each rounded value to the value it is rounded from. ``optimise`` writes the
    optimised form of a model to a file.
    """
    bare, deferred = _without_pairs(model, rounded)
    if not deferred:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimised.onnx"
        optimise(bare, path)
        optimised = onnx.load(path)
    if not any(node.domain == _BLOCKED_DOMAIN for node in optimised.graph.node):
        return None
    places = _places(optimised, bare, deferred)
    return None if places is None else _with_pairs(optimised, places)


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
        and producer[source].op_type in _PRODUCERS
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
    relu = {node.input[0]: node.output[0] for node in bare.graph.node if node.op_type == "Relu"}
    places = []
    for name in deferred:
        # Fused nodes carry the name of the last value that they compute, blocked ones with a suffix.
        for now in (name, relu.get(name)):
            node = producer.get(now) or by_name.get(f"{now}_nchwc")
            if node is not None:
                break
        else:
            return None
        place = node.output[0]
        if node.op_type == "ReorderOutput" and node.domain == _BLOCKED_DOMAIN:
            place = node.input[0]
        if not _only_does_its_part(producer[place], source[name]):
            return None
        places.append(place)
    return places if len(set(places)) == len(places) else None


def _only_does_its_part(node: onnx.NodeProto, source: onnx.NodeProto) -> bool:
    """Whether nothing was fused into ``node`` that does not commute with rounding."""
    if source.op_type == "Conv":
        activation = next((item.s for item in node.attribute if item.name == "activation"), b"")
        return "Conv" in node.op_type and activation in (b"", b"Relu") and len(node.input) <= 3
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

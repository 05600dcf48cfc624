"""``python -m tests.frontends.onnx.fuzz 2000 --seed 1``: damaged ``.onnx`` files, each a typed error or a conversion.

Bytes are changed, cut and doubled; and fields of the model are changed so that it can still be read (types, sizes,
names, attributes). Each batch of files has a process of its own: a crash or a hang is told with its seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import onnx

from harness.errors import HarnessError
from tests.frontends.fuzzing import main, outcomes_of


def models() -> list[bytes]:
    """Small models of ONNX's suite and a convolutional network."""
    from harness.suites.onnx_cases import cases
    from tests.frontends.onnx.test_convert import image_model

    chosen = [case.model.SerializeToString() for case in cases("node")[::45] if case.model is not None]
    return [image_model().SerializeToString(), *chosen]


def damaged_model(content: bytes, choose: random.Random) -> bytes:
    """A model that can be read, and says something else."""
    proto = onnx.ModelProto()
    proto.ParseFromString(content)
    for _ in range(choose.choice((1, 2, 4))):
        _change(proto, choose)
    return proto.SerializeToString()


def _change(proto: Any, choose: random.Random) -> None:
    graph = proto.graph
    values = [*graph.input, *graph.output]
    node = choose.choice(graph.node) if graph.node else None
    kind = choose.randrange(7)
    if kind == 0 and values:
        dims = choose.choice(values).type.tensor_type.shape.dim
        if dims:
            choose.choice(dims).dim_value = choose.choice((0, -1, 1, 2, 7, 2**31, 2**62))
    elif kind == 1 and values:
        choose.choice(values).type.tensor_type.elem_type = choose.randrange(0, 30)
    elif kind == 2 and node is not None and node.input:
        node.input[choose.randrange(len(node.input))] = choose.choice(["", "nowhere", *[v.name for v in values]])
    elif kind == 3 and node is not None and node.attribute:
        attribute = choose.choice(node.attribute)
        if attribute.ints:
            attribute.ints[choose.randrange(len(attribute.ints))] = choose.choice((-(2**62), -1, 0, 1, 3, 2**31, 2**62))
        else:
            attribute.i = choose.choice((-(2**62), -1, 0, 1, 3, 2**31, 2**62))
    elif kind == 4 and graph.initializer:
        tensor = choose.choice(graph.initializer)
        if tensor.dims:
            tensor.dims[choose.randrange(len(tensor.dims))] = choose.choice((0, -1, 1, 3, 2**40))
    elif kind == 5:
        for item in proto.opset_import:
            item.version = choose.choice((-1, 0, 6, 7, 11, 13, 18, 24, 999))
    elif node is not None:
        node.op_type = choose.choice(["Relu", "Concat", "Reshape", "Loop", "Resize", "Nothing", "Conv", "Gather"])


def run_batch(seeds: list[int], folder: Path) -> Iterable[tuple[int, str]]:
    """What becomes of each seed's file."""
    return outcomes_of(seeds, models(), damaged_model, _judged, folder, ".onnx")


def _judged(path: Path, destination: Path) -> str:
    from harness.frontends.onnx.convert import convert_onnx

    return _agreement(path, convert_onnx(path, "float32", destination))


def _agreement(path: Path, artifact: Any) -> str:
    """Whether what was converted says what ONNX Runtime says, on random inputs; where that can be asked."""
    import numpy as np

    from harness.runtimes import portable
    from harness.runtimes.onnxruntime import OnnxRuntime, open_onnx

    random_ = np.random.default_rng(0)
    try:
        source = open_onnx(path, "damaged")
        inputs = {
            spec.name: random_.uniform(0, 2, [size or 2 for size in spec.shape]).astype(spec.dtype)
            for spec in source.inputs
        }
        from harness.artifact import Artifact

        expected = OnnxRuntime().load(Artifact(path, "onnx"), "CPU", "float32").predict(inputs)
    except (HarnessError, TypeError, ValueError, MemoryError):
        return "converted, no reference"
    try:
        given = {artifact.input_names[name]: value for name, value in inputs.items() if name in artifact.input_names}
        found = portable.load(artifact.path).predict(given)
    except HarnessError as error:
        return f"converted, refused when run: {str(error)[:80]}"
    for name, wanted in expected.items():
        got = np.asarray(found[artifact.output_names[name]], np.float64)
        if wanted.dtype == object or got.size != wanted.size:
            return f"WRONG size of {name}: {got.shape}, not {wanted.shape}"
        if not np.allclose(got.reshape(wanted.shape), wanted.astype(np.float64), atol=1e-3, rtol=1e-3, equal_nan=True):
            return f"WRONG {name}"
    return "converted, equal"


if __name__ == "__main__":
    main("tests.frontends.onnx.fuzz", __doc__, run_batch)

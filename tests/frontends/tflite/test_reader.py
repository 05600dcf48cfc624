"""Damaged and odd files, as a table: what is said of each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import ModelFileError
from harness.frontends.tflite.reader import parse_graph, read_graph
from tests.frontends.tflite.building import Tensor, constant, one_operator, parts_of, put, written


def model() -> Any:
    """A dense layer with quantised activations, in the schema's objects."""
    content = one_operator(
        "FULLY_CONNECTED",
        [
            Tensor((1, 3), "int8", scales=(0.1,), zero_points=(1,)),
            Tensor((2, 3), "int8", np.arange(6).reshape(2, 3), scales=(0.1, 0.2), zero_points=(0, 0)),
            constant([1, 2], "int32"),
        ],
        [Tensor((1, 2), "int8", scales=(0.5,), zero_points=(0,))],
    )
    return parts_of(content)


TENSOR, WEIGHT, OPERATOR = "subgraphs.0.tensors.0", "subgraphs.0.tensors.1", "subgraphs.0.operators.0"
DAMAGED: dict[str, tuple[Callable[[Any], None], str]] = {
    "another version": (put("version", 2), "of another version"),
    "no subgraphs": (put("subgraphs", []), "has no subgraph"),
    "no buffers": (put("buffers", []), "has no buffers"),
    "a negative size": (put(f"{TENSOR}.shape", [1, -3]), "negative size"),
    "a tensor larger than memory": (put(f"{TENSOR}.shape", [2**31 - 1] * 3), "larger than any memory"),
    "ranks that differ": (put(f"{TENSOR}.shapeSignature", [-1]), "different ranks"),
    "too many dimensions": (put(f"{TENSOR}.shape", [1] * 40), "too many dimensions"),
    "an unknown type": (put(f"{TENSOR}.type", 100), "is no TensorType"),
    "a buffer that is not there": (put(f"{WEIGHT}.buffer", 50), "names a buffer"),
    "a constant of a wrong size": (put(f"{WEIGHT}.shape", [2, 4]), "a wrong number of scales|wrong size"),
    "another file's values": (put(f"{WEIGHT}.externalBuffer", 1), "in another file"),
    "a variable with values": (put(f"{WEIGHT}.isVariable", True), "a variable and a constant"),
    "fewer zero points than scales": (put(f"{WEIGHT}.quantization.zeroPoint", [0]), "different lengths"),
    "more scales than channels": (put(f"{TENSOR}.quantization.scale", [0.1, 0.2]), "different lengths"),
    "scales for no axis": (put(f"{WEIGHT}.quantization.quantizedDimension", 7), "a dimension that it has not"),
    "scales along a wrong axis": (put(f"{WEIGHT}.quantization.quantizedDimension", 1), "wrong number of scales"),
    "a scale that is no number": (put(f"{TENSOR}.quantization.scale", [float("nan")]), "not positive and finite"),
    "an activation without steps": (put(f"{TENSOR}.quantization.scale", [0.0]), "not positive and finite"),
    "a zero point out of range": (put(f"{TENSOR}.quantization.zeroPoint", [200]), "out of its range"),
    "an operator that is none": (put("operatorCodes.0.builtinCode", 10_000), "is no BuiltinOperator"),
    "an operator of version 0": (put("operatorCodes.0.version", 0), "impossible version"),
    "a code that is not there": (put(f"{OPERATOR}.opcodeIndex", 3), "a code that there is not"),
    "an input that is not there": (put(f"{OPERATOR}.inputs", [9, 1, 2]), "names a tensor"),
    "an output that is left out": (put(f"{OPERATOR}.outputs", [-1]), "names a tensor"),
    "another operator's options": (put(f"{OPERATOR}.builtinOptionsType", 0), ""),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_told(name: str) -> None:
    change, message = DAMAGED[name]
    parts = model()
    change(parts)
    if message:
        with pytest.raises(ModelFileError, match=message):
            parse_graph(written(parts), "dense.tflite")
    else:  # options that are left out have their defaults
        options = parse_graph(written(parts), "dense.tflite").subgraphs[0].operators[0].options
        assert options["fused_activation_function"] == "NONE"


def test_the_whole_file_reads() -> None:
    graph = parse_graph(written(model()), "dense")
    (subgraph,) = graph.subgraphs
    weight = subgraph.tensors[1]
    assert weight.array().tolist() == [[0, 1, 2], [3, 4, 5]]
    assert weight.quantization is not None
    assert weight.quantization.scales.tolist() == pytest.approx([0.1, 0.2])
    assert [operator.name for operator in subgraph.operators] == ["FULLY_CONNECTED"]


def test_every_cut_is_told() -> None:
    content = written(model())
    for length in range(0, len(content), 7):
        with pytest.raises(ModelFileError):
            parse_graph(content[:length], "dense")


def test_buffers_behind_the_flatbuffer() -> None:
    """The form of files beyond 2 GB: a buffer is an offset and a size."""
    parts = model()
    number = parts.subgraphs[0].tensors[1].buffer
    parts.buffers[number].data = None
    parts.buffers[number].offset, parts.buffers[number].size = 10_000, 6
    content = written(parts).ljust(10_000, b"\0") + bytes([9, 8, 7, 6, 5, 4])
    assert parse_graph(content, "large").subgraphs[0].tensors[1].array().tolist() == [[9, 8, 7], [6, 5, 4]]
    with pytest.raises(ModelFileError, match="lies outside of the file"):
        parse_graph(content[:-1], "large")


def test_files_that_are_none(tmp_path: Path) -> None:
    for content in (b"", b"TFL3", b"\0\0\0\0TFL3", b"PK\3\4" * 10):
        path = tmp_path / "model.tflite"
        path.write_bytes(content)
        with pytest.raises(ModelFileError):
            read_graph(path)
    with pytest.raises(ModelFileError, match="cannot be read"):
        read_graph(tmp_path / "missing.tflite")

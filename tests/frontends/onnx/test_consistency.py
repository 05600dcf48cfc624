"""Nodes that say what does not go together are errors of the model, by name, and never our own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from harness.errors import ConversionError, UnsupportedError
from harness.frontends.onnx.convert import convert_onnx

RANDOM = np.random.default_rng(3)


def weights(*shape: int) -> Any:
    return RANDOM.normal(size=shape).astype(np.float32)


def integers(*values: int) -> Any:
    return np.array(values, np.int64)


def model(
    operator: str, shape: tuple[Any, ...], *constants: Any, rank: int, opset: int = 22, **attributes: Any
) -> onnx.ModelProto:
    """One node that reads the input ``x`` and constants, and computes something of ``rank`` axes."""
    names = [f"c{index}" if value is not None else "" for index, value in enumerate(constants)]
    node = helper.make_node(operator, ["x", *names], ["y"], "asked", **attributes)
    graph = helper.make_graph(
        [node],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [f"d{axis}" for axis in range(rank)])],
        [numpy_helper.from_array(value, name) for value, name in zip(constants, names, strict=True) if name],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


IMAGE = (1, 2, 6, 6)
CASES: list[tuple[onnx.ModelProto, str]] = [
    (model("Conv", IMAGE, weights(3, 2, 3, 3), rank=4, strides=[2]), "strides"),
    (model("Conv", IMAGE, weights(3, 2, 3, 3), rank=4, pads=[1, 1]), "pads"),
    (model("Conv", IMAGE, weights(3, 2, 3), rank=4), "weight"),
    (model("ConvTranspose", IMAGE, weights(2, 3, 3, 3), rank=4, dilations=[1, 1, 1]), "dilations"),
    (model("ConvTranspose", IMAGE, weights(2, 3, 3, 3), rank=4, output_padding=[1]), "output_padding"),
    (model("AveragePool", IMAGE, rank=4, kernel_shape=[2]), "4 axes"),
    (model("AveragePool", IMAGE, rank=4, kernel_shape=[2, 2], pads=[-1, 0, 0, 0], count_include_pad=1), "pads"),
    (model("MaxPool", IMAGE, rank=4, kernel_shape=[2, 2], strides=[0, 1]), "strides"),
    (model("CumSum", (), integers(0), rank=0), "axis"),
    (model("Gather", (2, 3), integers(0), rank=2, axis=2), "axis"),
    (model("GatherElements", (2, 3), np.zeros((2,), np.int64), rank=2), "indices"),
    (model("GatherND", (2, 3), np.zeros((1, 3), np.int64), rank=1), "indices"),
    (model("ScatterElements", (2, 3), np.zeros((1, 1), np.int64), weights(1, 1), rank=2, reduction="no"), "reduction"),
    (model("Resize", (2, 3), None, np.array([2.0], np.float32), rank=2), "scales"),
    (model("GRU", (4, 1, 3), weights(1, 6, 3), weights(1, 6, 2), rank=4, hidden_size=-2), "hidden_size"),
    (model("GRU", (4, 1, 3), weights(1, 6, 3), weights(1, 6, 2), rank=4, hidden_size=3), "hidden_size"),
    (model("Col2Im", (1, 4, 4), integers(3, 3), integers(2, 2), rank=4, strides=[1]), "strides"),
    (model("CenterCropPad", (3, 3), integers(2), rank=2), "shape"),
    (model("Pad", (2, 3), rank=2, opset=6, mode="reflect", pads=[0, 2**40, 0, 0]), "padding"),
    (model("NonMaxSuppression", (3, 4), weights(1, 1, 3), integers(2), rank=2), "boxes"),
]  # fmt: skip


@pytest.mark.parametrize(("proto", "words"), CASES, ids=[proto.graph.node[0].op_type for proto, _ in CASES])
def test_what_does_not_go_together(proto: onnx.ModelProto, words: str, tmp_path: Path) -> None:
    if proto.graph.node[0].op_type == "NonMaxSuppression":
        proto.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    with pytest.raises(ConversionError) as caught:
        convert_onnx(proto, "float32", tmp_path / "a.mlpackage")
    message = str(caught.value)
    assert f"{proto.graph.node[0].op_type}-" in message
    assert "node 'asked'" in message
    assert words in message
    assert "harness" not in message


@pytest.mark.parametrize(
    "proto",
    [
        model("ArgMin", ("n", 3), rank=2, axis=0, select_last_index=1),
        model("Hardmax", (1, "n"), rank=2),
        model("EyeLike", ("n", 3), rank=2),
        model("AveragePool", (1, 2, "n", 6), rank=4, kernel_shape=[2, 2], dilations=[2, 2]),
    ],
    ids=lambda proto: proto.graph.node[0].op_type,
)  # fmt: skip
def test_sizes_that_are_not_known(proto: onnx.ModelProto, tmp_path: Path) -> None:
    if proto.graph.node[0].op_type == "ArgMin":
        proto.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    with pytest.raises(UnsupportedError, match=r"node 'asked' .*sizes that are not known.*fixed shapes"):
        convert_onnx(proto, "float32", tmp_path / "a.mlpackage")


def test_an_input_larger_than_32_bits_count(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="input 'x' is larger than 32 bits count"):
        convert_onnx(model("Relu", (2**31, 2), rank=2), "float32", tmp_path / "a.mlpackage")

"""Branches and loops whose conditions are only known when the model runs, against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from harness.frontends.onnx.convert import convert_onnx
from harness.runtimes import portable


def info(name: str, shape: list[int] | None, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def branches() -> Any:
    """x doubled where its sum is positive, else negated."""
    then = helper.make_graph([helper.make_node("Add", ["x", "x"], ["a"])], "then", [], [info("a", [3])])
    otherwise = helper.make_graph([helper.make_node("Neg", ["x"], ["b"])], "else", [], [info("b", [3])])
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["condition"]),
        helper.make_node("If", ["condition"], ["y"], then_branch=then, else_branch=otherwise),
    ]
    zero = numpy_helper.from_array(np.float32(0).reshape(()), "zero")
    return helper.make_graph(nodes, "graph", [info("x", [3])], [info("y", [3])], [zero])


def loop() -> Any:
    """Doubles x until its sum is 100, at most nine times; every turn is collected."""
    body = helper.make_graph(
        [
            helper.make_node("Add", ["v", "v"], ["twice"]),
            helper.make_node("ReduceSum", ["twice"], ["sum"], keepdims=0),
            helper.make_node("Less", ["sum", "hundred"], ["going"]),
            helper.make_node("Identity", ["twice"], ["seen"]),
        ],
        "body",
        [info("turn", [], TensorProto.INT64), info("was", [], TensorProto.BOOL), info("v", [3])],
        [info("going", [], TensorProto.BOOL), info("twice", [3]), info("seen", [3])],
    )
    constants = [
        numpy_helper.from_array(np.array(9), "most"),
        numpy_helper.from_array(np.array(True), "yes"),
        numpy_helper.from_array(np.float32(100).reshape(()), "hundred"),
    ]
    nodes = [helper.make_node("Loop", ["most", "yes", "x"], ["last", "all"], body=body)]
    return helper.make_graph(nodes, "graph", [info("x", [3])], [info("last", [3]), info("all", [None, 3])], constants)


@pytest.mark.parametrize("graph", [branches, loop])
@pytest.mark.parametrize("values", [[1, 2, 3.5], [-4, 1, 0.5], [30, 30, 30]])
def test_decided_when_it_runs(graph: Any, values: list[float], tmp_path: Path) -> None:
    proto = helper.make_model(graph(), opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    x = np.array(values, np.float32)
    expected = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"x": x})
    artifact = convert_onnx(proto, "float32", tmp_path / "a.mlpackage")
    found = portable.load(artifact.path).predict({"x": x})
    for name, wanted in zip(artifact.output_names.values(), expected, strict=True):
        np.testing.assert_allclose(found[name], wanted, atol=1e-5)
        assert np.abs(wanted).max() > 0.1  # zeros would fail


def counted(most: int | None, condition: bool | None, bound: float | None) -> Any:
    """x grows by 0.1 in every turn, ``most`` times (None: left out), while it is below ``bound`` (None: always)."""
    going = [helper.make_node("Identity", ["was"], ["going"])]
    if bound is not None:
        going = [
            helper.make_node("ReduceMax", ["more"], ["largest"], keepdims=0),
            helper.make_node("Less", ["largest", "bound"], ["going"]),
        ]
    body = helper.make_graph(
        [helper.make_node("Add", ["v", "tenth"], ["more"]), *going, helper.make_node("Identity", ["more"], ["seen"])],
        "body",
        [info("turn", [], TensorProto.INT64), info("was", [], TensorProto.BOOL), info("v", [3])],
        [info("going", [], TensorProto.BOOL), info("more", [3]), info("seen", [3])],
    )
    values = {"most": most, "yes": condition, "bound": None if bound is None else np.float32(bound)}
    constants = [numpy_helper.from_array(np.asarray(v), name) for name, v in values.items() if v is not None]
    constants.append(numpy_helper.from_array(np.float32(0.1).reshape(()), "tenth"))
    inputs = ["" if most is None else "most", "" if condition is None else "yes", "x"]
    node = helper.make_node("Loop", inputs, ["last", "all"], body=body)
    return helper.make_graph([node], "graph", [info("x", [3])], [info("last", [3]), info("all", [None, 3])], constants)


@pytest.mark.parametrize(
    ("graph", "is_written_out"),
    [
        (counted(5, True, None), True),
        (counted(5, None, None), True),
        (counted(2000, True, None), False),  # long, of known length
        (counted(7, None, 1.5), False),
        (counted(None, True, 1.5), False),
    ],
)
def test_counts_and_conditions(graph: Any, is_written_out: bool, tmp_path: Path) -> None:
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    x = np.array([-0.5, 0.25, 1], np.float32)
    expected = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"x": x})
    artifact = convert_onnx(proto, "float32", tmp_path / "a.mlpackage")
    runtime = portable.load(artifact.path)
    assert is_written_out != ("while_loop" in [operation.type for operation in runtime.function.block.operations])
    found = runtime.predict({"x": x})
    for name, wanted in zip(artifact.output_names.values(), expected, strict=True):
        assert found[name].shape == wanted.shape
        np.testing.assert_allclose(found[name], wanted, rtol=1e-5, atol=1e-5)
        assert np.abs(wanted).max() > 0.1  # zeros would fail

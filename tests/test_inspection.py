"""Counts of operations, route beside route."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.case import find_case
from harness.inspection import inspect_routes

MODELS = Path(__file__).parent.parent / "models"


@pytest.mark.parametrize("name", ["unet", "super_resolution", "unet_custom_activation"])
def test_our_routes_have_no_more_operations_than_the_native_one(name: str) -> None:
    native, onnx, tflite = inspect_routes(find_case(name, MODELS), ("native", "onnx", "tflite"), "float32")
    assert native.operations["conv"] > 3
    assert onnx.total <= native.total
    assert tflite.total <= native.total
    assert max(onnx.transposes, tflite.transposes) <= native.transposes
    assert tflite.transposes <= 2


def test_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "harness", "inspect", "super_resolution", "--route", "onnx", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=MODELS.parent)
    (found,) = json.loads(done.stdout)
    assert found["operations"]["conv"] == 5
    assert found["total"] == sum(found["operations"].values())


def test_a_route_that_cannot_is_a_row(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 8, 8]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", info[:1], info[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "m.onnx")
    native, ours = inspect_routes(find_case(str(tmp_path / "m.onnx"), MODELS), ("native", "onnx"), "float32")
    assert "not from onnx" in native.error
    assert ours.operations == {"relu": 1}

"""ONNX models through the frontend, executed on the portable runtime."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from harness.errors import HarnessError, ModelFileError, UnsupportedError
from harness.frontends.onnx.convert import convert_onnx
from harness.frontends.program import InputRange
from harness.runtimes import portable
from harness.suites.onnx_cases import cases, operator_of, run_case

RANDOM = np.random.default_rng(5)
WEIGHT = RANDOM.normal(size=(5, 3, 3, 3)).astype(np.float32)
BIAS = RANDOM.normal(size=5).astype(np.float32)


def model(nodes: list[Any], inputs: dict[str, Any], outputs: list[str], opset: int = 18, **weights: Any) -> Any:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return onnx.shape_inference.infer_shapes(proto, data_prop=True)


def image_model() -> Any:
    """Convolution, activation, a skip connection and a size computed from a shape."""
    nodes = [
        helper.make_node("Conv", ["image", "weight", "bias"], ["conv/out"], pads=[1, 1, 1, 1], name="conv"),
        helper.make_node("LeakyRelu", ["conv/out"], ["active"], alpha=0.2),
        helper.make_node("Concat", ["image", "active"], ["both"], axis=1),
        helper.make_node("Shape", ["both"], ["sizes"]),
        helper.make_node("Gather", ["sizes", "zero"], ["batch"]),
        helper.make_node("Unsqueeze", ["batch", "axis"], ["first"]),
        helper.make_node("Concat", ["first", "rest"], ["shape"], axis=0),
        helper.make_node("Reshape", ["both", "shape"], ["result"]),
    ]
    return model(
        nodes, {"image": [1, 3, 8, 6]}, ["result"],
        weight=WEIGHT, bias=BIAS,
        zero=np.array(0), axis=np.array([0]), rest=np.array([-1]),
    )  # fmt: skip


def reference(proto: Any, inputs: dict[str, Any]) -> list[Any]:
    import onnxruntime

    return list(onnxruntime.InferenceSession(proto.SerializeToString()).run(None, inputs))


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("float16", 2e-2)])
def test_image_model(tmp_path: Path, precision: str, tolerance: float) -> None:
    proto = image_model()
    image = RANDOM.normal(size=(1, 3, 8, 6)).astype(np.float32)
    artifact = convert_onnx(proto, precision, tmp_path / "a.mlpackage")
    runtime = portable.load(artifact.path, numerics=precision)
    (expected,) = reference(proto, {"image": image})
    found = runtime.predict({artifact.input_names["image"]: image})[artifact.output_names["result"]]
    np.testing.assert_allclose(found, expected, atol=tolerance)
    assert np.abs(expected).max() > 1  # zeros would fail
    operations = [operation.type for operation in runtime.function.block.operations if operation.type != "const"]
    assert "shape" not in operations  # sizes that are known are constants


def test_flexible_size(tmp_path: Path) -> None:
    proto = model([helper.make_node("Tanh", ["x"], ["y"])], {"x": [1, None, 4]}, ["y"])
    artifact = convert_onnx(proto, "float32", tmp_path / "a.mlpackage", ranges={("x", 1): InputRange(2, 9)})
    runtime = portable.load(artifact.path)
    for size in (2, 9):
        x = RANDOM.normal(size=(1, size, 4)).astype(np.float32)
        np.testing.assert_allclose(runtime.predict({"x": x})["y"], np.tanh(x), atol=1e-6)
    with pytest.raises(HarnessError):
        runtime.predict({"x": np.ones((1, 10, 4), np.float32)})


def test_everything_that_stands_in_the_way_is_told_at_once() -> None:
    nodes = [
        helper.make_node("Multinomial", ["x"], ["a"], name="first"),
        helper.make_node("Cast", ["x"], ["b"], name="second", to=TensorProto.DOUBLE),
        helper.make_node("Cast", ["b"], ["c"], name="third", to=TensorProto.FLOAT),
    ]
    proto = model(nodes, {"x": [2, 3]}, ["c"])
    with pytest.raises(UnsupportedError) as caught:
        convert_onnx(proto, "float32", Path("never.mlpackage"))
    assert all(name in str(caught.value) for name in ("first", "second", "third"))
    assert not Path("never.mlpackage").exists()


def test_external_weights(tmp_path: Path) -> None:
    proto = image_model()
    onnx.save(image_model(), tmp_path / "m.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    image = RANDOM.normal(size=(1, 3, 8, 6)).astype(np.float32)
    artifact = convert_onnx(tmp_path / "m.onnx", "float32", tmp_path / "a.mlpackage")
    (expected,) = reference(proto, {"image": image})
    np.testing.assert_allclose(portable.load(artifact.path).predict({"image": image})["result"], expected, atol=1e-5)


def test_damaged_files(tmp_path: Path) -> None:
    """Random bytes changed: a typed error, or a conversion."""
    content = image_model().SerializeToString()
    random_ = random.Random(3)
    outcomes = {"refused": 0, "converted": 0}
    for index in range(60):
        damaged = bytearray(content)
        for _ in range(random_.choice((1, 3, 20))):
            damaged[random_.randrange(len(damaged))] = random_.randrange(256)
        path = tmp_path / f"{index}.onnx"
        path.write_bytes(bytes(damaged[: len(damaged) - random_.choice((0, 0, 7))]))
        try:
            convert_onnx(path, "float32", tmp_path / "a.mlpackage")
            outcomes["converted"] += 1
        except HarnessError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 0


def test_old_models_are_refused(tmp_path: Path) -> None:
    proto = model([helper.make_node("Relu", ["x"], ["y"])], {"x": [2]}, ["y"], opset=5)
    with pytest.raises(ModelFileError, match="opset"):
        convert_onnx(proto, "float32", tmp_path / "a.mlpackage")


# One of every ten cases of ONNX's own suite, and its outcome: `harness suite onnx` runs them all.
CHOSEN = cases("node")[::10]


@pytest.mark.parametrize("form", ["inputs", "constants"])
def test_no_case_of_the_suite_is_wrong(form: str) -> None:
    results = [run_case(case, form) for case in CHOSEN]
    assert [result for result in results if result.outcome not in ("correct", "inexact", "unsupported")] == []
    assert sum(result.outcome == "correct" for result in results) > len(CHOSEN) // 3
    assert all(result.reason for result in results if result.outcome == "unsupported")


def test_a_wrong_answer_is_told() -> None:
    """The suite's comparison refuses a case whose expected output is another."""
    case = next(case for case in cases("node") if operator_of(case) == "Relu")
    case = type(case)(**{**vars(case), "data_sets": [(inputs, [outputs[0] + 1]) for inputs, outputs in case.data_sets]})
    assert run_case(case).outcome == "wrong"

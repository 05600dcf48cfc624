"""Quantised operators against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from harness.errors import UnsupportedError
from harness.frontends.onnx.convert import convert_onnx
from harness.runtimes import portable
from tests.frontends.onnx.checking import check, converted, node_model, reference

RANDOM = np.random.default_rng(6)


def integers(kind: Any, *shape: int) -> Any:
    limits = np.iinfo(kind)
    return RANDOM.integers(limits.min, limits.max + 1, shape).astype(kind)


def scalar(value: float, kind: Any = np.float32) -> Any:
    return np.array(value, kind)


X = RANDOM.normal(0, 3, (2, 3, 4)).astype(np.float32)
SCALES = np.array([0.1, 0.02, 0.3], np.float32)

CASES: dict[str, tuple[str, list[Any], dict[str, Any]]] = {
    "to uint8": ("QuantizeLinear", [X, scalar(0.05), scalar(128, np.uint8)], {}),
    "to int8, each channel": ("QuantizeLinear", [X, SCALES, np.array([1, -2, 3], np.int8)], {"axis": 1}),
    "from int8, each channel": ("DequantizeLinear", [integers(np.int8, 2, 3, 4), SCALES], {"axis": 1}),
    "from uint8": ("DequantizeLinear", [integers(np.uint8, 2, 3), scalar(0.1), scalar(7, np.uint8)], {}),
    "matrices": (
        "MatMulInteger",
        [integers(np.uint8, 3, 5), integers(np.uint8, 5, 4), scalar(12, np.uint8), scalar(0, np.uint8)],
        {},
    ),
    "convolution": ("ConvInteger", [integers(np.uint8, 1, 2, 6, 6), integers(np.uint8, 3, 2, 3, 3),
                                    scalar(5, np.uint8)], {"pads": [1, 1, 1, 1]}),
    "quantised convolution": (
        "QLinearConv",
        [integers(np.uint8, 1, 2, 6, 6), scalar(0.02), scalar(100, np.uint8), integers(np.int8, 3, 2, 3, 3),
         SCALES, np.zeros(3, np.int8), scalar(0.6), scalar(120, np.uint8),
         RANDOM.integers(-500, 500, 3).astype(np.int32)],
        {"strides": [2, 2]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("are_constants", [False, True], ids=["computed", "constant"])
def test_operators(name: str, are_constants: bool) -> None:
    operator, inputs, attributes = CASES[name]
    # Constant weights, and bias, as ONNX Runtime wants them.
    constants = len(inputs) - 1 if are_constants or operator == "QLinearConv" else 0
    # ONNX Runtime's own kernel for it saturates sums of products on some processors.
    evaluator = "onnx" if operator == "QLinearConv" else "onnxruntime"
    check(*node_model(operator, inputs, constants, 13, **attributes), evaluator=evaluator)


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
@pytest.mark.parametrize("constants", [2, 0])
def test_every_step_and_every_half(kind: Any, constants: int) -> None:
    """x / scale, which x * (1 / scale) is not, halves to even; saturated at both ends."""
    limits = np.iinfo(kind)
    halves = np.arange(2 * int(limits.min) - 20, 2 * int(limits.max) + 20, dtype=np.float32) / 2
    x = np.concatenate([halves * np.float32(0.1), halves / np.float32(10)]).astype(np.float32)
    proto, given = node_model("QuantizeLinear", [x, scalar(0.1), scalar(7, kind)], constants, 13)
    (wanted,) = reference(proto, given, "onnxruntime")
    np.testing.assert_array_equal(converted(proto, given)[0], wanted)
    assert (wanted.min(), wanted.max()) == (limits.min, limits.max)


@pytest.mark.parametrize("constants", [3, 0])
@pytest.mark.parametrize("count", [256, 260, 1000])
def test_long_sums_are_exact(count: int, constants: int) -> None:
    """Near the ends of their ranges, whose sums float32 does not hold."""
    a = np.full((2, count), 255, np.uint8)
    a[1, ::3] = 254
    b = np.full((count, 3), 255, np.uint8)
    b[::7, 1] = 254
    zeros = [scalar(0, np.uint8)] * 2
    proto, given = node_model("MatMulInteger", [a, b, *zeros], constants, 13)
    np.testing.assert_array_equal(converted(proto, given)[0], a.astype(np.int64) @ b.astype(np.int64))
    x = np.full((1, count // 9 + 1, 5, 5), 255, np.uint8)
    weight = np.full((2, count // 9 + 1, 3, 3), 255, np.uint8)
    weight[0, ::2] = 252
    proto, given = node_model("ConvInteger", [x, weight, *zeros], constants, 13)
    np.testing.assert_array_equal(converted(proto, given)[0], reference(proto, given, "onnxruntime")[0])


def test_sums_that_cannot_be_split_are_refused() -> None:
    weight = np.full((2, 1, 17, 17), 255, np.uint8)
    with pytest.raises(UnsupportedError, match="exact"):
        converted(*node_model("ConvInteger", [np.full((1, 2, 17, 17), 255, np.uint8), weight], 1, 13, group=2))


@pytest.mark.parametrize("x", [X, np.abs(X) + 1, -np.abs(X)], ids=["both", "above", "below"])
def test_dynamic(x: Any) -> None:
    check(*node_model("DynamicQuantizeLinear", [x], 0, 11, outputs=3))


def test_dynamic_of_nothing_but_zeros() -> None:
    proto, given = node_model("DynamicQuantizeLinear", [np.zeros((2, 3), np.float32)], 0, 11, outputs=3)
    wanted, got = reference(proto, given, "onnxruntime"), converted(proto, given)
    for one, other in zip(wanted, got, strict=True):
        np.testing.assert_array_equal(other.reshape(one.shape), one)
    assert wanted[1] == 1


@pytest.mark.parametrize("operator", ["QuantizeLinear", "DequantizeLinear"])
def test_float16(operator: str) -> None:
    x = X.astype(np.float16) if operator == "QuantizeLinear" else integers(np.uint8, 2, 3, 4)
    proto, given = node_model(operator, [x, scalar(0.05, np.float16), scalar(100, np.uint8)], 2, 19)
    (got,), (wanted,) = converted(proto, given), reference(proto, given, "onnxruntime")
    np.testing.assert_allclose(got.astype(np.float32), wanted.astype(np.float32), atol=0.01)
    assert np.abs(wanted.astype(np.float32)).max() > 1


def quantised_model(opset: int) -> Any:
    """As quantisers write it: weights and activations between QuantizeLinear and DequantizeLinear."""
    constants = {
        "weight": integers(np.int8, 6, 3, 5, 5), "scales": np.linspace(0.001, 0.02, 6).astype(np.float32),
        "zeros": np.zeros(6, np.int8), "scale": scalar(0.03), "zero": scalar(-5, np.int8),
        "matrix": integers(np.uint8, 36, 40), "fine": scalar(0.004), "middle": scalar(121, np.uint8),
        "bias": RANDOM.integers(-900, 900, 6).astype(np.int32), "bias_scales": np.full(6, 0.002, np.float32),
        "shape": np.array([1, -1, 36]),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        helper.make_node("DequantizeLinear", ["weight", "scales", "zeros"], ["w"], axis=0),
        helper.make_node("DequantizeLinear", ["bias", "bias_scales"], ["b"], axis=0),
        helper.make_node("Conv", ["d", "w", "b"], ["c"]),
        helper.make_node("Reshape", ["c", "shape"], ["r"]),
        helper.make_node("DequantizeLinear", ["matrix", "fine", "middle"], ["m"]),
        helper.make_node("MatMul", ["r", "m"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3, 10, 10])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 6, 40])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.mark.parametrize("opset", [13, 19])
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-4), ("float16", 2e-2)])
def test_quantised_models_stay_so(opset: int, precision: str, tolerance: float, tmp_path: Path) -> None:
    proto = quantised_model(opset)
    x = RANDOM.normal(size=(1, 3, 10, 10)).astype(np.float32)
    (wanted,) = reference(proto, {"x": x}, "onnxruntime")
    artifact = convert_onnx(proto, precision, tmp_path / "a.mlpackage")
    runtime = portable.load(artifact.path)
    np.testing.assert_allclose(runtime.predict({"x": x})["y"], wanted, atol=tolerance * np.abs(wanted).max())
    operations = [operation.type for operation in runtime.function.block.operations]
    assert {"quantize", "dequantize"} <= set(operations)
    assert "round" not in operations
    assert operations.count("constexpr_affine_dequantize") == 2

"""Checks of single ONNX nodes: our program on the portable runtime against ONNX Runtime (or ONNX's own evaluator)."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from harness.frontends.onnx.convert import convert_onnx
from harness.runtimes import portable


def node_model(
    operator: str, inputs: list[Any], constants: int, opset: int, outputs: int = 1, flexible: bool = False,
    domain: str = "", **attributes: Any,
) -> tuple[Any, dict[str, Any]]:  # fmt: skip
    """A model of one node and its inputs by name. The last ``constants`` of ``inputs`` are initializers; None is left
    out."""
    arrays = {f"x{index}": value for index, value in enumerate(inputs) if value is not None}
    given = {name: value for name, value in arrays.items() if int(name[1:]) < len(inputs) - constants}
    names = [f"x{index}" if value is not None else "" for index, value in enumerate(inputs)]
    results = [f"y{index}" for index in range(outputs)]
    graph = helper.make_graph(
        [helper.make_node(operator, names, results, domain=domain, **attributes)],
        "graph",
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(value.dtype), [None if flexible else size for size in value.shape]
            )
            for name, value in given.items()
        ],
        [onnx.ValueInfoProto(name=name) for name in results],
        [numpy_helper.from_array(value, name) for name, value in arrays.items() if name not in given],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid(domain, opset)], ir_version=8)
    proto = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    for value in proto.graph.output:
        if value.type.WhichOneof("value") is None:  # ONNX does not infer GroupNormalization's
            value.type.CopyFrom(proto.graph.input[0].type)
    return proto, given


def reference(proto: Any, inputs: dict[str, Any], evaluator: str) -> list[Any]:
    """Expected outputs, by "onnxruntime" or "onnx"."""
    if evaluator == "onnx":
        from onnx.reference import ReferenceEvaluator

        return list(ReferenceEvaluator(proto).run(None, inputs))
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # As the model says, not as it would be faster: products of dequantised numbers become products of integers.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return list(onnxruntime.InferenceSession(proto.SerializeToString(), options).run(None, inputs))


def converted(proto: Any, inputs: dict[str, Any]) -> list[Any]:
    """Outputs of our program."""
    with tempfile.TemporaryDirectory() as folder:
        artifact = convert_onnx(proto, "float32", Path(folder, "model.mlpackage"))
        runtime = portable.load(artifact.path)
        found = runtime.predict({artifact.input_names[name]: value for name, value in inputs.items()})
        return [found[name] for name in artifact.output_names.values()]


def check(proto: Any, inputs: dict[str, Any], tolerance: float = 1e-4, evaluator: str = "onnxruntime") -> None:
    """Every output within ``tolerance`` of the reference's; an answer of zeros would not be."""
    expected = reference(proto, inputs, evaluator)
    found = converted(proto, inputs)
    for wanted, got in zip(expected, found, strict=True):
        assert got.shape in (wanted.shape, wanted.shape or (1,))
        np.testing.assert_allclose(got.astype(np.float64), wanted.astype(np.float64), rtol=tolerance, atol=tolerance)
    assert max(np.abs(wanted.astype(np.float64)).max() for wanted in expected) > 10 * tolerance

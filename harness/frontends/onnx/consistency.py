"""Whether a node is as ONNX defines its operator: asked of onnx where one of our translations fails.

onnx's checker does not look at what goes together (strides for each axis, ranks of two inputs), and its inference
passes over nodes that it cannot make sense of unless it is strict; a whole model may be inexact and yet be meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.errors import ConversionError, InternalError, one_line
from harness.frontends.builder import dtype_of
from harness.frontends.dispatch import Value
from harness.frontends.onnx.graph import Node

_OF_MIL = {"fp32": "float32", "fp16": "float16"}


def check_node(node: Node, inputs: Mapping[str, Value], opsets: Mapping[str, int], failure: InternalError) -> None:
    """Raise ConversionError where onnx refuses the node with inputs of these types and shapes."""
    from onnx import helper, numpy_helper, shape_inference

    if any(attribute.HasField("g") for attribute in node.proto.attribute):
        return  # its graph reads values that are not given here
    constants = {name: value for name, value in inputs.items() if isinstance(value, np.ndarray)}
    graph = helper.make_graph(
        [node.proto],
        "node",
        [_declared(name, value, node) for name, value in inputs.items() if name not in constants],
        [helper.make_empty_tensor_value_info(name) for name in node.outputs if name],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(*item) for item in opsets.items()])
    try:
        shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except shape_inference.InferenceError as error:
        raise ConversionError(f"{node} is not as ONNX defines {node.operator}", received=one_line(error)) from failure


def _declared(name: str, value: Any, node: Node) -> Any:
    from onnx import helper

    type_ = node.types.get(name)
    kind = type_.dtype if type_ is not None and type_.dtype else _OF_MIL.get(dtype_of(value), dtype_of(value))
    shape = [int(size) if isinstance(size, int | np.integer) else str(size) for size in value.shape]
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(kind)), shape)

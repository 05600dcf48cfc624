"""One ONNX Runtime session for one lowered segment."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper, numpy_helper

from harness.errors import PredictionError
from harness.runtimes.portable.layout import round_in_layout, split_concatenations
from harness.runtimes.portable.onnx_graph import IR_VERSION, OPSET, OnnxGraph, Tensor, element_type
from harness.tensors import Array

# Larger constants stand beside the model, and are given to the session without a copy.
_INLINE_BYTES = 1024

# Where ONNX Runtime keeps convolutions' values in blocks of channels.
_BLOCKED_LAYOUT = ("x86_64", "AMD64")


class GraphSession:
    """Executes an OnnxGraph. ``run`` may be called from several threads."""

    def __init__(self, graph: OnnxGraph, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        import onnxruntime

        self._inputs = [handle.name for handle in inputs]
        if platform.machine() in _BLOCKED_LAYOUT:
            split_concatenations(graph, {handle.name for handle in outputs})
        produced = {name for node in graph.nodes for name in node.output}
        # ONNX wants a node behind every output, and each output once.
        taken: set[str] = set()
        names = []
        for handle in outputs:
            name = handle.name
            if name not in produced or name in taken:
                name = graph.fresh_name("output")
                graph.nodes.append(helper.make_node("Identity", [handle.name], [name], name=name))
            taken.add(name)
            names.append(name)
        self._outputs = names
        model, external = _model(graph, inputs, list(zip(names, outputs, strict=True)))
        # Given to the session without a copy, so they must live as long as it does.
        self._external = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in external.items()}
        try:
            in_layout = self._open_rounded(model, graph.rounded) if graph.rounded else None
            self._session: Any = in_layout or self._open(model.SerializeToString(), self._options())
        except Exception as error:  # ONNX Runtime raises many classes, all derived from Exception
            raise PredictionError("ONNX Runtime refuses the lowered program", received=error) from error

    def _open_rounded(self, model: onnx.ModelProto, rounded: dict[str, str]) -> Any:
        """A session that rounds inside the blocked layout, or None where there is none."""
        import onnxruntime

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "optimised.onnx"
            if not round_in_layout(model, rounded, self._optimise, path):
                return None
            options = self._options(external=False)
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            session = self._open(str(path), options)
        self._external = {}
        return session

    def _options(self, *, external: bool = True) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        if external and self._external:
            options.add_external_initializers(list(self._external), list(self._external.values()))
        return options

    def _open(self, model: bytes | str, options: Any) -> Any:
        import onnxruntime

        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def _optimise(self, model: onnx.ModelProto, path: Path) -> None:
        options = self._options()
        options.optimized_model_filepath = str(path)
        for key, value in {"file_name": "weights", "min_size_in_bytes": str(_INLINE_BYTES)}.items():
            options.add_session_config_entry(f"session.optimized_model_external_initializers_{key}", value)
        self._open(model.SerializeToString(), options)

    def run(self, arrays: Sequence[Any]) -> list[Any]:
        """Outputs in the order given to the constructor."""
        try:
            return list(self._session.run(self._outputs, dict(zip(self._inputs, arrays, strict=True))))
        except Exception as error:
            raise PredictionError("the program failed while it ran", received=error) from error


def _model(
    graph: OnnxGraph, inputs: Sequence[Tensor], outputs: Sequence[tuple[str, Tensor]]
) -> tuple[onnx.ModelProto, dict[str, Array]]:
    used = {name for node in graph.nodes for name in node.input}
    initializers, external = [], {}
    for name, array in graph.constants.items():
        if name not in used:
            continue
        if array.dtype == object or array.nbytes <= _INLINE_BYTES:
            initializers.append(numpy_helper.from_array(array, name))
            continue
        proto = TensorProto(
            name=name,
            data_type=helper.np_dtype_to_tensor_dtype(array.dtype),
            dims=array.shape,
            data_location=TensorProto.EXTERNAL,
        )
        proto.external_data.add(key="location", value=os.devnull)
        initializers.append(proto)
        external[name] = array
    graph_proto = helper.make_graph(
        graph.nodes,
        "segment",
        [helper.make_tensor_value_info(x.name, element_type(x.dtype), x.shape) for x in inputs],
        [helper.make_tensor_value_info(name, element_type(x.dtype), x.shape) for name, x in outputs],
        initializers,
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph_proto, opset_imports=opsets, ir_version=IR_VERSION), external

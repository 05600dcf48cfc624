"""ONNX Runtime as a runtime: the reference for conversions of ``.onnx`` files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.artifact import Artifact
from harness.errors import ModelFileError, PackageError, PredictionError, one_line
from harness.quiet import quiet_imports
from harness.runtimes.base import LoadedModel, Runtime
from harness.source import SourceFile
from harness.tensors import Array, TensorSpec, as_declared, check_inputs

_DTYPES = {
    "tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64", "tensor(bool)": "bool",
    "tensor(string)": "object",
}  # fmt: skip


class OnnxRuntime(Runtime):
    """On the CPU, with all of ONNX Runtime's defaults."""

    name = "onnxruntime"
    formats = ("onnx",)

    def load(self, artifact: Artifact, compute_unit: str, precision: str) -> LoadedModel:
        """See Runtime.load."""
        if artifact.format not in self.formats:
            raise PackageError(
                f"{artifact.path} is not an ONNX model", received=artifact.format, supported=self.formats
            )
        return _Session(artifact.path)


def open_onnx(path: Path, name: str) -> SourceFile:
    """An ``.onnx`` file as a source. Raises ModelFileError."""
    session = _Session(path)
    return SourceFile(name, path, "onnx", session.inputs, session.outputs, weights=_weights(path))


def _weights(path: Path) -> tuple[Path, ...]:
    """Files beside the model that hold its weights (ONNX's external data), as far as there are any."""
    tensors = (tensor for graph in _graphs(path) for tensor in _tensors(graph))
    locations = {entry.value for tensor in tensors for entry in tensor.external_data if entry.key == "location"}
    return tuple(sorted(file for location in locations if (file := path.parent / location).is_file()))


def onnx_operators(path: Path) -> set[str]:
    """Types of all nodes of a model, those of its branches, loops and functions included. Raises ModelFileError."""
    return {node.op_type for graph in _graphs(path) for node in graph.node}


def _graphs(path: Path) -> Iterator[Any]:
    """The graph of a model, those within, and the bodies of its functions, without external weights."""
    import onnx

    try:
        proto = onnx.load(path, load_external_data=False)
    except Exception as error:  # ONNX Runtime reads what protobuf refuses
        raise ModelFileError(f"{path.name} is not an ONNX model", received=one_line(error)) from error
    waiting = [proto.graph, *proto.functions]
    while waiting:
        graph = waiting.pop()
        yield graph
        attributes = [attribute for node in graph.node for attribute in node.attribute]
        inner = [graph for attribute in attributes for graph in (attribute.g, *attribute.graphs)]
        waiting += [graph for graph in inner if graph.node or graph.initializer]


def _tensors(graph: Any) -> Iterator[Any]:
    """Constants of a graph or function, not of those within."""
    yield from getattr(graph, "initializer", ())
    for node in graph.node:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors


class _Session(LoadedModel):
    def __init__(self, path: Path) -> None:
        with quiet_imports():
            import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        # Without it, x86 processors that lack VNNI saturate sums of unsigned times signed bytes.
        options.add_session_config_entry("session.x64quantprecision", "1")
        try:
            self._session: Any = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors have no common class
            raise ModelFileError(f"ONNX Runtime cannot load {path.name}", received=one_line(error)) from error
        self._name = path.name
        self.inputs = tuple(_spec(item) for item in self._session.get_inputs())
        self.outputs = tuple(_spec(item) for item in self._session.get_outputs())

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by the model's own names."""
        check_inputs(self.inputs, inputs, self._name)
        arrays = {}
        for spec in self.inputs:
            arrays[spec.name] = as_declared(inputs[spec.name], spec, self._name)
        try:
            results = self._session.run(None, arrays)
        except Exception as error:  # ONNX Runtime's errors have no common class
            raise PredictionError(f"ONNX Runtime failed on {self._name}", received=one_line(error)) from error
        return {spec.name: np.asarray(result) for spec, result in zip(self.outputs, results, strict=True)}


def _spec(item: Any) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in item.shape)
    dtype = _DTYPES.get(item.type, item.type.removeprefix("tensor(").removesuffix(")"))
    layout = None
    if len(shape) == 4:
        layout = "NCHW" if shape[1] in (1, 3, 4) else "NHWC" if shape[3] in (1, 3, 4) else None
    return TensorSpec(item.name, shape, dtype, layout)

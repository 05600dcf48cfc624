"""A second way through TensorFlow Lite, to check the first by: tf2onnx reads the ``.tflite`` file, our ONNX frontend
the rest. No code of ours for TensorFlow Lite's operators is in it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.artifact import Artifact
from harness.errors import ConversionError, UnknownNameError, UnsupportedError
from harness.frontends.tflite.graph import TFLiteGraph
from harness.frontends.tflite.reader import read_graph
from harness.quiet import quiet_conversion, quiet_imports
from harness.routes.base import Route
from harness.routes.onnx import TF2ONNX_OPSET, convert_written
from harness.routes.refusals import check_translated, tf2onnx_refusal
from harness.routes.tflite import matched, tflite_bytes
from harness.source import Source, SourceFile


class TFLiteOnnxRoute(Route):
    """``minimum_deployment_target`` names a member of ``coremltools.target``."""

    name = "tflite_onnx"
    source_formats = ("tensorflow", "tflite")
    by_default = False

    def __init__(self, minimum_deployment_target: str = "iOS17") -> None:
        self.minimum_deployment_target = minimum_deployment_target

    def versions(self) -> dict[str, str]:
        """Of everything that the graph passes through, our own frontend included."""
        packages = ("coremltools", "tensorflow", "tf2onnx", "onnx")
        return {name: version(name) for name in packages} | {"frontend": version("coreml-harness")}

    def convert(self, source: Source, precision: str, destination: Path) -> Artifact:
        """Write an ``.mlpackage``, whole or not at all. Raises ConversionError or UnsupportedError."""
        if precision not in self.precisions:
            raise UnknownNameError(
                f"route {self.name} has no such precision", received=precision, supported=self.precisions
            )
        with _tflite_file(source) as path:
            graph = read_graph(path)  # verified before another's code reads it
            interface = graph.interface(source.signature if isinstance(source, SourceFile) else None)
            if interface.subgraph != 0:
                raise UnsupportedError(
                    f"tf2onnx reads the first subgraph of {source.name} only",
                    received=f"signature {interface.name!r} of subgraph {interface.subgraph}",
                )
            model = _onnx_from_tflite(path, source.name)
        artifact = convert_written(model, precision, destination, source.name, self.minimum_deployment_target)
        inputs = _named(graph, interface.inputs, artifact.input_names, source.name)
        outputs = _named(graph, interface.outputs, artifact.output_names, source.name)
        if not isinstance(source, SourceFile):
            inputs, outputs = matched(source.inputs, inputs), matched(source.outputs, outputs)
        provenance = {**artifact.provenance, "route": self.name, **self.versions()}
        return replace(artifact, input_names=inputs, output_names=outputs, provenance=provenance)


@contextmanager
def _tflite_file(source: Source) -> Iterator[Path]:
    if isinstance(source, SourceFile):
        yield source.path
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.tflite")
        path.write_bytes(tflite_bytes(source))
        yield path


def _onnx_from_tflite(path: Path, name: str) -> Any:
    """tf2onnx's ``ModelProto``. Raises ConversionError, or UnsupportedError with the operators that it leaves."""
    with quiet_imports():
        import tf2onnx
    try:
        with quiet_imports(), quiet_conversion():
            model, _ = tf2onnx.convert.from_tflite(str(path), opset=TF2ONNX_OPSET)
    except Exception as error:  # tf2onnx raises whatever its handlers do
        raise tf2onnx_refusal(error, name) from error
    check_translated(model, name)
    return model


def _named(graph: TFLiteGraph, interface: Mapping[str, int], features: Mapping[str, str], model: str) -> dict[str, str]:
    """The package's features by the names of a signature; tf2onnx keeps those of the tensors."""
    tensors = graph.subgraphs[0].tensors
    missing = [name for name, index in interface.items() if tensors[index].name not in features]
    if missing:
        raise ConversionError(
            f"tf2onnx changed inputs or outputs of {model}", received=sorted(features), supported=missing
        )
    return {name: features[tensors[index].name] for name, index in interface.items()}

"""The ONNX route: tf2onnx, then our ONNX frontend; ``.onnx`` files go through the frontend alone."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.artifact import Artifact
from harness.errors import ConversionError, ModelFileError
from harness.frontends.onnx.convert import convert_onnx
from harness.quiet import quiet_conversion, quiet_imports
from harness.routes.base import Route
from harness.routes.refusals import check_translated, tf2onnx_refusal
from harness.runtimes.tensorflow import FrozenGraph
from harness.source import Source, SourceFile

# The newest that tf2onnx writes.
TF2ONNX_OPSET = 18


class OnnxRoute(Route):
    """``minimum_deployment_target`` names a member of ``coremltools.target``."""

    name = "onnx"
    source_formats = ("tensorflow", "onnx")

    def __init__(self, minimum_deployment_target: str = "iOS17") -> None:
        self.minimum_deployment_target = minimum_deployment_target

    def versions(self) -> dict[str, str]:
        """Of everything that the graph passes through, our own frontend included."""
        return {package: version(package) for package in ("coremltools", "tensorflow", "tf2onnx", "onnx")} | {
            "frontend": version("coreml-harness")
        }

    def convert(self, source: Source, precision: str, destination: Path) -> Artifact:
        """Write an ``.mlpackage``, whole or not at all. Raises ConversionError or UnsupportedError."""
        target = self.minimum_deployment_target
        if isinstance(source, SourceFile):
            artifact = convert_onnx(source.path, precision, destination, name=source.name, target=target)
        else:
            artifact = convert_written(onnx_from_tensorflow(source), precision, destination, source.name, target)
        return replace(artifact, provenance={**artifact.provenance, "route": self.name, **self.versions()})


def onnx_from_tensorflow(source: Source, opset: int = TF2ONNX_OPSET) -> Any:
    """tf2onnx's ``ModelProto`` of a frozen graph, with the graph's own names for inputs and outputs.

    Raises ConversionError, or UnsupportedError with every operator that tf2onnx leaves.
    """
    if not isinstance(source, FrozenGraph):
        raise ConversionError("tf2onnx starts from TensorFlow", received=source.format)
    with quiet_imports():
        import tf2onnx
    try:
        with quiet_conversion():
            model, _ = tf2onnx.convert.from_graph_def(
                source.graph_def,
                input_names=[f"{spec.name}:0" for spec in source.inputs],
                output_names=[f"{spec.name}:0" for spec in source.outputs],
                opset=opset,
            )
    except Exception as error:  # tf2onnx raises whatever its handlers do
        raise tf2onnx_refusal(error, source.name) from error
    check_translated(model, source.name)
    _rename(model.graph, {f"{spec.name}:0": spec.name for spec in (*source.inputs, *source.outputs)})
    return model


def convert_written(model: Any, precision: str, destination: Path, name: str, target: str) -> Artifact:
    """Our frontend's package of what tf2onnx wrote, which is not a file of the user's. Raises ConversionError."""
    try:
        return convert_onnx(model, precision, destination, name=name, target=target)
    except ModelFileError as error:
        raise ConversionError(
            f"tf2onnx writes no valid model of {name}", received=error, remedy="Try another route"
        ) from error


def _rename(graph: Any, names: dict[str, str]) -> None:
    for item in (*graph.input, *graph.output, *graph.value_info):
        item.name = names.get(item.name, item.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rename(attribute.g, names)

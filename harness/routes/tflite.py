"""The TensorFlow Lite route: TFLiteConverter, then our TFLite frontend; ``.tflite`` files go through it alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from harness.artifact import Artifact
from harness.errors import ConversionError
from harness.frontends.tflite.convert import convert_tflite
from harness.frontends.tflite.graph import TFLiteGraph
from harness.frontends.tflite.reader import parse_graph
from harness.quiet import quiet_imports, quiet_native
from harness.routes.base import Route
from harness.routes.refusals import tflite_refusal
from harness.runtimes.tensorflow import FrozenGraph
from harness.source import Source, SourceFile
from harness.tensors import TensorSpec


class TFLiteRoute(Route):
    """``minimum_deployment_target`` names a member of ``coremltools.target``; None is the oldest that will do."""

    name = "tflite"
    source_formats = ("tensorflow", "tflite")

    def __init__(self, minimum_deployment_target: str | None = None) -> None:
        self.minimum_deployment_target = minimum_deployment_target

    def versions(self) -> dict[str, str]:
        """Of everything that the graph passes through, our own frontend included."""
        packages = ("coremltools", "tensorflow")
        return {name: version(name) for name in packages} | {"frontend": version("coreml-harness")}

    def convert(self, source: Source, precision: str, destination: Path) -> Artifact:
        """Write an ``.mlpackage``, whole or not at all. Raises ConversionError or UnsupportedError."""
        target = self.minimum_deployment_target
        if isinstance(source, SourceFile):
            artifact = convert_tflite(source.path, precision, destination, target=target, signature=source.signature)
        else:
            artifact = convert_tflite(tflite_from_tensorflow(source), precision, destination, target=target)
            artifact = replace(
                artifact,
                input_names=matched(source.inputs, artifact.input_names),
                output_names=matched(source.outputs, artifact.output_names),
            )
        return replace(artifact, provenance={**artifact.provenance, "route": self.name, **self.versions()})


def tflite_from_tensorflow(source: Source) -> TFLiteGraph:
    """TFLiteConverter's graph of a frozen one. Raises ConversionError."""
    return parse_graph(tflite_bytes(source), source.name)


def tflite_bytes(source: Source) -> bytes:
    """TFLiteConverter's file of a frozen graph, in float32, builtin operators only. Raises ConversionError."""
    if not isinstance(source, FrozenGraph):
        raise ConversionError("TFLiteConverter starts from TensorFlow", received=source.format)
    with quiet_imports():
        import tensorflow as tf
    try:
        with quiet_imports(), quiet_native():
            converter = tf.lite.TFLiteConverter.from_concrete_functions([source.function])
            content: bytes = converter.convert()
    except Exception as error:  # the converter raises whatever its passes do
        raise tflite_refusal(error, source.name, source.graph_def) from error
    return content


def matched(specs: tuple[TensorSpec, ...], names: Mapping[str, str]) -> dict[str, str]:
    """The package's names by the source's. The converter keeps order, not always names."""
    return {spec.name: names.get(spec.name, other) for spec, other in zip(specs, names.values(), strict=True)}

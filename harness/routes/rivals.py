"""Other converters from ONNX, as routes beside ours: which one to trust is told by the same comparison.

They come with the extra ``rivals`` and are never needed.
"""

from __future__ import annotations

import importlib.util
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.artifact import Artifact
from harness.errors import ConversionError
from harness.frontends.blame import reason
from harness.quiet import quiet_conversion, quiet_imports
from harness.routes.base import Route
from harness.routes.native import save_model
from harness.routes.onnx import onnx_from_tensorflow
from harness.source import Source, SourceFile
from harness.tensors import TensorSpec

TARGET = "iOS17"


class _RivalRoute(Route):
    """``package``: what is to be installed; ``_model`` converts with it."""

    source_formats = ("tensorflow", "onnx")
    package: str

    def unavailable(self) -> str | None:
        """The extra is not installed."""
        if importlib.util.find_spec(self.package) is None:
            return f"{self.package} is not installed: pip install 'coreml-harness[rivals]'"
        return None

    def versions(self) -> dict[str, str]:
        """Of everything that the graph passes through."""
        packages = ("coremltools", "tensorflow", "tf2onnx", "onnx")
        own = {} if self.unavailable() else {self.package: version(self.package)}
        return {name: version(name) for name in packages} | own

    def convert(self, source: Source, precision: str, destination: Path) -> Artifact:
        """Write an ``.mlpackage``, whole or not at all. Raises ConversionError."""
        import onnx

        proto = onnx.load(source.path) if isinstance(source, SourceFile) else onnx_from_tensorflow(source)
        try:
            with quiet_imports(), quiet_conversion():
                model = self._model(proto, precision)
        except Exception as error:  # another's converter raises whatever it does
            raise ConversionError(
                f"{self.package} cannot convert {source.name}",
                received=reason(error, self.package),
                remedy="Try another route",
            ) from error
        description = model.get_spec().description
        initializers = {tensor.name for tensor in proto.graph.initializer}
        given = [item.name for item in proto.graph.input if item.name not in initializers]
        save_model(model, destination)
        return Artifact(
            path=destination,
            format="mlprogram",
            inputs=_specs(description.input),
            outputs=_specs(description.output),
            input_names=self._matched(given, description.input, source.name),
            output_names=self._matched([item.name for item in proto.graph.output], description.output, source.name),
            provenance={
                "route": self.name, "precision": precision, "minimum_deployment_target": TARGET, **self.versions(),
            },
        )  # fmt: skip

    def _matched(self, names: list[str], features: Any, model: str) -> dict[str, str]:
        """By name where it was kept, else by position."""
        found = [feature.name for feature in features]
        if len(found) != len(names):
            raise ConversionError(
                f"{self.package} changed the inputs or outputs of {model}", received=found, supported=names
            )
        return {name: name if name in found else other for name, other in zip(names, found, strict=True)}

    def _model(self, proto: Any, precision: str) -> Any:
        raise NotImplementedError


class Onnx2CoreMLRoute(_RivalRoute):
    """tf2onnx, then onnx2coreml."""

    name = package = "onnx2coreml"

    def _model(self, proto: Any, precision: str) -> Any:
        import onnx2coreml

        short = {"float32": "fp32", "float16": "fp16"}[precision]
        return onnx2coreml.convert(proto, minimum_deployment_target=TARGET, compute_precision=short)


class OnnxSimRoute(_RivalRoute):
    """tf2onnx, then onnxsim's export to Core ML."""

    name = package = "onnxsim"

    def _model(self, proto: Any, precision: str) -> Any:
        import coremltools
        import onnxsim

        return onnxsim.export_coreml(
            proto,
            compute_precision=getattr(coremltools.precision, precision.upper()),
            minimum_deployment_target=getattr(coremltools.target, TARGET),
        )


def _specs(features: Any) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(feature.name, tuple(int(size) for size in feature.type.multiArrayType.shape)) for feature in features
    )

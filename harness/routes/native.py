"""The native route: coremltools' own TensorFlow frontend, to an ML Program."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.artifact import Artifact, place_package
from harness.errors import ConversionError, UnknownNameError, one_line
from harness.quiet import quiet_conversion, quiet_imports
from harness.routes.base import Route
from harness.routes.refusals import coremltools_refusal
from harness.runtimes.tensorflow import require_graph
from harness.source import Source
from harness.tensors import TensorSpec, describe_shape

# FeatureTypes.proto, ArrayFeatureType.ArrayDataType.
_DTYPES = {65552: "float16", 65568: "float32", 65600: "float64", 131104: "int32", 131080: "int8"}


class NativeRoute(Route):
    """``coremltools.convert`` of the frozen graph.

    ``minimum_deployment_target`` names a member of ``coremltools.target``. Inputs and outputs stay float32 in both
    precisions, so that float16 is rounded by the program and not by whoever calls it.
    """

    name = "native"

    def __init__(self, minimum_deployment_target: str = "iOS16") -> None:
        self.minimum_deployment_target = minimum_deployment_target

    def versions(self) -> dict[str, str]:
        """Of coremltools and TensorFlow."""
        return {package: version(package) for package in ("coremltools", "tensorflow")}

    def convert(self, source: Source, precision: str, destination: Path) -> Artifact:
        """Write an ``.mlpackage``, whole or not at all.

        Raises UnsupportedError naming every operator that coremltools does not translate; ConversionError naming the
        node where it fails, or the output where the program's outputs are
        not the graph's; StoreError where the package cannot be written.
        """
        graph = require_graph(source, self.name)
        if precision not in self.precisions:
            raise UnknownNameError(
                f"route {self.name} has no such precision", received=precision, supported=self.precisions
            )
        with quiet_imports():
            import coremltools
        target = getattr(coremltools.target, self.minimum_deployment_target, None)
        if target is None:
            raise UnknownNameError(
                "there is no such deployment target",
                received=self.minimum_deployment_target,
                supported=[member.name for member in coremltools.target],
            )
        try:
            with quiet_conversion():
                model = coremltools.convert(
                    [graph.function],
                    source="tensorflow",
                    convert_to="mlprogram",
                    inputs=[_tensor_type(spec, with_shape=True) for spec in graph.inputs],
                    outputs=[_tensor_type(spec, with_shape=False) for spec in graph.outputs],
                    compute_precision=getattr(coremltools.precision, precision.upper()),
                    minimum_deployment_target=target,
                    skip_model_load=True,
                )
        except Exception as error:  # coremltools raises whatever its translators and passes do
            raise coremltools_refusal(error, graph.name, graph.graph_def) from error
        description = model.get_spec().description
        inputs = _features(description.input, graph.inputs, graph.name)
        outputs = _features(description.output, graph.outputs, graph.name)
        save_model(model, destination)
        return Artifact(
            path=destination,
            format="mlprogram",
            inputs=inputs,
            outputs=outputs,
            input_names={spec.name: spec.name for spec in inputs},
            output_names={spec.name: spec.name for spec in outputs},
            provenance={
                "route": self.name,
                "precision": precision,
                "minimum_deployment_target": self.minimum_deployment_target,
                **self.versions(),
            },
        )


def _tensor_type(spec: TensorSpec, *, with_shape: bool) -> Any:
    import coremltools

    arguments: dict[str, Any] = {"name": spec.name}
    if spec.dtype in ("float16", "float32", "float64"):
        import numpy as np

        arguments["dtype"] = np.float32
    if with_shape:
        arguments["shape"] = spec.shape
    return coremltools.TensorType(**arguments)


def _features(features: Any, wanted: tuple[TensorSpec, ...], model: str) -> tuple[TensorSpec, ...]:
    """The package's own inputs or outputs, in the graph's order; raises ConversionError where they are not the graph's.

    The names were asked for, so the one thing to make sure of is that nothing was renamed, dropped or reshaped.
    """
    by_name = {feature.name: feature.type.multiArrayType for feature in features}
    specs = []
    for spec in wanted:
        array = by_name.pop(spec.name, None)
        if array is None:
            raise ConversionError(
                f"coremltools lost {spec.name!r} of {model}",
                received=sorted(feature.name for feature in features),
                remedy="Rename it in the model",
            )
        shape = tuple(int(size) for size in array.shape)
        if shape and not spec.accepts(shape):
            raise ConversionError(
                f"coremltools changed the shape of {spec.name!r} of {model}",
                received=describe_shape(shape),
                supported=describe_shape(spec.shape),
            )
        specs.append(TensorSpec(spec.name, shape or spec.shape, _DTYPES.get(array.dataType, "float32"), spec.layout))
    if by_name:
        raise ConversionError(f"coremltools added {sorted(by_name)} to {model}")
    return tuple(specs)


def save_model(model: Any, destination: Path) -> None:
    """Write coremltools' MLModel, whole or not at all. Raises StoreError."""

    def write(package: Path) -> None:
        try:
            with quiet_conversion():
                model.save(str(package))
        except RuntimeError as error:  # coremltools' word for a file that it cannot write
            raise OSError(one_line(error)) from error

    place_package(destination, write)

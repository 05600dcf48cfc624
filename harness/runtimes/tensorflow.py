"""TensorFlow as a runtime: the reference that every conversion of its models is compared with."""

from __future__ import annotations

from collections.abc import Mapping

from harness.artifact import Artifact
from harness.case import ModelCase, case_from_file
from harness.errors import ConversionError, PackageError, PredictionError, one_line
from harness.runtimes.base import LoadedModel, Runtime
from harness.runtimes.tensorflow_files import open_model
from harness.runtimes.tensorflow_graph import FrozenGraph, SourceModel, import_tensorflow
from harness.source import Source
from harness.tensors import Array, as_declared, check_inputs

__all__ = [
    "FrozenGraph",
    "SourceModel",
    "TensorFlowRuntime",
    "load_frozen",
    "load_graph",
    "open_model",
    "require_graph",
]


def load_graph(case: ModelCase, shapes: Mapping[str, tuple[int, ...]] | None = None) -> FrozenGraph:
    """A case's model as one frozen graph: ``open_model``, then ``SourceModel.freeze``."""
    return open_model(case).freeze(shapes)


def require_graph(source: Source, route: str) -> FrozenGraph:
    """``source`` as TensorFlow's graph. Raises ConversionError where it is a file of another format."""
    if not isinstance(source, FrozenGraph):
        raise ConversionError(f"route {route} starts from TensorFlow", received=f"{source.name}, {source.format}")
    return source


def load_frozen(graph: FrozenGraph) -> LoadedModel:
    """A frozen graph ready to predict on the CPU: the reference in every comparison."""
    return _LoadedGraph(graph)


class _LoadedGraph(LoadedModel):
    def __init__(self, graph: FrozenGraph) -> None:
        self._graph = graph
        self._tensorflow = import_tensorflow()

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by the graph's own names."""
        tf = self._tensorflow
        check_inputs(self._graph.inputs, inputs, self._graph.name)
        with tf.device("/CPU:0"):
            tensors = [
                tf.constant(as_declared(inputs[spec.name], spec, self._graph.name)) for spec in self._graph.inputs
            ]
            try:
                results = self._graph.function(*tensors)
            except tf.errors.OpError as error:
                raise PredictionError(
                    f"TensorFlow failed while it executed {self._graph.name}", received=one_line(error)
                ) from error
        return {spec.name: result.numpy() for spec, result in zip(self._graph.outputs, results, strict=True)}


class TensorFlowRuntime(Runtime):
    """Executes TensorFlow's own model files, without trust; ``load_frozen`` executes a graph that is already open."""

    name = "tensorflow"
    formats = ("tensorflow",)

    def load(self, artifact: Artifact, compute_unit: str, precision: str) -> LoadedModel:
        """Open the model file at the artifact's path, with the shapes of its inputs; TensorFlow computes in float32."""
        if artifact.format not in self.formats:
            raise PackageError(
                f"{artifact.path} is not a TensorFlow model", received=artifact.format, supported=self.formats
            )
        shapes = {
            spec.name: tuple(size for size in spec.shape if size is not None)
            for spec in artifact.inputs
            if not spec.is_flexible
        }
        return load_frozen(load_graph(case_from_file(artifact.path), shapes))

"""The inputs of a model under test: from its case, from a user's files, or a photograph of our own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.artifact import Artifact
from harness.case import ModelCase, call_of_case
from harness.errors import InputError
from harness.photographs import SUFFIXES, image_layout, photograph, read_photograph
from harness.runtimes.base import LoadedModel
from harness.runtimes.onnxruntime import OnnxRuntime, onnx_operators, open_onnx
from harness.runtimes.tensorflow import FrozenGraph, SourceModel, load_frozen, open_model
from harness.runtimes.tflite import TFLiteRuntime, has_variables, open_tflite, tflite_operators
from harness.source import Source, SourceFile
from harness.tensors import Array, TensorSpec, as_declared, check_inputs, describe_shape

# Shown to a user's model that comes without inputs, cropped about its centre.
DEFAULT_PHOTOGRAPH = "astronaut"
_DEFAULT_SIZE = 256


@dataclass(frozen=True)
class PreparedModel:
    """A model ready to be converted, and its inputs; ``input_source`` says where they are from, ``cautions`` which
    were cast to the type that the model declares.

    A TensorFlow graph is frozen in the shapes of its inputs; a file of another format is as it is.
    """

    source: Source
    inputs: dict[str, Array]
    input_source: str
    cautions: tuple[str, ...] = ()

    @property
    def reference_name(self) -> str:
        """The runtime that conversions are compared with."""
        return _REFERENCES[self.source.format]

    @property
    def keeps_state(self) -> bool:
        """Whether the reference remembers one prediction in the next: variables of a ``.tflite`` file do. Those of
        TensorFlow graphs were frozen."""
        return (
            isinstance(self.source, SourceFile) and self.source.format == "tflite" and has_variables(self.source.path)
        )

    @property
    def random_operators(self) -> tuple[str, ...]:
        """Operators of the model that draw random numbers, as far as their names tell."""
        found = {name for name in _operators(self.source) if _RANDOM.search(name)}
        return tuple(sorted(found))

    def reference(self) -> LoadedModel:
        """That runtime with the model loaded. Raises ModelFileError."""
        if isinstance(self.source, FrozenGraph):
            return load_frozen(self.source)
        assert isinstance(self.source, SourceFile)
        chosen = {} if self.source.signature is None else {"signature": self.source.signature}
        artifact = Artifact(self.source.path, self.source.format, provenance=chosen)
        runtime = OnnxRuntime() if self.source.format == "onnx" else TFLiteRuntime()
        return runtime.load(artifact, "CPU", "float32")


_REFERENCES = {"tensorflow": "tensorflow", "onnx": "onnxruntime", "tflite": "tflite"}


_RANDOM = re.compile(
    "^(?!Stateless)(.*random|multinomial|bernoulli|truncatednormal|StatefulUniform|StatefulStandard)", re.IGNORECASE
)


# What files of photographs and of arrays begin with.
_PHOTOGRAPHS, _ARRAYS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"), (b"\x93NUMPY",)


def check_files(files: Iterable[Path]) -> None:
    """Whether the files of inputs are there and of a known kind, before a model is loaded. Raises InputError."""
    for path in files:
        if not path.is_file():
            raise InputError(f"there is no file of inputs at {path}", remedy="Check the path")
        try:
            with path.open("rb") as file:
                start = file.read(8)
        except OSError as error:
            raise InputError(f"the inputs in {path} cannot be read", received=error.strerror) from error
        is_array = path.suffix == ".npy"
        if not start.startswith(_ARRAYS if is_array else _PHOTOGRAPHS):
            kind = "a .npy array" if is_array else "a photograph, and has not the suffix of an array"
            raise InputError(f"{path} is not {kind}", supported=(".npy", *SUFFIXES), remedy="Convert it")


def _operators(source: Source) -> set[str]:
    if isinstance(source, FrozenGraph):
        functions = [function.node_def for function in source.graph_def.library.function]
        return {node.op for nodes in (source.graph_def.node, *functions) for node in nodes}
    assert isinstance(source, SourceFile)
    return onnx_operators(source.path) if source.format == "onnx" else tflite_operators(source.path)


def prepare(case: ModelCase, files: tuple[Path, ...] = ()) -> PreparedModel:
    """Open a model, find its inputs and freeze it in their shapes.

    ``files`` are photographs or ``.npy`` arrays, one for each input in order. Raises ModelFileError
    and InputError.
    """
    model = _open(case)
    if files:
        inputs, source = _from_files(model, files), ", ".join(map(_described, files))
    elif case.inputs is not None:
        inputs, source = _by_name(model, call_of_case(case.inputs, "inputs", case.name)), "the model's case"
    else:
        inputs, source = _from_photograph(model), f"scikit-image's photograph {DEFAULT_PHOTOGRAPH!r}"
    check_inputs(model.inputs, inputs, case.name)
    inputs, cautions = _as_declared(model, inputs)
    for name, array in inputs.items():
        if not array.size:
            raise InputError(f"input {name!r} of model {case.name} is empty", received=describe_shape(array.shape))
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            finite = "values that are not finite"
            raise InputError(f"input {name!r} of model {case.name} has {finite}, as {array.dtype}")
    if isinstance(model, SourceFile):
        return PreparedModel(model, inputs, source, cautions)
    graph = model.freeze({name: array.shape for name, array in inputs.items()})
    return PreparedModel(graph, inputs, source, cautions)


def _as_declared(
    model: SourceModel | SourceFile, inputs: Mapping[str, Array]
) -> tuple[dict[str, Array], tuple[str, ...]]:
    """Inputs in the types that the model declares, and what was cast. Raises InputError for another kind of numbers."""
    cast, cautions = {}, []
    for spec in model.inputs:
        given = np.asarray(inputs[spec.name])
        cast[spec.name] = as_declared(given, spec, model.name)
        if cast[spec.name].dtype != given.dtype:
            cautions.append(f"input {spec.name!r} was given as {given.dtype} and cast to {cast[spec.name].dtype}")
    return cast, tuple(cautions)


def open_source(case: ModelCase, files: tuple[Path, ...] = ()) -> Source:
    """A model ready to be converted. Inputs are looked for only where they have to give a graph its shapes.

    Raises as ``prepare`` does.
    """
    model = _open(case)
    if isinstance(model, SourceFile) and not files:
        return model
    if files or any(spec.is_flexible for spec in model.inputs):
        return prepare(case, files).source
    assert not isinstance(model, SourceFile)
    return model.freeze({spec.name: tuple(size or 1 for size in spec.shape) for spec in model.inputs})


def _open(case: ModelCase) -> SourceModel | SourceFile:
    if case.format == "onnx" and case.source is not None:
        return open_onnx(case.source, case.name)
    if case.format == "tflite" and case.source is not None:
        return open_tflite(case.source, case.name, case.signature)
    return open_model(case)


def _multiple(model: SourceModel | SourceFile) -> int:
    """What the sizes of flexible inputs are multiples of; a file of another format is not tried."""
    return model.multiple() if isinstance(model, SourceModel) else 32


def _by_name(model: SourceModel | SourceFile, given: Mapping[str, Array] | Iterable[Array]) -> dict[str, Array]:
    if isinstance(given, Mapping):
        return dict(given)
    arrays = list(given)
    if len(arrays) != len(model.inputs):
        raise _wrong_count(model, len(arrays))
    return {spec.name: array for spec, array in zip(model.inputs, arrays, strict=True)}


def _from_files(model: SourceModel | SourceFile, files: tuple[Path, ...]) -> dict[str, Array]:
    if len(files) != len(model.inputs):
        raise _wrong_count(model, len(files))
    inputs = {}
    for spec, path in zip(model.inputs, files, strict=True):
        if path.suffix == ".npy":
            inputs[spec.name] = _read_array(path, spec)
        else:
            multiple = _multiple(model) if spec.is_flexible else 1
            inputs[spec.name] = read_photograph(path, spec, multiple=multiple)
    return inputs


def _described(path: Path) -> str:
    return path.name if path.suffix == ".npy" else f"{path.name} as values of 0 to 1"


def _wrong_count(model: SourceModel | SourceFile, count: int) -> InputError:
    return InputError(
        f"model {model.name} has {len(model.inputs)} inputs",
        received=f"{count} of them",
        supported=[f"{spec.name} {describe_shape(spec.shape)}" for spec in model.inputs],
        remedy="Give one file for each, in this order",
    )


def _read_array(path: Path, spec: TensorSpec) -> Array:
    try:
        array: Array = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a readable .npy array", received=error) from error
    if not np.can_cast(array.dtype, spec.dtype, "same_kind"):
        raise InputError(f"{path} does not fit input {spec.name!r}", received=array.dtype, supported=spec.dtype)
    return array


def _from_photograph(model: SourceModel | SourceFile) -> dict[str, Array]:
    inputs: dict[str, Array] = {}
    for spec in model.inputs:
        try:
            layout = image_layout(spec)
        except InputError as error:
            raise InputError(
                f"input {spec.name!r} of model {model.name} is no photograph, so that its value must be given",
                received=describe_shape(spec.shape),
                remedy="Give --inputs FILE.npy for each input",
            ) from error
        multiple = _multiple(model) if spec.is_flexible else 1
        sizes = [spec.shape[layout.index(axis)] or _DEFAULT_SIZE // multiple * multiple for axis in "HW"]
        # The photograph has 512 pixels a side: enlarged where the model wants more.
        scale = max(1.0, *(size / 512 for size in sizes))
        pixels: Array = photograph(DEFAULT_PHOTOGRAPH, (sizes[0], sizes[1]), scale=scale)
        if spec.shape[layout.index("C")] == 1:
            # ITU-R BT.601 luma.
            pixels = (pixels @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
        if np.issubdtype(np.dtype(spec.dtype), np.integer):
            pixels = np.rint(pixels * 255)
        if layout == "NCHW":
            pixels = pixels.transpose(0, 3, 1, 2)
        inputs[spec.name] = np.ascontiguousarray(pixels.astype(spec.dtype))
    return inputs

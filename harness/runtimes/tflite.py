"""The TensorFlow Lite interpreter as a runtime: the reference for conversions of ``.tflite`` files."""

from __future__ import annotations

import re
import struct
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.artifact import Artifact
from harness.errors import PackageError, PredictionError, one_line
from harness.frontends.tflite.convert import spec_of
from harness.frontends.tflite.graph import Signature, TFLiteGraph
from harness.frontends.tflite.quantization import is_quantized
from harness.frontends.tflite.reader import read_graph
from harness.quiet import quiet_imports
from harness.runtimes.base import LoadedModel, Runtime
from harness.runtimes.tensorflow_graph import import_tensorflow
from harness.source import SourceFile
from harness.tensors import Array, TensorSpec, as_declared, check_inputs

# Operators whose reference kernels do not compute what TensorFlow and TFLite's plain kernels do, and whether that is so
# of integers only. Why each: ``harness list limitations``.
_DEFECTIVE = {"LOCAL_RESPONSE_NORMALIZATION": False, "SUM": True}


class TFLiteRuntime(Runtime):
    """Reference kernels, no delegates; an operator without one is executed by its plain kernel.

    The file is verified before native code sees it.
    """

    name = "tflite"
    formats = ("tflite",)

    def load(self, artifact: Artifact, compute_unit: str, precision: str) -> LoadedModel:
        """See Runtime.load."""
        if artifact.format not in self.formats:
            raise PackageError(f"{artifact.path} is no TFLite model", received=artifact.format, supported=self.formats)
        return _Interpreter(artifact.path, artifact.provenance.get("signature"))


def open_tflite(path: Path, name: str, signature: str | None = None) -> SourceFile:
    """A ``.tflite`` file as a source, with the names of a signature, or of the serving one. Raises ModelFileError, and
    UnknownNameError for a signature that it has not."""
    _, inputs, outputs = _interface(read_graph(path), signature)
    return SourceFile(name, path, "tflite", tuple(inputs.values()), tuple(outputs.values()), signature)


def has_variables(path: Path) -> bool:
    """Whether a file remembers one prediction in the next. Raises ModelFileError."""
    graph = read_graph(path)
    tensors = (tensor for subgraph in graph.subgraphs for tensor in subgraph.tensors)
    return any(tensor.is_variable for tensor in tensors) or "VAR_HANDLE" in tflite_operators(path)


def tflite_operators(path: Path) -> set[str]:
    """Names of all operators of a file. Raises ModelFileError."""
    return {operator.name for subgraph in read_graph(path).subgraphs for operator in subgraph.operators}


def _interface(
    graph: TFLiteGraph, signature: str | None
) -> tuple[Signature, dict[int, TensorSpec], dict[int, TensorSpec]]:
    """What is called, and its inputs and outputs by the index of their tensor."""
    interface = graph.interface(signature)
    tensors = graph.subgraphs[interface.subgraph].tensors
    inputs = {index: spec_of(tensors[index], name) for name, index in interface.inputs.items()}
    return interface, inputs, {index: spec_of(tensors[index], name) for name, index in interface.outputs.items()}


class _Interpreter(LoadedModel):
    def __init__(self, path: Path, signature: str | None) -> None:
        graph = read_graph(path)
        self._interface, self._inputs, self._outputs = _interface(graph, signature)
        self._name = path.name
        is_flexible = any(spec.is_flexible for spec in self._inputs.values())
        self._interpreter = _loaded(path, graph, is_allocated=not is_flexible)  # else when the shapes are known
        self._lock = threading.Lock()

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by the signature's names."""
        check_inputs(tuple(self._inputs.values()), inputs, self._name)
        arrays: dict[int, Array] = {}
        for index, spec in self._inputs.items():
            arrays[index] = as_declared(inputs[spec.name], spec, self._name)
        with self._lock:
            try:
                if self._interface.subgraph != 0:
                    runner = self._interpreter.get_signature_runner(self._interface.name)
                    return dict(runner(**{self._inputs[index].name: array for index, array in arrays.items()}))
                # Allocation forgets what inputs held: all are resized before any is set.
                if any(spec.is_flexible for spec in self._inputs.values()):
                    for index, array in arrays.items():
                        if self._inputs[index].is_flexible:
                            self._interpreter.resize_tensor_input(index, array.shape)
                    self._interpreter.allocate_tensors()
                for index, array in arrays.items():
                    self._interpreter.set_tensor(index, array)
                self._interpreter.invoke()
                return {spec.name: self._interpreter.get_tensor(index) for index, spec in self._outputs.items()}
            except (ValueError, RuntimeError) as error:
                raise PredictionError(f"the interpreter failed on {self._name}", received=one_line(error)) from error


def _loaded(path: Path, graph: TFLiteGraph, *, is_allocated: bool) -> Any:
    """An interpreter. Raises PredictionError.

    Reference kernels; where an operator has none or a defective one, the kernels that execute without a delegate.
    """
    tf = import_tensorflow()
    kinds = tf.lite.experimental.OpResolverType
    resolver = kinds.BUILTIN_REF
    if _has_defective_kernel(graph):
        resolver = kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    source: dict[str, Any] = {"model_path": str(path)}
    while True:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                interpreter = tf.lite.Interpreter(**source, experimental_op_resolver_type=resolver)
            if is_allocated:
                interpreter.allocate_tensors()
            return interpreter
        except (ValueError, RuntimeError) as error:
            failure = error
        missing = _MISSING.search(str(failure))
        if missing is None or resolver is kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES:
            break
        if int(missing[2]) > 1:
            older = source.get("model_content") or path.read_bytes()
            source = {"model_content": _with_older_version(older, missing[1], int(missing[2]))}
        else:
            source, resolver = {"model_path": str(path)}, kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    custom = "unresolved custom op" in str(failure)
    raise PredictionError(
        f"the interpreter cannot load {path.name}",
        received=one_line(failure),
        remedy="TensorFlow has no kernel to compare with; `harness convert` converts without one" if custom else None,
    ) from failure


# What the interpreter says of an operator that its table of kernels has not, or not in that version.
_MISSING = re.compile(r"Didn't find op for builtin opcode '(\w+)' version '(\d+)'")


def _with_older_version(content: bytes, operator: str, version: int) -> bytes:
    """A verified file that calls an operator by the version before.

    The table of reference kernels names older versions than the kernels know: DEPTH_TO_SPACE of int8 is version 2 for
    the converter and the plain kernels, and the reference kernel, the same source, is listed as version 1
    (``kernels/register_ref.cc``).
    """
    with quiet_imports():
        from tensorflow.lite.python import schema_py_generated as schema
    wanted = getattr(schema.BuiltinOperator, operator)
    model = schema.Model.GetRootAs(content, 0)
    changed = bytearray(content)
    for index in range(model.OperatorCodesLength()):
        code = model.OperatorCodes(index)
        if max(code.BuiltinCode(), code.DeprecatedBuiltinCode()) == wanted and code.Version() == version:
            table = code._tab  # the field's place is not told otherwise
            struct.pack_into("<i", changed, table.Pos + table.Offset(_VERSION_SLOT), version - 1)
    return bytes(changed)


_VERSION_SLOT = 8  # of the schema's table OperatorCode


def _has_defective_kernel(graph: TFLiteGraph) -> bool:
    for subgraph in graph.subgraphs:
        for operator in subgraph.operators:
            only_integers = _DEFECTIVE.get(operator.name)
            if only_integers is None:
                continue
            if not only_integers or is_quantized(subgraph.tensors[operator.inputs[0]]):
                return True
    return False

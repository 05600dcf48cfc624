"""Opens TensorFlow models of every kind: what a builder returns, and SavedModel, .keras, .h5 and frozen .pb files."""

from __future__ import annotations

import inspect
import re
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.case import ModelCase, call_of_case
from harness.errors import ModelFileError, UnknownNameError, UsageError, one_line
from harness.quiet import quiet_imports
from harness.runtimes import model_safety
from harness.runtimes.tensorflow_graph import SourceModel, clean_names, import_tensorflow, require_rank, tensor_spec

SERVING = "serving_default"
_SERVABLE = "a functional Keras model, or an object with one tf.function that has an input_signature"


def open_model(case: ModelCase) -> SourceModel:
    """What a case's builder returns, or its file.

    No file may run code unless ``case.trust``. Names of inputs and outputs are the model's own (those of a signature,
    of Keras' layers, of a graph's nodes) as identifiers; those that Keras made up become ``input`` and ``output``.
    Raises ModelFileError, and UsageError for what is not TensorFlow's.
    """
    import_tensorflow()
    _begin_names_anew()
    if case.build is not None:
        return _open_built(case, call_of_case(case.build, "build", case.name))
    path = case.source
    if path is None:
        raise UsageError(f"model {case.name} has neither a builder nor a file")
    openers = {
        "keras": _open_keras_file, "h5": _open_keras_file, "saved_model": _open_saved_model,
        "frozen_graph": _open_frozen_graph,
    }  # fmt: skip
    if case.format not in openers:
        raise UsageError(f"{path} is not a TensorFlow model", received=case.format, supported=list(openers))
    if not path.exists():
        raise ModelFileError(f"there is no model at {path}", remedy="Check the path")
    return openers[case.format](case, path)


def _begin_names_anew() -> None:
    """Layers that Keras names and counts itself are called alike, however many models were built before: names of nodes
    are part of what is converted."""
    if "keras" in sys.modules:
        sys.modules["keras"].utils.clear_session(free_memory=False)


def _open_built(case: ModelCase, model: Any) -> SourceModel:
    origin = f"model {case.name}"
    if getattr(model, "inputs", None) and getattr(model, "outputs", None):
        return _from_keras(case, model, origin, is_trusted=True)
    functions: dict[str, Any] = {
        name: value
        for name in sorted({*dir(type(model)), *getattr(model, "__dict__", {})})
        if hasattr(inspect.getattr_static(model, name, None), "get_concrete_function")
        and (value := getattr(model, name)).input_signature
    }
    preferred = [name for name in (SERVING, "serve", "__call__") if name in functions]
    if not preferred and len(functions) != 1:
        raise ModelFileError(
            f"what the builder of {origin} returns cannot be served",
            received=f"{type(model).__name__} with {len(functions)} such functions",
            supported=_SERVABLE,
        )
    function = functions[(preferred or list(functions))[0]]
    return _from_concrete(case, function.get_concrete_function(), model, origin, is_trusted=True)


def _open_keras_file(case: ModelCase, path: Path) -> SourceModel:
    with quiet_imports():
        import keras

    if not case.trust:
        (model_safety.check_keras_archive if case.format == "keras" else model_safety.check_h5)(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = keras.models.load_model(path, compile=False, safe_mode=not case.trust)
    except Exception as error:  # Keras raises whatever its parsers do
        raise ModelFileError(
            f"Keras {keras.__version__} cannot open {path}",
            received=one_line(error),
            remedy="Save it with this version of Keras, or export it as a SavedModel",
        ) from error
    if not getattr(model, "inputs", None):
        raise ModelFileError(
            f"the model in {path} does not say what its inputs are",
            received=type(model).__name__,
            supported="functional and sequential models",
            remedy="Export it as a SavedModel",
        )
    return _from_keras(case, model, str(path), case.trust)


def _from_keras(case: ModelCase, model: Any, origin: str, is_trusted: bool) -> SourceModel:
    """A functional or sequential model, of Keras 3 or of the older tf_keras."""
    if not type(model).__module__.startswith("tf_keras"):
        import keras

        if keras.config.backend() != "tensorflow":
            raise UsageError(
                "Keras runs on another backend",
                received=keras.config.backend(),
                supported="tensorflow",
                remedy="Set KERAS_BACKEND=tensorflow",
            )
    tf = import_tensorflow()
    given = [tensor.name for tensor in model.inputs]
    made_up = [re.fullmatch(r"(input(_layer)?|keras_tensor)(_\d+)?", name) is not None for name in given]
    inputs = tuple(
        tensor_spec(name, tuple(tensor.shape), tf.as_dtype(tensor.dtype).name)
        for name, tensor in zip(clean_names(given, "input", made_up), model.inputs, strict=True)
    )

    # A sequential model does not list its outputs' names.
    given_outputs = list(getattr(model, "output_names", None) or [model.layers[-1].name])
    made_up_outputs = [_is_counted(model, name) for name in given_outputs]

    def call(*tensors: Any) -> Mapping[str, Any]:
        result = model(tensors[0] if len(tensors) == 1 else list(tensors), training=False)
        if isinstance(result, Mapping):
            return dict(zip(clean_names(list(result), "output"), result.values(), strict=True))
        results = list(result) if isinstance(result, list | tuple) else [result]
        return dict(zip(clean_names(given_outputs, "output", made_up_outputs), results, strict=True))

    return SourceModel(case.name, inputs, call, model, origin, is_trusted)


def _is_counted(model: Any, name: str) -> bool:
    """Whether Keras named a layer itself: after its class, with a number (``conv2d_7``)."""
    try:
        layer = model.get_layer(name)
    except ValueError:
        return False
    return re.sub(r"_\d+$", "", name).replace("_", "") == type(layer).__name__.lower()


def _open_saved_model(case: ModelCase, path: Path) -> SourceModel:
    tf = import_tensorflow()
    if not case.trust:
        model_safety.check_saved_model(path)
    try:
        loaded = tf.saved_model.load(str(path))
    except Exception as error:  # the loader raises whatever its parsers do
        raise ModelFileError(
            f"TensorFlow cannot open the SavedModel {path}",
            received=one_line(error),
            remedy="Save the model anew",
        ) from error
    signatures = dict(getattr(loaded, "signatures", {}))
    if case.signature is not None:
        if case.signature not in signatures:
            raise UnknownNameError(
                f"SavedModel {path} has no signature {case.signature!r}", supported=sorted(signatures) or "none at all"
            )
        return _from_concrete(case, signatures[case.signature], loaded, str(path), case.trust)
    if SERVING not in signatures and len(signatures) != 1:
        raise ModelFileError(
            f"SavedModel {path} does not say which of its functions serves",
            received=sorted(signatures) or "no signatures",
            supported=f"a signature named {SERVING}, or a single one",
            remedy="Save it with signatures=, or name one: MODEL@SIGNATURE",
        )
    function = signatures.get(SERVING) or next(iter(signatures.values()))
    return _from_concrete(case, function, loaded, str(path), case.trust)


def _from_concrete(case: ModelCase, function: Any, owner: Any, origin: str, is_trusted: bool) -> SourceModel:
    """A concrete function of tensors, by name as in a SavedModel's signature, or by position."""
    tf = import_tensorflow()
    positional, unordered = function.structured_input_signature
    keywords = dict(sorted(unordered.items()))  # a signature has no order of its own
    specs = [*positional, *keywords.values()]
    if not specs or not all(isinstance(spec, tf.TensorSpec) for spec in specs):
        raise ModelFileError(
            f"the serving function of {origin} takes something other than tensors",
            received=", ".join(map(str, specs)) or "no inputs",
            supported="one tensor for each argument",
        )
    given = [spec.name or "input" for spec in positional] + list(keywords)
    inputs = tuple(
        tensor_spec(name, require_rank(spec.shape, name, origin), spec.dtype.name)
        for name, spec in zip(clean_names(given, "input"), specs, strict=True)
    )

    def call(*tensors: Any) -> Mapping[str, Any]:
        count = len(positional)
        result = function(*tensors[:count], **dict(zip(keywords, tensors[count:], strict=True)))
        if isinstance(result, Mapping):
            return dict(zip(clean_names(list(result), "output"), result.values(), strict=True))
        results = list(result) if isinstance(result, list | tuple) else [result]
        made_up = ["output"] * len(results)
        return dict(zip(clean_names(made_up, "output", [True] * len(results)), results, strict=True))

    return SourceModel(case.name, inputs, call, owner, origin, is_trusted)


def _open_frozen_graph(case: ModelCase, path: Path) -> SourceModel:
    tf = import_tensorflow()
    from google.protobuf.message import DecodeError
    from tensorflow.core.framework import graph_pb2

    graph_def = graph_pb2.GraphDef()
    try:
        graph_def.ParseFromString(path.read_bytes())
    except (DecodeError, OSError) as error:
        remedy = f"Give the folder {path.parent}" if path.name == "saved_model.pb" else "Export the model anew"
        raise ModelFileError(f"{path} is not a frozen graph, or it is damaged", remedy=remedy) from error
    for node in graph_def.node:
        if node.op in ("VariableV2", "Variable", "VarHandleOp"):
            raise ModelFileError(
                f"graph {path} is not frozen: it has the variable {node.name!r}",
                remedy="Freeze it, or give the SavedModel folder",
            )
    if not case.trust:
        model_safety.check_graph(graph_def, str(path))
    constants = [node for node in graph_def.node if node.op == "Const"]
    model_safety.check_finite(
        ((node.name, tf.make_ndarray(node.attr["value"].tensor)) for node in constants), str(path)
    )
    placeholders = [node for node in graph_def.node if node.op == "Placeholder"]
    used = {name.lstrip("^").partition(":")[0] for node in graph_def.node for name in node.input}
    ends = [
        node.name
        for node in graph_def.node
        if node.name not in used and node.op not in ("Placeholder", "PlaceholderWithDefault", "Const", "NoOp", "Assert")
    ]
    if not placeholders or not ends:
        raise ModelFileError(f"graph {path} has no inputs or no outputs", received=f"{len(graph_def.node)} nodes")
    inputs = tuple(
        tensor_spec(
            name,
            require_rank(tf.TensorShape(node.attr["shape"].shape), name, str(path)),
            tf.as_dtype(node.attr["dtype"].type).name,
        )
        for name, node in zip(clean_names([node.name for node in placeholders], "input"), placeholders, strict=True)
    )

    def call(*tensors: Any) -> Mapping[str, Any]:
        results = tf.graph_util.import_graph_def(
            graph_def,
            input_map={f"{node.name}:0": tensor for node, tensor in zip(placeholders, tensors, strict=True)},
            return_elements=[f"{name}:0" for name in ends],
            name="graph",
        )
        return dict(zip(clean_names(ends, "output"), results, strict=True))

    return SourceModel(case.name, inputs, call, graph_def, str(path), case.trust)

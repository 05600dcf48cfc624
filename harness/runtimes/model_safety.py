"""What a TensorFlow model file may hold before it is opened: nothing that runs code or touches files.

Loading a model is not meant to be running a program, yet a Keras Lambda layer holds Python bytecode, and a graph may
hold operators that call Python, write files or open sockets. Files are read as data here, before TensorFlow or Keras
see them, and are refused unless the user trusts them.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import ModelFileError, one_line
from harness.quiet import quiet_imports

TRUST = "If you trust the file's author, pass --trust"

# Classes of Keras that hold code, or load other files of code, in their configuration.
_CODE_CLASSES = {"Lambda", "__lambda__", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer"}

# Stateful operators are those that have an effect (op_def.proto, is_stateful). These effects stay inside the graph:
# variables, control flow, random numbers, tensor arrays. All others are refused.
_HARMLESS_STATEFUL = re.compile(
    r"(VariableV2|Variable|VarHandleOp|VarIsInitializedOp|VariableShape|ReadVariableOp|DisableCopyOnRead"
    r"|Assign(Add|Sub)?VariableOp|Resource(Sparse)?Apply\w+|ResourceScatter\w+|ResourceGather(Nd)?"
    r"|ResourceStridedSliceAssign|StatefulPartitionedCall|If|While|Case|Assert|CheckNumerics(V2)?|GuaranteeConst"
    r"|Random(Uniform|UniformInt|StandardNormal|Shuffle|Gamma|PoissonV2)|TruncatedNormal|Multinomial"
    r"|Stateful(Uniform|UniformInt|UniformFullInt|StandardNormalV2|TruncatedNormal|RandomBinomial)|RngReadAndSkip"
    r"|RngSkip|StatelessRandomGetAlg|TensorArray\w*V3|TensorArrayGradWithShape)"
)
# Operators that TensorFlow does not mark as stateful, and that read files or call other code all the same.
_HARMFUL_STATELESS = re.compile(
    r"PyFuncStateless|ReadFile|MatchingFiles|GenerateVocabRemapping|InitializeTableFromTextFile|XlaCustomCall\w*"
    r"|Debug\w+|\w*Dataset\w*|\w*Reader\w+"
)
# What a SavedModel's own saver consists of.
_SAVER = frozenset({"SaveV2", "RestoreV2", "MergeV2Checkpoints"})


def check_keras_archive(path: Path) -> None:
    """A .keras file: a zip whose config.json holds no code. Raises ModelFileError."""
    try:
        with zipfile.ZipFile(path) as archive:
            config = archive.read("config.json").decode()
    except (zipfile.BadZipFile, KeyError, UnicodeDecodeError, OSError, EOFError) as error:
        raise ModelFileError(
            f"{path} is not a .keras file, or it is damaged", received=one_line(error), remedy="Save the model anew"
        ) from error
    _check_keras_config(path, config)


def check_h5(path: Path) -> None:
    """An HDF5 file with a model and not weights alone, which holds no code. Raises ModelFileError."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            config = file.attrs.get("model_config")
    except (OSError, KeyError, RuntimeError) as error:
        raise ModelFileError(
            f"{path} is not an HDF5 file, or it is damaged", received=one_line(error), remedy="Save the model anew"
        ) from error
    if config is None:
        raise ModelFileError(
            f"{path} holds no model", received="an HDF5 file without model_config, as save_weights writes it",
            remedy="Save the whole model with model.save",
        )  # fmt: skip
    _check_keras_config(path, config.decode() if isinstance(config, bytes) else str(config))


def _check_keras_config(path: Path, text: str) -> None:
    with quiet_imports():
        import keras

    try:
        config = json.loads(text)
    except json.JSONDecodeError as error:
        raise ModelFileError(
            f"the configuration in {path} is damaged", received=one_line(error), remedy="Save the model anew"
        ) from error
    for node in _objects(config):
        class_name = node["class_name"]
        settings = node.get("config")
        name = settings.get("name") if isinstance(settings, dict) else None
        if class_name in _CODE_CLASSES or _holds_bytecode(settings):
            raise ModelFileError(
                f"layer {name or class_name!r} of {path} holds code, which opening the file would run",
                received=class_name,
                remedy=TRUST,
            )
        module, registered = node.get("module"), node.get("registered_name")
        if module not in (None, "builtins") and str(module).partition(".")[0] != "keras":
            own = f"{module}.{class_name}"
        elif registered and ">" in str(registered) and keras.saving.get_registered_object(str(registered)) is None:
            own = str(registered)
        else:
            continue
        raise ModelFileError(
            f"layer {name or class_name!r} of {path} is not one of Keras' own",
            received=own,
            remedy="Export the model as a SavedModel, which needs no Python code",
        )


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every serialised object at any depth."""
    if isinstance(value, dict):
        if isinstance(value.get("class_name"), str):
            yield value
        for item in value.values():
            yield from _objects(item)
    elif isinstance(value, list):
        for item in value:
            yield from _objects(item)


def _holds_bytecode(settings: Any) -> bool:
    """Whether a layer has a function written as marshalled bytecode, as Keras 2 did: [code, defaults, closure]."""
    return isinstance(settings, dict) and settings.get("function_type") == "lambda"


def check_saved_model(path: Path) -> None:
    """A SavedModel folder whose graphs hold no harmful operator. Raises ModelFileError."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    message = saved_model_pb2.SavedModel()
    try:
        message.ParseFromString((path / "saved_model.pb").read_bytes())
    except (DecodeError, OSError) as error:
        raise ModelFileError(f"{path / 'saved_model.pb'} is damaged", remedy="Save the model anew") from error
    if not message.meta_graphs:
        raise ModelFileError(f"{path / 'saved_model.pb'} is empty", remedy="Save the model anew")
    for meta_graph in message.meta_graphs:
        check_graph(meta_graph.graph_def, str(path), allowed=_SAVER)
        for node in meta_graph.object_graph_def.nodes:
            # TensorFlow runs a resource's own functions while it opens the folder.
            if node.WhichOneof("kind") == "resource":
                raise ModelFileError(
                    f"{path} holds a resource (a lookup table, say), which opening the folder would run",
                    remedy=TRUST,
                )
        if not meta_graph.object_graph_def.nodes:
            _check_version_1(meta_graph, path)


def _check_version_1(meta_graph: Any, path: Path) -> None:
    """TensorFlow 1 folders say themselves what is run to restore and initialise them; it may restore, not save."""
    nodes = {node.name: node for node in meta_graph.graph_def.node}
    waiting = [meta_graph.saver_def.restore_op_name]
    for key in ("saved_model_main_op", "legacy_init_op"):
        waiting += meta_graph.collection_def[key].node_list.value if key in meta_graph.collection_def else []
    for tensor in meta_graph.signature_def["__saved_model_init_op"].outputs.values():
        waiting.append(tensor.name)
    seen = set()
    while waiting:
        name = waiting.pop().lstrip("^").partition(":")[0]
        if name in nodes and name not in seen:
            seen.add(name)
            waiting += nodes[name].input
    check_graph_nodes([nodes[name] for name in seen], str(path), allowed=frozenset({"RestoreV2"}))


def check_graph(graph_def: Any, origin: str, allowed: frozenset[str] = frozenset()) -> None:
    """A GraphDef and its functions without a harmful or unknown operator. Raises ModelFileError."""
    own = {function.signature.name for function in graph_def.library.function}
    check_graph_nodes(graph_def.node, origin, allowed | own)
    for function in graph_def.library.function:
        check_graph_nodes(function.node_def, origin, allowed | own)


def check_graph_nodes(nodes: Iterable[Any], origin: str, allowed: frozenset[str]) -> None:
    """Nodes without a harmful or unknown operator."""
    from tensorflow.python.framework import op_def_registry

    for node in nodes:
        if node.op in allowed:
            continue
        definition = op_def_registry.get(node.op)
        if definition is None:
            raise ModelFileError(
                f"node {node.name!r} of {origin} is an operator that TensorFlow does not have",
                received=node.op,
                remedy="Export the model without custom operators",
            )
        harmless = (_HARMLESS_STATEFUL.fullmatch(node.op) if definition.is_stateful
                    else not _HARMFUL_STATELESS.fullmatch(node.op))  # fmt: skip
        if not harmless:
            raise ModelFileError(
                f"node {node.name!r} of {origin} reaches outside the graph (files, Python, network)",
                received=node.op,
                remedy=TRUST,
            )


def constants(graph_def: Any) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """Floating-point constants of a GraphDef by node name, outside its functions."""
    import tensorflow as tf

    for node in graph_def.node:
        if node.op == "Const" and tf.as_dtype(node.attr["dtype"].type).is_floating:
            yield node.name, tf.make_ndarray(node.attr["value"].tensor)


def check_finite(tensors: Iterable[tuple[str, np.ndarray[Any, Any]]], model: str) -> None:
    """Weights without NaN or infinity. Raises ModelFileError naming the tensor.

    A scalar may be infinite: graphs mask and clip with it.
    """
    for name, values in tensors:
        if values.dtype.kind in "iubSUO":
            continue
        finite = np.isfinite(values)
        if finite.all() or (values.ndim == 0 and not np.isnan(values)):
            continue
        raise ModelFileError(
            f"tensor {name!r} of {model} has weights that are not finite",
            received=f"{int(np.isnan(values).sum())} NaN and {int(np.isinf(values).sum())} infinite of {values.size}",
            remedy="Mend or retrain the model",
        )

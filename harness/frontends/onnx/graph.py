"""An ONNX model as the frontend reads it: checked, with the type and shape of every value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import ModelFileError, one_line
from harness.frontends.dispatch import Array

if TYPE_CHECKING:
    import onnx

# Models of older IR versions or opsets have other rules (broadcast attributes, say).
OLDEST_OPSET = 6
DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True)
class ValueType:
    """``dtype`` is numpy's name, or ONNX's own where numpy has none; ``shape`` None where the rank is unknown."""

    dtype: str
    shape: tuple[int | None, ...] | None = None


@dataclass(frozen=True, eq=False)
class Node:
    """One node; what a translation asks about itself. ``inputs`` and ``outputs`` are names, "" where left out.

    ``converter`` translates the graphs among its attributes (If, Loop, Scan).
    """

    operator: str
    domain: str
    name: str
    version: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    types: Mapping[str, ValueType]
    proto: Any = field(repr=False, default=None)
    converter: Any = field(repr=False, default=None)

    def __str__(self) -> str:
        return f"{self.operator}-{self.version} node {self.name!r}"

    def input_dtype(self, index: int = 0) -> str:
        """ONNX's element type of an input, as numpy's name; "" where it is not known."""
        return self._dtype(self.inputs, index)

    def output_dtype(self, index: int = 0) -> str:
        """Likewise of an output."""
        return self._dtype(self.outputs, index)

    def output_shape(self, index: int = 0) -> tuple[int | None, ...] | None:
        """The inferred shape of an output; None where even the rank is unknown."""
        type_ = self.types.get(self.outputs[index]) if index < len(self.outputs) else None
        return None if type_ is None else type_.shape

    def wants(self, index: int) -> bool:
        """Whether output ``index`` is used by name."""
        return index < len(self.outputs) and bool(self.outputs[index])

    def _dtype(self, names: tuple[str, ...], index: int) -> str:
        type_ = self.types.get(names[index]) if index < len(names) else None
        return "" if type_ is None else type_.dtype


@dataclass(frozen=True, eq=False)
class OnnxModel:
    """``opsets`` by domain. ``folder`` is where external weights lie."""

    name: str
    proto: onnx.ModelProto
    opsets: Mapping[str, int]
    folder: Path | None

    @property
    def graph(self) -> Any:
        """The main graph."""
        return self.proto.graph


def read_model(path: Path) -> OnnxModel:
    """An ``.onnx`` file. Raises ModelFileError where it is missing, damaged or too old."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        proto = onnx.load(path, load_external_data=False)
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read", received=error.strerror or error) from error
    except (DecodeError, ValueError, RuntimeError, UnicodeDecodeError) as error:
        raise ModelFileError(
            f"{path} is not an ONNX model", received=one_line(error), remedy="Export it again"
        ) from error
    return check_model(proto, path.stem, path.parent)


def check_model(proto: onnx.ModelProto, name: str, folder: Path | None = None) -> OnnxModel:
    """A model in memory, checked and with inferred types. Raises ModelFileError."""
    import onnx

    try:
        opsets = {item.domain if item.domain != "ai.onnx" else "": int(item.version) for item in proto.opset_import}
        if "" in opsets and not OLDEST_OPSET <= opsets[""] <= onnx.defs.onnx_opset_version():
            raise ModelFileError(
                f"model {name} has an opset that is not read",
                received=opsets[""],
                supported=f"{OLDEST_OPSET} to {onnx.defs.onnx_opset_version()}",
                remedy="Export it again, or use onnx.version_converter",
            )
        _load_weights(proto, folder)
        # Checked with the weights in place: the checker refuses external files that are not where they say.
        onnx.checker.check_model(proto)
        proto = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    except ModelFileError:
        raise
    except (
        onnx.checker.ValidationError, onnx.shape_inference.InferenceError, OSError, ValueError, RuntimeError, TypeError,
        UnicodeDecodeError, OverflowError, MemoryError,
    ) as error:  # fmt: skip
        raise ModelFileError(f"model {name} is not a valid ONNX model", received=one_line(error)) from error
    return OnnxModel(name, proto, opsets, folder)


def _load_weights(proto: onnx.ModelProto, folder: Path | None) -> None:
    from onnx.external_data_helper import load_external_data_for_model, uses_external_data

    external = [tensor for tensor in proto.graph.initializer if uses_external_data(tensor)]
    if not external:
        return
    if folder is None:
        raise ModelFileError(f"tensor {external[0].name!r} lies in a file, and no folder is known")
    load_external_data_for_model(proto, str(folder))


def array_of(tensor: onnx.TensorProto) -> Array:
    """A tensor's values. Raises ModelFileError where the bytes are not what shape and type say."""
    from onnx import numpy_helper

    try:
        array: Array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, OverflowError, UnicodeDecodeError) as error:
        raise ModelFileError(f"tensor {tensor.name!r} is damaged", received=one_line(error)) from error
    return array


def dtype_name(element: int) -> str:
    """numpy's name of an ONNX element type, ``object`` for strings."""
    from onnx import TensorProto, helper

    if element == TensorProto.STRING:
        return "string"
    try:
        return str(np.dtype(helper.tensor_dtype_to_np_dtype(element)).name)
    except (KeyError, ValueError, TypeError):
        return f"ONNX element type {element}"


def value_type(proto: Any) -> ValueType:
    """Of a TypeProto. Types that are no tensors have their kind as dtype: sequence, map, optional, sparse."""
    kind = proto.WhichOneof("value")
    if kind != "tensor_type":
        return ValueType((kind or "unknown").removesuffix("_type"))
    tensor = proto.tensor_type
    shape = None
    if tensor.HasField("shape"):
        shape = tuple(
            int(dim.dim_value) if dim.HasField("dim_value") and dim.dim_value >= 0 else None for dim in tensor.shape.dim
        )
    return ValueType(dtype_name(tensor.elem_type), shape)


def value_types(graph: Any) -> dict[str, ValueType]:
    """Types by name, as far as inference found them, constants included."""
    types = {item.name: value_type(item.type) for item in (*graph.value_info, *graph.output, *graph.input)}
    for tensor in graph.initializer:
        types[tensor.name] = ValueType(dtype_name(tensor.data_type), tuple(tensor.dims))
    return types


def attributes_of(node: Any) -> dict[str, Any]:
    """Attributes as Python values: text as str, tensors as numpy arrays, graphs as they are."""
    return {attribute.name: _attribute(attribute) for attribute in node.attribute}


def _attribute(attribute: Any) -> Any:
    from onnx import AttributeProto, helper

    kind = attribute.type
    if kind == AttributeProto.TENSOR:
        return array_of(attribute.t)
    if kind in (AttributeProto.GRAPH, AttributeProto.TYPE_PROTO, AttributeProto.SPARSE_TENSOR):
        return helper.get_attribute_value(attribute)
    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, list | tuple) or (hasattr(value, "__iter__") and not isinstance(value, str)):
        return tuple(item.decode(errors="replace") if isinstance(item, bytes) else item for item in value)
    return value


def all_nodes(graph: Any) -> Iterator[Any]:
    """Every node, those of inner graphs included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from all_nodes(attribute.g)

"""Builds the ONNX graphs in which lowered operations execute.

A lowering calls ``op.<OnnxOperator>(...)`` and gets Tensor handles, whose dtype and shape ONNX's
own inference gives; the graph that is being built is a context variable.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, cast, overload

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from harness.errors import PredictionError
from harness.runtimes.portable.program import TensorType, storage_dtype
from harness.tensors import Array

OPSET = 21
IR_VERSION = 10

# ONNX element type <-> the MIL name of the type in which a handle is kept.
_ELEMENT_TYPES = {
    "fp32": TensorProto.FLOAT, "fp16": TensorProto.FLOAT16, "int32": TensorProto.INT32,
    "int64": TensorProto.INT64, "int8": TensorProto.INT8, "uint8": TensorProto.UINT8,
    "bool": TensorProto.BOOL, "fp64": TensorProto.DOUBLE, "string": TensorProto.STRING,
}  # fmt: skip
_DTYPE_NAMES: dict[int, str] = {element: name for name, element in _ELEMENT_TYPES.items()}
_STORAGE_NAMES = {"float32": "fp32", "int32": "int32", "bool": "bool", "object": "string"}

# No model for images has a value beyond this; a damaged package may ask for one.
_MAXIMUM_BYTES = 2**31

# Constants up to this many elements take part in shape inference.
_SMALL = 64


@dataclass(frozen=True, eq=False)
class Tensor:
    """A value in the graph. ``dtype`` is what the graph holds (fp32 for a MIL fp16 tensor);
    ``mil_dtype`` what MIL declares; ``shape`` is None where the rank is unknown, a dimension None
    where it is; ``value`` is set for constants."""

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None
    value: Array | None = None
    mil_dtype: str = ""

    @property
    def rank(self) -> int:
        """The number of axes; raises PredictionError where it is unknown."""
        if self.shape is None:
            raise PredictionError(f"the rank of {self.name!r} is unknown")
        return len(self.shape)

    @property
    def is_float(self) -> bool:
        """Whether the graph holds floats."""
        return self.dtype == "fp32"

    def size(self, axis: int) -> int:
        """The size of one axis; raises PredictionError where it is unknown until execution."""
        size = self.shape[axis] if self.shape is not None else None
        if size is None:
            raise PredictionError(f"the size of axis {axis} of {self.name!r} is not known before execution")
        return size

    @property
    def static_shape(self) -> tuple[int, ...]:
        """The shape; raises PredictionError where any of it is unknown until execution."""
        return tuple(self.size(axis) for axis in range(self.rank))

    @property
    def has_static_shape(self) -> bool:
        """Whether rank and every dimension are known."""
        return self.shape is not None and None not in self.shape


Operand = Tensor | Array | bool | int | float | Sequence[int] | None


class OnnxGraph:
    """Nodes and constants of one graph, with the inference that gives handles their types."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}
        self.rounded: dict[str, str] = {}
        self._types: dict[str, onnx.TypeProto] = {}
        self._small: dict[str, onnx.TensorProto] = {}
        self._counter = 0

    def fresh_name(self, hint: str) -> str:
        """A name that nothing in the graph has yet."""
        self._counter += 1
        return f"{hint}.{self._counter}"

    def declare(self, name: str, type_: TensorType, shape: tuple[int | None, ...] | None = None) -> Tensor:
        """A graph input of a MIL type, in the dtype that this runtime keeps it in."""
        dtype = _STORAGE_NAMES[type_.storage.name]
        handle = Tensor(name, dtype, type_.shape if shape is None else shape, mil_dtype=type_.dtype)
        self._types[name] = _type_proto(handle)
        return handle

    def constant(self, array: Array, hint: str = "constant", mil_dtype: str = "") -> Tensor:
        """A constant, kept as it is (int64 stays int64)."""
        name = self.fresh_name(hint)
        if array.dtype.kind in "US":
            array = array.astype(object)
        dtype = "string" if array.dtype == object else _mil_name(array.dtype)
        self.constants[name] = array
        handle = Tensor(name, dtype, array.shape, array, mil_dtype or dtype)
        self._types[name] = _type_proto(handle)
        if array.size <= _SMALL:
            self._small[name] = numpy_helper.from_array(array, name)
        return handle

    def emit(
        self, op_type: str, inputs: Sequence[Operand], outputs: int, domain: str, attributes: dict[str, Any]
    ) -> tuple[Tensor, ...]:
        """Append one node; its outputs' types come from ONNX's inference."""
        reference = next((item for item in inputs if isinstance(item, Tensor)), None)
        handles = [self._operand(item, reference) for item in inputs]
        while handles and handles[-1] is None:
            # ONNX Runtime's layout pass leaves a Conv alone whose bias is named "".
            handles.pop()
        names = [self.fresh_name(op_type) for _ in range(outputs)]
        node = helper.make_node(
            op_type,
            [handle.name if handle else "" for handle in handles],
            names,
            name=names[0],
            domain=domain,
            **{key: value for key, value in attributes.items() if value is not None},
        )
        self.nodes.append(node)
        self._infer(node)
        return tuple(self._handle(name) for name in names)

    def _operand(self, item: Operand, reference: Tensor | None) -> Tensor | None:
        if item is None or isinstance(item, Tensor):
            return item
        if isinstance(item, np.ndarray):
            array = item.astype(np.float32) if item.dtype in (np.float64, np.float16) else item
            return self.constant(array)
        if isinstance(item, bool | int | float) and reference is not None:
            return self.constant(np.array(item, _numpy_dtype(reference.dtype)))
        if isinstance(item, bool | int | float):
            return self.constant(np.array(item, np.float32 if isinstance(item, float) else np.int64))
        return self.constant(np.array(item, np.int64))

    def _infer(self, node: onnx.NodeProto) -> None:
        schema = onnx.defs.get_schema(node.op_type, OPSET, node.domain) if not node.domain else None
        if schema is None:
            return
        inputs = {name: self._types[name] for name in node.input if name in self._types}
        small = {name: self._small[name] for name in node.input if name in self._small}
        try:
            self._types.update(
                onnx.shape_inference.infer_node_outputs(
                    schema, node, inputs, small, opset_imports=[helper.make_opsetid("", OPSET)],
                    ir_version=IR_VERSION,
                )
            )  # fmt: skip
        except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError) as error:
            raise PredictionError(
                f"ONNX {node.op_type} refuses its inputs", received=str(error).strip().splitlines()[-1]
            ) from error

    def _handle(self, name: str) -> Tensor:
        proto = self._types.get(name)
        if proto is None:
            return Tensor(name, "fp32", None)
        tensor = proto.tensor_type
        shape = (
            tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim)
            if tensor.HasField("shape")
            else None
        )
        dtype = _DTYPE_NAMES[tensor.elem_type]
        if shape is not None and math.prod(size or 1 for size in shape) * 4 > _MAXIMUM_BYTES:
            raise PredictionError(
                "a value is too large", received=f"shape {shape}", supported=f"up to {_MAXIMUM_BYTES:,} bytes"
            )
        return Tensor(name, dtype, shape, mil_dtype=dtype)

    def channels(self, name: str) -> int | None:
        """The size of axis 1, where it is known."""
        proto = self._types.get(name)
        dims = proto.tensor_type.shape.dim if proto is not None else []
        return int(dims[1].dim_value) or None if len(dims) > 1 else None

    def retype(self, handle: Tensor, type_: TensorType) -> Tensor:
        """``handle`` in the dtype and with the shape that MIL declares (``Cast`` where needed)."""
        wanted = _STORAGE_NAMES[type_.storage.name]
        if handle.dtype != wanted:
            handle = self.emit("Cast", [handle], 1, "", {"to": _ELEMENT_TYPES[wanted]})[0]
        shape = type_.shape
        if handle.shape is not None and len(handle.shape) == len(shape):
            shape = tuple(known if size is None else size for size, known in zip(shape, handle.shape, strict=True))
        handle = replace(handle, shape=shape, mil_dtype=type_.dtype)
        self._types[handle.name] = _type_proto(handle)
        return handle

    def round_to_float16(self, handle: Tensor) -> Tensor:
        """``handle`` rounded to float16 and kept in float32: a ``Cast`` pair."""
        half = self.emit("Cast", [handle], 1, "", {"to": TensorProto.FLOAT16})[0]
        rounded = self.emit("Cast", [half], 1, "", {"to": TensorProto.FLOAT})[0]
        self.rounded[rounded.name] = handle.name
        return replace(rounded, mil_dtype=handle.mil_dtype)


def _mil_name(dtype: np.dtype[Any]) -> str:
    names = {
        "float32": "fp32", "float16": "fp16", "float64": "fp64", "int32": "int32", "int64": "int64",
        "int8": "int8", "uint8": "uint8", "bool": "bool",
    }  # fmt: skip
    return names[dtype.name]


def _numpy_dtype(dtype: str) -> np.dtype[Any]:
    return np.dtype({"int64": "int64", "int8": "int8", "uint8": "uint8", "fp64": "float64"}.get(dtype)
                    or storage_dtype(dtype))  # fmt: skip


def _type_proto(handle: Tensor) -> onnx.TypeProto:
    return helper.make_tensor_type_proto(_ELEMENT_TYPES[handle.dtype], handle.shape)


def element_type(dtype: str) -> int:
    """ONNX's element type of a handle's dtype, for ``Cast(to=...)``."""
    return int(_ELEMENT_TYPES[dtype])


_current: ContextVar[OnnxGraph] = ContextVar("onnx_graph")


@contextmanager
def building(graph: OnnxGraph) -> Iterator[OnnxGraph]:
    """Make ``graph`` the one that ``op`` appends to."""
    token = _current.set(graph)
    try:
        yield graph
    finally:
        _current.reset(token)


class _Append(Protocol):
    """How one ONNX operator is called; one result is a Tensor, several are a tuple."""

    @overload
    def __call__(self, *inputs: Operand, outputs: Literal[1] = 1, domain: str = "", **attributes: Any) -> Tensor: ...
    @overload
    def __call__(self, *inputs: Operand, outputs: int, domain: str = "", **attributes: Any) -> tuple[Tensor, ...]: ...


class _Operators:
    """``op.Conv(x, w, None, strides=[1, 1])``: inputs in ONNX's order, attributes by name.

    Operands may be handles, arrays (kept as they are, float64 and float16 as float32), Python
    numbers (in the dtype of the first handle) or sequences of integers (int64). ``outputs=n``
    asks for n results, returned as a tuple.
    """

    def __getattr__(self, op_type: str) -> _Append:
        def append(*inputs: Operand, outputs: int = 1, domain: str = "", **attributes: Any) -> Any:
            results = _current.get().emit(op_type, inputs, outputs, domain, attributes)
            return results[0] if outputs == 1 else results

        return cast(_Append, append)


op = _Operators()


def current_graph() -> OnnxGraph:
    """The graph that ``op`` appends to."""
    return _current.get()


def constant(array: Array) -> Tensor:
    """A constant of the graph being built."""
    return _current.get().constant(np.asarray(array))


def cast_to(x: Tensor, dtype: str) -> Tensor:
    """``x`` in another dtype of the graph (``fp32``, ``int32``, ``int64``, ``bool`` ...)."""
    if x.dtype == dtype:
        return x
    return op.Cast(x, to=_ELEMENT_TYPES[dtype])


def shape_of(x: Tensor) -> Tensor:
    """The shape as an int64 vector, a constant where it is known."""
    if x.has_static_shape:
        return constant(np.array(x.static_shape, np.int64))
    return op.Shape(x)

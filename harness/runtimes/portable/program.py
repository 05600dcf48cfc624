"""An ML Program as it stands in its package: functions, blocks, operations, constants.

Read from the MIL protobuf as it is (coremltools' ``mlmodel/format/MIL.proto``): types are the
declared ones, defaults are not filled in, nothing is inferred or simplified. What is executed is
therefore what Core ML is given.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import PackageError
from harness.runtimes.portable.weights import NUMPY_DTYPES, SUB_BYTE_BITS, WeightFile, unpack_bits
from harness.tensors import MAXIMUM_RANK, Array

_DTYPES = {
    1: "bool", 2: "string", 10: "fp16", 11: "fp32", 12: "fp64", 13: "bf16",
    21: "int8", 22: "int16", 23: "int32", 24: "int64", 25: "int4",
    31: "uint8", 32: "uint16", 33: "uint32", 34: "uint64",
    35: "uint4", 36: "uint2", 37: "uint1", 38: "uint6", 39: "uint3",
}  # fmt: skip

# Where a tensor's immediate elements stand, by the name of the protobuf field.
_IMMEDIATE_FIELDS = ("floats", "ints", "bools", "strings", "longInts", "doubles", "bytes")

MAXIMUM_CONSTANT_BYTES = 2**33


@dataclass(frozen=True)
class TensorType:
    """A tensor's MIL dtype and shape; an unknown dimension is None."""

    dtype: str
    shape: tuple[int | None, ...]

    @property
    def rank(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def storage(self) -> np.dtype[np.generic]:
        """The numpy dtype in which this runtime keeps such a tensor.

        Floats are float32, integers int32 (Core ML computes in no wider one), bool is bool.
        """
        return storage_dtype(self.dtype)


@dataclass(frozen=True)
class ListType:
    """A list of tensors; ``length`` is None where it grows."""

    element: TensorType
    length: int | None


@dataclass(frozen=True)
class StateType:
    """A buffer that survives between predictions."""

    tensor: TensorType


@dataclass(frozen=True)
class DictionaryType:
    """A dictionary, as a classifier's probabilities."""


Type = TensorType | ListType | StateType | DictionaryType


def storage_dtype(dtype: str) -> np.dtype[np.generic]:
    """The numpy dtype that holds a MIL dtype while the program runs."""
    if dtype in ("fp16", "fp32", "fp64", "bf16"):
        return np.dtype(np.float32)
    if dtype in ("bool", "string"):
        return np.dtype(np.bool_ if dtype == "bool" else np.object_)
    return np.dtype(np.int32)


@dataclass(frozen=True, eq=False)
class Constant:
    """A literal. ``value`` is an array, or a list or dictionary of such; file values load on demand."""

    type: Type
    immediate: Any = None
    weights: WeightFile | None = None
    offset: int = 0

    @cached_property
    def value(self) -> Any:
        """The literal itself; read from the weight file at first use."""
        if self.weights is None or not isinstance(self.type, TensorType):
            return self.immediate
        shape = _static_shape(self.type, "a constant")
        return self.weights.read(self.offset, self.type.dtype, _count(shape)).reshape(shape)


@dataclass(frozen=True)
class Value:
    """A named result or input."""

    name: str
    type: Type


@dataclass(frozen=True, eq=False)
class Operation:
    """One operation. An input is a list of names of values, or literals."""

    type: str
    name: str
    inputs: dict[str, tuple[str | Constant, ...]]
    outputs: tuple[Value, ...]
    blocks: tuple[Block, ...] = ()
    attributes: dict[str, Constant] = field(default_factory=dict)

    def uses(self) -> Iterator[str]:
        """Names of every value it reads, those that its blocks read from outside included."""
        for arguments in self.inputs.values():
            yield from (argument for argument in arguments if isinstance(argument, str))
        for block in self.blocks:
            yield from block.free_names()

    def __str__(self) -> str:
        return f"{self.type} {self.name!r}"


@dataclass(frozen=True, eq=False)
class Block:
    """Operations in an order that can be executed."""

    inputs: tuple[Value, ...]
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]

    def free_names(self) -> Iterator[str]:
        """Names that it reads and does not define."""
        known = {value.name for value in self.inputs}
        for operation in self.operations:
            for name in operation.uses():
                if name not in known:
                    yield name
            known.update(output.name for output in operation.outputs)
        yield from (name for name in self.outputs if name not in known)


@dataclass(frozen=True, eq=False)
class Function:
    """A function of the program; ``opset`` is coremltools' name of it (``CoreML7``)."""

    name: str
    inputs: tuple[Value, ...]
    opset: str
    block: Block


@dataclass(frozen=True)
class Program:
    """All functions of a package."""

    functions: dict[str, Function]


def read_program(proto: Any, weights_folder: Path) -> Program:
    """The program of a ``MIL_pb2.Program``; raises PackageError where it is malformed."""
    return _Reader(weights_folder).program(proto)


class _Reader:
    def __init__(self, weights_folder: Path) -> None:
        self._weights_folder = weights_folder
        self._files: dict[str, WeightFile] = {}

    def program(self, proto: Any) -> Program:
        if proto.version != 1:
            raise PackageError("the program has another format", received=proto.version, supported=1)
        functions = {name: self._function(name, function) for name, function in proto.functions.items()}
        if not functions:
            raise PackageError("the program has no function", remedy="Convert the model again")
        return Program(functions)

    def _function(self, name: str, proto: Any) -> Function:
        if proto.opset not in proto.block_specializations:
            raise PackageError(
                f"function {name!r} has no block for its opset",
                received=proto.opset,
                supported=list(proto.block_specializations),
            )
        inputs = tuple(self._named(value) for value in proto.inputs)
        for value in inputs:
            _check_rank(value, f"function {name!r} has an input")
        block = self._block(proto.block_specializations[proto.opset], {value.name for value in inputs})
        return Function(name, inputs, proto.opset, block)

    def _block(self, proto: Any, visible: set[str]) -> Block:
        inputs = tuple(self._named(value) for value in proto.inputs)
        visible = visible | {value.name for value in inputs}
        operations = []
        for operation_proto in proto.operations:
            operation = self._operation(operation_proto, visible)
            operations.append(operation)
            visible.update(output.name for output in operation.outputs)
        outputs = tuple(proto.outputs)
        for name in outputs:
            if name not in visible:
                raise PackageError(f"a block returns {name!r}, which nothing defines")
        return Block(inputs, tuple(operations), outputs)

    def _operation(self, proto: Any, visible: set[str]) -> Operation:
        outputs = tuple(self._named(value) for value in proto.outputs)
        attributes = {key: self._value(value) for key, value in proto.attributes.items()}
        name = outputs[0].name if outputs else _text(attributes.get("name"))
        inputs: dict[str, tuple[str | Constant, ...]] = {}
        for parameter, argument in proto.inputs.items():
            bindings: list[str | Constant] = []
            for binding in argument.arguments:
                if binding.WhichOneof("binding") == "value":
                    bindings.append(self._value(binding.value))
                elif binding.name in visible:
                    bindings.append(binding.name)
                else:
                    raise PackageError(
                        f"op {proto.type} {name!r}: input {parameter!r} reads a value that nothing defines",
                        received=repr(binding.name),
                    )
            inputs[parameter] = tuple(bindings)
        if proto.type.startswith("constexpr_"):
            # Before iOS18 the parameters of compressed weights are attributes.
            inputs |= {key: (value,) for key, value in attributes.items() if key != "name"}
        if proto.type != "const" and not proto.type.startswith("constexpr_"):
            for output in outputs:
                _check_rank(output, f"op {proto.type} {name!r} has a result")
        blocks = tuple(self._block(block, visible) for block in proto.blocks)
        return Operation(proto.type, name, inputs, outputs, blocks, attributes)

    def _named(self, proto: Any) -> Value:
        return Value(proto.name, self._type(proto.type))

    def _type(self, proto: Any) -> Type:
        kind = proto.WhichOneof("type")
        if kind == "tensorType":
            tensor = proto.tensorType
            dtype = _DTYPES.get(tensor.dataType)
            if dtype is None:
                raise PackageError("a tensor has an unknown type", received=tensor.dataType, supported=_DTYPES.values())
            if tensor.rank != len(tensor.dimensions):
                raise PackageError(f"a tensor of rank {tensor.rank} has {len(tensor.dimensions)} dimensions")
            return TensorType(dtype, tuple(_dimension(dimension) for dimension in tensor.dimensions))
        if kind == "listType":
            element = self._type(proto.listType.type)
            if isinstance(element, TensorType):
                return ListType(element, _dimension(proto.listType.length))
        if kind == "stateType":
            wrapped = self._type(proto.stateType.wrappedType)
            if isinstance(wrapped, TensorType):
                return StateType(wrapped)
        if kind == "dictionaryType":
            return DictionaryType()
        raise PackageError("a value has an unknown type", received=kind)

    def _value(self, proto: Any) -> Constant:
        type_ = self._type(proto.type)
        if proto.WhichOneof("value") == "blobFileValue":
            blob = proto.blobFileValue
            return Constant(type_, weights=self._file(blob.fileName), offset=blob.offset)
        return Constant(type_, self._immediate(type_, proto.immediateValue))

    def _file(self, name: str) -> WeightFile:
        # A package's own file only: the part after "@model_path/weights/".
        file_name = name.rsplit("/", 1)[-1]
        if file_name not in self._files:
            self._files[file_name] = WeightFile(self._weights_folder / file_name)
        return self._files[file_name]

    def _immediate(self, type_: Type, proto: Any) -> Any:
        kind = proto.WhichOneof("value")
        if kind == "tensor" and isinstance(type_, TensorType):
            return _immediate_tensor(type_, proto.tensor)
        if kind == "list":
            return [self._value(item).value for item in proto.list.values]
        if kind == "dictionary":
            return {
                _hashable(self._value(pair.key).value): self._value(pair.value).value
                for pair in proto.dictionary.values
            }
        raise PackageError("a constant has an unknown form", received=kind)


def _check_rank(value: Value, what: str) -> None:
    if isinstance(value.type, TensorType) and value.type.rank > MAXIMUM_RANK:
        raise PackageError(
            f"{what} of more axes than Core ML loads",
            received=f"{value.name!r} of {value.type.rank} axes",
            supported=f"{MAXIMUM_RANK} axes",
        )


def _immediate_tensor(type_: TensorType, proto: Any) -> Array:
    shape = _static_shape(type_, "a constant")
    count = _count(shape)
    kind = proto.WhichOneof("value")
    if kind == "bytes":
        raw: Array = np.frombuffer(proto.bytes.values, np.uint8)
        if type_.dtype in SUB_BYTE_BITS:
            return unpack_bits(raw, type_.dtype, count).reshape(shape)
        numpy_dtype = NUMPY_DTYPES.get(type_.dtype)
        if numpy_dtype is None or raw.size != count * numpy_dtype.itemsize:
            raise PackageError(f"a constant of {count} {type_.dtype} has {raw.size} bytes")
        return raw.view(numpy_dtype).reshape(shape)
    if kind not in _IMMEDIATE_FIELDS:
        if count == 0:
            return np.zeros(shape, NUMPY_DTYPES.get(type_.dtype, np.dtype(np.object_)))
        raise PackageError("a constant has no value", received=kind)
    elements = getattr(proto, kind).values
    if len(elements) != count:
        raise PackageError(f"a constant of shape {shape} has {len(elements)} elements")
    target = np.dtype(np.object_) if type_.dtype == "string" else NUMPY_DTYPES[type_.dtype]
    return np.array(elements, dtype=target).reshape(shape)


def _dimension(proto: Any) -> int | None:
    return int(proto.constant.size) if proto.WhichOneof("dimension") == "constant" else None


def _static_shape(type_: TensorType, what: str) -> tuple[int, ...]:
    shape = tuple(size for size in type_.shape if size is not None)
    if len(shape) != type_.rank:
        raise PackageError(f"{what} has an unknown dimension", received=type_.shape)
    if _count(shape) > MAXIMUM_CONSTANT_BYTES:
        raise PackageError(f"{what} is larger than any model's", received=shape)
    return shape


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def _hashable(value: Any) -> Any:
    return value.item() if isinstance(value, np.ndarray) else value


def _text(constant: Constant | None) -> str:
    return str(constant.value.item()) if constant is not None else "(unnamed)"

"""Models of one operator, made by hand: what TFLiteConverter never writes, in the schema's own terms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.frontends.tflite.options import options_table
from harness.frontends.tflite.schema import schema
from harness.quiet import quiet_imports


@dataclass(frozen=True)
class Tensor:
    """A tensor of the model; with ``values`` a constant. A size None is flexible.

    ``scales`` and ``zero_points`` quantise it, one for the tensor or one for each index of ``axis``. ``is_variable``:
    it holds a layer's state.
    """

    shape: tuple[int | None, ...]
    dtype: str = "float32"
    values: Any = None
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()
    axis: int = 0
    is_variable: bool = False


def constant(values: Any, dtype: str = "float32") -> Tensor:
    """A constant of plain numbers."""
    array = np.asarray(values, dtype)
    return Tensor(array.shape, dtype, array)


def one_operator(
    operator: str,
    inputs: Sequence[Tensor | None],
    outputs: Sequence[Tensor],
    options: dict[str, Any] | None = None,
    version: int = 1,
    custom_options: bytes = b"",
) -> bytes:
    """A model whose inputs are the operator's that are not constant: ``input_0`` and so on, in order.

    ``options`` are fields of the operator's table by the schema's names, enumerations as numbers. An operator that is
    none of the schema's is a custom one. None is an optional input that is left out.
    """
    with quiet_imports():
        from tensorflow.lite.python import schema_py_generated as generated

    model = generated.ModelT()
    model.version, model.buffers, model.description = 3, [_buffer(generated, b"")], "made by hand"
    graph = generated.SubGraphT()
    graph.tensors, graph.inputs, graph.outputs, graph.name = [], [], [], "main"
    operation = generated.OperatorT()
    operation.inputs, operation.outputs = [], []
    for tensor in inputs:
        if tensor is None:
            operation.inputs.append(-1)
            continue
        index = len(graph.tensors)
        name = f"constant_{index}" if tensor.values is not None else f"input_{len(graph.inputs)}"
        graph.tensors.append(_tensor(generated, tensor, name, model.buffers))
        operation.inputs.append(index)
        if tensor.values is None and not tensor.is_variable:
            graph.inputs.append(index)
    for position, tensor in enumerate(outputs):
        index = len(graph.tensors)
        graph.tensors.append(_tensor(generated, tensor, f"output_{position}", model.buffers))
        operation.outputs.append(index)
        graph.outputs.append(index)
    code = generated.OperatorCodeT()
    number = getattr(generated.BuiltinOperator, operator, generated.BuiltinOperator.CUSTOM)
    code.builtinCode, code.version = number, version
    code.deprecatedBuiltinCode = min(number, 127)
    if number == generated.BuiltinOperator.CUSTOM:
        code.customCode = operator
        operation.customOptions = list(custom_options)
    elif (table := options_table(operator, schema())) is not None:
        _set_options(generated, operation, table, options or {})
    graph.operators, model.subgraphs, model.operatorCodes = [operation], [graph], [code]
    return written(model)


def _set_options(generated: Any, operation: Any, table: str, options: dict[str, Any]) -> None:
    values = getattr(generated, f"{table}T")()
    for name, value in options.items():
        first, *rest = name.split("_")
        field = first + "".join(part.capitalize() for part in rest)
        if not hasattr(values, field):
            raise ValueError(f"{table} has no field {name}")
        setattr(values, field, value)
    suffix = "" if hasattr(generated.BuiltinOptions, table) else "2"
    setattr(operation, f"builtinOptions{suffix}Type", getattr(getattr(generated, f"BuiltinOptions{suffix}"), table))
    setattr(operation, f"builtinOptions{suffix}", values)


def _buffer(generated: Any, content: bytes) -> Any:
    buffer = generated.BufferT()
    buffer.data = np.frombuffer(content, np.uint8) if content else None
    return buffer


def _stored(tensor: Tensor) -> bytes:
    """Values as a file holds them: of int4, two in a byte, the first in its low bits."""
    if tensor.dtype != "int4":
        return np.asarray(tensor.values, tensor.dtype).tobytes()
    halves = np.asarray(tensor.values, np.int8).reshape(-1).view(np.uint8) & 15
    halves = np.append(halves, np.zeros(halves.size % 2, np.uint8))
    return (halves[0::2] | halves[1::2] << 4).astype(np.uint8).tobytes()


def _tensor(generated: Any, tensor: Tensor, name: str, buffers: list[Any]) -> Any:
    made = generated.TensorT()
    made.name, made.hasRank, made.isVariable = name, True, tensor.is_variable
    made.shape = [1 if size is None else size for size in tensor.shape]
    if None in tensor.shape:
        made.shapeSignature = [-1 if size is None else size for size in tensor.shape]
    made.type = getattr(generated.TensorType, tensor.dtype.upper())
    if tensor.values is not None:
        made.buffer = len(buffers)
        buffers.append(_buffer(generated, _stored(tensor)))
    if tensor.scales:
        made.quantization = generated.QuantizationParametersT()
        made.quantization.scale = list(tensor.scales)
        made.quantization.zeroPoint = list(tensor.zero_points or (0,) * len(tensor.scales))
        made.quantization.quantizedDimension = tensor.axis
    return made


def parts_of(content: bytes) -> Any:
    """A model in the schema's objects, to be changed."""
    with quiet_imports():
        from tensorflow.lite.python import schema_py_generated as generated

    return generated.ModelT.InitFromPackedBuf(bytearray(content), 0)


def written(parts: Any) -> bytes:
    """The bytes of a model in the schema's objects."""
    with quiet_imports():
        import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(parts.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def put(path: str, value: Any) -> Callable[[Any], None]:
    """Sets a field, such as ``subgraphs.0.tensors.1.shape``, of the model."""

    def change(parts: Any) -> None:
        *steps, last = path.split(".")
        for step in steps:
            parts = parts[int(step)] if step.isdigit() else getattr(parts, step)
        setattr(parts, last, value)

    return change

"""What recurrent layers are made of: weights of several gates as one, steps in turn, states on their grids."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import mb
from harness.frontends.dispatch import Array, Value, Var
from harness.frontends.recurrent import timesteps
from harness.frontends.tflite.compression import decompressed, dequantized
from harness.frontends.tflite.graph import TensorInfo
from harness.frontends.tflite.layout import is_known, known
from harness.frontends.tflite.node import Node
from harness.frontends.tflite.quantization import is_quantized, rounded

# Of MIL's recurrent operations, by TFLite's fused ones.
MIL_ACTIVATIONS = {"TANH": "tanh", "RELU": "relu", "NONE": "linear"}


def numbers(value: Value) -> Array:
    """A constant that may be compressed, in float32. Raises UnsupportedError for what is computed."""
    found = decompressed(value)
    found = known(value) if found is None else found
    if found is None:
        raise UnsupportedError(
            "the weights of a recurrent layer must be constants", received="a value that is computed"
        )
    return found.astype(np.float32)


def rows(weights: Sequence[Value]) -> Value:
    """Weights of several gates below each other; compressed where all of them are."""
    operations = [None if isinstance(weight, np.ndarray) else weight.op for weight in weights]
    if len(weights) == 1:
        return weights[0]
    if any(item is None or item.op_type != "constexpr_affine_dequantize" for item in operations):
        return np.concatenate([numbers(weight) for weight in weights])
    scales, zero_points = [], []
    for weight, item in zip(weights, operations, strict=True):
        assert item is not None
        count = int(weight.shape[0])
        if np.size(item.scale.val) > 1 and int(item.axis.val) != 0:
            return np.concatenate([numbers(each) for each in weights])
        scales.append(np.broadcast_to(item.scale.val, count))
        zero_points.append(np.broadcast_to(item.zero_point.val, count))
    integers = np.concatenate([item.quantized_data.val for item in operations if item is not None])
    return dequantized(integers, np.concatenate(scales), np.concatenate(zero_points), 0)


def linear(x: Var, weight: Value, bias: Array | None = None) -> Var:
    """x W^T + b."""
    return mb.linear(x=x, weight=weight, **({} if bias is None else {"bias": bias}))


def steps_first(x: Var, time_major: bool) -> Var:
    """(batch, steps, ...) to (steps, batch, ...), and back."""
    return x if time_major else mb.transpose(x=x, perm=[1, 0, 2])


def run(given: Var, step: Callable[[Var], Var], backwards: bool) -> Var:
    """``step`` of each element in turn, stacked in the order of the sequence."""
    parts = timesteps(given)
    outputs: list[Var] = parts[:]
    for number in reversed(range(len(parts))) if backwards else range(len(parts)):
        outputs[number] = step(parts[number])
    return mb.stack(values=outputs, axis=0)


def clipped(x: Var, bound: float) -> Var:
    """Within the bound, where it is not 0."""
    return mb.clip(x=x, alpha=np.float32(-bound), beta=np.float32(bound)) if bound > 0 else x


def gridded(x: Var, tensor: TensorInfo | None) -> Var:
    """A state as the integers that the interpreter keeps."""
    return rounded(x, tensor) if tensor is not None and is_quantized(tensor) else x


def zeros(batch: object, size: int) -> Array:
    """The state before the first step."""
    if not is_known(batch):
        raise UnsupportedError("a recurrent layer has to know its batch", received=batch)
    return np.zeros((int(batch), size), np.float32)  # type: ignore[call-overload]


def inputs_at(inputs: Sequence[Value | None], begin: int, count: int) -> list[Value | None]:
    """Inputs, of which the last may be missing."""
    return [inputs[index] if index < len(inputs) else None for index in range(begin, begin + count)]


def info_of(node: Node, index: int) -> TensorInfo | None:
    """What is known of an input, which may be missing."""
    return node.inputs[index] if index < len(node.inputs) else None

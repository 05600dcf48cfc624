"""Where a conversion may differ from the interpreter although every operator is translated: told, never silent."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from harness.frontends.tflite.graph import Operator, Subgraph, TensorInfo

HYBRID = (
    "the interpreter rounds the float input to 8 bits because the weights are integers; here it is computed in "
    "floating point, nearer to the model that was quantised"
)
BY_A_STEP = "integers are computed as floats that are rounded, so that a result may differ by one step of its scale"
HALVES = "integers of 16 bits are computed as float16, which holds 11 bits: float32 (--precision) computes the integers"
NARROW = "it computes with 64-bit integers, Core ML with 32: what goes beyond wraps"
CLIPPED = "a constant beyond 32 bits is clipped"
HALF_STATE = "a variable is kept as float16 from one prediction to the next"

_HYBRID = frozenset(
    {
        "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "BATCH_MATMUL", "LSTM",
        "UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM", "RNN", "UNIDIRECTIONAL_SEQUENCE_RNN",
        "BIDIRECTIONAL_SEQUENCE_RNN", "SVDF", "EMBEDDING_LOOKUP_SPARSE",
    }
)  # fmt: skip
# Those whose results can be wider than their operands.
_GROWS = frozenset(
    {"ADD", "SUB", "MUL", "POW", "SUM", "CUMSUM", "REDUCE_PROD", "ADD_N", "SQUARE", "SQUARED_DIFFERENCE", "LEFT_SHIFT",
     "BATCH_MATMUL", "RANGE", "CAST"}
)  # fmt: skip
# A bound beyond 32 bits means "to the end".
_TO_THE_END = frozenset({"SLICE", "STRIDED_SLICE"})
_NAMED = 5  # operators in one warning


class Inexact:
    """The operators of one model, by reason."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], list[int]] = {}

    def note(self, operator: Operator, reason: str) -> None:
        """One operator may differ."""
        indices = self._found.setdefault((operator.name, reason), [])
        if operator.index not in indices:
            indices.append(operator.index)

    def inspect(self, subgraphs: Iterable[Subgraph]) -> None:
        """What the file itself tells."""
        for subgraph in subgraphs:
            for operator in subgraph.operators:
                inputs = [subgraph.tensors[index] for index in operator.inputs if index >= 0]
                outputs = [subgraph.tensors[index] for index in operator.outputs]
                for reason in _reasons(operator, inputs, outputs):
                    self.note(operator, reason)

    def messages(self) -> tuple[str, ...]:
        """One for each operator and reason."""
        return tuple(f"{name} ({_listed(indices)}): {reason}" for (name, reason), indices in self._found.items())


def _listed(indices: list[int]) -> str:
    named = ", ".join(str(index) for index in indices[:_NAMED])
    more = f" and {len(indices) - _NAMED} more" if len(indices) > _NAMED else ""
    return f"operator{'s' if len(indices) > 1 else ''} {named}{more}"


def _reasons(operator: Operator, inputs: list[TensorInfo], outputs: list[TensorInfo]) -> list[str]:
    reasons = []
    quantized = [item for item in inputs if item.is_constant and item.quantization is not None]
    is_float = bool(inputs) and inputs[0].dtype == "float32"
    if operator.name in _HYBRID and is_float and any(item.dtype in ("int8", "uint8", "int4") for item in quantized):
        reasons.append(HYBRID)
    if operator.name in _GROWS and any(item.dtype in ("int64", "uint64") for item in outputs):
        reasons.append(NARROW)
    if operator.name not in _TO_THE_END and any(_is_clipped(item) for item in inputs):
        reasons.append(CLIPPED)
    return reasons


def _is_clipped(tensor: TensorInfo) -> bool:
    if not tensor.is_constant or tensor.dtype not in ("int64", "uint64", "uint32") or tensor.quantization is not None:
        return False
    values, limits = tensor.array(), np.iinfo(np.int32)
    return bool(values.size) and (int(values.max()) > limits.max or int(values.min()) < limits.min)

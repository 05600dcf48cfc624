"""A TFLite model as frozen dataclasses; ``reader.read_graph`` makes them of a file that it has verified."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.errors import UnknownNameError, UsageError
from harness.frontends.dispatch import Array
from harness.frontends.program import identifier
from harness.frontends.tflite.weights import Sparsity, densify, unpack

SERVING = "serving_default"


@dataclass(frozen=True)
class Blockwise:
    """Scales and zero points in tensors of their own (indices; -1 for no zero points), one for each block."""

    scales: int
    zero_points: int
    block_size: int


@dataclass(frozen=True, eq=False)
class Quantization:
    """real = scale * (stored - zero point), with one pair for the tensor, or one for each index of ``axis``.

    ``scales`` is float32, ``zero_points`` int64, of the same length. Where ``blockwise`` is given both are empty.
    """

    scales: Array
    zero_points: Array
    axis: int
    blockwise: Blockwise | None = None

    @property
    def is_per_axis(self) -> bool:
        """Whether there are several scales."""
        return len(self.scales) > 1


@dataclass(frozen=True, eq=False)
class TensorInfo:
    """A tensor of a subgraph. In ``shape`` a flexible size is what the file says (1); in ``shape_signature`` None.

    ``dtype`` is numpy's name, or one of bfloat16, int4, uint4, int2, string, resource, variant. ``buffer`` holds a
    constant's bytes as stored, a view into the file.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    shape_signature: tuple[int | None, ...]
    dtype: str
    buffer: Array | None = None
    quantization: Quantization | None = None
    sparsity: Sparsity | None = None
    is_variable: bool = False

    @property
    def is_constant(self) -> bool:
        """Whether the file holds its values."""
        return self.buffer is not None

    @property
    def is_flexible(self) -> bool:
        """Whether any size is only known when the model runs."""
        return None in self.shape_signature

    def array(self) -> Array:
        """A constant's values in ``shape``: a read-only view where they are stored plainly.

        int4 and int2 become int8, uint4 uint8, bfloat16 float32, sparse tensors dense. Quantised values stay so. Raises
        UsageError for a tensor that is no constant of numbers.
        """
        if self.buffer is None or self.dtype in ("string", "resource", "variant"):
            raise UsageError(f"tensor {self.index} {self.name!r} is no constant of numbers", received=self.dtype)
        if self.sparsity is not None:
            return densify(unpack(self.buffer, -1, self.dtype), self.shape, self.sparsity)
        return unpack(self.buffer, math.prod(self.shape), self.dtype).reshape(self.shape)


@dataclass(frozen=True, eq=False)
class Operator:
    """One operator: ``name`` as in the schema's BuiltinOperator, or a custom operator's own.

    ``inputs``, ``outputs`` and ``intermediates`` are indices of tensors; -1 is an optional input that is left out.
    ``options`` holds every field of the operator's table of options by name.
    """

    index: int
    name: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    custom_options: bytes = b""
    intermediates: tuple[int, ...] = ()
    is_custom: bool = False


@dataclass(frozen=True, eq=False)
class Subgraph:
    """Operators in the order of execution, in which every tensor is defined before its use."""

    name: str
    tensors: tuple[TensorInfo, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: tuple[Operator, ...]


@dataclass(frozen=True)
class Signature:
    """One way of calling the model: a subgraph, and its inputs and outputs by name, as indices of its tensors."""

    name: str
    subgraph: int
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class TFLiteGraph:
    """A verified model; ``subgraphs[0]`` is the one that is called where there is no signature."""

    name: str
    description: str
    subgraphs: tuple[Subgraph, ...]
    signatures: tuple[Signature, ...]
    metadata: Mapping[str, Array] = field(default_factory=dict)

    def interface(self, signature: str | None = None) -> Signature:
        """What is called: the signature of that name; else the only one, or serving_default; else the first subgraph.

        Without signatures, names are those of the tensors as identifiers. Raises UnknownNameError.
        """
        by_name = {item.name: item for item in self.signatures}
        if signature is not None:
            if signature not in by_name:
                raise UnknownNameError(
                    f"model {self.name} has no signature {signature!r}", supported=sorted(by_name) or "none at all"
                )
            return by_name[signature]
        if len(by_name) == 1:
            return self.signatures[0]
        if by_name and SERVING not in by_name:
            raise UnknownNameError(
                f"model {self.name} does not say which of its signatures serves", supported=sorted(by_name),
                remedy="Name one of them: MODEL@SIGNATURE",
            )  # fmt: skip
        if by_name:
            return by_name[SERVING]
        main = self.subgraphs[0]
        taken: set[str] = set()
        inputs = {_clean_name(main.tensors[index], "input", taken): index for index in main.inputs}
        outputs = {_clean_name(main.tensors[index], "output", taken): index for index in main.outputs}
        return Signature("", 0, inputs, outputs)


def _clean_name(tensor: TensorInfo, role: str, taken: set[str]) -> str:
    """A tensor's name as an identifier that is not taken yet: ``serving_default_x:0`` is ``x``."""
    return identifier(re.sub(r"^serving_default_|:\d+$", "", tensor.name), role, taken)

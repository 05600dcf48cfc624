"""How floats are rounded while a program runs on the portable runtime.

``float32``: float16 tensors are computed and kept in float32: the error of the conversion alone.
``float16``: the result of every op that MIL declares float16 is rounded to float16, accumulation
stays in float32; ops that only move values are not rounded again. This is one model of a device:
Apple does not publish the accumulation and rounding of its compute units.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from harness.errors import UnknownNameError
from harness.runtimes.portable.program import TensorType, Type
from harness.tensors import Array

Numerics = Literal["float32", "float16"]
NUMERICS: tuple[Numerics, ...] = ("float32", "float16")


def check_numerics(name: str) -> Numerics:
    """Raise UnknownNameError unless ``name`` is one of ours."""
    if name not in NUMERICS:
        raise UnknownNameError("unknown numerics", received=repr(name), supported=NUMERICS)
    return name


def rounds(numerics: Numerics, type_: Type) -> bool:
    """Whether a value of this type is rounded to float16."""
    return numerics == "float16" and isinstance(type_, TensorType) and type_.dtype == "fp16"


def round_to_float16(array: Array) -> Array:
    """Nearest float16 (ties to even, overflow to infinity), kept in float32."""
    with np.errstate(over="ignore"):
        return array.astype(np.float16).astype(np.float32)


def stored(value: Any, type_: Type, numerics: Numerics = "float32") -> Any:
    """A kernel's or constant's result as the runtime keeps a value of ``type_``."""
    if not isinstance(type_, TensorType) or type_.dtype == "string":
        return value
    if type_.dtype == "int64" and isinstance(value, int):
        return value  # a classifier's label, the only int64 that MIL computes
    array = np.asarray(value)
    if array.dtype != type_.storage:
        array = array.astype(type_.storage)
    return round_to_float16(array) if rounds(numerics, type_) else array

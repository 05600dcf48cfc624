"""Bits of integers, and changes of type."""

from __future__ import annotations

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import mb
from harness.frontends.dispatch import Value, Var
from harness.frontends.integers import NARROW, bits_as, combined_bits, converted, powers_of_two
from harness.frontends.program import as_var
from harness.frontends.selection import broadcast_together
from harness.frontends.tflite.node import Node
from harness.frontends.tflite.ops.fourier import real
from harness.frontends.tflite.registry import translates
from harness.frontends.tflite.types import computed_type


@translates("BITWISE_XOR")
def bitwise_xor(x: Var, y: Var, *, node: Node) -> Var:
    """Bits that are different."""
    dtype = computed_type(node.inputs[0])
    return mb.logical_xor(x=x, y=y) if dtype == "bool" else combined_bits("xor", x, y, dtype)


@translates("RIGHT_SHIFT")
def right_shift(x: Var, y: Var, *, node: Node) -> Var:
    """x divided by 2**y, rounded down; y is held within what the type has bits (``kernels/right_shift.cc``)."""
    dtype = computed_type(node.inputs[0])
    factor, inside = powers_of_two(y, min(NARROW[dtype][0], 31) if dtype in NARROW else 31)
    shifted = mb.floor_div(x=x, y=factor)
    if dtype in NARROW:
        return shifted
    sign = mb.maximum(x=mb.minimum(x=x, y=np.int32(0)), y=np.int32(-1))
    return mb.select(cond=broadcast_together(mb.greater(x=y, y=inside), shifted), a=sign, b=shifted)


@translates("BITCAST")
def bitcast(x: Value, *, node: Node) -> Value:
    """The same bits as another type, between integers; constants of any type."""
    given, wanted = (item.dtype for item in (node.inputs[0], node.outputs[0]) if item is not None)
    if given == wanted:
        return x
    if isinstance(x, np.ndarray) and x.dtype == given:
        shape = [int(size) for size in node.outputs[0].shape]
        return np.ascontiguousarray(x).view(np.dtype(wanted)).reshape(shape)
    return bits_as(as_var(x), given, wanted)


@translates("CAST")
def cast(x: Var, *, in_data_type: str = "", out_data_type: str = "", node: Node) -> Var:
    """Floats are truncated towards zero and saturate, integers wrap; of complex numbers the real part."""
    given, wanted = computed_type(node.inputs[0]), node.outputs[0].dtype
    if "complex" in given:
        return x if "complex" in wanted else _converted(real(x), "float32", wanted)
    if "complex" in wanted:
        raise UnsupportedError("a cast to complex numbers", received=f"{given} to {wanted}")
    if node.outputs[0].quantization is not None and computed_type(node.outputs[0]) == "float32":
        wanted = "float32"
    return _converted(x, given, wanted)


def _converted(x: Var, given: str, wanted: str) -> Var:
    if given == "float32" and wanted in NARROW:
        bits, is_signed = NARROW[wanted]
        least = -(1 << bits - 1) if is_signed else 0
        x = mb.clip(
            x=x, alpha=np.float32(least), beta=np.float32(least + (1 << bits) - 1)
        )  # C leaves open what lies beyond
    return converted(x, given, wanted)

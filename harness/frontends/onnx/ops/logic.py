"""Comparison, logic, selection and type changes."""

from __future__ import annotations

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import like, mb
from harness.frontends.dispatch import Value, Var
from harness.frontends.integers import NARROW, bits_as, combined_bits, converted, powers_of_two, wrapped
from harness.frontends.onnx.graph import Node
from harness.frontends.onnx.registry import TRANSLATIONS, translates
from harness.frontends.selection import broadcast_together, where

TRANSLATIONS.directly(
    {
        "Less": "less", "LessOrEqual": "less_equal", "Greater": "greater", "GreaterOrEqual": "greater_equal",
        "And": "logical_and", "Or": "logical_or", "Xor": "logical_xor",
    },
    parameters=("x", "y"),
)  # fmt: skip
TRANSLATIONS.directly({"Not": "logical_not"})
translates("Where")(where)


@translates("Equal")
def equal(x: Var, y: Var, *, node: Node) -> Var:
    """x == y."""
    if node.input_dtype() == "bool":
        return mb.logical_not(x=mb.logical_xor(x=x, y=y))
    return mb.equal(x=x, y=y)


@translates("IsNaN")
def is_nan(x: Var) -> Var:
    """x != x."""
    return mb.not_equal(x=x, y=x)


@translates("IsInf")
def is_inf(x: Var, *, detect_negative: int = 1, detect_positive: int = 1) -> Var:
    """Infinite, on the wanted sides."""
    infinity = like(x, np.inf)
    if detect_positive and detect_negative:
        return mb.equal(x=mb.abs(x=x), y=infinity)
    if detect_positive or detect_negative:
        return mb.equal(x=x, y=infinity if detect_positive else -infinity)
    return mb.logical_and(x=mb.equal(x=x, y=infinity), y=mb.equal(x=x, y=-infinity))


@translates("BitwiseNot")
def bitwise_not(x: Var, *, node: Node) -> Var:
    """Every bit turned."""
    dtype = node.input_dtype()
    if dtype in ("uint32", "uint64"):
        raise UnsupportedError("int32 does not hold the result", received=dtype)
    return wrapped(mb.sub(x=np.int32(-1), y=x), dtype)


def _converted(x: Var, given: str, wanted: str) -> Var:
    if given.startswith(("bfloat", "float8", "float4")):
        given = "float32"  # as the frontend takes such inputs
    return converted(x, given, wanted)


@translates("Cast")
def cast(x: Var, *, to: int, saturate: int = 1, round_mode: str = "up", node: Node) -> Var:
    """Floats are truncated towards zero; integers wrap."""
    return _converted(x, node.input_dtype(), node.output_dtype())


@translates("CastLike", since=15)
def cast_like(x: Var, other: Value, *, saturate: int = 1, round_mode: str = "up", node: Node) -> Var:
    """In the type of ``other``."""
    return _converted(x, node.input_dtype(), node.input_dtype(1))


@translates("BitCast", since=26)
def bit_cast(x: Var, *, to: int, node: Node) -> Var:
    """The same bits as another type, between integers that int32 holds."""
    return bits_as(x, node.input_dtype(), node.output_dtype())


@translates("BitShift", since=11)
def bit_shift(x: Var, y: Var, *, direction: str, node: Node) -> Var:
    """By powers of two. By less than nothing, or by as many bits as there are or more, only the sign is left to the
    right, and nothing to the left."""
    dtype = node.input_dtype()
    is_signed = not dtype.startswith("u")
    to_right = direction == "RIGHT"
    if not to_right and dtype not in (*NARROW, "int32"):
        raise UnsupportedError("int32 does not hold every shifted value", received=dtype, supported="32 bits, signed")
    # To the right, 31 bits leave the sign alone already; to the left, 2**31 wraps as the product does.
    bits = NARROW[dtype][0] if dtype in NARROW else 31 if to_right else 32
    factor, inside = powers_of_two(y, bits)
    shifted = mb.floor_div(x=x, y=factor) if to_right else wrapped(mb.mul(x=x, y=factor), dtype)
    is_inside = mb.equal(x=y, y=inside)
    sign = mb.maximum(x=mb.minimum(x=x, y=np.int32(0)), y=np.int32(-1)) if to_right and is_signed else np.int32(0)
    return mb.select(cond=broadcast_together(is_inside, x), a=shifted, b=sign)


def _bitwise(operator: str, combine: str) -> None:
    def translate(x: Var, y: Var, *, node: Node) -> Var:
        return combined_bits(combine, x, y, node.input_dtype())

    translates(operator, since=18)(translate)


for _operator, _combine in (("BitwiseAnd", "and"), ("BitwiseOr", "or"), ("BitwiseXor", "xor")):
    _bitwise(_operator, _combine)

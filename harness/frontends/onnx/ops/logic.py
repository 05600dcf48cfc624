"""Comparison, logic, selection and type changes."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import like, mb
from harness.frontends.dispatch import Value, Var
from harness.frontends.onnx.graph import Node
from harness.frontends.onnx.ops.elementwise import INTEGERS, NARROW, held, wrapped
from harness.frontends.onnx.registry import TRANSLATIONS, translates
from harness.frontends.program import constant

TRANSLATIONS.directly(
    {
        "Less": "less", "LessOrEqual": "less_equal", "Greater": "greater", "GreaterOrEqual": "greater_equal",
        "And": "logical_and", "Or": "logical_or", "Xor": "logical_xor",
    },
    parameters=("x", "y"),
)  # fmt: skip
TRANSLATIONS.directly({"Not": "logical_not"})


@translates("Equal")
def equal(x: Var, y: Var, *, node: Node) -> Var:
    """x == y."""
    if node.input_dtype() == "bool":
        return mb.logical_not(x=mb.logical_xor(x=x, y=y))
    return mb.equal(x=x, y=y)


@translates("Where")
def where(condition: Var, a: Var, b: Var) -> Var:
    """a where the condition holds, else b. MIL does not broadcast a and b to the condition's shape."""
    shapes = [tuple(value.shape) for value in (condition, a, b)]
    if all(isinstance(size, int | np.integer) for shape in shapes for size in shape):
        whole = np.broadcast_shapes(*shapes)
        if np.broadcast_shapes(*shapes[1:]) != whole:
            a = _broadcast(a, whole)
    return mb.select(cond=condition, a=a, b=b)


def _broadcast(x: Var, shape: tuple[int, ...]) -> Var:
    if x.val is not None:
        return constant(np.broadcast_to(x.val, shape).copy())
    given = [1] * (len(shape) - len(x.shape)) + [int(size) for size in x.shape]
    wide = mb.reshape(x=x, shape=given)
    return mb.tile(x=wide, reps=[new // old for new, old in zip(shape, given, strict=True)])


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


_MIL_TYPES = {"float32": "fp32", "float16": "fp16", "bool": "bool", "int32": "int32", "int64": "int32"}


def _converted(x: Var, given: str, wanted: str) -> Var:
    if given.startswith(("bfloat", "float8", "float4")):
        given = "float32"  # as the frontend takes such inputs
    if wanted in _MIL_TYPES:
        return x if given == wanted else mb.cast(x=x, dtype=_MIL_TYPES[wanted])
    integers = x if given in INTEGERS else mb.cast(x=x, dtype="int32")
    if wanted in NARROW:
        return wrapped(integers, wanted)
    # ONNX leaves open what floats below 0 become.
    if wanted in ("uint32", "uint64") and (given not in INTEGERS or given.startswith("u")):
        return integers
    raise UnsupportedError("this change of type is not the same in Core ML", received=f"{given} to {wanted}")


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
    given, wanted = node.input_dtype(), node.output_dtype()
    if given == "bool" and wanted in NARROW:
        return mb.cast(x=x, dtype="int32")
    if given == wanted or (given in NARROW and wanted in NARROW):
        return x if given == wanted else wrapped(x, wanted)
    if (given, wanted) in (("uint32", "int32"), ("uint64", "int64")):
        # An unsigned value that int32 holds has the same bits.
        return x
    raise UnsupportedError("bits of this type are not read as the other", received=f"{given} as {wanted}")


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
    powers = (np.int64(1) << np.arange(bits)).astype(np.int32)
    inside = mb.minimum(x=mb.maximum(x=y, y=np.int32(0)), y=np.int32(bits - 1))
    factor = mb.gather(x=powers, indices=inside, axis=0)
    shifted = mb.floor_div(x=x, y=factor) if to_right else wrapped(mb.mul(x=x, y=factor), dtype)
    is_inside = mb.equal(x=y, y=inside)
    sign = mb.maximum(x=mb.minimum(x=x, y=np.int32(0)), y=np.int32(-1)) if to_right and is_signed else np.int32(0)
    return mb.select(cond=_broadcast_together(is_inside, x), a=shifted, b=sign)


def _broadcast_together(condition: Var, x: Var) -> Var:
    """The condition in the shape that it and x have together."""
    shapes = [tuple(int(size) for size in value.shape) for value in (condition, x)]
    whole = np.broadcast_shapes(*shapes)
    return condition if shapes[0] == whole else mb.logical_or(x=condition, y=np.zeros(whole, bool))


def _bitwise(operator: str, combine: str) -> None:
    """By arithmetic on each bit: floor division and remainder work on two's complement, of which the sign is the
    last bit (x = sum of bits - sign * 2**n)."""

    def translate(x: Var, y: Var, *, node: Node) -> Var:
        dtype = node.input_dtype()
        held(dtype, x, y)
        if combine == "and" and y.val is not None and np.size(y.val) == 1:
            mask = int(np.reshape(y.val, ())) + 1
            if mask > 0 and mask & (mask - 1) == 0 and x.rank >= y.rank:
                return mb.mod(x=x, y=np.int32(mask))
        total: Any = None
        for bit in range(NARROW[dtype][0] if dtype in NARROW else 31):
            both = [mb.mod(x=mb.floor_div(x=value, y=np.int32(1 << bit)), y=np.int32(2)) for value in (x, y)]
            part = mb.mul(x=_combined(combine, both[0], both[1]), y=np.int32(1 << bit))
            total = part if total is None else mb.add(x=total, y=part)
        if dtype in NARROW:
            return wrapped(total, dtype)
        signs = [mb.cast(x=mb.less(x=value, y=np.int32(0)), dtype="int32") for value in (x, y)]
        return mb.add(x=total, y=mb.mul(x=_combined(combine, signs[0], signs[1]), y=np.int32(-(2**31))))

    translates(operator, since=18)(translate)


def _combined(combine: str, a: Var, b: Var) -> Var:
    """Of bits that are 0 or 1."""
    if combine == "and":
        return mb.mul(x=a, y=b)
    if combine == "or":
        return mb.maximum(x=a, y=b)
    return mb.abs(x=mb.sub(x=a, y=b))


for _operator, _combine in (("BitwiseAnd", "and"), ("BitwiseOr", "or"), ("BitwiseXor", "xor")):
    _bitwise(_operator, _combine)

"""Comparison, logic, selection and type changes."""

from __future__ import annotations

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import mb
from harness.frontends.dispatch import Value, Var
from harness.frontends.onnx.graph import Node
from harness.frontends.onnx.ops.elementwise import NARROW, wrapped
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
    """Beyond the greatest finite float32, on the wanted sides."""
    greatest = np.float32(np.finfo(np.float32).max)
    if detect_positive and detect_negative:
        return mb.greater(x=mb.abs(x=x), y=greatest)
    if detect_positive:
        return mb.greater(x=x, y=greatest)
    if detect_negative:
        return mb.less(x=x, y=-greatest)
    return mb.not_equal(x=mb.mul(x=x, y=np.float32(0)), y=mb.mul(x=x, y=np.float32(0)))


@translates("BitwiseNot")
def bitwise_not(x: Var, *, node: Node) -> Var:
    """Every bit turned."""
    dtype = node.input_dtype()
    if dtype in ("uint32", "uint64"):
        raise UnsupportedError("int32 does not hold the result", received=dtype)
    return wrapped(mb.sub(x=np.int32(-1), y=x), dtype)


_MIL_TYPES = {"float32": "fp32", "float16": "fp16", "bool": "bool", "int32": "int32", "int64": "int32"}


def _converted(x: Var, given: str, wanted: str) -> Var:
    if wanted in _MIL_TYPES:
        return x if given == wanted else mb.cast(x=x, dtype=_MIL_TYPES[wanted])
    if wanted in NARROW and given in (*NARROW, "bool", "int32", "int64"):
        return wrapped(mb.cast(x=x, dtype="int32") if given == "bool" else x, wanted)
    if wanted in ("uint32", "uint64") and given in ("bool", "uint8", "uint16", "uint32", "uint64"):
        return mb.cast(x=x, dtype="int32") if given == "bool" else x
    raise UnsupportedError("this change of type is not the same in Core ML", received=f"{given} to {wanted}")


@translates("Cast")
def cast(x: Var, *, to: int, saturate: int = 1, round_mode: str = "up", node: Node) -> Var:
    """Floats are truncated towards zero; integers wrap."""
    return _converted(x, node.input_dtype(), node.output_dtype())


@translates("CastLike", since=15)
def cast_like(x: Var, like: Value, *, saturate: int = 1, round_mode: str = "up", node: Node) -> Var:
    """In the type of ``like``."""
    return _converted(x, node.input_dtype(), node.input_dtype(1))


@translates("BitShift", since=11)
def bit_shift(x: Var, y: Var, *, direction: str, node: Node) -> Var:
    """By powers of two; types whose values int32 holds."""
    dtype = node.input_dtype()
    if not dtype.startswith("u") or dtype not in NARROW:
        raise UnsupportedError("int32 does not hold the shifted value", received=dtype, supported="uint8, uint16")
    factor = mb.cast(x=mb.round(x=mb.exp2(x=mb.cast(x=y, dtype="fp32"))), dtype="int32")
    if direction == "RIGHT":
        return mb.floor_div(x=x, y=factor)
    return wrapped(mb.mul(x=x, y=factor), dtype)

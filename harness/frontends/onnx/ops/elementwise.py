"""Arithmetic and functions of single elements, with broadcasting.

Integers are int32 in MIL: results of narrower ones are wrapped as ONNX Runtime's are, wider ones are refused where
32 bits could change the result.
"""

from __future__ import annotations

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import mb
from harness.frontends.dispatch import Value, Var
from harness.frontends.onnx.graph import Node
from harness.frontends.onnx.registry import TRANSLATIONS, translates
from harness.frontends.program import as_var

TRANSLATIONS.directly(
    {
        "Exp": "exp", "Sin": "sin", "Cos": "cos", "Tan": "tan", "Asin": "asin", "Acos": "acos", "Atan": "atan",
        "Sinh": "sinh", "Cosh": "cosh", "Atanh": "atanh", "Erf": "erf", "Sqrt": "sqrt", "Round": "round",
        "Floor": "floor", "Ceil": "ceil", "Sign": "sign",
    }
)  # fmt: skip

# Bits and sign of the integers that are narrower than int32.
NARROW = {
    "int2": (2, True), "int4": (4, True), "int8": (8, True), "int16": (16, True),
    "uint2": (2, False), "uint4": (4, False), "uint8": (8, False), "uint16": (16, False),
}  # fmt: skip
INTEGERS = frozenset({*NARROW, "int32", "int64", "uint32", "uint64"})


def wrapped(x: Var, dtype: str) -> Var:
    """``x`` modulo the range of a narrow integer type; others as they are."""
    if dtype not in NARROW:
        return x
    bits, is_signed = NARROW[dtype]
    span, half = 1 << bits, 1 << (bits - 1)
    if not is_signed:
        return mb.mod(x=x, y=np.int32(span))
    return mb.sub(x=mb.mod(x=mb.add(x=x, y=np.int32(half)), y=np.int32(span)), y=np.int32(half))


@translates("Add")
def add(x: Var, y: Var, *, node: Node) -> Var:
    """x + y."""
    return wrapped(mb.add(x=x, y=y), node.output_dtype())


@translates("Sub")
def sub(x: Var, y: Var, *, node: Node) -> Var:
    """x - y."""
    if node.output_dtype() in ("uint32", "uint64"):
        raise UnsupportedError("a difference of unsigned integers may wrap", received=node.output_dtype())
    return wrapped(mb.sub(x=x, y=y), node.output_dtype())


@translates("Mul")
def mul(x: Var, y: Var, *, node: Node) -> Var:
    """x * y."""
    return wrapped(mb.mul(x=x, y=y), node.output_dtype())


@translates("Div")
def div(x: Var, y: Var, *, node: Node) -> Var:
    """x / y; integers are truncated towards zero."""
    if node.output_dtype() not in INTEGERS:
        return mb.real_div(x=x, y=y)
    quotient = mb.floor_div(x=mb.abs(x=x), y=mb.abs(x=y))
    if node.output_dtype().startswith("u"):
        return quotient
    return mb.mul(x=quotient, y=mb.mul(x=mb.sign(x=x), y=mb.sign(x=y)))


@translates("Mod")
def mod(x: Var, y: Var, *, fmod: int = 0, node: Node) -> Var:
    """The remainder with y's sign, with ``fmod`` x's."""
    if not fmod:
        return mb.mod(x=x, y=y)
    size = mb.mod(x=mb.abs(x=x), y=mb.abs(x=y))
    return mb.mul(x=size, y=mb.sign(x=x))


@translates("Pow")
def power(x: Var, y: Var, *, node: Node) -> Var:
    """x ** y in the type of x."""
    if node.input_dtype() not in INTEGERS:
        exponent = y if node.input_dtype(1) not in INTEGERS else mb.cast(x=y, dtype="fp32")
        return mb.pow(x=x, y=exponent)
    if node.input_dtype(1) in INTEGERS:
        # Beyond 2**24 a float32 does not hold every integer.
        raise UnsupportedError("an integer power is not exact in float32", received=node.input_dtype())
    raise UnsupportedError("an integer to the power of a float is rounded in ways that differ", received="float")


def _reduced(name: str, values: tuple[Var, ...]) -> Var:
    result = values[0]
    for value in values[1:]:
        result = getattr(mb, name)(x=result, y=value)
    return result


@translates("Max")
def maximum(*values: Var) -> Var:
    """The greatest."""
    return _reduced("maximum", values) if len(values) > 1 else values[0]


@translates("Min")
def minimum(*values: Var) -> Var:
    """The least."""
    return _reduced("minimum", values) if len(values) > 1 else values[0]


@translates("Sum")
def total(*values: Var) -> Var:
    """The sum of all."""
    return _reduced("add", values) if len(values) > 1 else values[0]


@translates("Mean")
def mean(*values: Var) -> Var:
    """The mean of all."""
    return mb.mul(x=total(*values), y=np.float32(1 / len(values))) if len(values) > 1 else values[0]


@translates("Abs")
def absolute(x: Var) -> Var:
    """|x|."""
    return mb.abs(x=x)


@translates("Neg")
def negative(x: Var, *, node: Node) -> Var:
    """-x."""
    one = np.int32(-1) if node.input_dtype() in INTEGERS else np.float32(-1)
    return wrapped(mb.mul(x=x, y=one), node.output_dtype())


@translates("Reciprocal")
def reciprocal(x: Var) -> Var:
    """1 / x."""
    return mb.real_div(x=np.float32(1), y=x)


@translates("Log")
def log(x: Var) -> Var:
    """Natural logarithm, with nothing that counts added to x."""
    return mb.log(x=x, epsilon=np.float32(1e-45))


@translates("Asinh")
def asinh(x: Var) -> Var:
    """sign(x) * log(|x| + sqrt(x**2 + 1))."""
    size = mb.abs(x=x)
    root = mb.sqrt(x=mb.add(x=mb.mul(x=x, y=x), y=np.float32(1)))
    return mb.mul(x=mb.sign(x=x), y=log(mb.add(x=size, y=root)))


@translates("Acosh")
def acosh(x: Var) -> Var:
    """log(x + sqrt(x**2 - 1))."""
    root = mb.sqrt(x=mb.sub(x=mb.mul(x=x, y=x), y=np.float32(1)))
    return log(mb.add(x=x, y=root))


@translates("Clip", since=11)
def clip(x: Var, low: Value | None = None, high: Value | None = None) -> Var:
    """Within [low, high], either of which may be left out."""
    if low is not None:
        x = mb.maximum(x=x, y=as_var(low))
    return x if high is None else mb.minimum(x=x, y=as_var(high))


@translates("Clip")
def clip_by_attributes(x: Var, *, min: float | None = None, max: float | None = None) -> Var:  # noqa: A002
    """Within [min, max]."""
    if min is not None:
        x = mb.maximum(x=x, y=np.float32(min))
    return x if max is None else mb.minimum(x=x, y=np.float32(max))


@translates("Identity")
def identity(x: Value) -> Value:
    """x."""
    return x


@translates("Dropout", since=12)
def dropout(
    x: Value, ratio: Value | None = None, training: bool = False, *, seed: int = 0, node: Node
) -> tuple[Value, ...]:
    """x: nothing is dropped when a model is used, and the mask says so."""
    if training and not (isinstance(ratio, np.ndarray) and not ratio.reshape(())):
        raise UnsupportedError("dropout while training is random", received="training_mode")
    return (x, np.ones([int(size) for size in x.shape], bool)) if node.wants(1) else (x,)


@translates("Dropout")
def dropout_by_attribute(x: Value, *, ratio: float = 0.5, node: Node) -> tuple[Value, ...]:
    """x: nothing is dropped when a model is used."""
    if node.wants(1):
        raise UnsupportedError("masks of dropout before opset 12 have the type of x", received="a mask")
    return (x,)

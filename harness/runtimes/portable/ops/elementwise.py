"""Elementwise operations (coremltools ``iOS15`` and ``iOS17``: ``elementwise_unary.py``,
``elementwise_binary.py``; ``select`` of ``iOS15/control_flow.py``)."""

from __future__ import annotations

import numpy as np

from harness.runtimes.portable.onnx_graph import Tensor, cast_to, op
from harness.runtimes.portable.program import TensorType
from harness.runtimes.portable.registry import lowers, lowers_directly

# Unary ------------------------------------------------------------------------------------------

# round: halves to even, in ONNX as in numpy.
lowers_directly(
    {
        "acos": "Acos", "asin": "Asin", "atan": "Atan", "atanh": "Atanh", "cos": "Cos", "cosh": "Cosh",
        "erf": "Erf", "exp": "Exp", "sin": "Sin", "sinh": "Sinh", "sqrt": "Sqrt", "tan": "Tan",
    }
)  # fmt: skip
lowers_directly(
    {"abs": "Abs", "ceil": "Ceil", "floor": "Floor", "logical_not": "Not", "round": "Round", "sign": "Sign"}, moves=True
)

# The bits of the integers that are kept in an int32.
_NARROW = {"int8": 8, "uint8": 8, "int16": 16, "uint16": 16}


@lowers("cast")
def cast(x: Tensor, dtype: str, *, outputs: tuple[TensorType, ...]) -> Tensor:
    """``x`` in the declared dtype of the result.

    Floats are truncated towards zero, integers wrap in a narrower type, and everything but zero is
    true, as by numpy's ``astype``. The compiler appends the conversion between the kept dtypes.
    """
    wanted = outputs[0].dtype
    if wanted not in _NARROW:
        return op.Identity(x)
    bits = _NARROW[wanted]
    low = op.BitwiseAnd(cast_to(x, "int32"), 2**bits - 1)
    if wanted.startswith("u"):
        return low
    sign = op.BitwiseAnd(low, 2 ** (bits - 1))
    return op.Sub(low, op.Add(sign, sign))


@lowers("clip", moves=True)
def clip(x: Tensor, alpha: float, beta: float) -> Tensor:
    """min(max(x, alpha), beta)."""
    return op.Clip(x, alpha, beta)


@lowers("threshold", moves=True)
def threshold(x: Tensor, alpha: Tensor) -> Tensor:
    """max(x, alpha)."""
    return op.Max(x, alpha)


@lowers("exp2")
def exp2(x: Tensor) -> Tensor:
    """2 ** x; of integers, truncated."""
    return op.Pow(2.0, cast_to(x, "fp32"))


@lowers("square")
def square(x: Tensor) -> Tensor:
    """x * x."""
    return op.Mul(x, x)


@lowers("inverse")
def inverse(x: Tensor, epsilon: float | None = None, *, outputs: tuple[TensorType, ...]) -> Tensor:
    """1 / (x + epsilon); epsilon is 1e-4 in the dtype of x unless it is given."""
    return op.Reciprocal(_plus_epsilon(x, epsilon, 1e-4, outputs[0]))


@lowers("log")
def log(x: Tensor, epsilon: float | None = None, *, outputs: tuple[TensorType, ...]) -> Tensor:
    """log(x + epsilon); epsilon is 1e-45 in the dtype of x (0 in float16) unless it is given."""
    return op.Log(_plus_epsilon(x, epsilon, 1e-45, outputs[0]))


@lowers("rsqrt")
def rsqrt(x: Tensor, epsilon: float | None = None, *, outputs: tuple[TensorType, ...]) -> Tensor:
    """1 / sqrt(x + epsilon); epsilon is 1e-12 in the dtype of x (0 in float16) unless it is given."""
    return op.Reciprocal(op.Sqrt(_plus_epsilon(x, epsilon, 1e-12, outputs[0])))


def _plus_epsilon(x: Tensor, given: float | None, default: float, type_: TensorType) -> Tensor:
    """``x + epsilon``. A default is a value of the dtype of x (``default_inputs`` of the three ops)."""
    if given is None:
        given = float(np.float16(default) if type_.dtype == "fp16" else np.float32(default))
    return op.Add(x, given) if given else x


# Binary -----------------------------------------------------------------------------------------

lowers_directly({"add": "Add", "sub": "Sub", "mul": "Mul", "pow": "Pow"}, arity=2)
lowers_directly(
    {
        "equal": "Equal", "greater": "Greater", "greater_equal": "GreaterOrEqual", "less": "Less",
        "less_equal": "LessOrEqual", "logical_and": "And", "logical_or": "Or", "logical_xor": "Xor",
        "maximum": "Max", "minimum": "Min",
    },
    arity=2, moves=True,
)  # fmt: skip


@lowers("not_equal", moves=True)
def not_equal(x: Tensor, y: Tensor) -> Tensor:
    """Return x != y."""
    return op.Not(op.Equal(x, y))


@lowers("real_div")
def real_div(x: Tensor, y: Tensor) -> Tensor:
    """Return x / y; of integers, truncated towards zero (``test_real_div_int_builder_to_backend``)."""
    return op.Div(x, y) if x.is_float else divide_integers(x, y)


@lowers("floor_div")
def floor_div(x: Tensor, y: Tensor) -> Tensor:
    """floor(x / y)."""
    if x.is_float:
        return op.Floor(op.Div(x, y))
    return op.Floor(op.Div(cast_to(x, "fp64"), cast_to(y, "fp64")))


@lowers("mod")
def mod(x: Tensor, y: Tensor) -> Tensor:
    """``x - y * floor(x / y)``, which has the sign of y, computed without loss where x / y is large."""
    if not x.is_float:
        # ONNX Runtime stops the process at an integer division by zero; a float one gives NaN.
        x, y = cast_to(x, "fp64"), cast_to(y, "fp64")
    remainder = op.Mod(x, y, fmod=1)
    wrong_sign = op.Less(op.Mul(op.Sign(remainder), op.Sign(y)), 0.0)
    return op.Where(wrong_sign, op.Add(remainder, y), remainder)


def divide_integers(x: Tensor, y: Tensor) -> Tensor:
    """Return x / y of int32, truncated towards zero, as int32.

    In float64, where the quotient of two int32 never rounds to a wrong integer, and where a zero
    divisor does not stop the process.
    """
    return cast_to(op.Div(cast_to(x, "fp64"), cast_to(y, "fp64")), "int32")


@lowers("select", moves=True)
def select(cond: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return a where cond, b elsewhere; the three broadcast."""
    if a.dtype != "bool":
        return op.Where(cond, a, b)
    # ONNX Runtime has no Where of bool.
    return op.Or(op.And(cond, a), op.And(op.Not(cond), b))

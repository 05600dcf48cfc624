"""Arithmetic and functions of single elements, with broadcasting. Narrow integers wrap as ONNX Runtime's do."""

from __future__ import annotations

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import dtype_of, like, mb
from harness.frontends.dispatch import Value, Var
from harness.frontends.integers import INTEGERS, computed_power, constant_power, held, truncated_quotient, wrapped
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


@translates("Add")
def add(x: Var, y: Var, *, node: Node) -> Var:
    """x + y."""
    held(node.output_dtype(), x, y)
    return wrapped(mb.add(x=x, y=y), node.output_dtype())


@translates("Sub")
def sub(x: Var, y: Var, *, node: Node) -> Var:
    """x - y."""
    if node.output_dtype() in ("uint32", "uint64"):
        raise UnsupportedError("a difference of unsigned integers may wrap", received=node.output_dtype())
    held(node.output_dtype(), x, y)
    return wrapped(mb.sub(x=x, y=y), node.output_dtype())


@translates("Mul")
def mul(x: Var, y: Var, *, node: Node) -> Var:
    """x * y."""
    held(node.output_dtype(), x, y)
    return wrapped(mb.mul(x=x, y=y), node.output_dtype())


@translates("Div")
def div(x: Var, y: Var, *, node: Node) -> Var:
    """x / y; integers are truncated towards zero."""
    dtype = node.output_dtype()
    if dtype not in INTEGERS:
        return mb.real_div(x=x, y=y)
    held(dtype, x, y)
    return wrapped(truncated_quotient(x, y, is_signed=not dtype.startswith("u")), dtype)


@translates("Mod")
def mod(x: Var, y: Var, *, fmod: int = 0, node: Node) -> Var:
    """The remainder with y's sign, with ``fmod`` x's."""
    dtype = node.output_dtype()
    held(dtype, x, y)
    if not fmod or dtype.startswith("u"):
        return mb.mod(x=x, y=y)
    if dtype in INTEGERS:
        return mb.sub(x=x, y=mb.mul(x=truncated_quotient(x, y, is_signed=True), y=y))
    size = mb.mod(x=mb.abs(x=x), y=mb.abs(x=y))
    return mb.mul(x=size, y=mb.sign(x=x))


@translates("Pow")
def power(x: Var, y: Value, *, node: Node) -> Var:
    """x ** y in the type of x. Integers are multiplied: a float32 does not hold them all."""
    dtype = node.input_dtype()
    if dtype not in INTEGERS:
        return mb.pow(x=x, y=_exponent(x, y))
    if isinstance(y, np.ndarray) and y.size == 1 and y.item() == int(y.item()) and y.item() >= 0:
        whole = max(x.rank, y.ndim)
        base = mb.reshape(x=x, shape=[1] * (whole - x.rank) + [int(size) for size in x.shape]) if whole > x.rank else x
        return constant_power(base, int(y.item()))
    if node.input_dtype(1) not in INTEGERS:
        raise UnsupportedError(
            "an integer to the power of a float is rounded in ways that differ", received=node.input_dtype(1),
            supported="one constant exponent without a fraction",
        )  # fmt: skip
    if dtype not in ("int32", "int64"):
        raise UnsupportedError("powers of this type may wrap", received=dtype, supported=["int32", "int64"])
    return computed_power(x, as_var(y))


def _exponent(x: Var, y: Value) -> Value:
    if isinstance(y, np.ndarray):
        return like(x, y)
    return y if dtype_of(y) == dtype_of(x) else mb.cast(x=y, dtype=dtype_of(x))


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
    return mb.real_div(x=total(*values), y=like(values[0], len(values))) if len(values) > 1 else values[0]


@translates("Abs")
def absolute(x: Var, *, node: Node) -> Var:
    """|x|; the least of a narrow type has none and stays."""
    return wrapped(mb.abs(x=x), node.output_dtype())


@translates("Neg")
def negative(x: Var, *, node: Node) -> Var:
    """-x."""
    return wrapped(mb.mul(x=x, y=like(x, -1)), node.output_dtype())


@translates("Reciprocal")
def reciprocal(x: Var) -> Var:
    """1 / x."""
    return mb.real_div(x=like(x, 1), y=x)


@translates("Log")
def log(x: Var) -> Var:
    """Natural logarithm. MIL adds 1e-45 unless told not to, and log(0) would be finite."""
    return mb.log(x=x, epsilon=like(x, 0))


@translates("Asinh")
def asinh(x: Var) -> Var:
    """Within [-1, 1] 2 atanh(x / (1 + sqrt(x**2 + 1))), beyond it sign(x) (log|x| + log(1 + sqrt(1 + x**-2))): exact
    near 0, where a logarithm of about 1 is not, and finite where x**2 is not."""
    one = like(x, 1)
    root = mb.sqrt(x=mb.add(x=mb.mul(x=x, y=x), y=one))
    near = mb.mul(x=mb.atanh(x=mb.real_div(x=x, y=mb.add(x=root, y=one))), y=like(x, 2))
    size = mb.maximum(x=mb.abs(x=x), y=one)
    part = mb.real_div(x=one, y=size)
    far_root = mb.sqrt(x=mb.add(x=mb.mul(x=part, y=part), y=one))
    far = mb.mul(x=mb.sign(x=x), y=mb.add(x=log(size), y=log(mb.add(x=far_root, y=one))))
    return mb.select(cond=mb.greater(x=mb.abs(x=x), y=one), a=far, b=near)


@translates("Acosh")
def acosh(x: Var) -> Var:
    """2 log(sqrt((x + 1) / 2) + sqrt((x - 1) / 2)), finite where x**2 is not."""
    one, half = like(x, 1), like(x, 0.5)
    roots = [mb.sqrt(x=mb.mul(x=moved, y=half)) for moved in (mb.add(x=x, y=one), mb.sub(x=x, y=one))]
    return mb.mul(x=log(mb.add(x=roots[0], y=roots[1])), y=like(x, 2))


@translates("Clip", since=11)
def clip(x: Var, low: Value | None = None, high: Value | None = None) -> Var:
    """Within [low, high], either of which may be left out; ``high`` where they cross."""
    bounds = [bound for bound in (low, high) if isinstance(bound, np.ndarray)]
    if dtype_of(x) != "int32" and len(bounds) == 2 and bounds[0].reshape(()) <= bounds[1].reshape(()):
        return mb.clip(x=x, alpha=like(x, bounds[0].reshape(())), beta=like(x, bounds[1].reshape(())))
    if low is not None:
        x = mb.maximum(x=x, y=as_var(low))
    return x if high is None else mb.minimum(x=x, y=as_var(high))


@translates("Clip")
def clip_by_attributes(x: Var, *, min: float | None = None, max: float | None = None) -> Var:  # noqa: A002
    """Within [min, max]."""
    return clip(x, *(None if bound is None else like(x, bound) for bound in (min, max)))


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

"""Arithmetic, comparison and logic with broadcasting, and functions of single elements."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from harness.frontends.builder import dtype_of, mb
from harness.frontends.dispatch import Value, Var
from harness.frontends.integers import INTEGERS, computed_power, constant_power, truncated_quotient, wrapped
from harness.frontends.program import as_var
from harness.frontends.selection import as_numbers, where
from harness.frontends.tflite.compression import FEWEST_COMPRESSED, cast_constant, is_sparse, sparse_if_less
from harness.frontends.tflite.interpolation import by_interpolation
from harness.frontends.tflite.interpolation import softmax as interpolated_softmax
from harness.frontends.tflite.layout import (
    along_channels,
    channels_first,
    channels_last,
    known,
    operands_first,
    pointwise,
)
from harness.frontends.tflite.lookup import agrees, by_table, hard_swish_table, scaled
from harness.frontends.tflite.node import Node
from harness.frontends.tflite.ops.activations import fused
from harness.frontends.tflite.quantization import divided, grid_of, nudged, requantized, steps
from harness.frontends.tflite.registry import TRANSLATIONS, translates
from harness.frontends.tflite.types import computed_type

TRANSLATIONS.directly(
    {
        "SIN": "sin", "COS": "cos", "FLOOR": "floor", "CEIL": "ceil", "ROUND": "round",
        "SIGN": "sign", "LOGICAL_NOT": "logical_not",
    }
)  # fmt: skip
TRANSLATIONS.directly(
    {
        "MAXIMUM": "maximum", "MINIMUM": "minimum", "LESS": "less", "LESS_EQUAL": "less_equal",
        "GREATER": "greater", "GREATER_EQUAL": "greater_equal", "LOGICAL_AND": "logical_and",
        "LOGICAL_OR": "logical_or",
    },
    parameters=("x", "y"),
)  # fmt: skip


def _binary(name: str, x: Var, y: Var, function: str) -> Var:

    return fused(getattr(mb, name)(x=x, y=y), function)


@translates("ADD")
def add(x: Var, y: Var, *, fused_activation_function: str, pot_scale_int16: bool = False) -> Var:
    """x + y."""
    return _binary("add", x, y, fused_activation_function)


@translates("SUB")
def sub(x: Var, y: Var, *, fused_activation_function: str, pot_scale_int16: bool = False) -> Var:
    """x - y."""
    return _binary("sub", x, y, fused_activation_function)


@translates("MUL")
def mul(x: Var, y: Var, *, fused_activation_function: str, node: Node) -> Var:
    """x * y."""
    if node.has_integer_kernel():
        multiplier = node.scales(0)[0] * node.scales(1)[0] / node.scales(-1)[0]
        for value, factor, index in ((x, y, 0), (y, x, 1)):
            number = known(factor)
            if number is not None and number.size == 1 and number.ndim <= len(value.shape) and known(value) is None:
                factor_steps = round(number.item() / node.scales(1 - index)[0])
                return scaled(
                    value, node.tensor(index), factor_steps, float(multiplier), node.outputs[0],
                    fused_activation_function,
                )  # fmt: skip
        product = mb.mul(x=steps(x, node.tensor(0)), y=steps(y, node.tensor(1)))
        return requantized(product, multiplier, node.outputs[0], fused_activation_function)
    return _binary("mul", x, y, fused_activation_function)


@translates("DIV")
def div(x: Var, y: Var, *, fused_activation_function: str, node: Node) -> Var:
    """x / y; of integers, truncated towards zero."""
    dtype = computed_type(node.outputs[0])
    if dtype in INTEGERS:
        quotient = truncated_quotient(x, y, is_signed=not dtype.startswith("u"))
        return fused(wrapped(quotient, dtype), fused_activation_function)
    return _binary("real_div", x, y, fused_activation_function)


@translates("FLOOR_DIV")
def floor_div(x: Var, y: Var, *, node: Node) -> Var:
    """x / y rounded down."""
    if computed_type(node.outputs[0]) in INTEGERS:
        return wrapped(mb.floor_div(x=x, y=y), node.outputs[0].dtype)
    return mb.floor(x=mb.real_div(x=x, y=y))


@translates("FLOOR_MOD")
def floor_mod(x: Var, y: Var) -> Var:
    """The remainder with the sign of y."""
    return mb.mod(x=x, y=y)


@translates("POW")
def power(x: Var, y: Var, *, node: Node) -> Var:
    """x ** y. Integers are multiplied: a float32 does not hold them all."""
    if computed_type(node.outputs[0]) not in INTEGERS:
        return mb.pow(x=x, y=y)
    exponent = known(y)
    if exponent is not None and exponent.size == 1 and exponent.item() >= 0 and len(y.shape) <= len(x.shape):
        return constant_power(x, int(exponent.item()))
    return computed_power(x, y)


@translates("ATAN2")
def atan2(y: Var, x: Var) -> Var:
    """The angle of the point (x, y), in (-pi, pi]: the arc tangent of the lesser side by the greater one, turned into
    its eighth of the circle. Zeros have signs."""
    sides = mb.abs(x=x), mb.abs(x=y)
    greater = mb.maximum(x=sides[0], y=sides[1])
    is_zero = mb.equal(x=greater, y=np.float32(0))
    ratio = mb.real_div(x=mb.minimum(x=sides[0], y=sides[1]), y=mb.select(cond=is_zero, a=np.float32(1), b=greater))
    # Both infinite: an eighth.
    ratio = mb.select(cond=mb.equal(x=mb.minimum(x=sides[0], y=sides[1]), y=np.float32(np.inf)), a=np.float32(1),
                      b=ratio)  # fmt: skip
    angle = mb.atan(x=ratio)
    steep = mb.sub(x=np.float32(np.pi / 2), y=angle)
    angle = mb.select(cond=mb.greater(x=sides[1], y=sides[0]), a=steep, b=angle)
    angle = mb.select(cond=_is_below_zero(x), a=mb.sub(x=np.float32(np.pi), y=angle), b=angle)
    return mb.select(cond=_is_below_zero(y), a=mb.mul(x=angle, y=np.float32(-1)), b=angle)


def _is_below_zero(x: Var) -> Var:
    """Also of a zero with a sign, whose inverse is infinite."""
    inverse = mb.inverse(x=x, epsilon=np.float32(0))
    return mb.logical_or(x=mb.less(x=x, y=np.float32(0)), y=mb.equal(x=inverse, y=np.float32(-np.inf)))


@translates("EQUAL")
def equal(x: Var, y: Var) -> Var:
    """x == y."""

    if "bool" in dtype_of(x):
        return mb.logical_not(x=mb.logical_xor(x=x, y=y))
    return mb.equal(x=x, y=y)


@translates("NOT_EQUAL")
def not_equal(x: Var, y: Var) -> Var:
    """x != y."""

    if "bool" in dtype_of(x):
        return mb.logical_xor(x=x, y=y)
    return mb.not_equal(x=x, y=y)


@translates("SQUARED_DIFFERENCE")
def squared_difference(x: Var, y: Var) -> Var:
    """(x - y)**2."""

    difference = mb.sub(x=x, y=y)
    return mb.mul(x=difference, y=difference)


@translates("ADD_N")
def add_n(*terms: Var) -> Var:
    """The sum of all."""

    total = terms[0]
    for term in terms[1:]:
        total = mb.add(x=total, y=term)
    return total


@translates("ABS")
def absolute(x: Var, *, node: Node) -> Var:
    """|x|."""
    if node.has_integer_kernel():
        return requantized(mb.abs(x=steps(x, node.tensor(0))), node.ratio(0), node.outputs[0])
    return mb.abs(x=x)


@translates("NEG")
def neg(x: Var) -> Var:
    """-x."""

    return mb.mul(x=x, y=np.int32(-1) if "int" in dtype_of(x) else np.float32(-1))


@translates("SQUARE")
def square(x: Var) -> Var:
    """x * x."""

    return mb.mul(x=x, y=x)


@translates("EXP")
def exp(x: Var, *, node: Node) -> Var:
    """e**x."""
    return _of_table(x, np.exp, node) if node.has_wide_kernel() else mb.exp(x=x)


def _of_table(x: Var, function: Callable[[Any], Any], node: Node) -> Var:
    return by_interpolation(x, node.tensor(0), function, node.outputs[0])


def _where_positive(function: Callable[[Any], Any], otherwise: int, node: Node) -> Callable[[Any], Any]:
    """Elsewhere a number of steps."""
    least = np.float32(otherwise) * np.float32(node.scales(-1)[0])

    def defined(x: Any) -> Any:
        return np.where(x > 0, function(np.where(x > 0, x, 1)), least)

    return defined


@translates("LOG")
def log(x: Var, *, node: Node) -> Var:
    """Natural logarithm, with nothing added to x."""
    if node.has_wide_kernel():
        return _of_table(x, _where_positive(np.log, -32768, node), node)
    return mb.log(x=x, epsilon=np.float32(0))


@translates("SQRT")
def sqrt(x: Var, *, node: Node) -> Var:
    """Square root; the kernel of integers cuts off what is less than a step (``elementwise.cc``)."""
    root = mb.sqrt(x=x)
    if not node.has_integer_kernel():
        return root
    return divided(mb.floor(x=mb.mul(x=root, y=np.float32(1 / node.scales(-1)[0]))), 1, node.outputs[0])


@translates("RSQRT")
def rsqrt(x: Var, *, node: Node) -> Var:
    """1 / sqrt(x), with nothing added to x."""
    if node.has_wide_kernel():
        return _of_table(x, _where_positive(lambda value: 1 / np.sqrt(value), 32767, node), node)
    return mb.real_div(x=np.float32(1), y=mb.sqrt(x=x))


@translates("SELECT_V2", "SELECT")
def select(condition: Var, a: Var, b: Var, *, node: Node) -> Var:
    """a where the condition holds, else b; SELECT takes a vector of conditions for the first axis."""

    if node.operator.name == "SELECT" and len(condition.shape) == 1 and len(a.shape) > 1:
        condition = mb.reshape(x=condition, shape=[-1, *([1] * (len(a.shape) - 1))])
    return as_numbers(lambda a, b: where(condition, a, b), a, b)


@translates("ELU")
def elu(x: Var) -> Var:
    """exp(x) - 1 where x < 0."""

    return mb.elu(x=x, alpha=np.float32(1))


@translates("HARD_SWISH")
def hard_swish(x: Var, *, node: Node) -> Var:
    """x * relu6(x + 3) / 6. Of integers by a table, where the kernel's few bits show."""
    if node.has_integer_kernel():
        source, result = grid_of(node.tensor(0)), grid_of(node.outputs[0])
        table = hard_swish_table(source, result)
        reals = np.float32(source.scale) * (np.arange(source.low, source.high + 1) - source.zero_point)
        if not agrees(table, reals * np.clip(reals / 6 + 0.5, 0, 1) / result.scale, result):
            return by_table(x, node.tensor(0), table, node.outputs[0])
    gate = mb.sigmoid_hard(x=x, alpha=np.float32(1 / 6), beta=np.float32(0.5))
    return mb.mul(x=x, y=gate)


@translates("GELU")
def gelu(x: Var, *, approximate: bool = False, node: Node) -> Var:
    """Gaussian error linear unit."""
    if node.has_wide_kernel():
        return _of_table(x, _approximate_gelu if approximate else _gelu, node)
    return mb.gelu(x=x, mode="TANH_APPROXIMATION" if approximate else "EXACT")


def _gelu(x: Any) -> Any:
    errors = np.vectorize(math.erf)(x.astype(np.float64) * math.sqrt(0.5))
    return np.float32(0.5) * x * (np.float32(1) + errors.astype(np.float32))


def _approximate_gelu(x: Any) -> Any:
    inner = np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x * x * x)
    return np.float32(0.5) * x * (np.float32(1) + np.tanh(inner))


@translates("PRELU")
def prelu(x: Var, alpha: Value, *, node: Node) -> Var:
    """alpha * x where x < 0, with alpha broadcast; one slope for each channel is an operation of MIL's own."""
    slopes = None if node.has_integer_kernel() else known(alpha)
    if slopes is not None and slopes.size == 1:
        slope = np.float32(slopes.item())
        return pointwise(lambda value: mb.leaky_relu(x=value, alpha=slope), x)
    if slopes is not None and len(x.shape) > 2 and slopes.shape[-1] == slopes.size == x.shape[-1]:
        return channels_last(mb.prelu(x=channels_first(x), alpha=slopes.reshape(-1)))
    first = operands_first([x, alpha])
    return _sloped(node, x, alpha) if first is None else channels_last(_sloped(node, *first))


def _sloped(node: Node, x: Any, alpha: Any) -> Var:
    """Integers have a multiplier for each side (``prelu.h``)."""
    zero = np.float32(0)
    if not node.has_integer_kernel():
        return mb.add(x=mb.maximum(x=x, y=zero), y=mb.mul(x=alpha, y=mb.minimum(x=x, y=zero)))
    given, slopes = steps(x, node.tensor(0)), steps(alpha, node.tensor(1))
    scales = [node.scales(0)[0], node.scales(1)[0], node.scales(-1)[0]]
    above, below = float(scales[0] / scales[2]), float(scales[0] * scales[1] / scales[2])
    left = mb.mul(x=slopes, y=mb.minimum(x=given, y=zero))
    left = mb.mul(x=nudged(left, below, below), y=np.float32(below / above))
    return divided(mb.add(x=nudged(mb.maximum(x=given, y=zero), above, above), y=left), 1 / above, node.outputs[0])


@translates("SOFTMAX")
def softmax(x: Var, *, beta: float = 1.0, node: Node) -> Var:
    """Along the last axis, of beta * x."""
    if node.has_wide_kernel():
        source, result = node.tensor(0), node.outputs[0]
        return along_channels(lambda value, axis: interpolated_softmax(value, axis, source, beta, result), x)
    scaled = x if beta == 1.0 else pointwise(lambda value: mb.mul(x=value, y=np.float32(beta)), x)
    return along_channels(lambda value, axis: mb.softmax(x=value, axis=axis), scaled)


@translates("LOG_SOFTMAX")
def log_softmax(x: Var) -> Var:
    """Along the last axis."""

    def compute(value: Var, axis: int) -> Var:
        shifted = mb.sub(x=value, y=mb.reduce_max(x=value, axes=[axis], keep_dims=True))
        return mb.sub(x=shifted, y=mb.reduce_log_sum_exp(x=shifted, axes=[axis], keep_dims=True))

    return along_channels(compute, x)


@translates("L2_NORMALIZATION")
def l2_normalization(x: Var, *, fused_activation_function: str) -> Var:
    """x / sqrt(max(sum(x**2), 1e-6)) along the last axis (reference_ops ``l2normalization.h``)."""

    def compute(value: Var, axis: int) -> Var:
        total = mb.reduce_sum_square(x=value, axes=[axis], keep_dims=True)
        return mb.real_div(x=value, y=mb.maximum(x=mb.sqrt(x=total), y=np.float32(1e-6)))

    return fused(along_channels(compute, x), fused_activation_function)


@translates("QUANTIZE", "DEQUANTIZE")
def quantize(x: Var, *, node: Node) -> Var:
    """Values are floats here on both sides; the converter rounds those of a quantised output."""

    if node.has_integer_kernel():
        multiplier = float(node.scales(0)[0]) / float(node.scales(-1)[0])
        return scaled(x, node.tensor(0), 1, multiplier, node.outputs[0])
    if "fp16" not in dtype_of(x):
        return x
    weights, is_half = known(x), node.converter.precision == "float16"
    if weights is not None and is_sparse(x):
        sparse = sparse_if_less(weights.astype(np.float32), 2 if is_half else 4, 2)
        if sparse is not None:
            return sparse
    if weights is not None and weights.size >= FEWEST_COMPRESSED and not is_half:
        return cast_constant(weights)
    return mb.cast(x=x if weights is None else as_var(weights), dtype="fp32")


@translates("DENSIFY")
def densify(x: Var) -> Var:
    """Sparse constants stand for dense ones."""
    return x

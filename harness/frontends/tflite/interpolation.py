"""Functions of 16-bit activations: the tables that TFLite's kernels interpolate, and the same integer arithmetic.

Every number is an integer that a float32 holds (below 2**24), so that the results are the kernels' own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from harness.frontends.builder import mb
from harness.frontends.dispatch import Array, Var
from harness.frontends.tflite.graph import TensorInfo
from harness.frontends.tflite.layout import is_known
from harness.frontends.tflite.quantization import activation_of_steps, grid_of, raw, steps

# A real function of an array.
Function = Callable[[Any], Any]

_PARTS = 512
_LOW, _HIGH = -32768, 32767
# exp and 1 / (1 + x) in units of 2**-15.
_UNIT = 32768
_LEAST_EXPONENT = -10.0


def by_interpolation(x: Var, source: TensorInfo, function: Function, result: TensorInfo) -> Var:
    """The activation ``function(x)`` (``LUTPopulate``, ``LUTLookup`` of TFLite ``kernels/internal/common.h``)."""
    table = _function_table(source, function, result)
    return activation_of_steps(_looked_up(raw(x, source), table), result)


def _function_table(source: TensorInfo, function: Function, result: TensorInfo) -> Array:
    """q of the result at 513 places of the source's range, with the kernel's float32."""
    given, made = (np.float32(grid_of(tensor).scale) for tensor in (source, result))
    ends = (given * np.float32(_LOW), given * np.float32(_HIGH))
    inverse = np.float32(65536) / (made * np.float32(_HIGH) - made * np.float32(_LOW))
    return _table(lambda value: np.asarray(function(value), np.float32) * inverse, *ends)


def _table(function: Function, low: Any, high: Any) -> Array:
    """Values of a function at the ends of 512 parts, moved by half of what interpolating misses in the middle."""
    number = type(low)
    places = np.arange(_PARTS).astype(number)
    step = (high - low) / number(_PARTS)
    here, middle = function(low + places * step), function(low + places * step + step / number(2))
    after = function(low + (places + number(1)) * step)
    missed = _nearest((after + _nearest(here)) / number(2)) - _nearest(middle)
    values = np.append(_nearest(here) - _nearest(missed / number(2)), _nearest(function(np.array([high]))))
    return np.clip(values, _LOW, _HIGH).astype(np.int64)


def _nearest(values: Any) -> Any:
    """Halves away from zero."""
    return np.sign(values) * np.floor(np.abs(values) + values.dtype.type(0.5))


def _looked_up(q: Var, table: Array) -> Var:
    """Between the two nearest of 513 values."""
    slopes = np.diff(table).astype(np.int16)  # as the kernel: they wrap
    place, offset = _split(q, 128)
    index = mb.cast(x=mb.add(x=place, y=np.float32(_PARTS // 2)), dtype="int32")
    return mb.add(x=_picked(table[:-1], index), y=_part(_picked(slopes, index), offset, 128, 64))


def _picked(values: Array, index: Var) -> Var:
    return mb.gather(x=values.astype(np.float32), indices=index, axis=0)


def _split(x: Var, divisor: int) -> tuple[Var, Var]:
    """Quotient, rounded down, and remainder; ``divisor`` is a power of two."""
    quotient = _floored(x, divisor)
    return quotient, mb.sub(x=x, y=mb.mul(x=quotient, y=np.float32(divisor)))


def _floored(x: Var, divisor: float) -> Var:
    return mb.floor(x=mb.mul(x=x, y=np.float32(1 / divisor)))


def _part(slope: Var, offset: Var, divisor: int, bias: int) -> Var:
    """(slope * offset + bias) / divisor, rounded down."""
    product = mb.mul(x=slope, y=offset)
    return _floored(mb.add(x=product, y=np.float32(bias)) if bias else product, divisor)


def logistic(x: Var, source: TensorInfo, result: TensorInfo) -> Var:
    """1 / (1 + exp(-x)) (TFLite ``reference/integer_ops/logistic.h``)."""
    place, sign, offset = _sigmoid_place(x, source, 512)
    values, slopes = _sigmoid_table(32766)
    risen = mb.add(x=_picked(values + 1, place), y=_part(_picked(slopes, place), offset, 512, 0))
    half = mb.mul(x=_floored(risen, 2), y=sign)
    return activation_of_steps(mb.add(x=half, y=np.float32(16384)), result)


def hyperbolic_tangent(x: Var, source: TensorInfo, result: TensorInfo) -> Var:
    """tanh(x), which is 2 / (1 + exp(-2x)) - 1 (TFLite ``reference/integer_ops/tanh.h``)."""
    place, sign, offset = _sigmoid_place(x, source, 256)
    values, slopes = _sigmoid_table(32767)
    risen = mb.add(x=_picked(values, place), y=_part(_picked(slopes, place), offset, 256, 128))
    return activation_of_steps(mb.mul(x=risen, y=sign), result)


def _sigmoid_table(last: int) -> tuple[Array, Array]:
    """65536 / (1 + exp(-k / 24)) - 32768 for k below 256, moved by half of what interpolating misses in the middle, and
    what each is less than the next. From the last on all is one value."""

    def sigmoid(k: Any) -> Any:
        return 65536 / (1 + np.exp(-k / 24))

    k = np.arange(256)
    missed = sigmoid(k + 0.5) - (sigmoid(k) + sigmoid(k + 1)) / 2
    values = np.floor(sigmoid(k) + missed / 2 + 0.5) - 32768
    values[-1] = 32767
    slopes = np.append(np.diff(values), 0)
    values[-1] = last
    return values, slopes


def _sigmoid_place(x: Var, source: TensorInfo, unit: int) -> tuple[Var, Var, Var]:
    """Where |x| is in the table, as an index; the sign of x; and how much farther |x| is, of ``unit``."""
    multiplier, shift = _sigmoid_multiplier(grid_of(source).scale)
    scaled = _shifted(steps(x, source), multiplier, shift)
    distance = mb.abs(x=scaled)
    place = mb.minimum(x=_floored(distance, unit), y=np.float32(255))
    offset = mb.sub(x=distance, y=mb.mul(x=place, y=np.float32(unit)))
    return mb.cast(x=place, dtype="int32"), mb.sign(x=scaled), offset


def _sigmoid_multiplier(scale: float) -> tuple[int, int]:
    """What makes units of 1 / 12288 of a step: a multiplier, and how far its product is shifted (``SigmoidPrepare``,
    ``TanhPrepare``)."""
    power = round(math.log2(scale))
    if abs(math.log2(scale) - power) < 1e-3 and power in (-12, -11):
        return 3 << (power + 12), 0
    multiplier, shift = scale * 4096 * 3, 0
    while multiplier <= 32767 / 2 and shift <= 30:
        multiplier, shift = multiplier * 2, shift + 1
    return int(multiplier), shift


def _shifted(x: Var, multiplier: int, shift: int) -> Var:
    """x * multiplier / 2**shift, rounded to the nearest and halves up. What is beyond 2**17 need not be exact."""
    if shift < 8:
        product = mb.mul(x=x, y=np.float32(multiplier))
        bias = (1 << shift) >> 1
        return _floored(mb.add(x=product, y=np.float32(bias)), 1 << shift) if shift else product
    high, low = divmod(multiplier, 256)
    rest = _floored(mb.add(x=mb.mul(x=x, y=np.float32(low)), y=np.float32(1 << (shift - 1))), 256)
    return _floored(mb.add(x=mb.mul(x=x, y=np.float32(high)), y=rest), 1 << (shift - 8))


def softmax(x: Var, axis: int, source: TensorInfo, beta: float, result: TensorInfo) -> Var:
    """exp(beta * x) along an axis, divided by the sum (``SoftmaxInt16`` of TFLite ``reference/softmax.h``). Exact for
    up to 512 values; for more as far as a float32 holds their sum."""
    scale = grid_of(source).scale * float(np.float32(beta))
    q = raw(x, source)
    below = mb.sub(x=mb.reduce_max(x=q, axes=[axis], keep_dims=True), y=q)
    place = mb.sub(x=np.float32(_HIGH), y=_times(below, scale / (-_LEAST_EXPONENT / 65535)))
    place = mb.clip(x=place, alpha=np.float32(_LOW), beta=np.float32(_HIGH))
    powers = _looked_up(place, _table(lambda value: np.exp(value) * _UNIT, np.float64(_LEAST_EXPONENT), np.float64(0)))
    total = mb.reduce_sum(x=powers, axes=[axis], keep_dims=True)
    # The greatest power of two up to the total.
    count = x.shape[axis]
    thresholds = 2.0 ** np.arange(14, 31 if not is_known(count) else 16 + math.ceil(math.log2(count)))
    shape = [1] * len(x.shape)
    shape[axis] = len(thresholds)
    wanted = thresholds.astype(np.float32).reshape(shape)
    reached = mb.cast(x=mb.greater_equal(x=total, y=wanted), dtype="fp32")
    power = mb.reduce_max(x=mb.mul(x=reached, y=wanted), axes=[axis], keep_dims=True)
    ratio = mb.mul(x=mb.real_div(x=total, y=power), y=np.float32(65536))
    place = mb.sub(x=mb.floor(x=mb.add(x=ratio, y=np.float32(0.5))), y=np.float32(32768 + 65536))
    place = mb.clip(x=place, alpha=np.float32(_LOW), beta=np.float32(_HIGH))
    inverse = _looked_up(place, _table(lambda value: 1 / (1 + value) * _UNIT, np.float64(0), np.float64(1)))
    # A product of 30 bits in two parts.
    high, low = _split(inverse, 128)
    half = mb.mul(x=power, y=np.float32(0.5))
    rest = _floored(mb.add(x=mb.mul(x=powers, y=low), y=half), 128)
    whole = mb.add(x=mb.mul(x=powers, y=high), y=rest)
    shares = mb.floor(x=mb.real_div(x=whole, y=mb.mul(x=power, y=np.float32(1 / 128))))
    return activation_of_steps(mb.clip(x=shares, alpha=np.float32(0), beta=np.float32(_HIGH)), result)


def _times(x: Var, multiplier: float) -> Var:
    """x from 0 to 65535 times a multiplier of 31 bits, as ``MultiplyByQuantizedMultiplier`` rounds -x."""
    mantissa, exponent = math.frexp(multiplier)
    exact = math.floor(mantissa * 2**31 + 0.5) * 2.0 ** (max(exponent, 0) - 31)
    unit = 2.0 ** (8 - max(exponent, 0))
    coarse = math.floor(exact * unit) / unit  # x times 8 bits is exact
    product = mb.mul(x=x, y=np.float32(coarse))
    whole = mb.floor(x=product)
    rest = mb.add(x=mb.sub(x=product, y=whole), y=mb.mul(x=x, y=np.float32(exact - coarse)))
    result = mb.add(x=whole, y=mb.floor(x=mb.add(x=rest, y=np.float32(0.5))))
    if exponent >= 0:
        return result
    return mb.floor(x=mb.add(x=mb.mul(x=result, y=np.float32(2.0**exponent)), y=np.float32(0.5)))

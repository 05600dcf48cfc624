"""Quantised tensors in a MIL program: weights stay compressed, activations are floats that lie on the tensor's grid.

real = scale * (q - zero point) (TensorFlow Lite 8-bit quantization specification). Where an operator of TFLite sums
products of integers, so does the program: a float32 holds each of them exactly up to 2**24, and what a kernel's
fixed-point multiplier does to the sum is done here to a float (``requantized``).
"""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import dtype_of, mb
from harness.frontends.dispatch import Array, Value, Var
from harness.frontends.tflite.compression import (
    FEWEST_COMPRESSED,
    dequantized,
    half_byte_constant,
    scalar_or_vector,
    sparse_if_less,
)
from harness.frontends.tflite.graph import TensorInfo
from harness.frontends.tflite.layout import known, pointwise, twin, whole_of

RANGES = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767), "int4": (-8, 7)}
# Divisors a little too small, so that halves are rounded away from zero and nothing else is rounded otherwise: for
# values that are far apart, and for those that are not.
_AWAY_FROM_ZERO = 1 - 2.0**-18
_BARELY_AWAY_FROM_ZERO = 1 - 2.0**-21


class Rounding(Enum):
    """How a kernel multiplies a sum with a fixed-point multiplier: rounded to an integer with a multiplier from 0.5
    to 1 and again when divided by a power of two, halves away from zero (``MultiplyByQuantizedMultiplier`` of 32 bits,
    TFLite ``kernels/internal/common.h``); once; or once with a multiplier of 15 bits (its variant for 64 bits).
    """

    TWICE = "twice"
    ONCE = "once"
    REDUCED = "reduced"


@dataclass(frozen=True)
class Grid:
    """The values that a quantised activation can have: scale * (q - zero_point) for q from low to high."""

    scale: float
    zero_point: int
    low: int
    high: int
    dtype: str

    @property
    def is_byte(self) -> bool:
        """Whether MIL has a type for q."""
        return self.dtype in ("int8", "uint8")


# By the identity of a real value: the value, which is kept alive, its integers (q where MIL has a type for it, else
# q - zero point as float32) and its grid.
_integers: ContextVar[MutableMapping[int, tuple[Var, Var, Grid]]] = ContextVar("integers")
# By the identity of integers and a zero point: the integers, and how far they are from it, as float32.
_distances: ContextVar[MutableMapping[tuple[int, int], tuple[Var, Var]]] = ContextVar("distances")


@contextmanager
def remembering_integers() -> Iterator[None]:
    """While one program, or one block inside it, is built: a block knows those outside of it, not the reverse."""
    tokens = _integers.set(ChainMap({}, _integers.get({}))), _distances.set(ChainMap({}, _distances.get({})))
    try:
        yield
    finally:
        _integers.reset(tokens[0])
        _distances.reset(tokens[1])


def is_quantized(tensor: TensorInfo) -> bool:
    """Whether the tensor's integers stand for reals. int32 and int64 do so for biases only."""
    quantization = tensor.quantization
    return quantization is not None and len(quantization.scales) > 0 and tensor.dtype in (*RANGES, "int32", "int64")


def grid_of(tensor: TensorInfo) -> Grid:
    """Raises UnsupportedError for what no activation is quantised as."""
    quantization = tensor.quantization
    if quantization is None or len(quantization.scales) != 1 or tensor.dtype not in RANGES:
        raise UnsupportedError(
            f"tensor {tensor.index} {tensor.name!r} is quantised in a way that no activation is",
            received=f"{0 if quantization is None else len(quantization.scales)} scales, {tensor.dtype}",
            supported=f"one scale, {', '.join(RANGES)}",
        )
    return Grid(
        float(quantization.scales[0]), int(quantization.zero_points[0]), *RANGES[tensor.dtype], tensor.dtype
    )  # fmt: skip


def dequantized_constant(tensor: TensorInfo, name: str, itemsize: int = 4) -> Value:
    """A quantised constant, compressed in the package where Core ML can (8 bits or fewer). ``itemsize``: bytes that the
    package takes for a real number."""
    quantization = tensor.quantization
    assert quantization is not None
    values = tensor.array()
    scales, zero_points = quantization.scales, quantization.zero_points
    axis = quantization.axis if quantization.is_per_axis else 0
    compressed = _compressed(tensor, values, scales, zero_points, axis, name, itemsize)
    if compressed is not None:
        return compressed
    return _real_values(values, scales, zero_points, axis)


def _real_values(values: Array, scales: Array, zero_points: Array, axis: int) -> Array:
    """scale * (q - zero point), with one of each for the tensor or for each index of the axis."""

    def along(numbers: Array) -> Array:
        shape = [1] * values.ndim
        if len(numbers) > 1:
            shape[axis] = -1
        return numbers.astype(np.float64).reshape(shape)

    real = (values.astype(np.float64) - along(zero_points)) * along(scales)
    return np.asarray(real, np.float32).reshape(values.shape)


def _compressed(
    tensor: TensorInfo, values: Array, scales: Array, zero_points: Array, axis: int, name: str | None = None,
    itemsize: int = 4,
) -> Var | None:  # fmt: skip
    """scale * (q - zero point) in as few bytes as q takes, or None where there is no such form or nothing to save."""
    if values.size < FEWEST_COMPRESSED or values.dtype not in (np.dtype(np.int8), np.dtype(np.uint8)):
        return None
    if tensor.sparsity is not None:
        sparse = sparse_if_less(_real_values(values, scales, zero_points, axis), itemsize, 1, name)
        if sparse is not None:
            return sparse
    if tensor.dtype == "int4" and len(scales) == 1:
        return half_byte_constant(values + np.int8(8), scales * (np.arange(-8, 8) - zero_points), name)
    return dequantized(values, scales, zero_points, axis, name)


def rounded(x: Var, tensor: TensorInfo) -> Var:
    """``x`` on the grid of a quantised activation, saturated, as a float."""
    grid = grid_of(tensor)
    if _known_integers(x, grid) is not None:
        return x
    return _divided(x, np.array([grid.scale]), grid)


def lies_on_grid(x: Value, tensor: TensorInfo) -> bool:
    """Whether ``x`` was made of integers of that tensor's grid."""
    whole = whole_of(x)
    x = x if whole is None else whole
    first = twin(x)
    return _known_integers(x if first is None else first, grid_of(tensor)) is not None


def steps(x: Var, tensor: TensorInfo, *, maybe_half: bool = False) -> Var:
    """q - zero point of a quantised activation, or of a constant operand, as float32: exactly integers. ``maybe_half``
    where the program may compute it in float16."""
    grid = grid_of(tensor)
    value = known(x)
    if value is not None:
        return mb.const(val=np.asarray(np.round(value / np.float32(grid.scale)), np.float32))
    integers = _known_integers(x, grid)
    if integers is None:
        # A value that was moved since it was rounded.
        if grid.is_byte and maybe_half:
            integers = _quantize(x, np.float32(grid.scale), grid)
        else:
            integers = mb.round(x=mb.mul(x=x, y=np.float32(1 / grid.scale)))
        _integers.get()[id(x)] = (x, integers, grid)
    return _steps(integers, grid)


def _steps(integers: Var, grid: Grid) -> Var:
    return _from(grid.zero_point, integers, grid) if _is_byte(integers) else integers


def _from(zero_point: int, integers: Var, grid: Grid) -> Var:
    """Integers minus ``zero_point``, as float32; the same value each time."""
    key = (id(integers), zero_point)
    if key not in _distances.get():
        result = mb.dequantize(input=integers, scale=np.float32(1), **_zero_point(grid, zero_point))
        _distances.get()[key] = (integers, result)
    return _distances.get()[key][1]


def raw(x: Var, tensor: TensorInfo) -> Var:
    """q of a quantised activation, as float32."""
    grid = grid_of(tensor)
    integers = _known_integers(x, grid)
    if integers is not None and _is_byte(integers):
        return _from(0, integers, grid)
    result = steps(x, tensor, maybe_half=True)
    return mb.add(x=result, y=np.float32(grid.zero_point)) if grid.zero_point else result


def steps_of_constant(weight: Value, tensor: TensorInfo) -> Value:
    """q - zero point of a quantised weight, compressed as the weight itself is."""
    if not tensor.is_constant:
        return steps(weight, tensor)  # type: ignore[arg-type]
    quantization = tensor.quantization
    assert quantization is not None
    values, zero_points = tensor.array(), quantization.zero_points
    if len(zero_points) > 1 and zero_points.any():
        # Kernels of integers pass them over (TensorFlow Lite 8-bit quantization specification: they are 0).
        raise UnsupportedError(
            f"weights {tensor.index} {tensor.name!r} have zero points of channels",
            received=zero_points[:8].tolist(), supported="0 for each channel",
        )  # fmt: skip
    if len(zero_points) > 1:
        zero_points = zero_points[:1]
    compressed = _compressed(tensor, values, np.ones(len(zero_points)), zero_points, quantization.axis)
    if compressed is not None:
        return compressed
    return _real_values(values, np.ones(1), zero_points, quantization.axis)


def is_half_byte_by_channel(tensor: TensorInfo) -> bool:
    """Whether it is a weight of four bits with a scale for each channel, which no compressed form of MIL holds at once
    before iOS18."""
    quantization = tensor.quantization
    return (
        tensor.dtype == "int4" and tensor.is_constant and quantization is not None and quantization.is_per_axis
        and math.prod(tensor.shape) >= FEWEST_COMPRESSED and bool((quantization.zero_points == 0).all())
    )  # fmt: skip


def requantized(
    accumulator: Var, multipliers: Any, tensor: TensorInfo, activation: str = "NONE", *, axis: int = 1,
    rounding: Rounding = Rounding.TWICE, exponent: int | None = None,
) -> Var:  # fmt: skip
    """An activation from sums of products of steps, of which one step of the sum is ``multipliers`` of ``tensor``'s.

    ``multipliers`` is a number, or one for each index of ``axis``. ``exponent`` is that of a kernel whose multiplier is
    not from 0.5 to 1.
    """
    grid = grid_of(tensor)
    exact = np.atleast_1d(np.asarray(multipliers, np.float64))
    exponents = np.frexp(exact)[1]
    if exponent is not None:
        exponents = np.array([exponent])
    if rounding is Rounding.ONCE:
        return _divided(accumulator, 1 / exact, grid, activation, axis)
    if rounding is Rounding.REDUCED:
        return _divided(accumulator, 1 / reduced_multiplier(exact), grid, activation, axis)
    shifts = np.maximum(-exponents, 0)
    if activation_range(grid, activation)[0] == grid.zero_point:
        # Only what is above zero counts: the first rounding amounts to half a step of the product.
        offset = np.where(shifts > 0, 0.5 * 2.0**-shifts / exact, 0)
        if offset.any():
            # Between a convolution and the offset, which coremltools would else make a part of the bias: sums of
            # integers and a fraction are not exact.
            accumulator = mb.add(x=mb.relu(x=accumulator), y=_along(offset, accumulator, axis))
        return _divided(accumulator, 1 / exact, grid, activation, axis)
    if not shifts.any():
        return _divided(accumulator, 1 / exact, grid, activation, axis)
    if len(exact) == 1:
        return _divided(nudged(accumulator, exact[0], exact[0], exponent), 1 / exact, grid, activation, axis)
    product = mb.round(x=mb.mul(x=accumulator, y=_along(exact * 2.0**shifts, accumulator, axis)))
    return _divided(product, 2.0**shifts * np.where(shifts > 0, _AWAY_FROM_ZERO, 1), grid, activation, axis)


def reduced_multiplier(multipliers: Any) -> Any:
    """What a multiplier is in 15 bits."""
    mantissas, exponents = np.frexp(multipliers)
    whole = np.floor(mantissas * 2**31 + 0.5)
    reduced = np.where(whole < 0x7FFF0000, np.floor((whole + 2**15) / 2**16), 0x7FFF)
    return reduced * 2.0 ** (exponents - 15)


def nudged(accumulator: Var, above: float, below: float, exponent: int | None = None) -> Var:
    """Integers, moved away from zero by what the first of two roundings (``Rounding.TWICE``) amounts to, where those
    above zero have one multiplier and those below another."""
    bounds = [_first_rounding(multiplier, exponent) for multiplier in (above, below)]
    if not any(bounds):
        return accumulator
    result: Var = mb.add(
        x=accumulator, y=mb.clip(x=accumulator, alpha=np.float32(-bounds[1]), beta=np.float32(bounds[0]))
    )
    return result


def _first_rounding(multiplier: float, exponent: int | None) -> float:
    """Half a unit of the product with a multiplier's mantissa, in units of the accumulator."""
    power = math.frexp(multiplier)[1] if exponent is None else exponent
    return 0.5 * 2.0**power / multiplier if power < 0 else 0.0


def from_raw(value: Var, tensor: TensorInfo, activation: str = "NONE", *, is_dense: bool = False) -> Var:
    """An activation from q, which need not be an integer: rounded with halves away from zero. ``is_dense`` where the
    values can be any, not halves or quarters only."""
    grid = grid_of(tensor)
    divisor = _BARELY_AWAY_FROM_ZERO if is_dense or not grid.is_byte else _AWAY_FROM_ZERO
    if grid.zero_point == 0 or not grid.is_byte:
        return _divided(value, np.array([divisor]), grid, activation)
    integers = mb.quantize(input=value, scale=np.float32(divisor), output_dtype=grid.dtype)
    return _limited(_real(integers, grid), grid, activation)


def activation_of_steps(steps_of_it: Var, tensor: TensorInfo) -> Var:
    """The activation of q - zero point, which are integers within its range."""
    return _real(steps_of_it, grid_of(tensor))


def reinterpreted(x: Var, source: TensorInfo, result: TensorInfo) -> Var:
    """The activation that has the q of another: what kernels that only move values do, whatever the scales."""
    given, wanted = grid_of(source), grid_of(result)
    difference = given.zero_point - wanted.zero_point
    integers = _known_integers(x, given)
    if integers is not None and _is_byte(integers) and not difference and given.dtype == wanted.dtype:
        return _real(integers, wanted)
    moved = steps(x, source, maybe_half=True)
    return activation_of_steps(mb.add(x=moved, y=np.float32(difference)) if difference else moved, result)


def divided(value: Var, divisor: float, tensor: TensorInfo) -> Var:
    """The activation whose steps are the quotients, rounded to the nearest."""
    return _divided(value, np.array([divisor]), grid_of(tensor))


def _divided(value: Var, divisors: Any, grid: Grid, activation: str = "NONE", axis: int = 1) -> Var:
    """The activation whose steps are the quotients, rounded to the nearest."""
    if (divisors == divisors[0]).all():
        divisors = divisors[:1]
    if not grid.is_byte:
        low, high = (np.float32(q - grid.zero_point) for q in activation_range(grid, activation))
        scaled = mb.round(x=mb.mul(x=value, y=_along(1 / divisors, value, axis)))
        return _real(mb.clip(x=scaled, alpha=low, beta=high), grid)
    scale = scalar_or_vector(divisors.astype(np.float32))
    return _limited(_real(_quantize(value, scale, grid, axis), grid), grid, activation)


def activation_range(grid: Grid, activation: str) -> tuple[int, int]:
    """Least and greatest q after a fused activation (``CalculateActivationRangeQuantized``)."""

    def q(real: float) -> int:
        return grid.zero_point + math.floor(abs(real) / np.float32(grid.scale) + 0.5) * (1 if real >= 0 else -1)

    low, high = grid.low, grid.high
    least, greatest = {
        "RELU": (0, None), "RELU6": (0, 6), "RELU_N1_TO_1": (-1, 1), "RELU_0_TO_1": (0, 1)
    }.get(activation, (None, None))  # fmt: skip
    low = low if least is None else max(low, q(least))
    return low, high if greatest is None else min(high, q(greatest))


def _limited(real: Var, grid: Grid, activation: str) -> Var:
    """After a fused activation, where that is more than what the type can hold."""
    low, high = activation_range(grid, activation)
    if (low, high) == (grid.low, grid.high):
        return real
    bounds = [np.float32(grid.scale) * np.float32(q - grid.zero_point) for q in (low, high)]
    result: Var = mb.clip(x=real, alpha=bounds[0], beta=bounds[1])
    return result


def _quantize(x: Var, scale: Any, grid: Grid, axis: int = 1) -> Var:
    keywords = _zero_point(grid, grid.zero_point)
    if np.ndim(scale):
        keywords = {key: np.full(len(scale), value) for key, value in keywords.items()} | {"axis": np.int32(axis)}
    result: Var = mb.quantize(input=x, scale=scale, output_dtype=grid.dtype, **keywords)
    return result


def _zero_point(grid: Grid, zero_point: int) -> dict[str, Any]:
    """That of quantize and dequantize, which is 0 unless given."""
    return {"zero_point": np.dtype(grid.dtype).type(zero_point)} if zero_point else {}


def _is_byte(integers: Var) -> bool:
    return dtype_of(integers) in ("int8", "uint8")


def _real(integers: Var, grid: Grid) -> Var:
    if _is_byte(integers):
        real: Var = mb.dequantize(
            input=integers, scale=np.float32(grid.scale), **_zero_point(grid, grid.zero_point)
        )  # fmt: skip
    else:
        real = mb.mul(x=integers, y=np.float32(grid.scale))
    _integers.get()[id(real)] = (real, integers, grid)
    return real


def _known_integers(x: Value, grid: Grid) -> Var | None:
    found = _integers.get().get(id(x))
    return found[1] if found is not None and found[2] == grid else None


def _along(values: Array, x: Var, axis: int) -> Array:
    """A number, or one for each index of x's axis, that is broadcast to x."""
    shape = [1] * len(x.shape)
    if len(values) > 1:
        shape[axis] = -1
        return values.astype(np.float32).reshape(shape)
    return np.asarray(values[0], np.float32)


def to_integers(x: Var, tensor: TensorInfo) -> Var:
    """A float activation as the int32 that a model's output holds."""
    return pointwise(lambda value: mb.cast(x=raw(rounded(value, tensor), tensor), dtype="int32"), x)


def from_integers(x: Var, tensor: TensorInfo) -> Var:
    """The int32 of a model's input as a float activation."""
    grid = grid_of(tensor)
    integers = mb.cast(x=x, dtype="fp32")
    if grid.zero_point:
        integers = mb.sub(x=integers, y=np.float32(grid.zero_point))
    return _real(integers, grid)

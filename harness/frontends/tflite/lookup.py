"""Functions of one quantised activation: as the kernels' tables and few bits give each value that it can have."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.frontends.builder import mb
from harness.frontends.dispatch import Array, Var
from harness.frontends.tflite.graph import TensorInfo
from harness.frontends.tflite.quantization import (
    Grid,
    activation_of_steps,
    activation_range,
    divided,
    grid_of,
    raw,
    reinterpreted,
    requantized,
    steps,
)

# What float32 computes otherwise than the table says, in steps, at most.
_MARGIN = 1e-3
# What moves halves to either side, and nothing else.
_NEARLY_ONE = (1.0, 1 - 2.0**-19, 1 + 2.0**-19)


def by_table(x: Var, source: TensorInfo, table: Array, result: TensorInfo) -> Var:
    """The activation whose q is ``table[q of x - least q]``."""
    low = grid_of(source).low
    index = mb.cast(x=mb.sub(x=raw(x, source), y=np.float32(low)) if low else raw(x, source), dtype="int32")
    found = mb.gather(x=(table - grid_of(result).zero_point).astype(np.float32), indices=index, axis=0)
    return activation_of_steps(found, result)


def scaled(
    x: Var, source: TensorInfo, factor: int, multiplier: float, result: TensorInfo, activation: str = "NONE"
) -> Var:
    """``factor`` times steps of an activation, of which ``multiplier`` make one step of the result: with as few
    roundings as give what the kernel gives of each value that a byte can be (``Rounding.TWICE``)."""
    grid, wanted = grid_of(source), grid_of(result)
    whole = activation_range(wanted, activation) == (wanted.low, wanted.high)
    if factor > 0 and grid.is_byte and wanted.is_byte and whole:
        given: Any = (np.arange(grid.low, grid.high + 1) - grid.zero_point).astype(np.int64)
        low, high = wanted.low - wanted.zero_point, wanted.high - wanted.zero_point
        table = np.clip(_requantized(factor * given, multiplier), low, high)
        if grid.dtype == wanted.dtype and grid.zero_point == wanted.zero_point and (table == given).all():
            return reinterpreted(x, source, result)
        for nearly in _NEARLY_ONE:
            divisor = nearly / (factor * multiplier)
            if agrees(table + wanted.zero_point, given / divisor, wanted, np.abs(given / divisor) * 2.0**-21):
                return divided(steps(x, source), divisor, result)
    product = steps(x, source)
    product = mb.mul(x=product, y=np.float32(factor)) if factor != 1 else product
    return requantized(product, multiplier, result, activation)


def _requantized(values: Any, multiplier: float) -> Any:
    """``MultiplyByQuantizedMultiplier`` of 32 bits (TFLite ``kernels/internal/common.h``)."""
    mantissa, exponent = np.frexp(multiplier)
    fixed = int(np.floor(mantissa * 2**31 + 0.5))
    if fixed == 1 << 31:
        fixed, exponent = fixed // 2, exponent + 1
    product = values * (1 << max(int(exponent), 0)) * fixed
    moved = product + np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    return _divided_by_power(np.sign(moved) * (np.abs(moved) >> 31), max(-int(exponent), 0))


def agrees(table: Array, exact: Array, grid: Grid, margin: Array | float = _MARGIN) -> bool:
    """Whether rounding ``exact`` (reals in steps) gives the table, and by a margin."""
    bounds = (grid.low - grid.zero_point, grid.high - grid.zero_point)
    wanted = table - grid.zero_point
    low = np.where(wanted == bounds[0], -np.inf, wanted - 0.5 + margin)
    high = np.where(wanted == bounds[1], np.inf, wanted + 0.5 - margin)
    return bool(((exact > low) & (exact < high)).all())


def hard_swish_table(source: Grid, result: Grid) -> Array:
    """q of the result for each q, with the kernel's 16 bits (reference_ops ``hard_swish.h``)."""
    fine = np.float32(1 / 128) * np.float32(source.scale)
    output, output_exponent = _short_multiplier(float(fine / np.float32(result.scale)))
    gate, gate_exponent = _short_multiplier(float(fine / np.float32(3 / 32768)))
    x: Any = (np.arange(source.low, source.high + 1) - source.zero_point).astype(np.int64) * 128
    share = x
    if gate_exponent > 0:
        share = _saturated(share << (gate_exponent - 1))
    share = _rounded_high_half(share, gate)
    if gate_exponent > 0:
        share = _saturated(share << 1)
    share = _divided_by_power(share, max(-gate_exponent, 0))
    product = ((share + (1 << 15)) >> 1) * _rounded_high_half(x, output)
    steps = _divided_by_power(np.sign(product) * (np.abs(product) >> 15), max(-output_exponent, 0))
    table: Array = np.clip(steps + result.zero_point, result.low, result.high)
    return table


def _short_multiplier(multiplier: float) -> tuple[int, int]:
    """15 bits of a multiplier from 0.5 to 1, and its exponent."""
    mantissa, exponent = np.frexp(multiplier)
    whole = int(np.floor(mantissa * 2**31 + 0.5))
    if whole == 1 << 31:
        whole, exponent = whole // 2, exponent + 1
    return min((whole + (1 << 15)) >> 16, 32767), int(exponent)


def _saturated(values: Any) -> Any:
    return np.clip(values, -32768, 32767)


def _rounded_high_half(values: Any, multiplier: int) -> Any:
    """Products divided by 2**15, halves towards zero below zero and away from it above."""
    product = values * multiplier
    moved = product + np.where(product >= 0, 1 << 14, 1 - (1 << 14))
    return np.sign(moved) * (np.abs(moved) >> 15)


def _divided_by_power(values: Any, exponent: int) -> Any:
    """Quotients by 2**exponent, halves away from zero."""
    half = (1 << exponent) >> 1
    return np.sign(values) * ((np.abs(values) + half) >> exponent)

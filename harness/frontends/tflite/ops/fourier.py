"""Fourier transforms. A complex value is a pair of numbers, real and imaginary, along a last axis of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from harness.frontends.builder import mb
from harness.frontends.dispatch import Array, Value, Var
from harness.frontends.padding import fixed_size
from harness.frontends.tflite.layout import is_known
from harness.frontends.tflite.registry import translates

# Below it the waves of all frequencies are fewer than a quarter of a million, and one product is quick enough.
_FEWEST_IN_STAGES = 512


def _fitted(x: Var, axis: int, length: int) -> Var:
    """An axis cut to a length, or with zeros after it."""
    size, rank = fixed_size(x.shape[axis]), len(x.shape)
    if size > length:
        end = [length if other == axis % rank else 0 for other in range(rank)]
        return mb.slice_by_index(x=x, begin=[0] * rank, end=end, end_mask=[not item for item in end])
    if size < length:
        amounts = [0] * (2 * rank)
        amounts[2 * (axis % rank) + 1] = length - size
        return mb.pad(x=x, pad=amounts, mode="constant", constant_val=np.float32(0))
    return x


def _waves(length: int, turns: Array) -> tuple[Array, Array]:
    """Cosines and negative sines of turns by so many parts of ``length``."""
    # Of whole turns nothing is left: the angle stays exact.
    angles = 2 * np.pi * (turns % length) / length
    return np.cos(angles).astype(np.float32), -np.sin(angles).astype(np.float32)


def _transformed(x: Var, length: int) -> tuple[Var, Var]:
    """Real and imaginary parts of half the frequencies of the last axis, and the one in the middle."""
    count = length // 2 + 1
    inner = _factor(length)
    if length < _FEWEST_IN_STAGES or inner == 1:
        real, imaginary = (mb.matmul(x=x, y=wave) for wave in _waves(length, _turns(length, count)))
        return real, imaginary
    # Cooley and Tukey's two stages: of places n = outer * a + b and frequencies k = c + inner * d, over a and then b,
    # where a * c turns by parts of inner, b * c by parts of the whole and b * d by parts of outer.
    outer = length // inner
    rows = mb.reshape(x=x, shape=[-1, inner, outer])
    parts = [mb.matmul(x=wave[None], y=rows) for wave in _waves(inner, _turns(inner, inner))]
    parts = _product(lambda wave, part: mb.mul(x=part, y=wave[None]), _waves(length, _turns(inner, outer)), parts)
    waves = _waves(outer, _turns(outer // 2 + 1, outer))
    parts = _product(lambda wave, part: mb.matmul(x=wave[None], y=part, transpose_y=True), waves, parts)
    shape = _with_last(x, count)
    real, imaginary = (
        mb.reshape(x=_fitted(mb.reshape(x=part, shape=[-1, inner * (outer // 2 + 1)]), -1, count), shape=shape)
        for part in parts
    )
    return real, imaginary


def _turns(rows: int, columns: int) -> Array:
    """Products of indices."""
    return np.outer(np.arange(rows, dtype=np.int64), np.arange(columns))


def _with_last(x: Var, size: int) -> Value:
    """The sizes of x, the last replaced."""
    leading = [int(size) if is_known(size) else -1 for size in x.shape[:-1]]
    if leading.count(-1) <= 1:
        return np.array([*leading, size], np.int32)
    known_later = mb.slice_by_index(x=mb.shape(x=x), begin=[0], end=[len(leading)])
    return mb.concat(values=[known_later, np.array([size], np.int32)], axis=0)


def _product(multiply: Callable[[Array, Var], Var], waves: Sequence[Array], parts: Sequence[Var]) -> list[Var]:
    """Of complex numbers."""
    (cosine, sine), (real, imaginary) = waves, parts
    return [
        mb.sub(x=multiply(cosine, real), y=multiply(sine, imaginary)),
        mb.add(x=multiply(cosine, imaginary), y=multiply(sine, real)),
    ]


def _factor(length: int) -> int:
    """The greatest divisor up to the square root."""
    return next(divisor for divisor in range(math.isqrt(length), 0, -1) if length % divisor == 0)


@translates("RFFT2D")
def rfft2d(x: Var, lengths: Array) -> Var:
    """Of the last two axes, of which the last has half its frequencies, by products with waves."""
    height, width = (int(length) for length in lengths.reshape(-1))
    x = _fitted(_fitted(x, -1, width), -2, height)
    parts: Sequence[Var] = _transformed(x, width)
    if height > 1:
        broad = [1] * (len(x.shape) - 2) + [height, height]
        waves = [wave.reshape(broad) for wave in _waves(height, _turns(height, height))]
        parts = _product(lambda wave, part: mb.matmul(x=wave, y=part), waves, parts)
    return mb.stack(values=list(parts), axis=-1)


def _part(x: Var, index: int) -> Var:
    return mb.squeeze(x=mb.split(x=x, num_splits=2, axis=-1)[index], axes=[-1])


@translates("REAL")
def real(x: Var) -> Var:
    """The real part."""
    return _part(x, 0)


@translates("IMAG")
def imaginary(x: Var) -> Var:
    """The imaginary part."""
    return _part(x, 1)


@translates("COMPLEX_ABS")
def complex_abs(x: Var) -> Value:
    """The absolute value."""
    return mb.sqrt(x=mb.reduce_sum_square(x=x, axes=[-1], keep_dims=False))

"""Fourier transforms. A complex value is a pair of numbers, real and imaginary, along a last axis of its own."""

from __future__ import annotations

import numpy as np

from harness.frontends.builder import mb
from harness.frontends.dispatch import Array, Value, Var
from harness.frontends.padding import fixed_size
from harness.frontends.tflite.registry import translates


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


def _waves(length: int, count: int) -> tuple[Array, Array]:
    """Cosines and negative sines, (length, count)."""
    # Of whole turns nothing is left: the angle stays exact.
    turns = np.outer(np.arange(length, dtype=np.int64), np.arange(count)) % length
    angles = 2 * np.pi * turns / length
    return np.cos(angles).astype(np.float32), -np.sin(angles).astype(np.float32)


@translates("RFFT2D")
def rfft2d(x: Var, lengths: Array) -> Var:
    """Of the last two axes, of which the last has half its frequencies, by products with waves."""
    height, width = (int(length) for length in lengths.reshape(-1))
    x = _fitted(_fitted(x, -1, width), -2, height)
    real, imaginary = (mb.matmul(x=x, y=wave) for wave in _waves(width, width // 2 + 1))
    if height > 1:
        rank = len(x.shape)
        cosine, sine = (wave.reshape([1] * (rank - 2) + list(wave.shape)) for wave in _waves(height, height))
        pairs = [[mb.matmul(x=wave, y=part) for part in (real, imaginary)] for wave in (cosine, sine)]
        real, imaginary = mb.sub(x=pairs[0][0], y=pairs[1][1]), mb.add(x=pairs[0][1], y=pairs[1][0])
    return mb.stack(values=[real, imaginary], axis=-1)


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

"""Random numbers (coremltools ``iOS15/random.py``).

Distributions, shapes and types are Core ML's; the numbers are not, because its generator is not public.
A seed gives the same numbers at every prediction; -1, or none, fresh ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.errors import PredictionError
from harness.runtimes.portable.program import TensorType
from harness.runtimes.portable.registry import kernel
from harness.tensors import Array

_FRESH = -1


def _generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(None if seed == _FRESH else seed % 2**32)


@kernel("random_bernoulli")
def random_bernoulli(shape: tuple[int, ...], prob: float = 0.5, seed: int = _FRESH) -> Array:
    """1 with probability ``prob``, else 0."""
    return (_generator(seed).random(shape) < prob).astype(np.float32)


@kernel("random_categorical")
def random_categorical(x: Array, mode: str = "logits", size: int = 1, seed: int = _FRESH) -> Array:
    """``size`` classes drawn with replacement for each distribution along the last axis of ``x``."""
    weights: Any = x.astype(np.float64)
    if mode == "logits":
        weights = np.exp(weights - weights.max(axis=-1, keepdims=True))
    elif mode != "probs":
        raise PredictionError("unknown mode", received=repr(mode), supported=("logits", "probs"))
    cumulative = np.cumsum(weights, axis=-1)
    cumulative = (cumulative / cumulative[..., -1:]).reshape(-1, x.shape[-1])
    drawn = _generator(seed).random((len(cumulative), size))
    rows = [np.searchsorted(row, draws, side="right") for row, draws in zip(cumulative, drawn, strict=True)]
    return np.array(rows, np.float32).reshape(*x.shape[:-1], size)


@kernel("random_normal")
def random_normal(shape: tuple[int, ...], mean: float = 0.0, stddev: float = 1.0, seed: int = _FRESH) -> Array:
    """Normal distribution with the given mean and standard deviation."""
    return _generator(seed).normal(mean, stddev, shape)


@kernel("random_uniform")
def random_uniform(
    shape: tuple[int, ...],
    low: float = 0.0,
    high: float = 1.0,
    seed: int = _FRESH,
    *,
    outputs: tuple[TensorType, ...],
) -> Array:
    """Uniform over [low, high): ``high`` itself is not reached by rounding either."""
    values = _generator(seed).uniform(low, high, shape)
    if high <= low:
        return values
    limit = np.float16(high) if outputs[0].dtype == "fp16" else np.float32(high)
    return np.minimum(values, np.nextafter(limit, limit.dtype.type(-np.inf)))

"""Normalisations."""

from __future__ import annotations

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import mb
from harness.frontends.dispatch import Array, Value, Var
from harness.frontends.onnx.graph import Node
from harness.frontends.onnx.registry import translates


def _along_channels(value: Value, rank: int) -> Value:
    shape = [1, -1, *([1] * (rank - 2))]
    return value.reshape(shape) if isinstance(value, np.ndarray) else mb.reshape(x=value, shape=shape)


@translates("BatchNormalization", since=6)
def batch_normalization(
    x: Var, scale: Value, bias: Value, mean: Value, variance: Value, *, epsilon: float = 1e-5, momentum: float = 0.9,
    training_mode: int = 0, spatial: int = 1, is_test: int = 1, node: Node,
) -> Var:  # fmt: skip
    """(x - mean) / sqrt(variance + epsilon) * scale + bias, of each channel."""
    if training_mode or node.wants(1):
        raise UnsupportedError("batch normalisation while training", received="training_mode")
    rank = len(x.shape)
    values = (scale, bias, mean, variance)
    if rank in (3, 4, 5) and all(isinstance(value, np.ndarray) for value in values):
        return mb.batch_norm(x=x, mean=mean, variance=variance, gamma=scale, beta=bias, epsilon=np.float32(epsilon))
    scale, bias, mean, variance = (_along_channels(value, rank) for value in values)
    if isinstance(variance, np.ndarray):
        deviation: Value = np.sqrt(variance + np.float32(epsilon))
    else:
        deviation = mb.sqrt(x=mb.add(x=variance, y=np.float32(epsilon)))
    normed = mb.real_div(x=mb.sub(x=x, y=mean), y=deviation)
    return mb.add(x=mb.mul(x=normed, y=scale), y=bias)


@translates("InstanceNormalization", since=6)
def instance_normalization(x: Var, scale: Value, bias: Value, *, epsilon: float = 1e-5) -> Var:
    """Mean 0 and variance 1 of each channel of each image."""
    if len(x.shape) in (3, 4) and isinstance(scale, np.ndarray) and isinstance(bias, np.ndarray):
        return mb.instance_norm(x=x, gamma=scale, beta=bias, epsilon=np.float32(epsilon))
    rank = len(x.shape)
    normed = _normalized(x, list(range(2, rank)), epsilon)
    return mb.add(x=mb.mul(x=normed, y=_along_channels(scale, rank)), y=_along_channels(bias, rank))


def _normalized(x: Var, axes: list[int], epsilon: float) -> Var:
    centred = mb.sub(x=x, y=mb.reduce_mean(x=x, axes=axes, keep_dims=True))
    variance = mb.reduce_mean(x=mb.mul(x=centred, y=centred), axes=axes, keep_dims=True)
    return mb.real_div(x=centred, y=mb.sqrt(x=mb.add(x=variance, y=np.float32(epsilon))))


@translates("LayerNormalization", since=17)
def layer_normalization(
    x: Var, scale: Value, bias: Value | None = None, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1,
    node: Node,
) -> tuple[Var, ...]:  # fmt: skip
    """Mean 0 and variance 1 from ``axis`` on, and on demand the mean and the inverse deviation."""
    axes = list(range(axis % len(x.shape), len(x.shape)))
    if not node.wants(1) and not node.wants(2) and isinstance(scale, np.ndarray):
        keywords = {} if bias is None else {"beta": bias}
        if bias is None or isinstance(bias, np.ndarray):
            return (mb.layer_norm(x=x, axes=axes, gamma=scale, epsilon=np.float32(epsilon), **keywords),)
    mean = mb.reduce_mean(x=x, axes=axes, keep_dims=True)
    centred = mb.sub(x=x, y=mean)
    variance = mb.reduce_mean(x=mb.mul(x=centred, y=centred), axes=axes, keep_dims=True)
    inverse = mb.real_div(x=np.float32(1), y=mb.sqrt(x=mb.add(x=variance, y=np.float32(epsilon))))
    result = mb.mul(x=mb.mul(x=centred, y=inverse), y=scale)
    return (result if bias is None else mb.add(x=result, y=bias), mean, inverse)


@translates("LRN")
def local_response_normalization(
    x: Var, *, alpha: float = 0.0001, beta: float = 0.75, bias: float = 1.0, size: int
) -> Var:
    """x / (bias + alpha / size * sum of squares of ``size`` channels)**beta."""
    if size % 2 == 0:
        raise UnsupportedError("an even window has no centre in MIL", received=size, supported="odd sizes")
    return mb.local_response_norm(x=x, size=size, alpha=np.float32(alpha), beta=np.float32(beta), k=np.float32(bias))


@translates("LpNormalization")
def lp_normalization(x: Var, *, axis: int = -1, p: int = 2) -> Var:
    """x / its norm along the axis; 0 where the norm is 0."""
    axes = [axis % len(x.shape)]
    if p == 1:
        norm = mb.reduce_sum(x=mb.abs(x=x), axes=axes, keep_dims=True)
    else:
        norm = mb.sqrt(x=mb.reduce_sum(x=mb.mul(x=x, y=x), axes=axes, keep_dims=True))
    safe = mb.select(cond=mb.equal(x=norm, y=np.float32(0)), a=np.float32(1), b=norm)
    return mb.real_div(x=x, y=safe)


def constant_sizes(values: Array) -> list[int]:
    """Integers of a constant vector."""
    return [int(value) for value in values.reshape(-1)]

"""Normalisations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import dtype_of, like, mb
from harness.frontends.dispatch import Value, Var
from harness.frontends.onnx.graph import Node
from harness.frontends.onnx.registry import translates

_FLOAT32 = 1  # ONNX's number of the type, which stash_type names


def _along_channels(value: Value, rank: int) -> Value:
    shape = [1, -1, *([1] * (rank - 2))]
    return value.reshape(shape) if isinstance(value, np.ndarray) else mb.reshape(x=value, shape=shape)


def _centred(x: Var, axes: Sequence[int]) -> tuple[Var, Var, Var]:
    """x without its mean; mean; variance."""
    mean = mb.reduce_mean(x=x, axes=list(axes), keep_dims=True)
    centred = mb.sub(x=x, y=mean)
    return centred, mean, mb.reduce_mean(x=mb.mul(x=centred, y=centred), axes=list(axes), keep_dims=True)


def _deviation(variance: Value, epsilon: float) -> Value:
    if isinstance(variance, np.ndarray):
        return np.sqrt(variance + variance.dtype.type(epsilon))
    return mb.sqrt(x=mb.add(x=variance, y=like(variance, epsilon)))


def _scaled(x: Var, scale: Value | None, bias: Value | None) -> Var:
    x = x if scale is None else mb.mul(x=x, y=scale)
    return x if bias is None else mb.add(x=x, y=bias)


@translates("BatchNormalization", since=6)
def batch_normalization(
    x: Var, scale: Value, bias: Value, mean: Value, variance: Value, *, epsilon: float = 1e-5, momentum: float = 0.9,
    training_mode: int = 0, spatial: int = 1, is_test: int = 0, node: Node,
) -> tuple[Var, ...]:  # fmt: skip
    """(x - mean) / sqrt(variance + epsilon) * scale + bias, of each channel; while training with x's own mean and
    variance, and the running ones (momentum * old + (1 - momentum) * new) after it."""
    if not spatial and node.version < 9:
        raise UnsupportedError("batch normalisation of each activation", received="spatial=0")
    if node.version < 14 and node.wants(1):
        raise UnsupportedError("batch normalisation while training before opset 14", received="more than one output")
    rank = len(x.shape)
    values = (scale, bias, mean, variance)
    if not training_mode and rank in (3, 4, 5) and all(isinstance(value, np.ndarray) for value in values):
        return (mb.batch_norm(x=x, mean=mean, variance=variance, gamma=scale, beta=bias, epsilon=np.float32(epsilon)),)
    wide_scale, wide_bias = _along_channels(scale, rank), _along_channels(bias, rank)
    if not training_mode:
        deviation = _deviation(_along_channels(variance, rank), epsilon)
        normed = mb.real_div(x=mb.sub(x=x, y=_along_channels(mean, rank)), y=deviation)
        return (_scaled(normed, wide_scale, wide_bias),)
    axes = [axis for axis in range(rank) if axis != 1]
    centred, new_mean, new_variance = _centred(x, axes)
    result = _scaled(mb.real_div(x=centred, y=_deviation(new_variance, epsilon)), wide_scale, wide_bias)
    running = []
    for old, new in ((mean, new_mean), (variance, new_variance)):
        kept = old * old.dtype.type(momentum) if isinstance(old, np.ndarray) else mb.mul(x=old, y=like(old, momentum))
        share = mb.mul(x=mb.reshape(x=new, shape=[-1]), y=like(new, 1 - momentum))
        running.append(mb.add(x=share, y=kept))
    return (result, *running)


@translates("InstanceNormalization", since=6)
def instance_normalization(x: Var, scale: Value, bias: Value, *, epsilon: float = 1e-5) -> Var:
    """Mean 0 and variance 1 of each channel of each image."""
    rank = len(x.shape)
    if rank in (3, 4) and isinstance(scale, np.ndarray) and isinstance(bias, np.ndarray):
        return mb.instance_norm(x=x, gamma=scale, beta=bias, epsilon=np.float32(epsilon))
    centred, _, variance = _centred(x, range(2, rank))
    normed = mb.real_div(x=centred, y=_deviation(variance, epsilon))
    return _scaled(normed, _along_channels(scale, rank), _along_channels(bias, rank))


def _grouped(x: Var, groups: int, epsilon: float) -> Var:
    """(N, groups, -1), mean 0 and variance 1 of each group of channels."""
    parted = mb.reshape(x=x, shape=[0, groups, -1] if len(x.shape) == 3 else [_batch(x), groups, -1])
    return mb.layer_norm(x=parted, axes=[2], epsilon=np.float32(epsilon))


def _batch(x: Var) -> int:
    if not isinstance(x.shape[0], int | np.integer):
        raise UnsupportedError("group normalisation of a flexible batch")
    return int(x.shape[0])


def _restored(x: Var, original: Var) -> Var:
    if all(isinstance(size, int | np.integer) for size in original.shape):
        return mb.reshape(x=x, shape=[int(size) for size in original.shape])
    return mb.reshape(x=x, shape=mb.shape(x=original))


@translates("GroupNormalization", since=21)
def group_normalization(
    x: Var, scale: Value, bias: Value, *, num_groups: int, epsilon: float = 1e-5, stash_type: int = _FLOAT32
) -> Var:
    """Mean 0 and variance 1 of each group of channels; scale and bias of each channel."""
    rank = len(x.shape)
    normed = _restored(_grouped(x, num_groups, epsilon), x)
    return _scaled(normed, _along_channels(scale, rank), _along_channels(bias, rank))


@translates("LayerNormalization", since=17)
def layer_normalization(
    x: Var, scale: Value, bias: Value | None = None, *, axis: int = -1, epsilon: float = 1e-5,
    stash_type: int = _FLOAT32, node: Node,
) -> tuple[Var, ...]:  # fmt: skip
    """Mean 0 and variance 1 from ``axis`` on, and on demand the mean and the inverse deviation."""
    axes = list(range(axis % len(x.shape), len(x.shape)))
    fits = [isinstance(value, np.ndarray) and value.shape == tuple(x.shape[axes[0] :]) for value in (scale, bias)]
    if not node.wants(1) and not node.wants(2) and fits[0] and (fits[1] or bias is None):
        keywords = {} if bias is None else {"beta": bias}
        return (mb.layer_norm(x=x, axes=axes, gamma=scale, epsilon=np.float32(epsilon), **keywords),)
    centred, mean, variance = _centred(x, axes)
    deviation = _deviation(variance, epsilon)
    if not node.wants(1) and not node.wants(2):
        return (_scaled(mb.real_div(x=centred, y=deviation), scale, bias),)
    inverse = mb.real_div(x=like(x, 1), y=deviation)
    return _scaled(mb.mul(x=centred, y=inverse), scale, bias), mean, inverse


@translates("RMSNormalization", since=23)
def rms_normalization(
    x: Var, scale: Value, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = _FLOAT32
) -> Var:
    """x / sqrt(mean of squares from ``axis`` on + epsilon) * scale."""
    kind = dtype_of(x)
    # Squares overflow float16.
    wide = mb.cast(x=x, dtype="fp32") if kind == "fp16" and stash_type == _FLOAT32 else x
    axes = list(range(axis % len(x.shape), len(x.shape)))
    squares = mb.reduce_mean(x=mb.mul(x=wide, y=wide), axes=axes, keep_dims=True)
    normed = mb.real_div(x=wide, y=_deviation(squares, epsilon))
    return mb.mul(x=normed if wide is x else mb.cast(x=normed, dtype=kind), y=scale)


@translates("MeanVarianceNormalization", since=9)
def mean_variance_normalization(x: Var, *, axes: tuple[int, ...] = (0, 2, 3)) -> Var:
    """Mean 0 and variance 1 over the axes; 1e-9 is added to the deviation, as in the operator's own function."""
    centred, _, variance = _centred(x, [axis % len(x.shape) for axis in axes])
    return mb.real_div(x=centred, y=mb.add(x=mb.sqrt(x=variance), y=like(x, 1e-9)))


@translates("LRN")
def local_response_normalization(
    x: Var, *, alpha: float = 0.0001, beta: float = 0.75, bias: float = 1.0, size: int
) -> Var:
    """x / (bias + alpha / size * sum of squares of ``size`` channels)**beta."""
    if size % 2 and len(x.shape) in (3, 4):
        return mb.local_response_norm(
            x=x, size=size, alpha=np.float32(alpha), beta=np.float32(beta), k=np.float32(bias)
        )
    # MIL has no window without a centre: the mean of channels is a pool of them.
    batch, channels, *rest = (int(length) for length in x.shape)
    squares = mb.reshape(x=mb.mul(x=x, y=x), shape=[batch, 1, channels, int(np.prod(rest))])
    before = (size - 1) // 2
    mean = mb.avg_pool(
        x=squares, kernel_sizes=[size, 1], strides=[1, 1], pad_type="custom", pad=[before, size - 1 - before, 0, 0],
        exclude_padding_from_average=False,
    )  # fmt: skip
    mean = mb.reshape(x=mean, shape=[batch, channels, *rest])
    total = mb.add(x=mb.mul(x=mean, y=like(x, alpha)), y=like(x, bias))
    return mb.real_div(x=x, y=mb.pow(x=total, y=like(x, beta)))


@translates("LpNormalization")
def lp_normalization(x: Var, *, axis: int = -1, p: int = 2) -> Var:
    """x / its norm along the axis; 0 where the norm is 0."""
    axes = [axis % len(x.shape)]
    norm = (mb.reduce_l1_norm if p == 1 else mb.reduce_l2_norm)(x=x, axes=axes, keep_dims=True)
    safe = mb.select(cond=mb.equal(x=norm, y=like(norm, 0)), a=like(norm, 1), b=norm)
    return mb.real_div(x=x, y=safe)

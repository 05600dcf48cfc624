"""Activations."""

from __future__ import annotations

import numpy as np

from harness.frontends.builder import dtype_of, like, mb
from harness.frontends.dispatch import Value, Var
from harness.frontends.onnx.registry import TRANSLATIONS, translates
from harness.frontends.program import as_var

TRANSLATIONS.directly({"Sigmoid": "sigmoid", "Tanh": "tanh", "Softsign": "softsign", "Softplus": "softplus"})


@translates("Relu")
def relu(x: Var) -> Var:
    """x where x > 0, else 0; of integers too."""
    return mb.maximum(x=x, y=np.int32(0)) if dtype_of(x) == "int32" else mb.relu(x=x)


@translates("LeakyRelu")
def leaky_relu(x: Var, *, alpha: float = 0.01) -> Var:
    """alpha * x where x < 0."""
    return mb.leaky_relu(x=x, alpha=like(x, alpha))


@translates("Elu")
def elu(x: Var, *, alpha: float = 1.0) -> Var:
    """alpha * (exp(x) - 1) where x < 0."""
    return mb.elu(x=x, alpha=like(x, alpha))


@translates("Selu")
def selu(x: Var, *, alpha: float = 1.6732632, gamma: float = 1.0507010) -> Var:
    """gamma * elu(x)."""
    return mb.mul(x=mb.elu(x=x, alpha=like(x, alpha)), y=like(x, gamma))


@translates("Shrink", since=9)
def shrink(x: Var, *, bias: float = 0.0, lambd: float = 0.5) -> Var:
    """x moved towards 0 by ``bias`` beyond ``lambd``, 0 within."""
    above = mb.select(cond=mb.greater(x=x, y=like(x, lambd)), a=mb.sub(x=x, y=like(x, bias)), b=like(x, 0))
    below = mb.add(x=x, y=like(x, bias))
    return mb.select(cond=mb.less(x=x, y=like(x, -lambd)), a=below, b=above)


@translates("ThresholdedRelu")
def thresholded_relu(x: Var, *, alpha: float = 1.0) -> Var:
    """x where x > alpha, else 0."""
    return mb.select(cond=mb.greater(x=x, y=like(x, alpha)), a=x, b=like(x, 0))


@translates("HardSigmoid")
def hard_sigmoid(x: Var, *, alpha: float = 0.2, beta: float = 0.5) -> Var:
    """max(0, min(1, alpha * x + beta))."""
    return mb.sigmoid_hard(x=x, alpha=like(x, alpha), beta=like(x, beta))


@translates("PRelu")
def prelu_of_channels(x: Var, slope: Value) -> Var:
    """Before opset 7 a vector of slopes is one for each channel, axis 1."""
    if len(slope.shape) == 1 and len(x.shape) > 1:
        shape = [-1, *([1] * (len(x.shape) - 2))]
        slope = slope.reshape(shape) if isinstance(slope, np.ndarray) else mb.reshape(x=slope, shape=shape)
    return prelu(x, slope)


@translates("PRelu", since=7)
def prelu(x: Var, slope: Value) -> Var:
    """slope * x where x < 0, with the slope broadcast. MIL's own has constant slopes of channels."""
    rank = len(x.shape)
    if dtype_of(x) == "int32":
        return mb.select(cond=mb.less(x=x, y=np.int32(0)), a=mb.mul(x=as_var(slope), y=x), b=x)
    if isinstance(slope, np.ndarray) and slope.size == 1:
        return mb.leaky_relu(x=x, alpha=like(x, slope.reshape(())))
    if isinstance(slope, np.ndarray) and rank == 4:
        shape = (1,) * (rank - slope.ndim) + slope.shape
        if shape == (1, x.shape[1], *([1] * (rank - 2))):
            return mb.prelu(x=x, alpha=like(x, slope.reshape(-1)))
    return mb.select(cond=mb.less(x=x, y=like(x, 0)), a=mb.mul(x=as_var(slope), y=x), b=x)


@translates("Gelu", since=20)
def gelu(x: Var, *, approximate: str = "none") -> Var:
    """Gaussian error linear unit."""
    return mb.gelu(x=x, mode="TANH_APPROXIMATION" if approximate == "tanh" else "EXACT")


@translates("Softmax", since=13)
def softmax(x: Var, *, axis: int = -1) -> Var:
    """Along one axis."""
    return mb.softmax(x=x, axis=axis)


@translates("LogSoftmax", since=13)
def log_softmax(x: Var, *, axis: int = -1) -> Var:
    """The logarithm of softmax, computed without overflow."""
    shifted = mb.sub(x=x, y=mb.reduce_max(x=x, axes=[axis], keep_dims=True))
    return mb.sub(x=shifted, y=mb.reduce_log_sum_exp(x=shifted, axes=[axis], keep_dims=True))


@translates("Hardmax", since=13)
def hardmax(x: Var, *, axis: int = -1) -> Var:
    """1 at the first greatest along the axis, else 0."""
    rank = len(x.shape)
    axis %= rank
    size = int(x.shape[axis])
    return mb.one_hot(
        indices=mb.reduce_argmax(x=x, axis=axis, keep_dims=False), one_hot_vector_size=size, axis=axis,
        on_value=like(x, 1), off_value=like(x, 0),
    )  # fmt: skip


def _flattened(function: str) -> None:
    """Before opset 13 these flatten x to a matrix at ``axis``, 1 by default."""
    newest = {"Softmax": softmax, "LogSoftmax": log_softmax, "Hardmax": hardmax}[function]

    def translate(x: Var, *, axis: int = 1) -> Var:
        shape = [int(size) for size in x.shape]
        axis %= len(shape)
        matrix = mb.reshape(x=x, shape=[int(np.prod(shape[:axis])), -1])
        return mb.reshape(x=newest(matrix, axis=1), shape=shape)

    translates(function)(translate)


for _function in ("Softmax", "LogSoftmax", "Hardmax"):
    _flattened(_function)

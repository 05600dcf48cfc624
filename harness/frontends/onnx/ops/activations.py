"""Activations."""

from __future__ import annotations

import numpy as np

from harness.frontends.builder import mb
from harness.frontends.dispatch import Var
from harness.frontends.onnx.registry import TRANSLATIONS, translates

TRANSLATIONS.directly(
    {"Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "Softsign": "softsign", "Softplus": "softplus"}
)


@translates("LeakyRelu")
def leaky_relu(x: Var, *, alpha: float = 0.01) -> Var:
    """alpha * x where x < 0."""
    return mb.leaky_relu(x=x, alpha=np.float32(alpha))


@translates("Elu")
def elu(x: Var, *, alpha: float = 1.0) -> Var:
    """alpha * (exp(x) - 1) where x < 0."""
    return mb.elu(x=x, alpha=np.float32(alpha))


@translates("Selu")
def selu(x: Var, *, alpha: float = 1.6732632, gamma: float = 1.0507010) -> Var:
    """gamma * elu(x)."""
    return mb.mul(x=mb.elu(x=x, alpha=np.float32(alpha)), y=np.float32(gamma))


@translates("Shrink", since=9)
def shrink(x: Var, *, bias: float = 0.0, lambd: float = 0.5) -> Var:
    """x moved towards 0 by ``bias`` beyond ``lambd``, 0 within."""
    above = mb.select(cond=mb.greater(x=x, y=np.float32(lambd)), a=mb.sub(x=x, y=np.float32(bias)), b=np.float32(0))
    below = mb.add(x=x, y=np.float32(bias))
    return mb.select(cond=mb.less(x=x, y=np.float32(-lambd)), a=below, b=above)


@translates("ThresholdedRelu")
def thresholded_relu(x: Var, *, alpha: float = 1.0) -> Var:
    """x where x > alpha, else 0."""
    return mb.select(cond=mb.greater(x=x, y=np.float32(alpha)), a=x, b=mb.mul(x=x, y=np.float32(0)))


@translates("HardSigmoid")
def hard_sigmoid(x: Var, *, alpha: float = 0.2, beta: float = 0.5) -> Var:
    """max(0, min(1, alpha * x + beta))."""
    return mb.sigmoid_hard(x=x, alpha=np.float32(alpha), beta=np.float32(beta))


@translates("PRelu")
def prelu_of_channels(x: Var, slope: Var) -> Var:
    """Before opset 7 a vector of slopes is one for each channel, axis 1."""
    if len(slope.shape) == 1 and len(x.shape) > 1:
        slope = mb.reshape(x=slope, shape=[-1, *([1] * (len(x.shape) - 2))])
    return prelu(x, slope)


@translates("PRelu", since=7)
def prelu(x: Var, slope: Var) -> Var:
    """slope * x where x < 0, with the slope broadcast."""
    zero = np.float32(0)
    return mb.add(x=mb.maximum(x=x, y=zero), y=mb.mul(x=slope, y=mb.minimum(x=x, y=zero)))


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
        on_value=np.float32(1), off_value=np.float32(0),
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

"""Recurrent layers (ONNX ``RNN``, ``GRU``, ``LSTM``), written out step by step.

Weights may be computed; every direction, layout, activation and option of the operators is said by composition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.errors import ConversionError, UnsupportedError
from harness.frontends.builder import mb
from harness.frontends.dispatch import Value, Var
from harness.frontends.expect import check_rank, of_each_axis
from harness.frontends.onnx.declared import known_or_none
from harness.frontends.onnx.graph import Node
from harness.frontends.onnx.registry import translates
from harness.frontends.program import as_var
from harness.frontends.recurrent import timesteps


def _activation(name: str, alpha: float | None, beta: float | None) -> Callable[[Var], Var]:
    """One of the operators' activations, in lower or upper case, with its default parameters."""
    a = None if alpha is None else np.float32(alpha)
    b = None if beta is None else np.float32(beta)
    table: dict[str, Callable[[Var], Var]] = {
        "sigmoid": lambda x: mb.sigmoid(x=x),
        "tanh": lambda x: mb.tanh(x=x),
        "relu": lambda x: mb.relu(x=x),
        "softsign": lambda x: mb.softsign(x=x),
        "softplus": lambda x: mb.softplus(x=x),
        "leakyrelu": lambda x: mb.leaky_relu(x=x, alpha=np.float32(0.01) if a is None else a),
        "elu": lambda x: mb.elu(x=x, alpha=np.float32(1) if a is None else a),
        "hardsigmoid": lambda x: mb.sigmoid_hard(
            x=x, alpha=np.float32(0.2) if a is None else a, beta=np.float32(0.5) if b is None else b
        ),
        "affine": lambda x: mb.add(
            x=mb.mul(x=x, y=np.float32(1) if a is None else a), y=np.float32(0) if b is None else b
        ),
    }
    if name.lower() not in table:
        raise UnsupportedError("this activation is not translated", received=name, supported=sorted(table))
    return table[name.lower()]


@dataclass(frozen=True)
class _Layer:
    """One direction: weights (gates, size), recurrent weights (gates, hidden), input and recurrent biases."""

    weight: Var
    recurrent: Var
    input_bias: Var | None
    recurrent_bias: Var | None
    activations: tuple[Callable[[Var], Var], ...]
    clip: float | None
    hidden: int

    def of_input(self, x: Var) -> Var:
        """The part of the gates that the input gives."""
        result = mb.matmul(x=x, y=self.weight, transpose_y=True)
        return result if self.input_bias is None else mb.add(x=result, y=self.input_bias)

    def of_state(self, h: Var) -> Var:
        """The part of the gates that the state gives."""
        result = mb.matmul(x=h, y=self.recurrent, transpose_y=True)
        return result if self.recurrent_bias is None else mb.add(x=result, y=self.recurrent_bias)

    def clipped(self, x: Var) -> Var:
        """What goes into an activation."""
        return x if self.clip is None else mb.clip(x=x, alpha=np.float32(-self.clip), beta=np.float32(self.clip))

    def gates(self, x: Var) -> list[Var]:
        """Split along the gates."""
        count = int(x.shape[-1]) // self.hidden
        return list(mb.split(x=x, num_splits=count, axis=-1)) if count > 1 else [x]


State = tuple[Var, ...]
Step = Callable[[_Layer, Var, State], State]


def _part(value: Value | None, index: int, directions: int) -> Var | None:
    """One direction's share of a tensor whose first axis is directions."""
    if value is None:
        return None
    x = as_var(value)
    if directions == 1:
        return mb.squeeze(x=x, axes=[0])
    return mb.squeeze(x=mb.split(x=x, num_splits=directions, axis=0)[index], axes=[0])


@dataclass(frozen=True)
class _Options:
    """Attributes that all three operators have."""

    direction: str
    hidden: int
    layout: int
    clip: float | None
    activations: tuple[str, ...]
    alphas: tuple[float, ...]
    betas: tuple[float, ...]

    @property
    def directions(self) -> int:
        """1, or 2 for bidirectional."""
        return 2 if self.direction == "bidirectional" else 1

    def functions(self, index: int, defaults: Sequence[str]) -> tuple[Callable[[Var], Var], ...]:
        """The activations of one direction. Parameters are listed for those that have them, in order."""
        names = self.activations or tuple(defaults) * self.directions
        alphas, betas = list(self.alphas), list(self.betas)
        found = []
        for name in names:
            takes_alpha = name.lower() in ("leakyrelu", "elu", "hardsigmoid", "affine", "thresholdedrelu", "scaledtanh")
            takes_beta = name.lower() in ("hardsigmoid", "affine", "scaledtanh")
            alpha = alphas.pop(0) if takes_alpha and alphas else None
            beta = betas.pop(0) if takes_beta and betas else None
            found.append(_activation(name, alpha, beta))
        count = len(defaults)
        return tuple(found[index * count : (index + 1) * count])


def _run(
    x: Value,
    weight: Value,
    recurrent: Value,
    bias: Value | None,
    lengths: Value | None,
    states: Sequence[Value | None],
    options: _Options,
    defaults: Sequence[str],
    step: Step,
    peepholes: Value | None = None,
) -> tuple[Var, ...]:
    """Y (steps, directions, batch, hidden) and the last states (directions, batch, hidden), or with batch first."""
    sequence = as_var(x)
    check_rank("the input", sequence, 3)
    of_each_axis("hidden_size", (options.hidden,), 1, 1, 1)
    for value in (weight, recurrent):
        check_rank("a weight", value, 3)
    if recurrent.shape[-1] != options.hidden:
        raise ConversionError(
            "the recurrent weight is not of hidden_size", received=recurrent.shape[-1], supported=options.hidden
        )
    if options.layout:
        sequence = mb.transpose(x=sequence, perm=[1, 0, 2])
    steps, batch = int(sequence.shape[0]), int(sequence.shape[1])
    inputs = timesteps(sequence)
    masks = _masks(lengths, steps, batch, options)
    collected, last = [], []
    for index in range(options.directions):
        backwards = options.direction == "reverse" or index == 1
        both = _part(bias, index, options.directions)
        halves = (None, None) if both is None else tuple(mb.split(x=both, num_splits=2, axis=0))
        own_weight, own_recurrent = (
            _part(weight, index, options.directions),
            _part(recurrent, index, options.directions),
        )
        assert own_weight is not None
        assert own_recurrent is not None
        layer = _Layer(
            own_weight, own_recurrent, halves[0], halves[1], options.functions(index, defaults), options.clip,
            options.hidden,
        )  # fmt: skip
        state = tuple(_start(given, index, options, batch) for given in states)
        extra = _part(peepholes, index, options.directions)
        outputs: list[Any] = [None] * steps
        for number in reversed(range(steps)) if backwards else range(steps):
            before = state
            new = step(layer, inputs[number], (*state, extra) if extra is not None else state)
            if masks is None:
                state, outputs[number] = new, new[0]
            else:
                state = tuple(mb.select(cond=masks[number], a=a, b=b) for a, b in zip(new, before, strict=True))
                outputs[number] = mb.select(cond=masks[number], a=new[0], b=mb.mul(x=new[0], y=np.float32(0)))
        collected.append(mb.stack(values=outputs, axis=0))
        last.append(state)
    y = mb.stack(values=collected, axis=1)
    finals = [mb.stack(values=[state[index] for state in last], axis=0) for index in range(len(states))]
    if options.layout:
        y = mb.transpose(x=y, perm=[2, 0, 1, 3])
        finals = [mb.transpose(x=final, perm=[1, 0, 2]) for final in finals]
    return (y, *finals)


def _start(given: Value | None, index: int, options: _Options, batch: int) -> Var:
    if given is None:
        return as_var(np.zeros((batch, options.hidden), np.float32))
    x = as_var(given)
    if options.layout:
        x = mb.transpose(x=x, perm=[1, 0, 2])
    part = _part(x, index, options.directions)
    assert part is not None
    return part


def _masks(lengths: Value | None, steps: int, batch: int, options: _Options) -> list[Var] | None:
    """For each step, which sequences of the batch are that long; None where all are whole."""
    if lengths is None:
        return None
    known = known_or_none(lengths)
    if known is not None and (known == steps).all():
        return None
    whole = np.zeros((batch, options.hidden), np.int32)
    column = mb.add(x=mb.expand_dims(x=as_var(lengths), axes=[1]), y=whole)
    # A step beyond a sequence's end leaves the state as it is, whichever way the sequence is read.
    return [mb.greater(x=column, y=np.int32(number)) for number in range(steps)]


def _elman(layer: _Layer, x: Var, state: State) -> State:
    total = mb.add(x=layer.of_input(x), y=layer.of_state(state[0]))
    return (layer.activations[0](layer.clipped(total)),)


@translates("RNN", since=7)
def rnn(
    x: Value,
    weight: Value,
    recurrent: Value,
    bias: Value | None = None,
    lengths: Value | None = None,
    h: Value | None = None,
    *,
    hidden_size: int,
    activations: tuple[str, ...] = (),
    activation_alpha: tuple[float, ...] = (),
    activation_beta: tuple[float, ...] = (),
    clip: float | None = None,
    direction: str = "forward",
    layout: int = 0,
    node: Node,
) -> tuple[Var, ...]:
    """h = f(W x + R h + b)."""
    options = _Options(direction, hidden_size, layout, clip, activations, activation_alpha, activation_beta)
    return _run(x, weight, recurrent, bias, lengths, [h], options, ["Tanh"], _elman)


@translates("GRU", since=7)
def gru(
    x: Value,
    weight: Value,
    recurrent: Value,
    bias: Value | None = None,
    lengths: Value | None = None,
    h: Value | None = None,
    *,
    hidden_size: int,
    activations: tuple[str, ...] = (),
    activation_alpha: tuple[float, ...] = (),
    activation_beta: tuple[float, ...] = (),
    clip: float | None = None,
    direction: str = "forward",
    layout: int = 0,
    linear_before_reset: int = 0,
    node: Node,
) -> tuple[Var, ...]:
    """Gates z, r and h; the state goes through the reset gate before its product, or after (linear_before_reset)."""
    options = _Options(direction, hidden_size, layout, clip, activations, activation_alpha, activation_beta)

    def step(layer: _Layer, x: Var, state: State) -> State:
        update, reset, new = layer.gates(layer.of_input(x))
        of_state = layer.gates(layer.of_state(state[0]))
        f, g = layer.activations
        z = f(layer.clipped(mb.add(x=update, y=of_state[0])))
        r = f(layer.clipped(mb.add(x=reset, y=of_state[1])))
        if linear_before_reset:
            hidden = mb.mul(x=r, y=of_state[2])
        else:
            begin, size = 2 * layer.hidden, layer.hidden
            own = mb.slice_by_size(x=layer.recurrent, begin=[begin, 0], size=[size, size])
            hidden = mb.matmul(x=mb.mul(x=r, y=state[0]), y=own, transpose_y=True)
            if layer.recurrent_bias is not None:
                hidden = mb.add(x=hidden, y=mb.slice_by_size(x=layer.recurrent_bias, begin=[begin], size=[size]))
        candidate = g(layer.clipped(mb.add(x=new, y=hidden)))
        kept = mb.mul(x=z, y=state[0])
        return (mb.add(x=mb.mul(x=mb.sub(x=np.float32(1), y=z), y=candidate), y=kept),)

    return _run(x, weight, recurrent, bias, lengths, [h], options, ["Sigmoid", "Tanh"], step)


@translates("LSTM", since=7)
def lstm(
    x: Value,
    weight: Value,
    recurrent: Value,
    bias: Value | None = None,
    lengths: Value | None = None,
    h: Value | None = None,
    c: Value | None = None,
    peepholes: Value | None = None,
    *,
    hidden_size: int,
    activations: tuple[str, ...] = (),
    activation_alpha: tuple[float, ...] = (),
    activation_beta: tuple[float, ...] = (),
    clip: float | None = None,
    direction: str = "forward",
    input_forget: int = 0,
    layout: int = 0,
    node: Node,
) -> tuple[Var, ...]:
    """Gates i, o, f and c, with peepholes of the cell for i, o and f."""
    options = _Options(direction, hidden_size, layout, clip, activations, activation_alpha, activation_beta)

    def step(layer: _Layer, x: Var, state: State) -> State:
        hidden, cell = state[:2]
        total = mb.add(x=layer.of_input(x), y=layer.of_state(hidden))
        i, o, forget, new = layer.gates(total)
        f, g, k = layer.activations
        looks = list(mb.split(x=state[2], num_splits=3, axis=0)) if len(state) > 2 else None
        if looks is not None:
            i = mb.add(x=i, y=mb.mul(x=looks[0], y=cell))
            forget = mb.add(x=forget, y=mb.mul(x=looks[2], y=cell))
        i = f(layer.clipped(i))
        forget = mb.sub(x=np.float32(1), y=i) if input_forget else f(layer.clipped(forget))
        cell = mb.add(x=mb.mul(x=forget, y=cell), y=mb.mul(x=i, y=g(layer.clipped(new))))
        if looks is not None:
            o = mb.add(x=o, y=mb.mul(x=looks[1], y=cell))
        return mb.mul(x=f(layer.clipped(o)), y=k(cell)), cell

    return _run(x, weight, recurrent, bias, lengths, [h, c], options, ["Sigmoid", "Tanh", "Tanh"], step, peepholes)

"""Recurrent layers (coremltools ``iOS15/recurrent.py``, ``iOS17/recurrent.py``, ``iOS18/recurrent.py``).

Kernels, because ONNX's LSTM clips the input of every gate where MIL clips the cell alone, and its GRU
and RNN lack half of MIL's activations. Semantics are those of coremltools' tests
(``ops/tests/iOS14/test_recurrent.py``), which were compared with Core ML:

* a ``reverse`` layer reads the sequence backwards and returns its steps in the order of reading;
  the backward half of a ``bidirectional`` layer returns them in the order of the sequence;
* without ``output_sequence`` the sequence holds only the last step read.

x is (sequence, batch, features); hidden and cell states are (batch, hidden).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from harness.errors import PredictionError
from harness.runtimes.portable.registry import kernel

Floats = np.ndarray[Any, np.dtype[np.float32]]


def _sigmoid(x: Floats) -> Floats:
    # Through tanh, which neither overflows nor loses the small end.
    half = np.float32(0.5)
    result: Floats = half * (np.tanh(half * x) + np.float32(1))
    return result


def _hard_sigmoid(x: Floats) -> Floats:
    result: Floats = np.clip(np.float32(0.2) * x + np.float32(0.5), np.float32(0), np.float32(1))
    return result


# With their standard parameters, which no input of these operations changes.
_ACTIVATIONS: dict[str, Callable[[Floats], Floats]] = {
    "tanh": np.tanh,
    "scaled_tanh": np.tanh,
    "sigmoid": _sigmoid,
    "hard_sigmoid": _hard_sigmoid,
    "sigmoid_hard": _hard_sigmoid,
    "relu": lambda x: np.maximum(x, np.float32(0)),
    "linear": lambda x: x,
}
_DIRECTIONS = ("forward", "reverse", "bidirectional")


def _activation(name: str) -> Callable[[Floats], Floats]:
    function = _ACTIVATIONS.get(name.lower())
    if function is None:
        raise PredictionError("unknown activation", received=repr(name), supported=list(_ACTIVATIONS))
    return function


def _check_direction(direction: str, supported: tuple[str, ...]) -> None:
    if direction not in supported:
        raise PredictionError("unknown direction", received=repr(direction), supported=supported)


def _projected(x: Floats, weight: Floats, *biases: Floats | None) -> Floats:
    """x @ weight.T + biases for all steps at once, (sequence, batch, gates * hidden)."""
    result = x @ weight.T
    for bias in biases:
        if bias is not None:
            result = result + bias
    return result


def _steps(hidden: list[Floats], initial: Floats, output_sequence: bool) -> Floats:
    """The steps in the order of reading, or only the last of them; an empty sequence leaves the initial state."""
    if not output_sequence:
        return (hidden[-1] if hidden else initial)[None]
    return np.stack(hidden) if hidden else np.zeros((0, *initial.shape), np.float32)


@kernel("rnn")
def rnn(
    x: Floats,
    initial_h: Floats,
    weight_ih: Floats,
    weight_hh: Floats,
    bias: Floats | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    activation: str = "tanh",
) -> tuple[Floats, Floats]:
    """h' = activation(W_ih x + W_hh h + bias). Returns the sequence and the last hidden state."""
    _check_direction(direction, _DIRECTIONS[:2])
    activate = _activation(activation)
    inputs = _projected(x if direction == "forward" else x[::-1], weight_ih, bias)
    h: Floats = initial_h
    hidden = []
    for step in inputs:
        h = activate(step + h @ weight_hh.T)
        hidden.append(h)
    return _steps(hidden, initial_h, output_sequence), h


@kernel("gru")
def gru(
    x: Floats,
    initial_h: Floats,
    weight_ih: Floats,
    weight_hh: Floats,
    bias: Floats | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    recurrent_activation: str = "sigmoid",
    activation: str = "tanh",
    reset_after: bool = False,
    input_bias: Floats | None = None,
) -> tuple[Floats, Floats]:
    """h' = (1 - z) * o + z * h, gates in the order reset, output, update.

    ``reset_after`` (iOS18) gates the projected state, o = activation(W_io x + input_bias + r * (W_ho h + bias));
    otherwise the state is gated first, o = activation(W_io x + W_ho (r * h) + biases), as the tests have it
    and the docstring's formula has not. Returns the sequence and the last hidden state.
    """
    _check_direction(direction, _DIRECTIONS[:2])
    gate, activate = _activation(recurrent_activation), _activation(activation)
    size = weight_hh.shape[1]
    recurrent_bias: Floats = np.zeros(3 * size, np.float32) if bias is None else bias
    inputs = _projected(x if direction == "forward" else x[::-1], weight_ih, input_bias)
    weights = np.split(weight_hh, 3)
    bias_r, bias_o, bias_z = np.split(recurrent_bias, 3)
    h: Floats = initial_h
    hidden = []
    for step in inputs:
        x_r, x_o, x_z = np.split(step, 3, axis=-1)
        r = gate(x_r + h @ weights[0].T + bias_r)
        z = gate(x_z + h @ weights[2].T + bias_z)
        recurrent = r * (h @ weights[1].T + bias_o) if reset_after else (r * h) @ weights[1].T + bias_o
        h = (np.float32(1) - z) * activate(x_o + recurrent) + z * h
        hidden.append(h)
    return _steps(hidden, initial_h, output_sequence), h


@kernel("lstm")
def lstm(
    x: Floats,
    initial_h: Floats,
    initial_c: Floats,
    weight_ih: Floats,
    weight_hh: Floats,
    bias: Floats | None = None,
    peephole: Floats | None = None,
    weight_ih_back: Floats | None = None,
    weight_hh_back: Floats | None = None,
    bias_back: Floats | None = None,
    peephole_back: Floats | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    recurrent_activation: str = "sigmoid",
    cell_activation: str = "tanh",
    activation: str = "tanh",
    clip: float | None = None,
) -> tuple[Floats, Floats, Floats]:
    """Gates in the order input, forget, output, cell; the peephole looks at the old cell for input and
    forget, at the new one for output; ``clip`` bounds the new cell.

    A bidirectional layer has its forward half first in the last axis of states and results.
    Returns the sequence, the last hidden and the last cell state.
    """
    _check_direction(direction, _DIRECTIONS)
    activations = (_activation(recurrent_activation), _activation(cell_activation), _activation(activation))

    def read(
        sequence: Floats, h: Floats, c: Floats, w_ih: Floats, w_hh: Floats, b: Floats | None, p: Floats | None
    ) -> tuple[list[Floats], Floats, Floats]:
        gate, cell, output = activations
        p_i, p_f, p_o = np.split(p if p is not None else np.zeros(3 * w_hh.shape[1], np.float32), 3)
        hidden = []
        for step in _projected(sequence, w_ih, b):
            i, f, o, z = np.split(step + h @ w_hh.T, 4, axis=-1)
            c = gate(f + p_f * c) * c + gate(i + p_i * c) * cell(z)
            if clip is not None:
                c = np.clip(c, np.float32(-clip), np.float32(clip))
            h = gate(o + p_o * c) * output(c)
            hidden.append(h)
        return hidden, h, c

    if direction != "bidirectional":
        sequence = x if direction == "forward" else x[::-1]
        hidden, h, c = read(sequence, initial_h, initial_c, weight_ih, weight_hh, bias, peephole)
        return _steps(hidden, initial_h, output_sequence), h, c
    if weight_ih_back is None or weight_hh_back is None:
        raise PredictionError(
            "a bidirectional layer lacks its backward weights", supported="weight_ih_back and weight_hh_back"
        )
    h_forward, h_back = np.split(initial_h, 2, axis=-1)
    c_forward, c_back = np.split(initial_c, 2, axis=-1)
    forward, h_forward_last, c_forward_last = read(x, h_forward, c_forward, weight_ih, weight_hh, bias, peephole)
    backward, h_back_last, c_back_last = read(
        x[::-1], h_back, c_back, weight_ih_back, weight_hh_back, bias_back, peephole_back
    )
    if output_sequence:
        backward = backward[::-1]
    halves = (_steps(forward, h_forward, output_sequence), _steps(backward, h_back, output_sequence))
    return (
        np.concatenate(halves, axis=-1),
        np.concatenate((h_forward_last, h_back_last), axis=-1),
        np.concatenate((c_forward_last, c_back_last), axis=-1),
    )

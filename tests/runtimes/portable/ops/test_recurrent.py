from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.errors import PredictionError
from harness.quiet import quiet_imports
from harness.runtimes.portable.registry import KERNELS

with quiet_imports():
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb

from tests.runtimes.portable.conftest import Run

STEPS, BATCH, FEATURES, HIDDEN = 4, 3, 5, 2


def values(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).uniform(-1, 1, shape).astype(np.float32)


# The oracle: float64, one element of the batch after another, as the docstrings' formulas and
# coremltools' tests have it.

ACTIVATIONS: dict[str, Any] = {
    "tanh": np.tanh,
    "scaled_tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "hard_sigmoid": lambda x: np.minimum(np.maximum(0.2 * x + 0.5, 0), 1),
    "relu": lambda x: np.maximum(x, 0),
    "linear": lambda x: x,
}


def reference_lstm(x, h, c, w, r, b, p, gates, cell, output, clip):
    sequence = np.zeros((x.shape[0], x.shape[1], r.shape[1]))
    h, c = h.astype(np.float64), c.astype(np.float64)
    for k in range(x.shape[1]):
        for t in range(x.shape[0]):
            i, f, o, z = np.split(w.astype(np.float64) @ x[t, k] + r @ h[k] + b, 4)
            p_i, p_f, p_o = np.split(p, 3)
            new = ACTIVATIONS[gates](f + p_f * c[k]) * c[k] + ACTIVATIONS[gates](i + p_i * c[k]) * ACTIVATIONS[cell](z)
            c[k] = np.clip(new, -clip, clip)
            h[k] = ACTIVATIONS[gates](o + p_o * c[k]) * ACTIVATIONS[output](c[k])
            sequence[t, k] = h[k]
    return sequence, h, c


def reference_gru(x, h, w, r, b, input_bias, gates, output, reset_after):
    sequence = np.zeros((x.shape[0], x.shape[1], r.shape[1]))
    h = h.astype(np.float64)
    (w_r, w_o, w_z), (r_r, r_o, r_z), (b_r, b_o, b_z) = np.split(w, 3), np.split(r, 3), np.split(b, 3)
    i_r, i_o, i_z = np.split(input_bias, 3)
    for k in range(x.shape[1]):
        for t in range(x.shape[0]):
            reset = ACTIVATIONS[gates](w_r @ x[t, k] + i_r + r_r @ h[k] + b_r)
            update = ACTIVATIONS[gates](w_z @ x[t, k] + i_z + r_z @ h[k] + b_z)
            inner = reset * (r_o @ h[k] + b_o) if reset_after else r_o @ (reset * h[k]) + b_o
            h[k] = (1 - update) * ACTIVATIONS[output](w_o @ x[t, k] + i_o + inner) + update * h[k]
            sequence[t, k] = h[k]
    return sequence, h


def check(results: list[Any], expected: list[np.ndarray], tolerance: float = 1e-5) -> None:
    assert len(results) == len(expected)
    for result, wanted in zip(results, expected, strict=True):
        assert result.shape == wanted.shape
        assert np.abs(wanted).max() > 1e-2
        np.testing.assert_allclose(result, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("target", "direction", "output_sequence", "options"),
    [
        *((ct.target.iOS15, direction, output_sequence, {"bias": values(HIDDEN)})
          for direction in ("forward", "reverse") for output_sequence in (False, True)),
        *((ct.target.iOS17, "forward", True, {"activation": name})
          for name in ("relu", "sigmoid", "linear", "scaled_tanh")),
        (ct.target.iOS18, "reverse", True, {}),
    ],
)  # fmt: skip
def test_rnn(run: Run, target: Any, direction: str, output_sequence: bool, options: dict[str, Any]) -> None:
    x, h, w, r = values(STEPS, BATCH, FEATURES), values(BATCH, HIDDEN), values(HIDDEN, FEATURES), values(HIDDEN, HIDDEN)
    results = run(
        lambda x, h: mb.rnn(x=x, initial_h=h, weight_ih=w, weight_hh=r, direction=direction,
                            output_sequence=output_sequence, **options),
        {"x": x, "h": h}, target=target,
    )  # fmt: skip
    state, sequence = h.astype(np.float64), []
    for step in x if direction == "forward" else x[::-1]:
        state = ACTIVATIONS[options.get("activation", "tanh")](step @ w.T + state @ r.T + options.get("bias", 0))
        sequence.append(state)
    check(results, [np.stack(sequence if output_sequence else sequence[-1:]), state])


@pytest.mark.parametrize(
    ("target", "options"),
    [
        (ct.target.iOS15, {}),
        (ct.target.iOS15, {"bias": values(3 * HIDDEN)}),
        (ct.target.iOS15, {"direction": "reverse", "output_sequence": True}),
        (ct.target.iOS15, {"output_sequence": True, "activation": "sigmoid", "recurrent_activation": "tanh"}),
        (ct.target.iOS17, {"bias": values(3 * HIDDEN), "recurrent_activation": "hard_sigmoid"}),
        (ct.target.iOS17, {"direction": "reverse", "activation": "relu"}),
        (ct.target.iOS18, {"bias": values(3 * HIDDEN), "reset_after": True, "output_sequence": True}),
        (ct.target.iOS18, {"bias": values(3 * HIDDEN), "input_bias": values(3 * HIDDEN, seed=1), "reset_after": True}),
        (ct.target.iOS18, {"input_bias": values(3 * HIDDEN, seed=1), "reset_after": False, "direction": "reverse"}),
    ],
)
def test_gru(run: Run, target: Any, options: dict[str, Any]) -> None:
    x, h = values(STEPS, BATCH, FEATURES), values(BATCH, HIDDEN)
    w, r = values(3 * HIDDEN, FEATURES), values(3 * HIDDEN, HIDDEN)
    results = run(
        lambda x, h: mb.gru(x=x, initial_h=h, weight_ih=w, weight_hh=r, **options), {"x": x, "h": h}, target=target
    )
    nothing = np.zeros(3 * HIDDEN)
    sequence, state = reference_gru(
        x[::-1] if options.get("direction") == "reverse" else x, h, w, r, options.get("bias", nothing),
        options.get("input_bias", nothing), options.get("recurrent_activation", "sigmoid"),
        options.get("activation", "tanh"), options.get("reset_after", False),
    )  # fmt: skip
    check(results, [sequence if options.get("output_sequence") else sequence[-1:], state])


LSTM_FULL = {"bias": values(4 * HIDDEN), "peephole": values(3 * HIDDEN), "clip": np.float32(0.2)}


@pytest.mark.parametrize(
    ("target", "direction", "output_sequence", "options"),
    [
        *((ct.target.iOS15, direction, output_sequence, LSTM_FULL)
          for direction in ("forward", "reverse", "bidirectional") for output_sequence in (False, True)),
        *((ct.target.iOS17, "forward", True, options)
          for options in ({}, {"bias": values(4 * HIDDEN)}, {"clip": np.float32(0.05)},
                          {"recurrent_activation": "hard_sigmoid"})),
        *((ct.target.iOS17, "bidirectional", True, {"cell_activation": name, "activation": name})
          for name in ("relu", "linear", "scaled_tanh", "sigmoid")),
        (ct.target.iOS17, "bidirectional", False, {"peephole": values(3 * HIDDEN)}),
    ],
)  # fmt: skip
def test_lstm(run: Run, target: Any, direction: str, output_sequence: bool, options: dict[str, Any]) -> None:
    directions = 2 if direction == "bidirectional" else 1
    x = values(STEPS, BATCH, FEATURES)
    h, c = values(BATCH, directions * HIDDEN), values(BATCH, directions * HIDDEN, seed=1)
    weights = [(values(4 * HIDDEN, FEATURES, seed=s), values(4 * HIDDEN, HIDDEN, seed=s)) for s in range(2)]
    given = {**options, "weight_ih": weights[0][0], "weight_hh": weights[0][1]}
    # The backward half has other weights, so that a mix-up shows.
    back = {name: options[name][::-1].copy() for name in ("bias", "peephole") if name in options}
    if directions == 2:
        given |= {"weight_ih_back": weights[1][0], "weight_hh_back": weights[1][1]}
        given |= {f"{name}_back": value for name, value in back.items()}
    results = run(
        lambda x, h, c: mb.lstm(
            x=x, initial_h=h, initial_c=c, direction=direction, output_sequence=output_sequence, **given
        ),
        {"x": x, "h": h, "c": c},
        target=target,
    )
    halves = []
    for index, reverse in enumerate({"forward": [0], "reverse": [1], "bidirectional": [0, 1]}[direction]):
        own = options if index == 0 else {**options, **back}
        place = slice(index * HIDDEN, (index + 1) * HIDDEN)
        sequence, state, cell = reference_lstm(
            x[::-1] if reverse else x, h[:, place], c[:, place], *weights[index],
            own.get("bias", np.zeros(4 * HIDDEN)), own.get("peephole", np.zeros(3 * HIDDEN)),
            own.get("recurrent_activation", "sigmoid"), own.get("cell_activation", "tanh"),
            own.get("activation", "tanh"), own.get("clip", np.inf),
        )  # fmt: skip
        if not output_sequence:
            sequence = sequence[-1:]
        elif index == 1:
            sequence = sequence[::-1]
        halves.append((sequence, state, cell))
    check(results, [np.concatenate(parts, axis=-1) for parts in zip(*halves, strict=True)])


@pytest.mark.parametrize("reset_after", [False, True])
def test_gru_as_keras(run: Run, reset_after: bool) -> None:
    with quiet_imports():
        import tensorflow as tf
    x, h = values(BATCH, STEPS, FEATURES), values(BATCH, HIDDEN)
    layer = tf.keras.layers.GRU(HIDDEN, return_sequences=True, return_state=True, reset_after=reset_after)
    layer.build(x.shape)
    layer.set_weights([values(*weight.shape, seed=i) for i, weight in enumerate(layer.get_weights())])
    expected = [np.asarray(result) for result in layer(x, initial_state=h)]

    def reordered(weight: np.ndarray) -> np.ndarray:  # update, reset, output -> reset, output, update
        z, r, o = np.split(weight, 3, axis=-1)
        return np.concatenate([r, o, z], axis=-1).T.copy()

    w, r, b = layer.get_weights()
    options = {"input_bias": reordered(b[0]), "bias": reordered(b[1]), "reset_after": True} if reset_after else {
        "bias": reordered(b)
    }  # fmt: skip
    results = run(
        lambda x, h: mb.gru(x=x, initial_h=h, weight_ih=reordered(w), weight_hh=reordered(r), output_sequence=True,
                            **options),
        {"x": x.transpose(1, 0, 2).copy(), "h": h},
    )  # fmt: skip
    check(results, [expected[0].transpose(1, 0, 2), expected[1]])


def test_lstm_as_keras(run: Run) -> None:
    with quiet_imports():
        import tensorflow as tf
    x, h, c = values(BATCH, STEPS, FEATURES), values(BATCH, HIDDEN), values(BATCH, HIDDEN, seed=1)
    layer = tf.keras.layers.LSTM(HIDDEN, return_sequences=True, return_state=True)
    layer.build(x.shape)
    layer.set_weights([values(*weight.shape, seed=i) for i, weight in enumerate(layer.get_weights())])
    expected = [np.asarray(result) for result in layer(x, initial_state=[h, c])]

    def reordered(weight: np.ndarray) -> np.ndarray:  # input, forget, cell, output -> input, forget, output, cell
        i, f, z, o = np.split(weight, 4, axis=-1)
        return np.concatenate([i, f, o, z], axis=-1).T.copy()

    w, r, b = layer.get_weights()
    results = run(
        lambda x, h, c: mb.lstm(x=x, initial_h=h, initial_c=c, weight_ih=reordered(w), weight_hh=reordered(r),
                                bias=reordered(b), output_sequence=True),
        {"x": x.transpose(1, 0, 2).copy(), "h": h, "c": c},
    )  # fmt: skip
    check(results, [expected[0].transpose(1, 0, 2), *expected[1:]])


def test_float16_results_are_rounded(run: Run) -> None:
    x, h = values(STEPS, BATCH, FEATURES), values(BATCH, HIDDEN)
    w, r = values(HIDDEN, FEATURES), values(HIDDEN, HIDDEN)
    results = run(
        lambda x, h: mb.rnn(x=x, initial_h=h, weight_ih=w, weight_hh=r, output_sequence=True),
        {"x": x, "h": h}, numerics="float16", precision="float16", target=ct.target.iOS17,
    )  # fmt: skip
    state, sequence = h.astype(np.float64), []
    for step in x:
        state = np.tanh(step @ w.T + state @ r.T)
        sequence.append(state)
    check(results, [np.stack(sequence), state], tolerance=3e-3)
    assert all((result == result.astype(np.float16)).all() for result in results)
    assert np.abs(results[1] - state).max() > 1e-6


def test_empty_sequence_leaves_the_state() -> None:
    h = values(BATCH, HIDDEN)
    sequence, state = KERNELS["rnn"].function(
        np.zeros((0, BATCH, FEATURES), np.float32), h, values(HIDDEN, FEATURES), values(HIDDEN, HIDDEN)
    )
    np.testing.assert_array_equal(state, h)
    np.testing.assert_array_equal(sequence, h[None])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("rnn", {"activation": "cubed"}, "unknown activation"),
        ("rnn", {"direction": "bidirectional"}, "unknown direction"),
        ("gru", {"direction": "sideways"}, "unknown direction"),
        ("lstm", {"initial_c": values(1, 1), "direction": "bidirectional"}, "backward weights"),
    ],
)
def test_errors(name: str, options: dict[str, Any], message: str) -> None:
    gates = {"rnn": 1, "gru": 3, "lstm": 4}[name]
    arguments = {"x": values(1, 1, 1), "initial_h": values(1, 1), "weight_ih": values(gates, 1),
                 "weight_hh": values(gates, 1)}  # fmt: skip
    with pytest.raises(PredictionError, match=message):
        KERNELS[name].function(**arguments, **options)

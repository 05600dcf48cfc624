"""Recurrent layers against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.frontends.onnx.checking import check, node_model

RANDOM = np.random.default_rng(4)
STEPS, BATCH, INPUT, HIDDEN = 5, 3, 4, 6
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def values(*shape: int) -> Any:
    return RANDOM.normal(0, 0.7, shape).astype(np.float32)


def layer(operator: str, directions: int = 1, *, lengths: bool = False, states: bool = False, **attributes: Any) -> Any:
    gates = GATES[operator]
    inputs = [
        values(STEPS, BATCH, INPUT), values(directions, gates * HIDDEN, INPUT),
        values(directions, gates * HIDDEN, HIDDEN), values(directions, 2 * gates * HIDDEN),
        np.array([5, 2, 3], np.int32) if lengths else None,
        values(directions, BATCH, HIDDEN) if states else None,
    ]  # fmt: skip
    if operator == "LSTM":
        inputs += [values(directions, BATCH, HIDDEN) if states else None]
        inputs += [values(directions, 3 * HIDDEN)] if attributes.pop("peepholes", False) else []
    outputs = 3 if operator == "LSTM" else 2
    return node_model(operator, inputs, len(inputs) - 1, 14, outputs, hidden_size=HIDDEN, **attributes)


CASES: dict[str, dict[str, Any]] = {
    "forward": {},
    "reverse": {"direction": "reverse"},
    "bidirectional": {"direction": "bidirectional", "directions": 2, "states": True},
    "lengths": {"lengths": True, "states": True},
    "lengths of reversed sequences": {"lengths": True, "direction": "bidirectional", "directions": 2},
    "clipped": {"clip": 0.4},
}


@pytest.mark.parametrize("operator", GATES)
@pytest.mark.parametrize("name", CASES)
def test_options(operator: str, name: str) -> None:
    check(*layer(operator, **CASES[name]))


ACTIVATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "relu": ("RNN", {"activations": ["Relu"]}),
    "leaky": ("RNN", {"activations": ["LeakyRelu"], "activation_alpha": [0.3]}),
    "hard": ("GRU", {"activations": ["HardSigmoid", "Softsign"], "activation_alpha": [0.3], "activation_beta": [0.4]}),
    "linear before reset": ("GRU", {"linear_before_reset": 1}),
    "peepholes": ("LSTM", {"peepholes": True, "states": True}),
    "input and forget coupled": ("LSTM", {"input_forget": 1}),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str) -> None:
    operator, attributes = ACTIVATIONS[name]
    check(*layer(operator, **attributes))

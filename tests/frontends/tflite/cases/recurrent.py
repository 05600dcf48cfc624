"""Recurrent layers: Keras' as TFLiteConverter writes them, and what it never writes made by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from harness.quiet import quiet_imports
from harness.suites.tflite_cases import FLOATS, Case, Input
from tests.frontends.tflite.building import Tensor, constant, one_operator

with quiet_imports():
    import keras
    import tensorflow as tf

RANDOM = np.random.default_rng(31)
STEPS, BATCH, FEATURES, CELLS, OUTPUTS = 5, 2, 6, 8, 4
ACTIVATIONS = {"NONE": 0, "RELU": 1, "RELU_N1_TO_1": 2, "RELU6": 3, "TANH": 4}
SEQUENCE = (Input((BATCH, STEPS, FEATURES)),)


def normal(*shape: int) -> Tensor:
    return constant(RANDOM.normal(0, 0.5, shape))


def variable(*shape: int) -> Tensor:
    return Tensor(shape, is_variable=True)


def layer(make: Callable[[], Any]) -> Callable[[Any], Any]:
    """A Keras layer of weights that are no zeros."""
    built: list[Any] = []

    def call(x: Any) -> Any:
        if not built:
            with tf.init_scope():
                made = make()
                made.build(x.shape)
                made.set_weights([RANDOM.normal(0, 0.4, weight.shape) for weight in made.get_weights()])
                built.append(made)
        return built[0](x)

    return call


def gates(outputs: int, *, coupled: bool = False, diagonal: bool = False, features: int = FEATURES) -> list[Any]:
    """Weights and recurrent weights of input, forget, cell and output."""
    recurrent = [normal(CELLS) if diagonal else normal(CELLS, outputs) for _ in range(4)]
    weights: list[Any] = [normal(CELLS, features) for _ in range(4)]
    if coupled:
        weights[0] = recurrent[0] = None
    return [*weights, *recurrent]


def peepholes(wanted: bool, coupled: bool) -> list[Any]:
    return [normal(CELLS) if wanted and not (coupled and at == 0) else None for at in range(3)]


def biases(coupled: bool) -> list[Any]:
    return [None if coupled and at == 0 else normal(CELLS) for at in range(4)]


def lstm(
    operator: str,
    *,
    coupled: bool = False,
    peephole: bool = False,
    projected: bool = False,
    normalized: bool = False,
    diagonal: bool = False,
    activation: str = "TANH",
    cell_clip: float = 0.0,
    projection_clip: float = 0.0,
    time_major: bool = True,
) -> tuple[bytes, tuple[Input, ...]]:
    """LSTM or UNIDIRECTIONAL_SEQUENCE_LSTM by hand."""
    is_step = operator == "LSTM"
    outputs = OUTPUTS if projected else CELLS
    shape = (BATCH, FEATURES) if is_step else (STEPS, BATCH, FEATURES) if time_major else (BATCH, STEPS, FEATURES)
    inputs = [
        Tensor(shape), *gates(outputs, coupled=coupled, diagonal=diagonal), *peepholes(peephole, coupled),
        *biases(coupled), normal(OUTPUTS, CELLS) if projected else None, normal(OUTPUTS) if projected else None,
        variable(BATCH, outputs), variable(BATCH, CELLS),
    ]  # fmt: skip
    if normalized:
        inputs += [None if coupled and at == 0 else normal(CELLS) for at in range(4)]
    options = {
        "fused_activation_function": ACTIVATIONS[activation], "cell_clip": cell_clip, "proj_clip": projection_clip,
    }  # fmt: skip
    if not is_step:
        options |= {"time_major": time_major}
        if diagonal:
            options |= {"diagonal_recurrent_tensors": True}
    return one_operator(operator, inputs, [Tensor((*shape[:-1], outputs))], options), (Input(shape, low=-2, high=2),)


def basic_lstm() -> tuple[bytes, tuple[Input, ...]]:
    inputs = [
        Tensor((BATCH, FEATURES)), Tensor((BATCH, CELLS)), normal(4 * CELLS, FEATURES + CELLS), normal(4 * CELLS),
        Tensor((BATCH, CELLS)),
    ]  # fmt: skip
    outputs = [Tensor((BATCH, size)) for size in (CELLS, CELLS, FEATURES + CELLS, 4 * CELLS)]
    content = one_operator("LSTM", inputs, outputs, {"fused_activation_function": 4, "kernel_type": 1})
    return content, tuple(Input((BATCH, size)) for size in (FEATURES, CELLS, CELLS))


def bidirectional_lstm(
    *, merged: bool = True, auxiliary: str = "", peephole: bool = False, projected: bool = False, coupled: bool = False
) -> tuple[bytes, tuple[Input, ...]]:
    """``auxiliary``: what the backward layer reads (``parallel``), or what both read too (``stacked``)."""
    outputs = OUTPUTS if projected else CELLS
    direction = lambda: [  # noqa: E731
        *gates(outputs, coupled=coupled), *peepholes(peephole, coupled), *biases(coupled),
        normal(OUTPUTS, CELLS) if projected else None, None,
    ]  # fmt: skip
    shape = (STEPS, BATCH, FEATURES)
    inputs = [
        Tensor(shape), *direction(), *direction(), variable(BATCH, outputs), variable(BATCH, CELLS),
        variable(BATCH, outputs), variable(BATCH, CELLS), Tensor(shape) if auxiliary else None,
        *[normal(CELLS, FEATURES) if auxiliary == "stacked" else None for _ in range(8)],
    ]  # fmt: skip
    made = [Tensor((STEPS, BATCH, 2 * outputs))] if merged else [Tensor((STEPS, BATCH, outputs))] * 2
    options = {"fused_activation_function": 4, "merge_outputs": merged, "time_major": True}
    content = one_operator("BIDIRECTIONAL_SEQUENCE_LSTM", inputs, made, options)
    return content, (Input(shape),) * (2 if auxiliary else 1)


def rnn(operator: str, activation: str = "TANH", time_major: bool = True) -> tuple[bytes, tuple[Input, ...]]:
    is_step = operator == "RNN"
    shape = (BATCH, FEATURES) if is_step else (STEPS, BATCH, FEATURES) if time_major else (BATCH, STEPS, FEATURES)
    inputs = [Tensor(shape), normal(CELLS, FEATURES), normal(CELLS, CELLS), normal(CELLS), variable(BATCH, CELLS)]
    options: dict[str, Any] = {"fused_activation_function": ACTIVATIONS[activation]}
    if not is_step:
        options["time_major"] = time_major
    return one_operator(operator, inputs, [Tensor((*shape[:-1], CELLS))], options), (Input(shape),)


def bidirectional_rnn(merged: bool, auxiliary: str = "", time_major: bool = False) -> tuple[bytes, tuple[Input, ...]]:
    shape = (STEPS, BATCH, FEATURES) if time_major else (BATCH, STEPS, FEATURES)
    direction = lambda: [  # noqa: E731
        normal(CELLS, FEATURES), normal(CELLS, CELLS), normal(CELLS), variable(BATCH, CELLS),
    ]  # fmt: skip
    extra = [normal(CELLS, FEATURES) if auxiliary == "stacked" else None for _ in range(2)]
    inputs = [Tensor(shape), *direction(), *direction(), Tensor(shape) if auxiliary else None, *extra]
    made = [Tensor((*shape[:2], 2 * CELLS))] if merged else [Tensor((*shape[:2], CELLS))] * 2
    options = {"fused_activation_function": 4, "merge_outputs": merged, "time_major": time_major}
    content = one_operator("BIDIRECTIONAL_SEQUENCE_RNN", inputs, made, options)
    return content, (Input(shape),) * (2 if auxiliary else 1)


def svdf(rank: int, activation: str) -> tuple[bytes, tuple[Input, ...]]:
    filters, memory = CELLS * rank, 7
    inputs = [
        Tensor((BATCH, FEATURES)), normal(filters, FEATURES), normal(filters, memory), normal(CELLS),
        variable(BATCH, memory * filters),
    ]  # fmt: skip
    options = {"rank": rank, "fused_activation_function": ACTIVATIONS[activation]}
    return one_operator("SVDF", inputs, [Tensor((BATCH, CELLS))], options), (Input((BATCH, FEATURES)),)


def made(operator: str, name: str, model: tuple[bytes, tuple[Input, ...]]) -> Case:
    return Case(operator, name, *model)


SEQUENTIAL = "UNIDIRECTIONAL_SEQUENCE_LSTM"
CASES = (
    Case("WHILE", "Keras LSTM", layer(lambda: keras.layers.LSTM(7, return_sequences=True)), SEQUENCE, FLOATS[:2]),
    Case("WHILE", "Keras LSTM, last step", layer(lambda: keras.layers.LSTM(7)), SEQUENCE),
    Case("WHILE", "Keras GRU", layer(lambda: keras.layers.GRU(7, return_sequences=True)), SEQUENCE),
    Case("WHILE", "Keras SimpleRNN", layer(lambda: keras.layers.SimpleRNN(7)), SEQUENCE),
    Case(
        "WHILE",
        "Keras bidirectional LSTM",
        layer(lambda: keras.layers.Bidirectional(keras.layers.LSTM(7, return_sequences=True))),
        SEQUENCE,
    ),
    *(
        made(operator, name, lstm(operator, **options))
        for operator in ("LSTM", SEQUENTIAL)
        for name, options in {
            "plain": {},
            "coupled": {"coupled": True},
            "peepholes": {"peephole": True},
            "peepholes, coupled": {"peephole": True, "coupled": True},
            "projected": {"projected": True},
            "clipped": {"cell_clip": 0.3, "projected": True, "projection_clip": 0.2},
            "clipped without projection": {"cell_clip": 0.3},
            "normalised": {"normalized": True},
            "normalised with all": {"normalized": True, "peephole": True, "projected": True},
            "normalised, coupled": {"normalized": True, "coupled": True},
            "rectified": {"activation": "RELU"},
            "rectified to 6": {"activation": "RELU6"},
        }.items()
    ),
    made(SEQUENTIAL, "batch first", lstm(SEQUENTIAL, time_major=False)),
    made(SEQUENTIAL, "batch first, projected", lstm(SEQUENTIAL, time_major=False, projected=True)),
    made(SEQUENTIAL, "diagonal", lstm(SEQUENTIAL, diagonal=True)),
    made("LSTM", "basic kernel", basic_lstm()),
    made("BIDIRECTIONAL_SEQUENCE_LSTM", "merged", bidirectional_lstm()),
    made("BIDIRECTIONAL_SEQUENCE_LSTM", "apart", bidirectional_lstm(merged=False, peephole=True)),
    made("BIDIRECTIONAL_SEQUENCE_LSTM", "projected", bidirectional_lstm(projected=True, coupled=True)),
    made("BIDIRECTIONAL_SEQUENCE_LSTM", "stacked", bidirectional_lstm(auxiliary="stacked")),
    made("BIDIRECTIONAL_SEQUENCE_LSTM", "parallel", bidirectional_lstm(auxiliary="parallel", merged=False)),
    *(
        made(operator, activation.lower(), rnn(operator, activation))
        for operator in ("RNN", "UNIDIRECTIONAL_SEQUENCE_RNN")
        for activation in ("TANH", "RELU", "RELU6", "NONE")
    ),
    made("UNIDIRECTIONAL_SEQUENCE_RNN", "batch first", rnn("UNIDIRECTIONAL_SEQUENCE_RNN", time_major=False)),
    made("BIDIRECTIONAL_SEQUENCE_RNN", "merged", bidirectional_rnn(True)),
    made("BIDIRECTIONAL_SEQUENCE_RNN", "apart", bidirectional_rnn(False)),
    made("BIDIRECTIONAL_SEQUENCE_RNN", "stacked", bidirectional_rnn(True, "stacked")),
    made("BIDIRECTIONAL_SEQUENCE_RNN", "parallel", bidirectional_rnn(True, "parallel")),
    made("BIDIRECTIONAL_SEQUENCE_RNN", "parallel, time first", bidirectional_rnn(True, "parallel", time_major=True)),
    made("SVDF", "rank 1", svdf(1, "RELU")),
    made("SVDF", "rank 2", svdf(2, "NONE")),
)

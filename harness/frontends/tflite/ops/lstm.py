"""Long short-term memory (TFLite ``kernels/lstm_eval.cc``, ``kernels/bidirectional_sequence_lstm.cc``).

MIL's ``lstm`` where it says all of it, else written out step by step. Every layer begins with a state of zeros, as the
interpreter's variables do before its first prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.errors import ConversionError
from harness.frontends.builder import mb
from harness.frontends.dispatch import Array, Value, Var
from harness.frontends.program import as_var
from harness.frontends.tflite.graph import TensorInfo
from harness.frontends.tflite.layout import is_known
from harness.frontends.tflite.node import Node
from harness.frontends.tflite.ops.activations import fused
from harness.frontends.tflite.quantization import is_quantized
from harness.frontends.tflite.registry import translates
from harness.frontends.tflite.sequences import (
    MIL_ACTIVATIONS,
    clipped,
    gridded,
    info_of,
    inputs_at,
    linear,
    numbers,
    rows,
    run,
    steps_first,
    zeros,
)

# Added to the variance of a normalised gate (``MeanStddevNormalization``).
_EPSILON = 1e-8
_INPUT, _FORGET, _CELL, _OUTPUT = range(4)


@dataclass(frozen=True)
class _Lstm:
    """One direction. Gates are in TFLite's order: input, forget, cell, output; without weights of the input gate it is
    what the forget gate leaves (coupled). Tensors are None where they are left out."""

    weights: Sequence[Value | None]
    recurrent: Sequence[Value | None]
    peepholes: Sequence[Value | None]  # of input, forget, output
    biases: Sequence[Value | None]
    projection: Value | None
    projection_bias: Value | None
    norms: Sequence[Value | None]
    auxiliary: Sequence[Value | None]
    activation: str
    cell_clip: float
    projection_clip: float
    hidden_grid: TensorInfo | None = None
    cell_grid: TensorInfo | None = None
    projected_grid: TensorInfo | None = None
    is_diagonal: bool = False

    @property
    def gates(self) -> list[int]:
        """Those that are computed, in MIL's order."""
        return [gate for gate in (_INPUT, _FORGET, _OUTPUT, _CELL) if self.weights[gate] is not None]

    def chosen(self, tensors: Sequence[Value | None]) -> list[Value]:
        """Of the gates, in MIL's order."""
        found = [tensors[gate] for gate in self.gates]
        if any(item is None for item in found):
            raise ConversionError("a gate of an LSTM lacks its weights or its bias")
        given = [item for item in found if item is not None]
        if len(shapes := {tuple(item.shape) for item in given}) > 1:
            raise ConversionError("gates of an LSTM differ in shape", received=sorted(shapes), supported="one shape")
        return given

    @property
    def bias(self) -> Array:
        """Of all gates."""
        return np.concatenate([numbers(item) for item in self.chosen(self.biases)])

    @property
    def is_normalized(self) -> bool:
        """Whether gates are normalised before their bias."""
        return any(item is not None for item in self.norms)

    @property
    def is_plain(self) -> bool:
        """Whether MIL's ``lstm`` says all of it."""
        extras = (self.projection, *self.norms, *self.auxiliary)
        grids = (self.hidden_grid, self.cell_grid)
        return (
            len(self.gates) == 4 and all(item is None for item in extras) and not self.is_diagonal
            and self.activation in ("TANH", "RELU")
            and not any(grid is not None and is_quantized(grid) for grid in grids)
            and (all(item is None for item in self.peepholes) or all(item is not None for item in self.peepholes))
        )  # fmt: skip

    def sequence(self, x: Var, backwards: bool, auxiliary: Var | None = None) -> Var:
        """x (steps, batch, features) to (steps, batch, outputs)."""
        if self.is_plain and not (is_known(x.shape[0]) and int(x.shape[0]) == 1):
            return self._by_mil(x, backwards)
        given = linear(x, rows(self.chosen(self.weights)), None if self.is_normalized else self.bias)
        if auxiliary is not None and any(item is not None for item in self.auxiliary):
            given = mb.add(x=given, y=linear(auxiliary, rows(self.chosen(self.auxiliary))))
        recurrent = rows(self.chosen(self.recurrent))
        state: list[Var | None] = [None, None]

        def step(part: Var) -> Var:
            hidden, cell = state
            total = part
            if hidden is not None and self.is_diagonal:
                tiled = mb.tile(x=hidden, reps=[1, len(self.gates)])
                total = mb.add(x=part, y=mb.mul(x=tiled, y=numbers(recurrent)))
            elif hidden is not None:
                total = mb.add(x=part, y=linear(hidden, recurrent))
            result, state[1] = self._step(total, cell)
            state[0] = result
            return result

        return run(given, step, backwards)

    def _by_mil(self, x: Var, backwards: bool) -> Var:
        peepholes = [numbers(item) for item in self.peepholes if item is not None]
        recurrent = rows(self.chosen(self.recurrent))
        start = zeros(x.shape[1], int(recurrent.shape[1]))
        function = MIL_ACTIVATIONS[self.activation]
        extra: dict[str, object] = {"peephole": np.concatenate(peepholes)} if peepholes else {}
        if self.cell_clip > 0:
            extra["clip"] = np.float32(self.cell_clip)
        result, _, _ = mb.lstm(
            x=x, initial_h=start, initial_c=start, weight_ih=rows(self.chosen(self.weights)), weight_hh=recurrent,
            bias=self.bias, direction="reverse" if backwards else "forward", output_sequence=True,
            recurrent_activation="sigmoid", cell_activation=function, activation=function, **extra,
        )  # fmt: skip
        # A reverse layer gives its steps in the order in which it reads.
        return mb.reverse(x=result, axes=[0]) if backwards else result

    def _step(self, total: Var, cell: Var | None) -> tuple[Var, Var]:
        parts = dict(zip(self.gates, mb.split(x=total, num_splits=len(self.gates), axis=-1), strict=True))
        forget = mb.sigmoid(x=self._ready(parts[_FORGET], _FORGET, self.peepholes[1], cell))
        if _INPUT in parts:
            enters = mb.sigmoid(x=self._ready(parts[_INPUT], _INPUT, self.peepholes[0], cell))
        else:
            enters = mb.sub(x=np.float32(1), y=forget)
        new = mb.mul(x=enters, y=fused(self._ready(parts[_CELL], _CELL), self.activation))
        cell = new if cell is None else mb.add(x=mb.mul(x=forget, y=cell), y=new)
        cell = gridded(clipped(cell, self.cell_clip), self.cell_grid)
        leaves = mb.sigmoid(x=self._ready(parts[_OUTPUT], _OUTPUT, self.peepholes[2], cell))
        hidden = mb.mul(x=leaves, y=fused(cell, self.activation))
        if self.projection is not None:
            bias = None if self.projection_bias is None else numbers(self.projection_bias)
            hidden = linear(gridded(hidden, self.projected_grid), self.projection, bias)
            hidden = clipped(hidden, self.projection_clip)
        return gridded(hidden, self.hidden_grid), cell

    def _ready(self, x: Var, gate: int, peephole: Value | None = None, cell: Var | None = None) -> Var:
        """A gate before its activation."""
        if peephole is not None and cell is not None:
            x = mb.add(x=x, y=mb.mul(x=cell, y=numbers(peephole)))
        norm, bias = self.norms[gate], self.biases[gate]
        if norm is None:
            return x
        centred = mb.sub(x=x, y=mb.reduce_mean(x=x, axes=[-1], keep_dims=True))
        variance = mb.reduce_mean(x=mb.square(x=centred), axes=[-1], keep_dims=True)
        normal = mb.mul(x=centred, y=mb.rsqrt(x=variance, epsilon=np.float32(_EPSILON)))
        return mb.add(x=mb.mul(x=normal, y=numbers(norm)), y=0.0 if bias is None else numbers(bias))


def _intermediate(node: Node, inputs: Sequence[Value | None]) -> TensorInfo | None:
    """The grid of what is projected, which is stored beside a quantised operator."""
    indices = node.operator.intermediates
    if len(indices) < 5 or indices[4] < 0 or inputs[16] is None:
        return None
    return next((graph.tensors[indices[4]] for graph in node.graph.subgraphs if node.operator in graph.operators), None)


def _lstm_of(
    node: Node, inputs: Sequence[Value | None], function: str, cell_clip: float, projection_clip: float,
    is_diagonal: bool = False,
) -> _Lstm:  # fmt: skip
    """The layer of LSTM and UNIDIRECTIONAL_SEQUENCE_LSTM, whose inputs are the same."""
    return _Lstm(
        weights=inputs_at(inputs, 1, 4),
        recurrent=inputs_at(inputs, 5, 4),
        peepholes=inputs_at(inputs, 9, 3),
        biases=inputs_at(inputs, 12, 4),
        projection=inputs_at(inputs, 16, 1)[0],
        projection_bias=inputs_at(inputs, 17, 1)[0],
        norms=inputs_at(inputs, 20, 4),
        auxiliary=[None] * 4,
        activation=function,
        cell_clip=cell_clip,
        projection_clip=projection_clip,
        hidden_grid=info_of(node, 18),
        cell_grid=info_of(node, 19),
        projected_grid=_intermediate(node, inputs),
        is_diagonal=is_diagonal,
    )


@translates("LSTM")
def lstm(
    *inputs: Value,
    fused_activation_function: str,
    cell_clip: float,
    proj_clip: float,
    kernel_type: str = "FULL",
    asymmetric_quantize_inputs: bool = False,
    node: Node,
) -> tuple[Var | None, ...]:
    """One step. The basic kernel takes all weights as one matrix, and the state as inputs."""
    if kernel_type == "BASIC":
        return _basic_lstm(inputs, fused_activation_function)
    x = mb.expand_dims(x=as_var(inputs[0]), axes=[0])
    layer = _lstm_of(node, inputs, fused_activation_function, cell_clip, proj_clip)
    return (mb.squeeze(x=layer.sequence(x, backwards=False), axes=[0]), *([None] * (len(node.outputs) - 1)))


def _basic_lstm(inputs: Sequence[Value], function: str) -> tuple[Var, ...]:
    """Gates: input, new, forget, output (``reference/lstm_cell.h``). Gives the output and the new state, and what
    the kernel keeps on the way."""
    if len(inputs) != 5:
        raise ConversionError("a basic LSTM has another number of inputs", received=len(inputs), supported="5")
    x, hidden, weight, bias, cell = inputs
    both = mb.concat(values=[as_var(x), as_var(hidden)], axis=-1)
    total = linear(both, weight, numbers(bias))
    enters, new, forget, leaves = mb.split(x=total, num_splits=4, axis=-1)
    kept = mb.mul(x=mb.sigmoid(x=forget), y=cell)
    state = mb.add(x=mb.mul(x=mb.sigmoid(x=enters), y=fused(new, "TANH")), y=kept)
    return mb.mul(x=mb.sigmoid(x=leaves), y=fused(state, "TANH")), state, both, total


@translates("UNIDIRECTIONAL_SEQUENCE_LSTM")
def unidirectional_sequence_lstm(
    *inputs: Value,
    fused_activation_function: str,
    cell_clip: float,
    proj_clip: float,
    time_major: bool,
    asymmetric_quantize_inputs: bool = False,
    diagonal_recurrent_tensors: bool = False,
    node: Node,
) -> Var:
    """All steps of a sequence."""
    layer = _lstm_of(node, inputs, fused_activation_function, cell_clip, proj_clip, diagonal_recurrent_tensors)
    result = layer.sequence(steps_first(as_var(inputs[0]), time_major), backwards=False)
    return steps_first(result, time_major)


@translates("BIDIRECTIONAL_SEQUENCE_LSTM")
def bidirectional_sequence_lstm(
    *inputs: Value,
    fused_activation_function: str,
    cell_clip: float,
    proj_clip: float,
    merge_outputs: bool,
    time_major: bool = True,
    asymmetric_quantize_inputs: bool = False,
    node: Node,
) -> tuple[Var, ...]:
    """Forwards and backwards. An auxiliary input without weights of its own is what the backward layer reads."""
    x = steps_first(as_var(inputs[0]), time_major)
    given = inputs_at(inputs, 39, 1)[0]
    auxiliary = None if given is None else steps_first(as_var(given), time_major)
    results = []
    for backwards in (False, True):
        begin = 18 if backwards else 1
        extra = inputs_at(inputs, 44 if backwards else 40, 4)
        layer = _Lstm(
            weights=inputs_at(inputs, begin, 4),
            recurrent=inputs_at(inputs, begin + 4, 4),
            peepholes=inputs_at(inputs, begin + 8, 3),
            biases=inputs_at(inputs, begin + 11, 4),
            projection=inputs_at(inputs, begin + 15, 1)[0],
            projection_bias=inputs_at(inputs, begin + 16, 1)[0],
            norms=[None] * 4,
            auxiliary=extra,
            activation=fused_activation_function,
            cell_clip=cell_clip,
            projection_clip=proj_clip,
            hidden_grid=info_of(node, 37 if backwards else 35),
            cell_grid=info_of(node, 38 if backwards else 36),
        )
        is_stacked = any(item is not None for item in inputs_at(inputs, 40, 4))
        source = auxiliary if backwards and auxiliary is not None and not is_stacked else x
        results.append(steps_first(layer.sequence(source, backwards, auxiliary if is_stacked else None), time_major))
    return (mb.concat(values=results, axis=-1),) if merge_outputs else tuple(results)

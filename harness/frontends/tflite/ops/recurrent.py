"""Recurrent layers of one gate, and SVDF (TFLite ``kernels/internal/kernel_utils.cc``, ``kernels/svdf.cc``).

MIL's ``rnn`` where it says all of it, else written out step by step. Every layer begins with a state of zeros.
"""

from __future__ import annotations

import numpy as np

from harness.errors import ConversionError
from harness.frontends.builder import mb
from harness.frontends.dispatch import Value, Var
from harness.frontends.program import as_var
from harness.frontends.tflite.graph import TensorInfo
from harness.frontends.tflite.layout import is_known
from harness.frontends.tflite.node import Node
from harness.frontends.tflite.ops.activations import fused
from harness.frontends.tflite.quantization import is_quantized
from harness.frontends.tflite.registry import translates
from harness.frontends.tflite.sequences import (
    MIL_ACTIVATIONS,
    gridded,
    info_of,
    inputs_at,
    linear,
    numbers,
    run,
    steps_first,
    zeros,
)


def _elman(
    x: Var, weight: Value, recurrent: Value, bias: Value | None, function: str, backwards: bool,
    grid: TensorInfo | None, extra: tuple[Var, Value] | None = None,
) -> Var:  # fmt: skip
    """h = f(W x + R h + b) of x (steps, batch, features)."""
    offset = None if bias is None else numbers(bias)
    is_gridded = grid is not None and is_quantized(grid)
    is_long = not (is_known(x.shape[0]) and int(x.shape[0]) == 1)
    if extra is None and is_long and not is_gridded and (activation := MIL_ACTIVATIONS.get(function)) is not None:
        result, _ = mb.rnn(
            x=x, initial_h=zeros(x.shape[1], int(recurrent.shape[0])), weight_ih=weight, weight_hh=recurrent,
            bias=np.zeros(int(recurrent.shape[0]), np.float32) if offset is None else offset,
            direction="reverse" if backwards else "forward", output_sequence=True, activation=activation,
        )  # fmt: skip
        return mb.reverse(x=result, axes=[0]) if backwards else result
    given = linear(x, weight, offset)
    if extra is not None:
        given = mb.add(x=given, y=linear(*extra))
    state: list[Var | None] = [None]

    def step(part: Var) -> Var:
        total = part if state[0] is None else mb.add(x=part, y=linear(state[0], recurrent))
        result = gridded(fused(total, function), grid)
        state[0] = result
        return result

    return run(given, step, backwards)


@translates("RNN")
def rnn(
    x: Var,
    weight: Value,
    recurrent: Value,
    bias: Value | None = None,
    state: Value | None = None,
    *,
    fused_activation_function: str,
    asymmetric_quantize_inputs: bool = False,
    node: Node,
) -> Var:
    """One step."""
    sequence = mb.expand_dims(x=x, axes=[0])
    result = _elman(sequence, weight, recurrent, bias, fused_activation_function, False, info_of(node, 4))
    return mb.squeeze(x=result, axes=[0])


@translates("UNIDIRECTIONAL_SEQUENCE_RNN")
def unidirectional_sequence_rnn(
    x: Var,
    weight: Value,
    recurrent: Value,
    bias: Value | None = None,
    state: Value | None = None,
    *,
    time_major: bool,
    fused_activation_function: str,
    asymmetric_quantize_inputs: bool = False,
    node: Node,
) -> Var:
    """All steps of a sequence."""
    sequence = steps_first(x, time_major)
    result = _elman(sequence, weight, recurrent, bias, fused_activation_function, False, info_of(node, 4))
    return steps_first(result, time_major)


@translates("BIDIRECTIONAL_SEQUENCE_RNN")
def bidirectional_sequence_rnn(
    *inputs: Value,
    time_major: bool,
    fused_activation_function: str,
    merge_outputs: bool,
    asymmetric_quantize_inputs: bool = False,
    node: Node,
) -> tuple[Var, ...]:
    """Forwards and backwards; the auxiliary input as in BIDIRECTIONAL_SEQUENCE_LSTM."""
    x = steps_first(as_var(inputs[0]), time_major)
    given, *weights = inputs_at(inputs, 9, 3)
    auxiliary = None if given is None else steps_first(as_var(given), time_major)
    results = []
    for backwards in (False, True):
        begin = 5 if backwards else 1
        weight, recurrent, bias = inputs_at(inputs, begin, 3)
        if weight is None or recurrent is None:
            raise ConversionError("a recurrent layer lacks its weights")
        own = weights[int(backwards)]
        extra = None if auxiliary is None or own is None else (auxiliary, own)
        # Batch first, the kernel's backward layer reads the input all the same.
        is_parallel = backwards and time_major and own is None
        source = auxiliary if is_parallel and auxiliary is not None else x
        result = _elman(
            source, weight, recurrent, bias, fused_activation_function, backwards, info_of(node, begin + 3), extra
        )
        results.append(steps_first(result, time_major))
    return (mb.concat(values=results, axis=-1),) if merge_outputs else tuple(results)


@translates("SVDF")
def svdf(
    x: Var,
    features: Value,
    times: Value,
    bias: Value | None = None,
    state: Value | None = None,
    *,
    rank: int,
    fused_activation_function: str,
    asymmetric_quantize_inputs: bool = False,
    node: Node,
) -> Var:
    """features (filters, inputs), times (filters, memory): of a memory of zeros, what was just filtered is all there
    is. Each unit adds up ``rank`` filters."""
    newest = gridded(linear(x, features), node.inputs[4] if len(node.inputs) > 4 else None)
    filtered = mb.mul(x=newest, y=numbers(times)[:, -1])
    filters = int(features.shape[0])
    if rank < 1 or filters % rank:
        raise ConversionError("filters are no multiple of the rank", received=f"{filters} of rank {rank}")
    if rank > 1:
        filtered = mb.reduce_sum(x=mb.reshape(x=filtered, shape=[-1, filters // rank, rank]), axes=[2], keep_dims=False)
    result = filtered if bias is None else mb.add(x=filtered, y=numbers(bias))
    return fused(result, fused_activation_function)

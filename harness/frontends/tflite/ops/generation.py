"""Operators that make values of parameters, or find them."""

from __future__ import annotations

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends import sorting
from harness.frontends.builder import dtype_of, like, mb
from harness.frontends.dispatch import Value, Var
from harness.frontends.expect import broadcast_shape, check_rank
from harness.frontends.program import as_var
from harness.frontends.selection import as_numbers
from harness.frontends.tflite.layout import known
from harness.frontends.tflite.registry import translates


@translates("RANK")
def rank(x: Value) -> Value:
    """How many axes there are."""
    return np.array(len(x.shape), np.int32)


@translates("RANGE")
def range_(start: Value, limit: Value, delta: Value) -> Value:
    """From start to before limit by delta; how many is computed when the model runs unless all are constants."""
    values = [known(item) for item in (start, limit, delta)]
    if all(value is not None for value in values):
        first, last, step = (np.asarray(value).reshape(()) for value in values)
        count = int(np.ceil(abs((np.float64(last) - np.float64(first)) / np.float64(step))))
        if not count:
            raise UnsupportedError("Core ML has no tensors without elements", received=f"{first} to {last} by {step}")
        return (first + np.arange(count, dtype=first.dtype) * step).astype(first.dtype)
    first, last, step = (mb.reshape(x=as_var(item), shape=[1]) for item in (start, limit, delta))
    scalars = [mb.squeeze(x=item, axes=[0]) for item in (first, last, step)]
    return mb.range_1d(start=scalars[0], end=scalars[1], step=scalars[2])


@translates("BROADCAST_ARGS")
def broadcast_args(x: Value, y: Value) -> Value:
    """The shape that two shapes have together."""
    for item in (x, y):
        check_rank("a shape", item, 1)
    shapes = [known(item) for item in (x, y)]
    if all(shape is not None for shape in shapes):
        return np.array(broadcast_shape(*(tuple(int(size) for size in shape) for shape in shapes)), np.int32)  # type: ignore[union-attr]
    longest = max(int(item.shape[0]) for item in (x, y))
    sides = []
    for item in (x, y):
        missing = longest - int(item.shape[0])
        ones = np.ones(missing, np.int32)
        sides.append(mb.concat(values=[ones, as_var(item)], axis=0) if missing else as_var(item))
    # No size is 0: of two that differ one is 1.
    return mb.maximum(x=sides[0], y=sides[1])


@translates("REVERSE_SEQUENCE")
def reverse_sequence(x: Var, lengths: Var, *, seq_dim: int, batch_dim: int) -> Var:
    """Each sequence backwards over its own length."""
    rank = len(x.shape)

    def reversed_(x: Var) -> Var:
        return mb.reverse_sequence(x=x, lengths=lengths, seq_axis=seq_dim % rank, batch_axis=batch_dim % rank)

    return as_numbers(reversed_, x)


@translates("UNIQUE")
def unique(x: Var, *, idx_out_type: str = "") -> tuple[Var, Var]:
    """Values that are different, in the order in which they are found, and which of them every one is."""
    values, _, places, _ = sorting.unique(x, sorted=0)
    return values, places


@translates("WHERE")
def where(condition: Var) -> Var:
    """Tuples of indices of what is not zero."""
    numbers = mb.cast(x=condition, dtype="int32") if dtype_of(condition) == "bool" else condition
    return mb.non_zero(x=numbers)


@translates("BUCKETIZE")
def bucketize(x: Var, *, boundaries: tuple[float, ...]) -> Var:
    """How many boundaries each value has reached."""
    values = x if dtype_of(x) == "fp32" else mb.cast(x=x, dtype="fp32")
    if not boundaries:
        return mb.cast(x=mb.mul(x=values, y=np.float32(0)), dtype="int32")
    reached = [mb.cast(x=mb.greater_equal(x=values, y=np.float32(boundary)), dtype="int32") for boundary in boundaries]
    total = reached[0]
    for one in reached[1:]:
        total = mb.add(x=total, y=one)
    return total


@translates("FAKE_QUANT")
def fake_quant(x: Var, *, min: float, max: float, num_bits: int, narrow_range: bool = False) -> Var:  # noqa: A002
    """Rounded to a grid that holds zero (``reference_ops::FakeQuant``, ``NudgeQuantizationRange``)."""
    low, high = int(narrow_range), (1 << num_bits) - 1
    scale = np.float32((np.float32(max) - np.float32(min)) / np.float32(high - low))
    exact = np.float32(low - np.float32(min) / scale)
    zero = low if exact < low else high if exact > high else int(np.floor(exact + np.float32(0.5)))
    least, most = np.float32(low - zero) * scale, np.float32(high - zero) * scale
    clamped = mb.clip(x=x, alpha=least, beta=most)
    steps = mb.mul(x=mb.sub(x=clamped, y=like(x, least)), y=like(x, np.float32(1) / scale))
    # TfLiteRound: halves away from zero, and nothing here is less than it.
    whole = mb.floor(x=mb.add(x=steps, y=like(x, 0.5)))
    return mb.add(x=mb.mul(x=whole, y=like(x, scale)), y=like(x, least))

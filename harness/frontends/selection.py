"""Selection and broadcasting beyond what MIL's own operations do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from harness.frontends.builder import dtype_of, like, mb
from harness.frontends.dispatch import Var
from harness.frontends.expect import broadcast_shape
from harness.frontends.program import constant


def where(condition: Var, a: Var, b: Var) -> Var:
    """a where the condition holds, else b. MIL does not broadcast a and b to the condition's shape."""
    shapes = [tuple(value.shape) for value in (condition, a, b)]
    if all(isinstance(size, int | np.integer) for shape in shapes for size in shape):
        whole = broadcast_shape(*shapes)
        if broadcast_shape(*shapes[1:]) != whole:
            a = broadcast(a, whole)
    elif not _covers(condition, a, b):
        kind = dtype_of(a)
        zeros = mb.mul(x=mb.cast(x=condition, dtype=kind), y=like(a, 0))
        a = mb.add(x=a, y=zeros)
    return mb.select(cond=condition, a=a, b=b)


def _covers(condition: Var, a: Var, b: Var) -> bool:
    """Whether a or b has every size of the condition."""
    for axis in range(1, len(condition.shape) + 1):
        size = condition.shape[-axis]
        held = [value.shape[-axis] for value in (a, b) if len(value.shape) >= axis]
        if size != 1 and size not in held:
            return False
    return True


def broadcast(x: Var, shape: tuple[int, ...]) -> Var:
    """``x`` repeated to a larger shape."""
    if x.val is not None:
        return constant(np.broadcast_to(x.val, shape).copy())
    given = [1] * (len(shape) - len(x.shape)) + [int(size) for size in x.shape]
    wide = mb.reshape(x=x, shape=given)
    return mb.tile(x=wide, reps=[new // old for new, old in zip(shape, given, strict=True)])


def broadcast_together(condition: Var, x: Var) -> Var:
    """The condition in the shape that it and x have together."""
    shapes = [tuple(int(size) for size in value.shape) for value in (condition, x)]
    whole = broadcast_shape(*shapes)
    return condition if shapes[0] == whole else mb.logical_or(x=condition, y=np.zeros(whole, bool))


def as_numbers(operation: Callable[..., Var], x: Var, *more: Var) -> Var:
    """By an operation that MIL does not have for bool."""
    if dtype_of(x) != "bool":
        return operation(x, *more)
    return mb.cast(x=operation(*(mb.cast(x=value, dtype="int32") for value in (x, *more))), dtype="bool")

"""Inner blocks of a program: branches, loops, and what they give."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import dtype_of, mb
from harness.frontends.dispatch import Value, Var
from harness.frontends.program import as_var

# A loop that is written out has at most so many operators in all.
LARGEST_UNROLLED = 1500


def branch(
    condition: Var, then: Callable[[], Sequence[Value]], otherwise: Callable[[], Sequence[Value]], where: str
) -> tuple[Var, ...]:
    """What one of two functions gives, each called in a block of its own. They must give at least one value."""
    results = mb.cond(
        pred=scalar(condition), _true_fn=lambda: of_this_block(then()), _false_fn=lambda: of_this_block(otherwise())
    )
    results = tuple(results) if isinstance(results, tuple | list) else (results,)
    blocks = results[0].op.blocks
    for index, (one, other) in enumerate(zip(blocks[0].outputs, blocks[1].outputs, strict=True)):
        if tuple(one.shape) != tuple(other.shape) or one.dtype != other.dtype:
            raise UnsupportedError(
                f"the branches of {where} give output {index} in different shapes or types",
                received=f"{dtype_of(one)} {tuple(one.shape)} and {dtype_of(other)} {tuple(other.shape)}",
            )
    return results


def of_this_block(values: Sequence[Value]) -> list[Var]:
    """Outputs of a block: constants, inputs and values from outside get a copy."""
    from coremltools.converters.mil.mil.block import curr_block

    results: list[Var] = []
    for value in values:
        result = as_var(value)
        is_new = result.op is not None and result.op.enclosing_block is curr_block() and result.op.op_type != "const"
        results.append(result if is_new and all(result is not other for other in results) else mb.identity(x=result))
    return results


def scalar(value: Var) -> Var:
    """A value of one element, as one of rank 0."""
    return mb.squeeze(x=value, axes=list(range(len(value.shape)))) if value.shape else value


def known_truth(value: Value) -> bool | None:
    """Whether a condition holds, where that is known when the model is converted."""
    known = value if isinstance(value, np.ndarray) else value.val
    return None if known is None else bool(np.asarray(known).reshape(()))

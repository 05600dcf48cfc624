"""What the recurrent layers of every source format share."""

from __future__ import annotations

from harness.errors import UnsupportedError
from harness.frontends.builder import mb
from harness.frontends.dispatch import Var

# A longer sequence, written out, makes a program that no device takes well.
LONGEST = 512


def timesteps(sequence: Var) -> list[Var]:
    """The elements of a (steps, ...) sequence. Raises UnsupportedError where they are too many, or not known."""
    steps = sequence.shape[0]
    if not isinstance(steps, int) or steps > LONGEST:
        raise UnsupportedError(
            "a recurrent layer over a long sequence, or one of a length that is not known, is not written out",
            received=f"{steps} steps", supported=f"{LONGEST} steps",
        )  # fmt: skip
    parts = list(mb.split(x=sequence, num_splits=steps, axis=0)) if steps > 1 else [sequence]
    return [mb.squeeze(x=part, axes=[0]) for part in parts]

"""Whether a reference can judge: a model that draws random numbers has no one answer to compare with."""

from __future__ import annotations

from collections.abc import Mapping

from harness.inputs import PreparedModel
from harness.metrics import compare
from harness.runtimes.base import LoadedModel
from harness.tensors import Array
from harness.tolerance import DEFAULT_TOLERANCE


def doubt_of(prepared: PreparedModel, reference: LoadedModel, expected: Mapping[str, Array]) -> str:
    """Why the reference cannot judge: it gives two answers for one input. Nothing where it gives one.

    A model that keeps state between predictions (streaming audio) answers anew from its beginning when it is loaded
    again; one that draws random numbers does not, or draws the same sequence from a seed.
    """
    again = compare(expected, reference.predict(prepared.inputs), DEFAULT_TOLERANCE, only_judged=True)
    if again.passed or any(item.judgement is None for item in again.outputs):
        return ""
    if prepared.keeps_state:
        again = compare(expected, prepared.reference().predict(prepared.inputs), DEFAULT_TOLERANCE, only_judged=True)
        if again.passed:
            return ""
    worst = again.worst
    drawn = f" ({', '.join(prepared.random_operators)})" if prepared.random_operators else ""
    return (
        f"the reference gives two answers for one input, so that it cannot judge: output {worst.name!r} differs by "
        f"{worst.max_abs_error:.3g} between two predictions. The model draws random numbers{drawn}, or is not "
        "deterministic. Export it without them (training=False), or with a fixed draw as an input."
    )

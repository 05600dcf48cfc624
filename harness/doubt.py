"""Whether a reference can judge: a model that draws random numbers has no one answer to compare with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from harness.inputs import PreparedModel
from harness.metrics import compare
from harness.runtimes.base import LoadedModel
from harness.tensors import Array
from harness.tolerance import DEFAULT_TOLERANCE


def doubt_of(prepared: PreparedModel, reference: LoadedModel, expected: Mapping[str, Array]) -> str:
    """Why the reference cannot judge: its answer is no number, or it draws one. Nothing where it can.

    A model that keeps state between predictions (streaming audio) answers anew from its beginning when it is loaded
    again; one that draws random numbers does not, or draws the same sequence from a seed. Random operators are no
    reference even where two predictions agree: a converter may write one draw into the package as a constant.
    """
    for name, array in expected.items():
        values = np.asarray(array)
        wrong = int(np.count_nonzero(~np.isfinite(values.astype(np.float64)))) if values.dtype.kind in "fV" else 0
        if wrong:
            return (
                f"the reference cannot judge: {wrong} of {values.size} values of its output {name!r} are not finite. "
                "Give other inputs, or mend the model"
            )
    drawn = ", ".join(prepared.random_operators)
    advice = "Export it without them (training=False), or with a fixed draw as an input"
    again = compare(expected, reference.predict(prepared.inputs), DEFAULT_TOLERANCE, only_judged=True)
    if not again.passed and prepared.keeps_state:
        again = compare(expected, prepared.reference().predict(prepared.inputs), DEFAULT_TOLERANCE, only_judged=True)
    if again.passed or any(item.judgement is None for item in again.outputs):
        if not drawn:
            return ""
        return f"the reference cannot judge: the model draws random numbers ({drawn}). {advice}"
    worst = again.worst
    return (
        f"the reference gives two answers for one input, so that it cannot judge: output {worst.name!r} differs by "
        f"{worst.max_abs_error:.3g} between two predictions. The model draws random numbers"
        f"{f' ({drawn})' if drawn else ''}, or is not deterministic. {advice}"
    )

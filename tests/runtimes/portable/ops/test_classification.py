from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.errors import PredictionError
from harness.quiet import quiet_imports
from harness.runtimes.portable.registry import KERNELS

with quiet_imports():
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb

from tests.runtimes.portable.conftest import load_program

SCORES = np.array([[0.1, 0.5, 0.15, 0.25]], np.float32)


@pytest.mark.parametrize("labels", [["cat", "dog", "emu", "fox"], [7, -3, 2**40, 0]], ids=["text", "integers"])
@pytest.mark.parametrize("target", [ct.target.iOS15, ct.target.iOS18])
def test_classifier(labels: list[Any], target: Any) -> None:
    program = mb.program(input_specs=[mb.TensorSpec((1, 4))], opset_version=target)(lambda x: mb.mul(x=x, y=2.0))
    model = load_program(program, target=target, classifier_config=ct.ClassifierConfig(labels))
    label_name, probabilities_name = (spec.name for spec in model.features.outputs)
    for winner in range(4):
        scores = np.roll(SCORES, winner - 1, axis=1)
        results = model.predict({"x": scores})
        assert results[label_name] == labels[winner]
        assert type(results[label_name]) is type(labels[0])
        assert results[probabilities_name] == dict(zip(labels, (2 * scores[0]).tolist(), strict=True))


def test_first_among_equals() -> None:
    label, probabilities = KERNELS["classify"].function(np.array([0.5, 0.5], np.float32), [np.array(4), np.array(2)])
    assert label == 4
    assert probabilities == {4: 0.5, 2: 0.5}


def test_wrong_number_of_labels() -> None:
    with pytest.raises(PredictionError, match="4 probabilities; supported: 1 labels"):
        KERNELS["classify"].function(SCORES, [np.array("cat")])

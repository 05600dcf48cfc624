"""The operation that ends a classifier (coremltools ``iOS15/classify.py``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.errors import PredictionError
from harness.runtimes.portable.registry import kernel
from harness.tensors import Array


@kernel("classify")
def classify(probabilities: Array, classes: Any) -> tuple[str | int, dict[str | int, float]]:
    """The most probable label, the first among equals, and each label's probability."""
    labels = [np.asarray(label).item() for label in classes]
    values = probabilities.reshape(-1).tolist()
    if len(labels) != len(values):
        raise PredictionError("there is not one label for each probability", received=f"{len(values)} probabilities",
                              supported=f"{len(labels)} labels")  # fmt: skip
    if not labels:
        raise PredictionError("a classifier has no labels", remedy="Convert the model with its class labels")
    return labels[int(np.argmax(probabilities))], dict(zip(labels, values, strict=True))

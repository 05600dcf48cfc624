"""Models that are no ML Programs, about which the portable runtime has nothing to say.

Generalised linear regressors are what coremltools' tests of ``predict`` itself are written with; a sum is all that
they are (``GLMRegressor.proto``). Models of the other kinds load, so that their structure and compute plan can be
asked for, and do not predict.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import HarnessError, InputError, PackageError, PredictionError
from harness.runtimes.portable.package import open_package


class LinearRegressor:
    """``offset + weights . features``, in float64 and for one output, without a transform."""

    def __init__(self, model: Any, name: str) -> None:
        content = model.glmRegressor
        if content.postEvaluationTransform or len(content.weights) != 1 or len(content.offset) != 1:
            raise PackageError(f"{name} is a regressor with a transform or several outputs")
        self._name = name
        self._features = [feature.name for feature in model.description.input]
        self._weights = list(content.weights[0].value)
        self._offset = content.offset[0]
        self._output = model.description.output[0].name

    def predict(self, inputs: dict[str, Any], state: Any = None) -> dict[str, Any]:
        """A float by the output's name; raises InputError where a feature is missing."""
        values: list[float] = []
        for name in self._features:
            if name not in inputs:
                raise InputError(f"feature {name!r} of model {self._name} is missing", received=sorted(inputs))
            values.extend(np.asarray(inputs[name], np.float64).reshape(-1).tolist())
        if len(values) != len(self._weights):
            raise InputError(f"model {self._name} has {len(self._weights)} weights", received=f"{len(values)} values")
        total = self._offset + sum(weight * value for weight, value in zip(self._weights, values, strict=True))
        return {self._output: total}


class NotExecuted:
    """A model that loads and does not predict."""

    def __init__(self, reason: HarnessError) -> None:
        self._reason = reason

    def predict(self, inputs: dict[str, Any], state: Any = None) -> dict[str, Any]:
        """Raises PredictionError."""
        raise PredictionError(str(self._reason)) from self._reason


def other_model(path: Path, reason: HarnessError) -> LinearRegressor | NotExecuted | None:
    """The model at ``path``, unless it is an ML Program or damaged; ``reason``: why it is not executed."""
    try:
        model = open_package(path)[0]
    except HarnessError:
        return None
    kind = model.WhichOneof("Type")
    if kind == "glmRegressor":
        return LinearRegressor(model, path.name)
    return None if kind in ("mlProgram", None) else NotExecuted(reason)

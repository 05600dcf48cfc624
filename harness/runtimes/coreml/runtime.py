"""Core ML through coremltools' MLModel. Works on macOS only; not verified on a real Mac."""

from __future__ import annotations

import platform
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.artifact import Artifact
from harness.errors import PredictionError
from harness.quiet import quiet_imports
from harness.runtimes.base import LoadedModel, Runtime
from harness.tensors import Array


class CoreMLRuntime(Runtime):
    """Each compute unit of ``coremltools.ComputeUnit``."""

    name = "coreml"
    formats = ("mlprogram", "neuralnetwork")
    compute_units = ("CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE", "ALL")

    def unavailable(self) -> str | None:
        """Core ML predicts on macOS only."""
        if platform.system() != "Darwin":
            return f"Core ML predicts on macOS only; this is {platform.system()}"
        return None

    def load(self, artifact: Artifact, compute_unit: str, precision: str) -> LoadedModel:
        """See Runtime.load. A model that fails to load leaves a RuntimeWarning only, which becomes the error."""
        with quiet_imports():
            import coremltools

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                model = coremltools.models.MLModel(
                    str(artifact.path), compute_units=coremltools.ComputeUnit[compute_unit]
                )
            except Exception as error:  # the framework's errors have no common class
                raise PredictionError(f"Core ML cannot load {artifact.path.name}", received=error) from error
        if model.__proxy__ is None:
            reason = "; ".join(str(item.message) for item in caught if item.category is RuntimeWarning)
            raise PredictionError(
                f"Core ML cannot load {artifact.path.name} for {compute_unit}", received=reason or "no reason given"
            )
        return _Loaded(model)


class _Loaded(LoadedModel):
    def __init__(self, model: Any) -> None:
        self._model = model
        # The framework wraps arrays without a copy, so those of the last prediction are kept alive.
        self._held: dict[str, Array] = {}

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self._held = {name: np.array(array, order="C") for name, array in inputs.items()}
        try:
            outputs = self._model.predict(dict(self._held))
        except Exception as error:  # the framework's errors have no common class
            raise PredictionError("Core ML failed to predict", received=error) from error
        return {name: np.asarray(value) for name, value in outputs.items()}

"""The portable runtime as a runtime of the matrix."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from harness.artifact import Artifact
from harness.runtimes.base import LoadedModel, Runtime
from harness.tensors import Array


class PortableRuntime(Runtime):
    """Executes the converted program anywhere; float16 conversions with float16 rounding."""

    name = "portable"
    formats = ("mlprogram",)

    def load(self, artifact: Artifact, compute_unit: str, precision: str) -> LoadedModel:
        """See Runtime.load."""
        from harness.runtimes import portable

        return _Loaded(portable.load(artifact.path, numerics=precision))


class _Loaded(LoadedModel):
    def __init__(self, model: object) -> None:
        from harness.runtimes.portable import PortableModel

        assert isinstance(model, PortableModel)
        self._model = model
        # As long as the model is loaded, as Core ML keeps it.
        self._state = model.new_state() if model.features.states else None

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {name: np.asarray(value) for name, value in self._model.predict(inputs, self._state).items()}

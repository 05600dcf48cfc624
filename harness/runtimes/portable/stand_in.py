"""A stand-in for coremltools' native module, so that ``MLModel.predict`` works where there is no Mac.

``install()`` provides ``coremltools.libcoremlpython`` on the portable runtime and makes coremltools
believe that it runs on macOS. Test equipment: it never installs itself, and what it computes is no
Core ML result. The native interface is the one that coremltools 9's Python source calls
(``models/model.py``, ``models/_compiled_model.py``).
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import HarnessError
from harness.quiet import quiet_imports
from harness.runtimes import portable

MODULE = "coremltools.libcoremlpython"
MAXIMUM_SPECIFICATION_VERSION = 10

_settings: dict[str, Any] = {"numerics": "float16"}


class MLStateProxy:
    """Buffers of one state, read and written by name."""

    def __init__(self, state: portable.State) -> None:
        self.state = state

    def read_state(self, name: str) -> Any:
        """A copy of the buffer."""
        return self.state.buffers[name].copy()

    def write_state(self, name: str, value: Any) -> None:
        """Replace the buffer's contents; the shape must fit."""
        buffer = self.state.buffers[name]
        array = np.asarray(value)
        if array.shape != buffer.shape:
            raise RuntimeError(f"state {name!r} has shape {buffer.shape}, not {array.shape}")
        self.state.buffers[name] = array.astype(buffer.dtype)


class MLModelProxy:
    """What ``_MLModelProxy`` of the native module is to coremltools."""

    def __init__(
        self, path: str, compute_unit: str, function_name: str, hints: Mapping[str, str], asset: Any
    ) -> None:
        start = time.perf_counter_ns()
        self._path = Path(path)
        try:
            self._model = portable.load(self._path, _settings["numerics"], function=function_name or None)
        except HarnessError as error:
            raise RuntimeError(str(error)) from error
        self._load_nanoseconds = time.perf_counter_ns() - start
        self._predict_nanoseconds: int | None = None

    def predict(self, inputs: dict[str, Any], state: MLStateProxy | None = None) -> dict[str, Any]:
        """One prediction, in Core ML's types: float16 as float32, colour images as RGBA."""
        start = time.perf_counter_ns()
        try:
            outputs = self._model.predict(inputs, state.state if state is not None else None)
        except HarnessError as error:
            raise RuntimeError(str(error)) from error
        self._predict_nanoseconds = time.perf_counter_ns() - start
        return {name: _native(value) for name, value in outputs.items()}

    def batchPredict(self, batch: list[dict[str, Any]]) -> list[dict[str, Any]]:  # noqa: N802 (native name)
        """Predictions of each, in order."""
        return [self.predict(inputs) for inputs in batch]

    def newState(self) -> MLStateProxy:  # noqa: N802 (native name)
        """Zeroed state."""
        return MLStateProxy(self._model.new_state())

    def get_compiled_model_path(self) -> str:
        """The package itself: there is no compiled form here."""
        return str(self._path)

    def get_load_duration_in_nano_seconds(self) -> int:
        """How long loading took."""
        return self._load_nanoseconds

    def get_last_predict_duration_in_nano_seconds(self) -> int | None:
        """How long the last prediction took; None before the first."""
        return self._predict_nanoseconds

    @staticmethod
    def maximum_supported_specification_version() -> int:
        """Of coremltools 9."""
        return MAXIMUM_SPECIFICATION_VERSION

    @staticmethod
    def auto_set_specification_version(source: str, destination: str) -> None:
        """The native module lowers the version where it can; here it is kept."""
        shutil.copy(source, destination)

    @staticmethod
    def compileModel(source: str, destination: str = "") -> str:  # noqa: N802 (native name)
        """"Compiles" by copying the package."""
        target = Path(destination or tempfile.mkdtemp()) / (Path(source).stem + ".mlmodelc")
        shutil.copytree(source, target)
        return str(target)


def _native(value: Any) -> Any:
    return value.convert("RGBA") if getattr(value, "mode", None) == "RGB" else value


def install(macos: tuple[int, int] = (15, 0), numerics: str = "float16") -> None:
    """Let coremltools predict on the portable runtime, as if on that macOS.

    To be called before coremltools is imported. ``numerics`` applies to values that a program
    declares float16.
    """
    _settings["numerics"] = numerics
    native = types.ModuleType(MODULE)
    native.__dict__.update(
        _MLModelProxy=MLModelProxy,
        _MLModelAssetProxy=type("_MLModelAssetProxy", (), {}),
        _MLComputePlanProxy=type("_MLComputePlanProxy", (), {}),
        _MLCPUComputeDeviceProxy=type("_MLCPUComputeDeviceProxy", (), {}),
        _MLGPUComputeDeviceProxy=type("_MLGPUComputeDeviceProxy", (), {}),
        _MLNeuralEngineComputeDeviceProxy=type("_MLNeuralEngineComputeDeviceProxy", (), {}),
    )
    sys.modules[MODULE] = native
    with quiet_imports():
        import coremltools

    coremltools.libcoremlpython = native
    replaced = {
        "_is_macos": lambda: True,
        "_macos_version": lambda: macos,
        "_IS_MACOS": True,
        **{name: value for name, value in native.__dict__.items() if name.startswith("_ML")},
    }
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "coremltools" and module is not native:
            for attribute, value in replaced.items():
                if hasattr(module, attribute):
                    setattr(module, attribute, value)

"""What coremltools loads and predicts with: ``_MLModelProxy`` of the native module, on the portable runtime."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from harness.errors import HarnessError, InputError, PredictionError
from harness.runtimes import portable
from harness.runtimes.portable.package import open_package
from harness.runtimes.portable.program import Function
from harness.runtimes.portable.stand_in.devices import compute_device
from harness.runtimes.portable.stand_in.other_kinds import LinearRegressor, NotExecuted, other_model
from harness.runtimes.portable.stand_in.plan import ComputePlanProxy
from harness.runtimes.portable.stand_in.playing import PREDICTION_FAILED, player
from harness.runtimes.portable.stand_in.structure import model_structure

MAXIMUM_SPECIFICATION_VERSION = 10
COMPILED = ".mlmodelc"


class MLStateProxy:
    """Buffers of one state, read and written by name."""

    def __init__(self, state: portable.State) -> None:
        self.state = state

    def read_state(self, name: str) -> Any:
        """A copy of the buffer; RuntimeError where there is none of that name."""
        return self._buffer(name).copy()

    def write_state(self, name: str, value: Any) -> None:
        """Replace the buffer's contents; RuntimeError unless name and shape fit."""
        buffer = self._buffer(name)
        array = np.asarray(value)
        if array.shape != buffer.shape:
            raise RuntimeError(f"state {name!r} has shape {buffer.shape}, not {array.shape}")
        self.state.buffers[name] = array.astype(buffer.dtype)

    def _buffer(self, name: str) -> Any:
        if name not in self.state.buffers:
            raise RuntimeError(f"the model has no state {name!r}; it has {', '.join(self.state.buffers)}")
        return self.state.buffers[name]


class ModelAssetProxy:
    """A model in a folder of its own, which lives as long as the asset."""

    def __init__(self, path: Path, owner: tempfile.TemporaryDirectory[str] | None = None) -> None:
        self.path = path
        self._owner = owner


class MLModelProxy:
    """What ``_MLModelProxy`` of the native module is to coremltools."""

    def __init__(
        self,
        path: str,
        compute_unit: str,
        function_name: str,
        hints: Mapping[str, str],
        asset: ModelAssetProxy | None,
    ) -> None:
        self._asset = asset
        self._unit = compute_unit
        self._path = asset.path if asset is not None else Path(path)
        self._compiled: tempfile.TemporaryDirectory[str] | None = None
        if self._path.suffix != COMPILED:
            player().play("compile", None)
        start = time.perf_counter_ns()
        player().play("load", compute_unit)
        self._model = _load(self._path, function_name)
        if self._path.is_file():  # coremltools removes a temporary one as soon as it is loaded
            self.get_compiled_model_path()
        self._load_nanoseconds = time.perf_counter_ns() - start
        self._predict_nanoseconds: int | None = None

    def predict(self, inputs: dict[str, Any], state: MLStateProxy | None = None) -> dict[str, Any]:
        """One prediction, in Core ML's types: float16 as float32, colour images as RGBA."""
        start = time.perf_counter_ns()
        player().check_inputs(inputs, self._unit)
        player().play("predict", self._unit)
        try:
            outputs = self._model.predict(inputs, state.state if state is not None else None)
        except PredictionError as error:
            raise RuntimeError(f"{PREDICTION_FAILED} {error}") from error
        except InputError as error:
            raise RuntimeError(f"{self._size_complaint(inputs)}{error}") from error
        self._predict_nanoseconds = time.perf_counter_ns() - start
        return player().outputs(outputs, self._unit)

    @property
    def program(self) -> Function | None:
        """What is executed; None for a model that is no ML Program."""
        return self._model.function if isinstance(self._model, portable.PortableModel) else None

    @property
    def is_executed(self) -> bool:
        """False of a neural network, for instance, which loads only."""
        return not isinstance(self._model, NotExecuted)

    def _size_complaint(self, inputs: Mapping[str, Any]) -> str:
        """Core ML's own words for a size that a flexible input does not take, as coremltools' tests expect them
        (``frontend/tensorflow2/test/test_tf2_conversion_api.py``); nothing where sizes are not the matter."""
        if not isinstance(self._model, portable.PortableModel):
            return ""
        features = self._model.features
        for name, value in inputs.items():
            if not isinstance(value, np.ndarray):
                continue
            choices = features.shape_choices.get(name)
            if choices and value.shape not in choices:
                shape = " x ".join(map(str, value.shape))
                return f"MultiArray Shape ({shape}) was not in enumerated set of allowed shapes: "
            for axis, (size, (low, high)) in enumerate(
                zip(value.shape, features.shape_ranges.get(name, ()), strict=False)
            ):
                if not low <= size <= high:
                    return f"Size ({size}) of dimension ({axis}) is not in allowed range ({low}..{high}): "
        return ""

    def batchPredict(self, batch: list[dict[str, Any]]) -> list[dict[str, Any]]:  # noqa: N802 (native name)
        """Predictions of each, in order."""
        return [self.predict(inputs) for inputs in batch]

    def newState(self) -> MLStateProxy:  # noqa: N802 (native name)
        """Zeroed state; RuntimeError for a model that has none."""
        if not isinstance(self._model, portable.PortableModel):
            raise RuntimeError("the model has no state")
        return MLStateProxy(self._model.new_state())

    def get_compiled_model_path(self) -> str:
        """A ``.mlmodelc`` folder that lives as long as this object."""
        if self._compiled is None:
            self._compiled = tempfile.TemporaryDirectory()
            return _compile(self._path, self._compiled.name)
        return str(next(Path(self._compiled.name).iterdir()))

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
    def auto_set_specification_version(spec: Any) -> Any:
        """The native module lowers the version where it can; here the specification is kept as it is."""
        return spec

    @staticmethod
    def compileModel(source: str, folder: str = "") -> str:  # noqa: N802 (native name)
        """A ``.mlmodelc`` in ``folder`` (a new one if not given): the package as it is, for nothing is compiled."""
        player().play("compile", None)
        return _compile(Path(source), folder)

    @staticmethod
    def create_model_asset_from_path(path: str) -> Any:
        """coremltools' ``MLModelAsset`` of a compiled model."""
        return _asset(ModelAssetProxy(Path(path)))

    @staticmethod
    def create_model_asset_from_memory(specification: bytes, blobs: Mapping[str, bytes]) -> Any:
        """coremltools' ``MLModelAsset`` of a specification and its weights, by their paths in a package."""
        owner = tempfile.TemporaryDirectory()
        path = Path(owner.name) / "model.mlmodelc"
        _write_package(path, specification, blobs)
        return _asset(ModelAssetProxy(path, owner))

    @staticmethod
    def get_available_compute_devices() -> list[Any]:
        """Those of the machine."""
        return [compute_device(kind) for kind in player().machine.devices]

    @staticmethod
    def get_all_compute_devices() -> list[Any]:
        """The same."""
        return MLModelProxy.get_available_compute_devices()

    @staticmethod
    def get_model_structure(path: str) -> Any:
        """coremltools' ``MLModelStructure`` of a compiled model."""
        try:
            return model_structure(open_package(Path(path))[0])
        except HarnessError as error:
            raise RuntimeError(str(error)) from error

    @staticmethod
    def get_compute_plan(path: str, compute_unit: str) -> Any:
        """coremltools' ``MLComputePlan`` of a compiled model."""
        from coremltools.models.compute_plan import MLComputePlan

        player().play("plan", compute_unit)
        return MLComputePlan(ComputePlanProxy(MLModelProxy.get_model_structure(path), compute_unit))


def _load(path: Path, function_name: str) -> portable.PortableModel | LinearRegressor | NotExecuted:
    try:
        return portable.load(path, player().machine.numerics, function=function_name or None)
    except HarnessError as error:
        other = other_model(path, error)
        if other is None:
            raise RuntimeError(str(error)) from error
        return other


def _compile(model: Path, folder: str) -> str:
    target = Path(folder or tempfile.mkdtemp()) / (model.stem + COMPILED)
    if model.is_dir():
        shutil.copytree(model, target)
    else:
        _write_package(target, model.read_bytes())
    return str(target)


def _write_package(path: Path, specification: bytes, blobs: Mapping[str, bytes] | None = None) -> None:
    """A package as package.py reads it; blobs stay inside it whatever their names."""
    data = path / "Data"
    data.mkdir(parents=True)
    (data / "model.mlmodel").write_bytes(specification)
    for name, content in (blobs or {}).items():
        target = data / "weights" / PurePosixPath(name).name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(content)
    entries = {"model": {"path": "model.mlmodel", "name": "model.mlmodel", "author": "com.apple.CoreML"}}
    manifest = {"fileFormatVersion": "1.0.0", "itemInfoEntries": entries, "rootModelIdentifier": "model"}
    (path / "Manifest.json").write_text(json.dumps(manifest))


def _asset(proxy: ModelAssetProxy) -> Any:
    from coremltools.models.model import MLModelAsset

    return MLModelAsset(proxy)

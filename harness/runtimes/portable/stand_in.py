"""A stand-in for coremltools' native module, so that ``MLModel.predict`` works where there is no Mac.

``install()`` provides ``coremltools.libcoremlpython`` on the portable runtime and makes coremltools
believe that it runs on macOS. Test equipment: it never installs itself, and what it computes is no
Core ML result. The native interface is the one that coremltools 9's Python source calls
(``models/model.py``, ``models/_compiled_model.py``, ``models/compute_plan.py``,
``models/compute_device.py``).
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
import types
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from harness.errors import HarnessError, InputError, PredictionError
from harness.quiet import quiet_imports
from harness.runtimes import portable
from harness.runtimes.portable.numerics import check_numerics
from harness.runtimes.portable.package import open_package

MODULE = "coremltools.libcoremlpython"
MAXIMUM_SPECIFICATION_VERSION = 10

# How Core ML's own message begins (coremltools' mil/ops/tests/iOS17/test_scatter_gather.py).
_PREDICTION_FAILED = "Unable to compute the prediction using ML Program."

_settings: dict[str, Any] = {"numerics": "float16"}


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


class CPUComputeDeviceProxy:
    """The only compute device there is."""


class GPUComputeDeviceProxy:
    """Never made here; coremltools checks for its instances."""


class NeuralEngineComputeDeviceProxy:
    """Never made here; coremltools checks for its instances."""


class ModelAssetProxy:
    """A model in a folder of its own, which lives as long as the asset."""

    def __init__(self, path: Path, owner: tempfile.TemporaryDirectory[str] | None = None) -> None:
        self.path = path
        self._owner = owner


class ComputePlanProxy:
    """Every operation on the CPU, at an unknown cost: what the portable runtime really does.

    Made without arguments by coremltools' own subclass for remote devices.
    """

    def __init__(self, model_structure: Any = None) -> None:
        self._model_structure = model_structure

    @property
    def model_structure(self) -> Any:
        """coremltools' ``MLModelStructure``."""
        return self._model_structure

    def get_compute_device_usage_for_mlprogram_operation(self, operation: Any) -> Any:
        """The CPU; None for constants, which no device computes."""
        return None if operation.operator_name == "const" else _cpu_usage()

    def get_compute_device_usage_for_neuralnetwork_layer(self, layer: Any) -> Any:
        """None: the portable runtime does not execute neural networks."""
        return None

    def get_estimated_cost_for_mlprogram_operation(self, operation: Any) -> Any:
        """None: not known."""
        return None


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
        start = time.perf_counter_ns()
        self._asset = asset
        self._path = asset.path if asset is not None else Path(path)
        self._compiled: tempfile.TemporaryDirectory[str] | None = None
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
        except PredictionError as error:
            raise RuntimeError(f"{_PREDICTION_FAILED} {error}") from error
        except InputError as error:
            raise RuntimeError(f"{self._size_complaint(inputs)}{error}") from error
        self._predict_nanoseconds = time.perf_counter_ns() - start
        return outputs

    def _size_complaint(self, inputs: Mapping[str, Any]) -> str:
        """Core ML's own words for a size that a flexible input does not take, as coremltools' tests expect them
        (``frontend/tensorflow2/test/test_tf2_conversion_api.py``); nothing where sizes are not the matter."""
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
        """Zeroed state."""
        return MLStateProxy(self._model.new_state())

    def get_compiled_model_path(self) -> str:
        """A ``.mlmodelc`` folder that lives as long as this object."""
        if self._compiled is None:
            self._compiled = tempfile.TemporaryDirectory()
            return self.compileModel(str(self._path), self._compiled.name)
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
        model = Path(source)
        target = Path(folder or tempfile.mkdtemp()) / (model.stem + ".mlmodelc")
        if model.is_dir():
            shutil.copytree(model, target)
        else:
            _write_package(target, model.read_bytes())
        return str(target)

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
        """The CPU."""
        return [_cpu()]

    @staticmethod
    def get_all_compute_devices() -> list[Any]:
        """The CPU."""
        return [_cpu()]

    @staticmethod
    def get_model_structure(path: str) -> Any:
        """coremltools' ``MLModelStructure`` of a compiled model."""
        try:
            return _structure(open_package(Path(path))[0])
        except HarnessError as error:
            raise RuntimeError(str(error)) from error

    @staticmethod
    def get_compute_plan(path: str, compute_unit: str) -> Any:
        """coremltools' ``MLComputePlan`` of a compiled model."""
        from coremltools.models.compute_plan import MLComputePlan

        return MLComputePlan(ComputePlanProxy(MLModelProxy.get_model_structure(path)))


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


def _cpu() -> Any:
    from coremltools.models.compute_device import MLCPUComputeDevice

    return MLCPUComputeDevice(CPUComputeDeviceProxy())


def _cpu_usage() -> Any:
    from coremltools.models.compute_plan import MLComputePlanDeviceUsage

    device = _cpu()
    return MLComputePlanDeviceUsage(preferred_compute_device=device, supported_compute_devices=[device])


# Model structure, as coremltools' dataclasses ----------------------------------------------------


def _structure(model: Any) -> Any:
    from coremltools.models import compute_plan

    kind = model.WhichOneof("Type")
    program = network = pipeline = None
    if kind == "mlProgram":
        functions = {name: _function(function) for name, function in model.mlProgram.functions.items()}
        program = compute_plan.MLModelStructureProgram(functions)
    elif kind in ("neuralNetwork", "neuralNetworkClassifier", "neuralNetworkRegressor"):
        layers = [
            compute_plan.MLModelStructureNeuralNetworkLayer(
                layer.name, layer.WhichOneof("layer"), list(layer.input), list(layer.output), None
            )
            for layer in getattr(model, kind).layers
        ]
        network = compute_plan.MLModelStructureNeuralNetwork(layers)
    elif kind in ("pipeline", "pipelineClassifier", "pipelineRegressor"):
        content = model.pipeline if kind == "pipeline" else getattr(model, kind).pipeline
        names = list(content.names) or [f"model{index}" for index in range(len(content.models))]
        members = [(name, _structure(member)) for name, member in zip(names, content.models, strict=True)]
        pipeline = compute_plan.MLModelStructurePipeline(members)
    return compute_plan.MLModelStructure(neuralnetwork=network, program=program, pipeline=pipeline)


def _function(function: Any) -> Any:
    from coremltools.models import compute_plan

    block = _block(function.block_specializations[function.opset])
    return compute_plan.MLModelStructureProgramFunction(_value_types(function.inputs), block)


def _block(block: Any) -> Any:
    from coremltools.models import compute_plan

    operations = [
        compute_plan.MLModelStructureProgramOperation(
            inputs={name: _argument(argument) for name, argument in operation.inputs.items()},
            operator_name=operation.type,
            outputs=_value_types(operation.outputs),
            blocks=[_block(inner) for inner in operation.blocks],
            __proxy__=None,
        )
        for operation in block.operations
    ]
    return compute_plan.MLModelStructureProgramBlock(_value_types(block.inputs), operations, list(block.outputs))


def _argument(argument: Any) -> Any:
    from coremltools.models import compute_plan

    return compute_plan.MLModelStructureProgramArgument(
        [
            compute_plan.MLModelStructureProgramBinding(binding.name, None)
            if binding.WhichOneof("binding") == "name"
            else compute_plan.MLModelStructureProgramBinding(None, compute_plan.MLModelStructureProgramValue())
            for binding in argument.arguments
        ]
    )


def _value_types(values: Any) -> list[Any]:
    from coremltools.models import compute_plan

    return [
        compute_plan.MLModelStructureProgramNamedValueType(value.name, compute_plan.MLModelStructureProgramValueType())
        for value in values
    ]


# Installing ---------------------------------------------------------------------------------------


def install(
    macos: tuple[int, int] = (15, 0), numerics: str = "float16", model_proxy: type[MLModelProxy] = MLModelProxy
) -> None:
    """Let coremltools predict on the portable runtime, as if on that macOS.

    To be called before coremltools is imported. ``numerics`` applies to values that a program
    declares float16. ``model_proxy`` is used for every model, so that a subclass can observe them.
    Raises UnknownNameError for unknown numerics.
    """
    _settings["numerics"] = check_numerics(numerics)
    native = types.ModuleType(MODULE)
    native.__dict__.update(
        _MLModelProxy=model_proxy,
        _MLModelAssetProxy=ModelAssetProxy,
        _MLComputePlanProxy=ComputePlanProxy,
        _MLCPUComputeDeviceProxy=CPUComputeDeviceProxy,
        _MLGPUComputeDeviceProxy=GPUComputeDeviceProxy,
        _MLNeuralEngineComputeDeviceProxy=NeuralEngineComputeDeviceProxy,
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

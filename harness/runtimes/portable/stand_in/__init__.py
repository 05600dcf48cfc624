"""A stand-in for coremltools' native module, so that ``MLModel.predict`` works where there is no Mac.

``install()`` provides ``coremltools.libcoremlpython`` on the portable runtime and makes coremltools
believe that it runs on macOS, on a machine with the compute devices and the faults that are asked for.
Test equipment: it never installs itself, and what it computes is no Core ML result. The native interface
is the one that coremltools 9's Python source calls (``models/model.py``, ``models/_compiled_model.py``,
``models/compute_plan.py``, ``models/compute_device.py``).
"""

from __future__ import annotations

import sys
import types
from typing import get_args

from harness.quiet import quiet_imports
from harness.runtimes.coreml import conditions
from harness.runtimes.coreml.devices import DeviceKind
from harness.runtimes.portable.stand_in import playing
from harness.runtimes.portable.stand_in.devices import (
    CPUComputeDeviceProxy,
    GPUComputeDeviceProxy,
    NeuralEngineComputeDeviceProxy,
)
from harness.runtimes.portable.stand_in.machine import VARIABLE, Fault, Machine
from harness.runtimes.portable.stand_in.model import MLModelProxy, MLStateProxy, ModelAssetProxy
from harness.runtimes.portable.stand_in.plan import ComputePlanProxy
from harness.runtimes.portable.stand_in.sensors import StandInSensors

__all__ = [
    "VARIABLE",
    "Fault",
    "MLModelProxy",
    "MLStateProxy",
    "Machine",
    "install",
    "install_from_environment",
    "machine",
]

MODULE = "coremltools.libcoremlpython"

_installed: Machine | None = None


def machine() -> Machine | None:
    """The machine that is installed in this process."""
    return _installed


def install(
    macos: tuple[int, int] = (15, 0),
    numerics: str = "float16",
    model_proxy: type[MLModelProxy] = MLModelProxy,
    devices: tuple[DeviceKind, ...] = get_args(DeviceKind),
    faults: tuple[Fault, ...] = (),
) -> None:
    """Let coremltools predict on the portable runtime, as if on that macOS.

    To be called before coremltools is imported. ``numerics`` applies to values that a program
    declares float16. ``model_proxy`` is used for every model, so that a subclass can observe them.
    ``devices`` and ``faults``: see Machine and Fault. Readings of the machine's conditions are played too.
    Raises UnknownNameError for unknown numerics, UsageError for a machine that cannot be.
    """
    global _installed
    played = Machine(macos, numerics, devices, faults)
    playing.set_machine(played)
    conditions.set_sensors(StandInSensors())
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
    _installed = played


def install_from_environment() -> None:
    """Install the machine that the environment variable ``HARNESS_STAND_IN`` describes.

    For the entry points of tests' child processes; nothing else calls it. Raises UsageError where the
    variable is absent or wrong.
    """
    played = Machine.from_environment()
    install(played.macos, played.numerics, devices=played.devices, faults=played.faults)

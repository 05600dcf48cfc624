"""The compute devices of the native module, as many as the machine that is played has."""

from __future__ import annotations

from typing import Any

from harness.runtimes.coreml.devices import DeviceKind

# Of every Neural Engine since the A14 and M1; the Ultra chips have two of them.
NEURAL_ENGINE_CORES = 16


class CPUComputeDeviceProxy:
    """The CPU."""


class GPUComputeDeviceProxy:
    """A GPU."""


class NeuralEngineComputeDeviceProxy:
    """A Neural Engine."""

    def get_total_core_count(self) -> int:
        """How many cores it has."""
        return NEURAL_ENGINE_CORES


def compute_device(kind: DeviceKind) -> Any:
    """coremltools' ``MLComputeDevice`` of that kind."""
    from coremltools.models import compute_device as devices

    kinds: dict[DeviceKind, tuple[Any, type]] = {
        "CPU": (devices.MLCPUComputeDevice, CPUComputeDeviceProxy),
        "GPU": (devices.MLGPUComputeDevice, GPUComputeDeviceProxy),
        "NeuralEngine": (devices.MLNeuralEngineComputeDevice, NeuralEngineComputeDeviceProxy),
    }
    device, proxy = kinds[kind]
    return device(proxy())

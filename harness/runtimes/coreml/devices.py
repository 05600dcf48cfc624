"""Compute devices of a Mac, and which of them a compute unit may use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from harness.quiet import quiet_imports

DeviceKind = Literal["CPU", "GPU", "NeuralEngine"]

# coremltools.ComputeUnit, and what its documentation says each may use.
_DEVICES: dict[str, tuple[DeviceKind, ...]] = {
    "CPU_ONLY": ("CPU",),
    "CPU_AND_GPU": ("CPU", "GPU"),
    "CPU_AND_NE": ("CPU", "NeuralEngine"),
    "ALL": ("CPU", "GPU", "NeuralEngine"),
}
COMPUTE_UNITS: tuple[str, ...] = tuple(_DEVICES)

_KINDS: dict[str, DeviceKind] = {
    "MLCPUComputeDevice": "CPU",
    "MLGPUComputeDevice": "GPU",
    "MLNeuralEngineComputeDevice": "NeuralEngine",
}


@dataclass(frozen=True)
class Device:
    """``cores``: of the Neural Engine, the only device that tells."""

    kind: DeviceKind
    cores: int | None = None

    def __str__(self) -> str:
        return f"{self.kind} ({self.cores} cores)" if self.cores is not None else self.kind


@dataclass(frozen=True)
class Devices:
    """The devices that Core ML can use, or the ``reason`` why that is not known."""

    found: tuple[Device, ...]
    reason: str | None = None

    @property
    def kinds(self) -> tuple[DeviceKind, ...]:
        """Each kind once."""
        return tuple(kind for kind in get_args(DeviceKind) if any(device.kind == kind for device in self.found))

    def missing_for(self, unit: str) -> tuple[DeviceKind, ...]:
        """What a compute unit would use and this machine does not have; nothing where devices are not known."""
        return tuple(kind for kind in devices_of(unit) if self.reason is None and kind not in self.kinds)

    def to_json(self) -> dict[str, Any]:
        """For records; see from_json."""
        found = [{"kind": device.kind, "cores": device.cores} for device in self.found]
        return {"found": found, "reason": self.reason}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """What ``to_json`` wrote."""
        return cls(tuple(Device(item["kind"], item["cores"]) for item in value["found"]), value["reason"])


def devices_of(unit: str) -> tuple[DeviceKind, ...]:
    """What a compute unit may use; KeyError for one that there is not."""
    return _DEVICES[unit]


def device_kind(device: Any) -> DeviceKind:
    """Of coremltools' ``MLComputeDevice``; ValueError for a kind that coremltools 9 does not know."""
    for base in type(device).__mro__:
        if base.__name__ in _KINDS:
            return _KINDS[base.__name__]
    raise ValueError(f"an unknown compute device: {type(device).__name__}")


def available_devices() -> Devices:
    """What ``MLModel.get_available_compute_devices`` answers. Any failure is a reason, not an exception:
    coremltools without its native module, a system before macOS 14, a device of an unknown kind."""
    try:
        with quiet_imports():
            from coremltools.models import model as coremltools_model

        if coremltools_model._MLModelProxy is None:
            return Devices((), "coremltools has no native module here: Core ML is not on this system")
        devices = coremltools_model.MLModel.get_available_compute_devices()
        found = [_device(device) for device in devices]
    except Exception as error:  # whatever the framework raises
        return Devices((), f"{type(error).__name__}: {error}")
    if not found:
        return Devices((), "coremltools answered an empty list")
    return Devices(tuple(sorted(found, key=lambda device: get_args(DeviceKind).index(device.kind))))


def _device(device: Any) -> Device:
    kind = device_kind(device)
    return Device(kind, int(device.total_core_count) if kind == "NeuralEngine" else None)

"""A compute plan that is made up: a few plain rules, the same each time, which no device follows.

The rules are there so that plans differ by compute unit and have operations that left the Neural Engine.
They say nothing about Core ML.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from harness.runtimes.coreml.devices import DeviceKind
from harness.runtimes.portable.stand_in.devices import compute_device
from harness.runtimes.portable.stand_in.playing import player
from harness.runtimes.portable.stand_in.structure import OperationProxy, operation_proxies

# Of the made-up Neural Engine.
_NOT_ON_NEURAL_ENGINE = {"cond", "while_loop", "non_zero", "topk", "argsort", "gather", "gather_nd", "scatter_nd"}
_ON_CPU_ONLY = {"cond", "while_loop", "non_zero"}
_FLOAT16 = 10  # MIL.proto, DataType
_WORK_PER_ELEMENT = {"conv": 18, "conv_transpose": 18, "linear": 8, "matmul": 8, "cast": 1}
_DEFAULT_WORK = 2
_SPEED: dict[DeviceKind, int] = {"CPU": 1, "GPU": 4, "NeuralEngine": 8}


class ComputePlanProxy:
    """What ``_MLComputePlanProxy`` of the native module is to coremltools.

    Made without arguments by coremltools' own subclass for remote devices.
    """

    def __init__(self, model_structure: Any = None, unit: str = "ALL") -> None:
        self._model_structure = model_structure
        self._unit = unit
        self._devices = player().machine.devices_of(unit)
        self._totals: Counter[str] = Counter()
        for operation in operation_proxies(model_structure):
            self._totals[operation.function] += self._time(operation)

    @property
    def model_structure(self) -> Any:
        """coremltools' ``MLModelStructure``."""
        return self._model_structure

    def get_compute_device_usage_for_mlprogram_operation(self, operation: Any) -> Any:
        """The fastest device that takes it; None for constants, which no device computes."""
        return None if operation.operator_name == "const" else self._usage(operation.__proxy__)

    def get_compute_device_usage_for_neuralnetwork_layer(self, layer: Any) -> Any:
        """As of an operation."""
        return self._usage(layer.__proxy__)

    def get_estimated_cost_for_mlprogram_operation(self, operation: Any) -> Any:
        """Its share of the function's time, by the size of its outputs; None for constants."""
        from coremltools.models.compute_plan import MLComputePlanCost

        proxy: OperationProxy = operation.__proxy__
        if proxy.kind == "const" or player().plans("no_costs", self._unit):
            return None
        return MLComputePlanCost(self._time(proxy) / self._totals[proxy.function])

    def _usage(self, operation: OperationProxy) -> Any:
        from coremltools.models.compute_plan import MLComputePlanDeviceUsage

        if player().plans("no_usage", self._unit):
            return None
        supported = self._supported(operation)
        return MLComputePlanDeviceUsage(
            preferred_compute_device=compute_device(supported[-1]),
            supported_compute_devices=[compute_device(kind) for kind in supported],
        )

    def _supported(self, operation: OperationProxy) -> tuple[DeviceKind, ...]:
        """From the slowest to the fastest."""

        def takes(kind: DeviceKind) -> bool:
            if kind == "NeuralEngine":
                is_float16 = operation.dtypes <= {_FLOAT16}
                return is_float16 and operation.kind not in _NOT_ON_NEURAL_ENGINE
            return kind == "CPU" or operation.kind not in _ON_CPU_ONLY

        return tuple(kind for kind in self._devices if takes(kind))

    def _time(self, operation: OperationProxy) -> int:
        """In units of an eighth of the CPU's time for one element."""
        if operation.kind == "const":
            return 0
        work = operation.elements * _WORK_PER_ELEMENT.get(operation.kind, _DEFAULT_WORK)
        return work * max(_SPEED.values()) // _SPEED[self._supported(operation)[-1]]

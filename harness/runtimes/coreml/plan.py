"""Compute plans: where Core ML says it would execute each operation, and what it estimates that costs.

A plan is Core ML's estimate before execution. It is no measurement, and no promise of placement.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from harness.quiet import quiet_imports
from harness.runtimes.coreml.devices import DeviceKind, device_kind, devices_of

VERSION = 1
_NOT_COMPUTED = "const"
# Estimates that differ by less are the same for a report.
_COST_STEP = 0.005


@dataclass(frozen=True)
class PlannedOperation:
    """``name``: of its first output, the one in the program; ``depth``: how many blocks of control flow it is in;
    ``cost``: Core ML's estimate of its share of the function's work, 0 to 1. None: Core ML does not tell."""

    function: str
    name: str
    operator: str
    depth: int
    preferred: DeviceKind | None
    supported: tuple[DeviceKind, ...]
    cost: float | None

    @property
    def key(self) -> tuple[str, str]:
        """Same in plans of the same program."""
        return self.function, self.name


@dataclass(frozen=True)
class ComputePlan:
    """All operations but constants, in the program's order; where there are none, ``reason`` says why.

    The layers of a neural network stand as operations of function ``""``, without costs.
    """

    compute_unit: str
    operations: tuple[PlannedOperation, ...]
    reason: str | None = None

    def share(self, kind: DeviceKind | None) -> float | None:
        """Estimated share of the cost on operations that prefer that device (None: an unknown one); None if
        no cost is known. Of several functions, shares are of the sum over all."""
        costs = [(operation.preferred, operation.cost) for operation in self.operations if operation.cost is not None]
        total = sum(cost for _, cost in costs)
        return sum(cost for preferred, cost in costs if preferred == kind) / total if total else None

    def shares(self) -> dict[str, float | None]:
        """``share`` of each device that is preferred by an operation."""
        kinds = Counter(operation.preferred for operation in self.operations)
        return {kind or "unknown": self.share(kind) for kind in sorted(kinds, key=str)}

    def left_neural_engine(self) -> tuple[PlannedOperation, ...]:
        """Operations that prefer another device although the compute unit has a Neural Engine, the most costly
        first. Those of unknown device are not among them."""
        if "NeuralEngine" not in devices_of(self.compute_unit):
            return ()
        left = [operation for operation in self.operations if operation.preferred in ("CPU", "GPU")]
        return tuple(sorted(left, key=lambda operation: -(operation.cost or 0.0)))

    def to_json(self) -> dict[str, Any]:
        """For records; see from_json."""
        return {
            "version": VERSION,
            "compute_unit": self.compute_unit,
            "reason": self.reason,
            "operations": [dataclasses.asdict(operation) for operation in self.operations],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What ``to_json`` wrote; ValueError for another version."""
        if value.get("version") != VERSION:
            raise ValueError(f"a compute plan of version {value.get('version')}, not {VERSION}")
        operations = (item | {"supported": tuple(item["supported"])} for item in value["operations"])
        return cls(value["compute_unit"], tuple(PlannedOperation(**item) for item in operations), value["reason"])


@dataclass(frozen=True)
class PlanDifference:
    """``moved``: another preferred device; ``changed``: the same device, another estimate; pairs of old and new."""

    moved: tuple[tuple[PlannedOperation, PlannedOperation], ...]
    changed: tuple[tuple[PlannedOperation, PlannedOperation], ...]
    only_old: tuple[PlannedOperation, ...]
    only_new: tuple[PlannedOperation, ...]

    @property
    def is_empty(self) -> bool:
        """Whether the plans say the same."""
        return not (self.moved or self.changed or self.only_old or self.only_new)

    def lines(self) -> list[str]:
        """The difference in words, one line for each operation."""
        return [
            *(f"moved from {old.preferred or 'unknown'} to {new.preferred or 'unknown'}: {_described(new)}"
              for old, new in self.moved),
            *(f"estimated cost from {_percent(old.cost)} to {_percent(new.cost)}: {_described(new)}"
              for old, new in self.changed),
            *(f"only in the old plan: {_described(operation)}" for operation in self.only_old),
            *(f"only in the new plan: {_described(operation)}" for operation in self.only_new),
        ]  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""

        def pairs(of: tuple[tuple[PlannedOperation, PlannedOperation], ...]) -> list[dict[str, Any]]:
            return [{"old": dataclasses.asdict(old), "new": dataclasses.asdict(new)} for old, new in of]

        return {
            "version": VERSION,
            "moved": pairs(self.moved),
            "changed": pairs(self.changed),
            "only_old": [dataclasses.asdict(operation) for operation in self.only_old],
            "only_new": [dataclasses.asdict(operation) for operation in self.only_new],
        }


def difference(old: ComputePlan, new: ComputePlan) -> PlanDifference:
    """Of two plans of programs whose operations have the same names, as between systems or routes; operations
    of other names are in one plan only. Estimates count as changed from half a percent on."""
    before = {operation.key: operation for operation in old.operations}
    after = {operation.key: operation for operation in new.operations}
    pairs = [(before[key], after[key]) for key in before if key in after]
    moved = tuple((first, second) for first, second in pairs if first.preferred != second.preferred)
    changed = tuple(
        (first, second) for first, second in pairs if first.preferred == second.preferred and _differ(first, second)
    )
    return PlanDifference(
        moved,
        changed,
        tuple(operation for key, operation in before.items() if key not in after),
        tuple(operation for key, operation in after.items() if key not in before),
    )


def read_plan(compiled: Path, unit: str) -> ComputePlan:
    """The plan of a ``.mlmodelc`` for a compute unit. Needs macOS 14.4; whatever fails is the plan's ``reason``."""
    try:
        with quiet_imports():
            import coremltools
            from coremltools.models.compute_plan import MLComputePlan

        if coremltools.models.compute_plan._MLModelProxy is None:
            return ComputePlan(unit, (), "coremltools has no native module here: Core ML is not on this system")
        plan = MLComputePlan.load_from_path(str(compiled), coremltools.ComputeUnit[unit])
        operations = tuple(_operations(plan))
    except Exception as error:  # whatever the framework raises
        return ComputePlan(unit, (), f"{type(error).__name__}: {error}")
    return ComputePlan(unit, operations, None if operations else "the plan lists no operations")


def _operations(plan: Any) -> Iterator[PlannedOperation]:
    structure = plan.model_structure
    if structure.program is not None:
        for function, content in structure.program.functions.items():
            yield from _of_block(plan, function, content.block, 0)
    elif structure.neuralnetwork is not None:
        for layer in structure.neuralnetwork.layers:
            usage = plan.get_compute_device_usage_for_neuralnetwork_layer(layer)
            yield PlannedOperation("", layer.name, layer.type, 0, *_usage(usage), None)
    else:
        raise ValueError("the model is neither an ML Program nor a neural network")


def _of_block(plan: Any, function: str, block: Any, depth: int) -> Iterator[PlannedOperation]:
    for operation in block.operations:
        operator = operation.operator_name.rpartition(".")[2]  # Core ML may write ios17.conv for conv
        if operator == _NOT_COMPUTED:
            continue
        cost = plan.get_estimated_cost_for_mlprogram_operation(operation)
        usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
        name = operation.outputs[0].name if operation.outputs else ""
        weight = None if cost is None else float(cost.weight)
        yield PlannedOperation(function, name, operator, depth, *_usage(usage), weight)
        for inner in operation.blocks:
            yield from _of_block(plan, function, inner, depth + 1)


def _usage(usage: Any) -> tuple[DeviceKind | None, tuple[DeviceKind, ...]]:
    if usage is None:
        return None, ()
    supported = dict.fromkeys(device_kind(device) for device in usage.supported_compute_devices)
    return device_kind(usage.preferred_compute_device), tuple(supported)


def _differ(old: PlannedOperation, new: PlannedOperation) -> bool:
    if old.cost is None or new.cost is None:
        return old.cost is not new.cost
    return abs(old.cost - new.cost) >= _COST_STEP


def _percent(cost: float | None) -> str:
    return "unknown" if cost is None else f"{cost:.1%}"


def _described(operation: PlannedOperation) -> str:
    return f"{operation.operator} {operation.name} ({_percent(operation.cost)} estimated)"

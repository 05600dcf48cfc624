"""Devices and compute plans: as data, and as coremltools gives them where the stand-in is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.quiet import quiet_imports
from harness.runtimes.coreml.devices import Device, Devices, available_devices, devices_of
from harness.runtimes.coreml.plan import ComputePlan, PlannedOperation, difference, read_plan
from harness.runtimes.portable.stand_in import Fault, Machine, MLModelProxy

with quiet_imports():
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb


def operation(name: str, preferred: Any, cost: float | None, operator: str = "conv") -> PlannedOperation:
    return PlannedOperation("main", name, operator, 0, preferred, ("CPU", preferred) if preferred else (), cost)


PLAN = ComputePlan(
    "CPU_AND_NE",
    (
        operation("a", "NeuralEngine", 0.5),
        operation("b", "CPU", 0.1),
        operation("c", "CPU", 0.3, "gather"),
        operation("d", None, 0.1),
        operation("e", "CPU", None),
    ),
)


def test_shares() -> None:
    assert PLAN.share("NeuralEngine") == pytest.approx(0.5)
    assert PLAN.shares() == pytest.approx({"CPU": 0.4, "NeuralEngine": 0.5, "unknown": 0.1})
    assert [item.name for item in PLAN.left_neural_engine()] == ["c", "b", "e"]
    assert ComputePlan("CPU_AND_GPU", PLAN.operations).left_neural_engine() == ()
    unknown = ComputePlan("ALL", (operation("a", "CPU", None),))
    assert (unknown.share("CPU"), unknown.shares()) == (None, {"CPU": None})


def test_round_trip() -> None:
    assert ComputePlan.from_json(json.loads(json.dumps(PLAN.to_json()))) == PLAN
    with pytest.raises(ValueError, match="version 9"):
        ComputePlan.from_json(PLAN.to_json() | {"version": 9})
    devices = Devices((Device("CPU"), Device("NeuralEngine", 16)))
    assert Devices.from_json(json.loads(json.dumps(devices.to_json()))) == devices


def test_difference() -> None:
    new = ComputePlan(
        "CPU_AND_NE",
        (
            operation("a", "CPU", 0.5),
            operation("b", "CPU", 0.2),
            operation("c", "CPU", 0.301, "gather"),
            operation("d", None, None),
            operation("f", "CPU", 0.0),
        ),
    )
    found = difference(PLAN, new)
    assert [(old.name, new.name) for old, new in found.moved] == [("a", "a")]
    assert [old.name for old, _ in found.changed] == ["b", "d"]
    assert [item.name for item in found.only_old] == ["e"]
    assert [item.name for item in found.only_new] == ["f"]
    assert found.lines()[:2] == [
        "moved from NeuralEngine to CPU: conv a (50.0% estimated)",
        "estimated cost from 10.0% to 20.0%: conv b (20.0% estimated)",
    ]
    assert len(found.lines()) == 5
    assert not found.is_empty
    assert difference(PLAN, PLAN).is_empty
    assert json.loads(json.dumps(found.to_json()))["moved"][0]["new"]["preferred"] == "CPU"


@pytest.mark.parametrize(
    ("devices", "unit", "missing"),
    [
        (Devices((Device("CPU"), Device("GPU"))), "ALL", ("NeuralEngine",)),
        (Devices((Device("CPU"), Device("GPU"))), "CPU_AND_GPU", ()),
        (Devices((), "not known"), "ALL", ()),
    ],
)
def test_devices_that_are_missed(devices: Devices, unit: str, missing: tuple[str, ...]) -> None:
    assert devices.missing_for(unit) == missing


def test_units_are_those_of_coremltools() -> None:
    for unit in ct.ComputeUnit:
        assert devices_of(unit.name)[0] == "CPU"


@pytest.mark.skipif(sys.platform == "darwin", reason="Core ML is there")
def test_without_core_ml_there_is_a_reason(tmp_path: Path) -> None:
    assert "no native module" in (available_devices().reason or "")
    assert "no native module" in (read_plan(tmp_path, "ALL").reason or "")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Convolution, gather, loop: what the made-up Neural Engine takes and what not."""

    @mb.program(input_specs=[mb.TensorSpec((1, 3, 8, 8))], opset_version=ct.target.iOS16)
    def program(x: Any) -> Any:
        y = mb.conv(x=x, weight=np.ones((4, 3, 1, 1), np.float32), name="filtered")
        y = mb.gather(x=y, indices=np.array([1, 0], np.int32), axis=1, name="chosen")
        return mb.while_loop(
            _cond=lambda value: mb.less(x=mb.reduce_sum(x=value, axes=[0, 1, 2, 3]), y=9.0),
            _body=lambda value: (mb.add(x=value, y=1.0, name="added"),),
            loop_vars=(y,),
            name="looped",
        )

    folder = tmp_path_factory.mktemp("models")
    path = folder / "planned.mlpackage"
    ct.convert(program, minimum_deployment_target=ct.target.iOS16, skip_model_load=True).save(str(path))
    return Path(MLModelProxy.compileModel(str(path), str(folder)))


CHILD = """
import json, sys
from pathlib import Path
from harness.quiet import without_frameworks
from harness.runtimes.portable import stand_in
without_frameworks()
stand_in.install_from_environment()
from harness.runtimes.coreml.devices import available_devices
from harness.runtimes.coreml.plan import read_plan
print("SAID " + json.dumps([available_devices().to_json(), *(read_plan(Path(sys.argv[1]), unit).to_json()
      for unit in sys.argv[2:])]))
"""


def said(machine: Machine, compiled: Path, *units: str) -> tuple[Devices, list[ComputePlan]]:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(compiled), *units],
        env=os.environ | machine.environment(), capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    devices, *plans = json.loads(done.stdout.rpartition("SAID ")[2])
    return Devices.from_json(devices), [ComputePlan.from_json(plan) for plan in plans]


def test_plans_through_coremltools(compiled: Path) -> None:
    units = ("CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE", "ALL")
    devices, plans = said(Machine(), compiled, *units)
    assert devices.found == (Device("CPU"), Device("GPU"), Device("NeuralEngine", 16))
    for plan, unit in zip(plans, units, strict=True):
        assert plan.reason is None
        assert "const" not in {item.operator for item in plan.operations}
        assert sum(item.cost or 0 for item in plan.operations) == pytest.approx(1)
        assert {item.preferred for item in plan.operations} <= set(devices_of(unit))
    cpu, _, engine, _ = plans
    (filtered,) = (item for item in engine.operations if item.operator == "conv")
    assert filtered.name.startswith("filtered")
    assert (filtered.preferred, filtered.supported) == ("NeuralEngine", ("CPU", "NeuralEngine"))
    assert {"gather", "while_loop"} <= {item.operator for item in engine.left_neural_engine()}
    assert {item.depth for item in engine.operations} == {0, 1}
    assert [old.operator for old, _ in difference(cpu, engine).moved].count("conv") == 1


def test_no_neural_engine(compiled: Path) -> None:
    devices, (plan,) = said(Machine(devices=("CPU", "GPU")), compiled, "CPU_AND_NE")
    assert devices.kinds == ("CPU", "GPU")
    assert plan.shares() == {"CPU": pytest.approx(1)}


@pytest.mark.parametrize(
    ("fault", "costs", "devices", "reason"),
    [
        (Fault("no_costs"), {None}, {"CPU"}, None),
        (Fault("no_usage"), None, {None}, None),
        (Fault("error", at="plan"), set(), set(), "RuntimeError: Failed to load the compute plan."),
    ],
)
def test_plans_that_do_not_tell(
    compiled: Path, fault: Fault, costs: set[None] | None, devices: set[str | None], reason: str | None
) -> None:
    _, (plan,) = said(Machine(faults=(fault,)), compiled, "CPU_ONLY")
    assert plan.reason == reason
    assert {item.preferred for item in plan.operations} == devices
    if costs is not None:
        assert {item.cost for item in plan.operations} == costs

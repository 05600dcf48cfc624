"""Cells of the Core ML runtime, each in a process of its own, through the stand-in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.artifact import Artifact
from harness.isolation import Limits
from harness.runtimes.base import Isolation, Measurement
from harness.runtimes.coreml.devices import COMPUTE_UNITS
from harness.runtimes.portable.stand_in import Fault
from harness.tensors import Array
from tests.runtimes.coreml.conftest import ISOLATION, SCHEDULE, stand_in_runtime

COSTS = ("compile_seconds", "load_seconds", "first_predict_seconds", "warm_load_seconds", "framework_load_seconds")


@pytest.fixture
def measure(package: Artifact, inputs: dict[str, Array], bundle: Path) -> Callable[..., Measurement]:
    def measure(
        *faults: Fault, unit: str = "CPU_ONLY", timed: bool = False, isolation: Isolation = ISOLATION, **machine: Any
    ) -> Measurement:
        runtime = stand_in_runtime(*faults, **machine)
        schedule = SCHEDULE if timed else None
        return runtime.measure(package, inputs, unit, schedule=schedule, isolation=isolation, bundle=bundle)

    return measure


def check_outputs(measured: Measurement, inputs: dict[str, Array]) -> None:
    np.testing.assert_allclose(measured.outputs["wide"], inputs["x"] * 2 + 0.5, atol=2e-3)
    np.testing.assert_allclose(measured.outputs["small"], np.sqrt(inputs["x"]), atol=2e-3)


@pytest.mark.parametrize("unit", COMPUTE_UNITS)
def test_every_unit_and_its_five_costs(
    measure: Callable[..., Measurement], inputs: dict[str, Array], unit: str
) -> None:
    measured = measure(unit=unit, timed=True)
    fields = measured.fields
    check_outputs(measured, inputs)
    assert "status" not in fields
    assert all(fields[name] > 0 for name in COSTS)
    assert len(fields["samples"]) == len(fields["framework_samples"]) == SCHEDULE.samples
    assert (fields["load_state"], fields["warm_load_state"]) == ("cold", "warm")
    assert fields["compute_plan"]
    assert fields["conditions_before"]
    assert fields["conditions_after"]
    assert (fields["attempts"], fields["throttled"]) == (1, False)


FAILURES: dict[str, tuple[Fault, str, str, str]] = {
    # fault: stage, signal, words of the error
    "load": (Fault("error", at="load"), "load", "", "loading"),
    "NSError text": (Fault("error", at="predict", message="NSError: no such kernel"), "predict", "", "no such kernel"),
    "compile": (Fault("error", at="compile"), "compile", "", "compiling"),
    "SIGSEGV": (Fault("sigsegv", at="predict"), "predict", "SIGSEGV", "SIGSEGV"),
    "SIGABRT": (Fault("sigabrt", at="load"), "load", "SIGABRT", "terminating due to uncaught exception"),
    "endless predict": (Fault("hang", at="predict"), "predict", "SIGKILL", "had not ended after"),
    "memory": (Fault("memory", at="predict", bytes=1_500_000_000), "predict", "SIGKILL", "GB of memory"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failures_become_records(name: str, measure: Callable[..., Measurement], bundle: Path) -> None:
    fault, stage, signal, words = FAILURES[name]
    limits = Limits(seconds=15, memory_bytes=1_200_000_000)
    faults = (fault, Fault("slow", at="predict", seconds=3)) if name == "memory" else (fault,)
    fields = measure(*faults, isolation=Isolation(limits, 0, 0)).fields
    assert (fields["status"], fields["stage"], fields["signal"]) == ("error", stage, signal)
    assert words in fields["error"] + fields["stderr_tail"]
    assert fields["bundle"]
    assert {"README.md", "request.json", "inputs.npz", "model.mlpackage"} <= {path.name for path in bundle.iterdir()}


REMARKS = {
    "wrong dtype": (Fault("wrong_dtype", at="predict", dtype="float64"), "float64"),
    "odd key order": (Fault("key_order", at="predict"), "order"),
}


@pytest.mark.parametrize("name", REMARKS)
def test_oddities_are_remarked(name: str, measure: Callable[..., Measurement], inputs: dict[str, Array]) -> None:
    fault, words = REMARKS[name]
    measured = measure(fault)
    check_outputs(measured, inputs)
    assert any(words in remark for remark in measured.fields["remarks"])


def test_inputs_are_what_core_ml_takes(measure: Callable[..., Measurement], inputs: dict[str, Array]) -> None:
    check_outputs(measure(Fault("strict", at="predict"), timed=True), inputs)


@pytest.mark.parametrize("faults", [(), (Fault("rgba", at="predict"),)], ids=["as declared", "all RGBA"])
def test_images(faults: tuple[Fault, ...], picture_package: Artifact) -> None:
    x = np.random.default_rng(1).integers(0, 256, (1, 3, 4, 6)).astype(np.float32)
    measured = stand_in_runtime(*faults).measure(
        picture_package, {"x": x}, "CPU_ONLY", schedule=None, isolation=ISOLATION
    )
    np.testing.assert_array_equal(measured.outputs["color"], x[0].transpose(1, 2, 0))
    np.testing.assert_array_equal(measured.outputs["gray"], x[0, 0])
    if faults:
        assert any("RGBA" in remark for remark in measured.fields["remarks"])


def test_plan_without_costs(measure: Callable[..., Measurement]) -> None:
    fields = measure(Fault("no_costs", at="plan"), timed=True).fields
    assert "status" not in fields
    assert "0." not in str([row.get("cost") for row in fields["compute_plan"].get("operations", [])])


def test_no_neural_engine(measure: Callable[..., Measurement]) -> None:
    fields = measure(unit="CPU_AND_NE", devices=("CPU", "GPU")).fields
    assert fields["status"] == "skipped"
    assert "NeuralEngine" in fields["error"]


def test_throttled_cell_is_run_again(measure: Callable[..., Measurement], tmp_path: Path) -> None:
    fault = Fault("throttled", readings=2, counter=str(tmp_path / "readings"))
    fields = measure(fault, timed=True).fields
    assert fields["attempts"] == 2
    assert fields["throttled"] is False
    assert any("run again" in remark for remark in fields["remarks"])


def test_machine_that_stays_hot_is_marked(measure: Callable[..., Measurement]) -> None:
    hot = Isolation(ISOLATION.limits, 0, 0, attempts=2)
    fields = measure(Fault("throttled", readings=1000), timed=True, isolation=hot).fields
    assert (fields["attempts"], fields["throttled"]) == (2, True)
    assert any("throttled" in warning for warning in fields["warnings"])

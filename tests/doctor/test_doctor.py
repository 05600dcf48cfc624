"""doctor on a Mac that the stand-in plays, whole and with things that go wrong, and on the system that is here."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from harness.cli import app
from harness.doctor import run as doctor_run
from harness.doctor.checks import CHECKS
from harness.doctor.command import render
from harness.doctor.result import Diagnosis, Row
from harness.doctor.run import diagnose
from harness.runtimes.portable.stand_in import Fault, Machine

CHILD = (sys.executable, str(Path(__file__).with_name("child.py")))


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Diagnose a machine: some checks of it, or all."""

    def diagnosed(machine: Machine, *checks: str, seconds: float = 90) -> Diagnosis:
        for name, value in machine.environment().items():
            monkeypatch.setenv(name, value)
        return diagnose(CHILD, seconds, checks=checks or tuple(CHECKS))

    return diagnosed


def rows(diagnosis: Diagnosis) -> dict[str, Row]:
    return {row.name: row for row in diagnosis.rows}


def text(diagnosis: Diagnosis, width: int = 110) -> str:
    output = io.StringIO()
    render(diagnosis, Console(file=output, width=width))
    return output.getvalue()


def test_a_mac_on_which_everything_holds(mac: Any) -> None:
    diagnosis = mac(Machine())
    assert {row.name: row.observed for row in diagnosis.rows if row.verdict != "holds"} == {}
    assert len(diagnosis.rows) == len(CHECKS) >= 25
    assert {row.group for row in diagnosis.rows} == {"here", "units", "assumptions"}
    assert diagnosis.conditions.chip == "Apple M0 (stand-in)"
    assert [str(device) for device in diagnosis.devices.found] == ["CPU", "GPU", "NeuralEngine (16 cores)"]
    observed = rows(diagnosis)
    assert observed["images"].observed.startswith("color RGBA, gray L, fine F")
    assert "6 costs, sum 1" in observed["compute_plan"].observed
    shown = text(diagnosis)
    assert f"{len(CHECKS)} checks: {len(CHECKS)} holds, 0 differs, 0 could not tell" in shown
    assert max(map(len, shown.splitlines())) <= 110


COULD_NOT_TELL = "could not tell"

# Faults that do not meet share a machine: the assumptions are checked on CPU_ONLY.
WRONG: list[tuple[tuple[Fault, ...], dict[str, tuple[str, str]]]] = [
    (
        (
            Fault("sigsegv", at="predict", units=("CPU_AND_NE",)),
            Fault("sigabrt", at="load", units=("ALL",)),
            Fault("hang", at="predict", units=("CPU_AND_GPU",)),
        ),
        {
            "CPU_AND_NE": (COULD_NOT_TELL, "ended by SIGSEGV during predict"),
            "ALL": (COULD_NOT_TELL, "ended by SIGABRT during load: libc[+][+]abi: terminating"),
            "CPU_AND_GPU": (COULD_NOT_TELL, "no end after 25 s during predict"),
            "CPU_ONLY": ("holds", "difference 0"),
        },
    ),
    (
        (
            Fault("error", at="load", units=("ALL",), message="no such plan"),
            Fault("inexact", size=0.5, units=("CPU_AND_NE",)),
            Fault("missing_output", units=("CPU_ONLY",)),
        ),
        {
            "ALL": ("differs", "RuntimeError: .*no such plan"),
            "CPU_AND_NE": ("differs", "largest difference 0.5 from"),
            "predict_answers_a_dict": ("differs", "difference inf"),
            "key_order": ("differs", "declared"),
        },
    ),
    (
        (Fault("key_order"), Fault("wrong_dtype", dtype="float64"), Fault("rgba"), Fault("no_costs")),
        {
            "key_order": ("holds", "2 orders in 10"),
            "float16_output": ("differs", "float64"),
            "images": ("differs", "gray RGBA"),
            "compute_plan": ("differs", "0 costs"),
        },
    ),
    (
        (Fault("strict"), Fault("no_usage")),
        {
            "arrays": ("holds", "strided: RuntimeError; big-endian: RuntimeError; read-only: RuntimeError"),
            "compute_plan": ("differs", "unknown 6"),
        },
    ),
    ((Fault("error", at="plan"),), {"compute_plan": ("differs", "Failed to load the compute plan")}),
    ((Fault("error", at="compile"),), {"compile_model": ("differs", "Error compiling model")}),
]


@pytest.mark.parametrize(("faults", "expected"), WRONG)
def test_what_goes_wrong_is_a_row(mac: Any, faults: tuple[Fault, ...], expected: dict[str, tuple[str, str]]) -> None:
    found = rows(mac(Machine(faults=faults), *expected, seconds=25))
    assert {name: found[name].verdict for name in expected} == {name: item[0] for name, item in expected.items()}
    for name, (_, observed) in expected.items():
        assert re.search(observed, found[name].observed), found[name].observed


def test_a_mac_without_a_neural_engine(mac: Any) -> None:
    diagnosis = mac(Machine(devices=("CPU", "GPU")), "CPU_AND_NE", "compute_devices")
    assert [row.verdict for row in diagnosis.rows] == ["holds", "holds"]
    units = {item.what: item.reason for item in diagnosis.skipped if "unit" in item.what}
    assert list(units) == ["compute unit CPU_AND_NE", "compute unit ALL"]
    assert "no NeuralEngine" in units["compute unit ALL"]


def test_an_older_mac(mac: Any) -> None:
    diagnosis = mac(Machine(macos=(13, 0)), "state", "compute_plan", "batch")
    verdicts = {name: (row.verdict, row.observed) for name, row in rows(diagnosis).items()}
    assert verdicts["state"] == ("could not tell", "needs macOS 15.0")
    assert verdicts["compute_plan"] == ("could not tell", "needs macOS 14.4")
    assert verdicts["batch"][0] == "holds"


def test_a_process_that_does_not_begin() -> None:
    entry = (sys.executable, "-c", "raise SystemExit('no such module')")
    diagnosis = diagnose(entry, 30, checks=("batch", "portable_runtime"))
    assert {row.verdict for row in diagnosis.rows} == {"could not tell"}
    assert all("the models were not made: the process ended with status 1: no such module" in row.observed
               for row in diagnosis.rows)  # fmt: skip
    assert diagnosis.devices.found == ()
    assert "status 1" in diagnosis.conditions.reasons["chip"]
    assert "no such module" in text(diagnosis)


def test_nothing_is_left(mac: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    mac(Machine(faults=(Fault("hang", at="predict"),)), "batch", seconds=15)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "darwin", reason="Core ML is there")
def test_the_command_without_core_ml(tmp_path: Path) -> None:
    path = tmp_path / "doctor.json"
    result = CliRunner().invoke(app, ["doctor", "--json", "--output", str(path)])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert json.loads(path.read_text()) == found
    assert found["version"] == 1
    verdicts = {row["name"]: row["verdict"] for row in found["rows"]}
    assert verdicts.pop("portable_runtime") == "holds"
    assert set(verdicts.values()) == {"could not tell"}
    assert {"runtime portable", "route native"} <= set(found["available"])
    assert "runtime coreml" in {item["what"] for item in found["skipped"]}
    assert {"coremltools", "python", "numpy"} <= set(found["versions"])
    assert set(found["conditions"]["reasons"]) == {
        name for name, value in found["conditions"].items() if value is None
    }  # fmt: skip


def test_exit_status_of_a_difference(monkeypatch: pytest.MonkeyPatch, mac: Any) -> None:
    monkeypatch.setattr(doctor_run, "diagnose", lambda **_: mac(Machine(faults=(Fault("rgba"),)), "images"))
    result = CliRunner().invoke(app, ["doctor"], env={"COLUMNS": "100", **os.environ})
    assert result.exit_code == 1
    assert "differs" in result.stdout


def test_an_interrupt_ends_what_is_running(tmp_path: Path) -> None:
    """Processes that would take a minute."""
    marks = tmp_path / "started"
    code = f"import os, time; open({str(marks)!r}, 'a').write(str(os.getpid()) + '\\n'); time.sleep(60)"

    def interrupt(done: int, total: int) -> None:
        while not marks.exists() or len(marks.read_text().split()) < 1:
            time.sleep(0.01)
        raise KeyboardInterrupt

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        diagnose((sys.executable, "-c", code), 60, interrupt)
    assert time.monotonic() - start < 30
    for process in marks.read_text().split():
        with pytest.raises(ProcessLookupError):
            os.kill(int(process), 0)

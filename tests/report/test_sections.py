"""Sections of Core ML cells: costs, placement, and where errors enter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from harness.attribution import write_ladders
from harness.ladder import Ladder, climb
from harness.record import Record
from harness.report.compare import compare_runs
from harness.report.frame import to_frame
from harness.report.html import write_html
from harness.report.markdown import write_markdown
from harness.report.sections import sections
from harness.runtimes.coreml.plan import ComputePlan, PlannedOperation
from tests.report.conftest import RUN, record, samples


def plan(**preferred: Any) -> dict[str, Any]:
    operations = tuple(
        PlannedOperation("main", name, "conv", 0, device, ("CPU", "NeuralEngine"), 0.5)
        for name, device in preferred.items()
    )
    return ComputePlan("CPU_AND_NE", operations).to_json()


def cell(**values: Any) -> Record:
    base = {
        "runtime": "coreml", "compute_unit": "CPU_AND_NE", "compile_seconds": 0.5, "load_seconds": 0.2,
        "load_state": "cold", "warm_load_seconds": 0.02, "warm_load_state": "warm", "first_predict_seconds": 0.03,
        "framework_samples": samples(0.004), "samples": samples(0.005),
        "compute_plan": plan(first="NeuralEngine", second="CPU"),
    }  # fmt: skip
    return record("unet", "float16", **{**base, **values})


def rows(records: list[Record], folder: Path | None = None) -> dict[str, tuple[tuple[str, ...], ...]]:
    found = sections(to_frame(records).to_dict("records"), folder)  # type: ignore[arg-type]
    return {section.title: section.rows for section in found}


def test_costs_stand_apart() -> None:
    (row,) = rows([cell()])["Costs of Core ML cells"]
    assert row[1:5] == ("500", "200 (cold)", "20 (warm)", "30")
    assert [round(float(value)) for value in row[5:]] == [4, 5]


def test_what_left_the_neural_engine() -> None:
    (row,) = rows([cell()])["Placement, as Core ML estimates it"]
    assert row[1] == "CPU 50%, NeuralEngine 50%"
    assert row[2] == "conv second 50%"


def test_routes_that_are_placed_otherwise() -> None:
    other = cell(route="onnx", compute_plan=plan(first="CPU", second="CPU"))
    (row,) = rows([cell(), other])["Placement, route by route"]
    assert row[1] == "native → onnx"
    assert "moved from NeuralEngine to CPU" in row[2]


def test_portable_cells_have_no_sections() -> None:
    assert rows([record()]) == {}


def ladder() -> Ladder:
    exact = np.ones(3)
    outputs = {"portable float32": 0.0, "portable float16": 1e-3, "CPU_ONLY": 0.2}
    climbed = climb({"y": exact}, {name: {"y": exact + error} for name, error in outputs.items()}, "tensorflow")["y"]
    return Ladder("unet", "native", "float16", "y", "tensorflow", 1e-2, climbed)


def test_reports_name_the_rung(tmp_path: Path) -> None:
    run = tmp_path / RUN
    run.mkdir()
    write_ladders(run, [ladder()])
    frame = to_frame([cell()])
    for text in (write_markdown(frame, tmp_path).read_text(), write_html(frame, tmp_path).read_text()):
        assert "the error enters at CPU" in text
        assert "Placement, as Core ML estimates it" in text
    markdown = (tmp_path / "report.md").read_text()
    table = markdown[markdown.index("## Costs") :].split("\n\n")[2]
    assert len(table.splitlines()) == 3
    assert len({line.count("|") for line in table.splitlines()}) == 1


def test_plans_of_two_runs_are_compared() -> None:
    new = cell(compute_plan=plan(first="CPU", second="CPU"))
    (change,) = compare_runs(to_frame([cell()]), to_frame([new])).changes
    assert (change.kind, change.verdict) == ("placement", "not comparable")
    assert "moved from NeuralEngine to CPU" in change.reason

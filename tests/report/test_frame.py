from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import harness
from harness.record import Record
from harness.report.frame import DERIVED, latest, to_frame
from harness.store import RunInfo, Store
from tests.report.conftest import record


def test_one_row_a_record_with_every_field(records: list[Record]) -> None:
    frame = to_frame(records)
    assert list(frame.columns) == [item.name for item in fields(Record)] + DERIVED
    assert list(frame["model"]) == [item.model for item in records]
    assert frame["samples"][0] == records[0].samples
    assert frame["psnr"][3] == math.inf
    assert math.isnan(frame["max_abs_error"][4])


def test_statistics_are_in_milliseconds() -> None:
    times = tuple(value / 1000 for value in (7.0, 1, 3, 5, 9, 2, 8, 4, 6))
    row = to_frame([record(samples=times, reference_samples=tuple(2 * value for value in times))]).iloc[0]
    expected = {
        "sample_count": 9, "median_ms": 5, "median_low_ms": 2, "median_high_ms": 8, "quartile_low_ms": 3,
        "quartile_high_ms": 7, "p95_ms": 8.6, "reference_median_ms": 10, "ratio": 0.5,
    }  # fmt: skip
    assert {name: row[name] for name in expected} == pytest.approx(expected)


def test_the_ratio_is_of_each_round() -> None:
    """Load that comes and goes slows both of a round; rounds that one left early are not counted."""
    load = (1, 5, 1, 1, 5, 1, 5, 5)
    beside = tuple(0.1 * value for value in load)
    times = tuple(2 * value for value in beside)
    for other in (beside, beside[:6]):
        row = to_frame([record(samples=times, reference_samples=other)]).iloc[0]
        assert [row[name] for name in ("ratio", "ratio_low", "ratio_high")] == pytest.approx([2.0] * 3)


@pytest.mark.parametrize("times", [(), (0.5,) * 5])
def test_what_is_not_known_is_nan(times: tuple[float, ...]) -> None:
    row = to_frame([record(samples=times, reference_samples=())]).iloc[0]
    assert math.isnan(row["median_low_ms"])
    assert math.isnan(row["ratio"])
    assert math.isnan(row["median_ms"]) == (times == ())


def test_stability_is_derived_from_both_series(records: list[Record]) -> None:
    drifting = records[2].samples
    frame = to_frame([record(), record(samples=drifting), record(reference_samples=drifting)])
    assert [len(item) for item in frame["stability"]] == [0, 1, 1]
    assert frame["stability"][1][0].startswith("samples drift")
    assert frame["stability"][2][0].startswith("TensorFlow's samples drift")


def test_types_do_not_depend_on_the_records(records: list[Record]) -> None:
    empty, full = to_frame([]), to_frame(records)
    assert len(empty) == 0
    for name in ("max_abs_error", "psnr", "artifact_bytes", "median_ms", "ratio"):
        assert empty[name].dtype == full[name].dtype == np.float64
    assert len(latest(empty)) == 0


def test_latest_takes_the_newest_record_of_each_cell() -> None:
    frame = to_frame(
        [
            record("b", run="2", started="2025-02-02", psnr=2.0),
            record("a", run="1", started="2025-02-01", psnr=1.0),
            record("b", run="1", started="2025-02-01", psnr=1.0),
            record("a", run="0", started="2025-01-01", psnr=0.0),
        ]
    )
    assert [tuple(row) for row in latest(frame)[["model", "psnr"]].to_numpy()] == [("a", 1.0), ("b", 2.0)]
    one_run = to_frame([record("b"), record("a")])
    assert list(latest(one_run)["model"]) == ["b", "a"]


def test_results_of_python(tmp_path: Path) -> None:
    assert len(harness.results(tmp_path / "none yet")) == 0
    for model in ("unet", "espcn"):
        with Store(tmp_path).begin(RunInfo()) as run:
            run.append(record(model, run=run.name))
    frame = harness.results(tmp_path)
    assert isinstance(frame, pd.DataFrame)
    assert list(frame["model"]) == ["unet", "espcn"]
    assert frame["ratio"].notna().all()

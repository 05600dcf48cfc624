from __future__ import annotations

import math
from pathlib import Path

import pytest

from harness.record import Record
from harness.report.content import NOTE_TITLES, content, decibels, milliseconds, similarity, small
from harness.report.frame import to_frame
from harness.report.terminal import NOTE_STYLES
from tests.report.conftest import NOTHING, RUN, record


@pytest.mark.parametrize(
    ("value", "text"),
    [(3.46e-6, "3.5e-06"), (1e-4, "1e-04"), (0.0, "0"), (0.0312, "3.1e-02"), (math.inf, "inf"), (math.nan, "–")],  # noqa: RUF001
)
def test_small(value: float, text: str) -> None:
    assert small(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.01234, "0.0123"),
        (0.5, "0.500"),
        (9.996, "10.0"),
        (12.34, "12.3"),
        (99.96, "100"),
        (1234.0, "1230"),
        (0.0, "0"),
    ],
)
def test_milliseconds(value: float, text: str) -> None:
    assert milliseconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1.0000"), (0.99999, "0.9999"), (0.5, "0.5000"), (-0.25, "-0.2500"), (math.nan, "–")],  # noqa: RUF001
)
def test_similarity_is_one_only_where_equal(value: float, text: str) -> None:
    assert similarity(value) == text


def test_decibels() -> None:
    assert (decibels(52.345), decibels(math.inf)) == ("52.3", "∞")


def test_the_summary_counts(records: list[Record]) -> None:
    assert content(to_frame(records)).summary == (
        "3 of 5 cells within tolerance of TensorFlow, 1 beyond it, 1 error, 1 skipped."
    )
    assert content(to_frame([record()])).summary == "1 of 1 cell within tolerance of TensorFlow."
    assert content(to_frame([])).summary == "There are no results yet."
    older = record(run="20240101T000000Z-aaaaaa", started="2024-01-01")
    assert content(to_frame([older, record()])).summary.endswith(
        "Of each cell the latest record is shown, out of 2 in 2 runs."
    )


def test_rows_are_by_model_and_notes_numbered_as_they_appear(records: list[Record]) -> None:
    report = content(to_frame(records))
    assert [row.model for row in report.rows] == [
        "unet", "unet", "unet", "unet_custom_activation", "identity", "<b>a|b*</b>",
    ]  # fmt: skip
    assert [row.notes for row in report.rows] == [(), (1,), (2,), (3,), (4,), (5,)]
    assert [note.kind for note in report.notes] == ["failure", "skipped", "stability", "conversion", "failure"]
    assert {note.kind for note in report.notes} | {"caution"} == set(NOTE_TITLES) == set(NOTE_STYLES)
    assert report.notes[0].text == "at compare: output 'image' is 0.0312 off, beyond 0.01"
    assert [row.is_bad for row in report.rows] == [False, True, False, False, False, True]


@pytest.mark.parametrize(
    ("judged_as", "deviation", "tolerance", "shown"),
    [
        ("range", 3.5e-7, 1e-4, ("3.5e-07", "1e-04 of range")),
        ("steps", 1.0, 1.0, ("1", "1 step")),
        ("steps", 2.0, 3.0, ("2", "3 steps")),
        ("labels", 0.00021, 1e-3, ("0.021 %", "0.1 % of labels")),
        ("labels", 0.0, 1e-2, ("0", "1 % of labels")),
        ("absolute", 3.5e-6, 1e-4, ("3.5e-06", "1e-04")),
        ("", None, 1e-4, ("3.5e-06", "1e-04")),  # of an older run
    ],
)
def test_errors_are_in_the_unit_of_their_tolerance(
    judged_as: str, deviation: float | None, tolerance: float, shown: tuple[str, str]
) -> None:
    values = {"judged_as": judged_as, "deviation": deviation, "tolerance": tolerance}
    (row,) = content(to_frame([record(**values)])).rows
    assert (row.error, row.tolerance) == shown


def test_cautions_are_told_beside_the_verdict() -> None:
    report = content(to_frame([record(cautions=("input 'x' was given as int32 and cast to float32",))]))
    assert [(note.kind, note.text) for note in report.notes] == [
        ("caution", "input 'x' was given as int32 and cast to float32")
    ]


def test_nothing_judged_is_said() -> None:
    skipped = record(status="skipped", error="Core ML runs on macOS only", **NOTHING)
    assert content(to_frame([skipped])).summary == "Nothing was judged, 1 skipped."


def test_equal_notes_share_a_number() -> None:
    skipped = [record(model, status="skipped", error="Core ML runs on macOS only") for model in "ab"]
    report = content(to_frame(skipped))
    assert len(report.notes) == 1
    assert [row.notes for row in report.rows] == [(1,), (1,)]


def test_only_limitations_of_what_took_part(records: list[Record]) -> None:
    report = content(to_frame(records))
    assert {item.where for item in report.limitations} == {"runtimes.portable"}
    other = content(to_frame([record(runtime="port"), record(runtime="coreml", status="skipped")]))
    assert other.limitations == ()


@pytest.mark.parametrize("place", ["picture.png", f"{RUN}/picture.png"])
def test_pictures_beside_the_report_and_in_the_runs_folder(tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_bytes(b"")
    frame = to_frame([record(picture="picture.png"), record("b", picture="missing.png"), record("c")])
    assert [row.picture for row in content(frame, tmp_path).rows] == [tmp_path / place, None, None]


def test_where_a_tolerance_comes_from() -> None:
    one = content(to_frame([record()]))
    assert "default for outputs in [0, 1]" in one.reading[0]
    two = content(to_frame([record(), record("b", tolerance_source="measured")]))
    assert "see the provenance" in two.reading[0]
    assert dict(two.rows[1].provenance)["tolerance from"] == "measured"

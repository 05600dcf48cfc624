from __future__ import annotations

import pytest
from rich.console import Console

from harness.record import Record
from harness.report.frame import to_frame
from harness.report.terminal import results_table
from tests.report.conftest import record


def printed(records: list[Record], width: int) -> str:
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(results_table(to_frame(records)))
    return capture.get()


@pytest.mark.parametrize("width", [80, 120, 200])
def test_everything_is_readable(records: list[Record], width: int) -> None:
    text = printed(records, width)
    assert max(len(line) for line in text.splitlines()) <= width
    for word in (
        "unet_custom_activation", "<b>a|b*</b>", "native float16", "coreml CPU_AND_NE", "portable CPU", "passed",
        "failed", "error", "skipped", "3.5e-06", "1e-04", "109.1", "0.9999", "∞", "1.0000", "82.", "0.82",
        "output 'image' is 0.0312 off, beyond 0.01", "samples drift", "3 of 5 cells within tolerance of TensorFlow",
    ):  # fmt: skip
        assert word in text, word


def test_a_wide_terminal_takes_one_line_a_cell(records: list[Record]) -> None:
    wide, narrow = (printed(records, width).splitlines() for width in (120, 80))
    assert len(narrow) == len(wide) + len(records) + 1  # and one for the header
    row = next(line for line in wide if "float16" in line and "portable" in line).split()
    assert row[:9] == ["native", "float16", "portable", "CPU", "failed", "3.1e-02", "1e-02", "30.0", "0.9000"]
    assert row[-1] == "1"


def test_only_failures_are_red(records: list[Record]) -> None:
    console = Console(width=120, force_terminal=True, color_system="standard", no_color=False)
    with console.capture() as capture:
        console.print(results_table(to_frame(records)))
    red = [line for line in capture.get().splitlines() if "31m" in line]
    assert len(red) == 5  # two rows, their two notes, the summary
    with console.capture() as capture:
        console.print(results_table(to_frame([record()])))
    assert "31m" not in capture.get()


def test_nothing_to_show() -> None:
    assert printed([], 80).strip() == "There are no results yet."


def test_a_terminal_too_narrow_folds_rather_than_hides(records: list[Record]) -> None:
    text = printed(records, 50)
    assert max(len(line) for line in text.splitlines()) <= 50

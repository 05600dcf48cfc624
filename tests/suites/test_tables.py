"""What the suites print, and that the documentation shows the tables that they print."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.suites import command, onnx_command, tflite_command
from harness.suites.onnx_cases import CaseResult
from harness.suites.processes import command_line, counted, print_reasons
from harness.suites.summary import VERDICTS, SuiteResult
from harness.suites.tables import SuiteTable, percent, print_tables

ROOT = Path(__file__).parents[2]

# The tables that a page shows, and of each the columns whose sum is the column before them.
SHOWN = {
    "coremltools' tests": ("README.md", command.counts_table(SuiteResult(())), "run", VERDICTS),
    "coremltools' passed": ("README.md", command.passed_table(SuiteResult(())), None, ()),
    "coremltools' failures": ("docs/suites.md", command.failures_table(SuiteResult(())), None, ()),
    "ONNX": (
        "README.md",
        onnx_command.tables(())[1],
        "runs",
        ("correct", "inexact", "wrong", "failed", "crashed", "refused"),
    ),
    "TFLite": (
        "README.md",
        tflite_command.tables(())[1],
        "runs",
        ("correct", "wrong", "failed", "crashed", "refused", "unavailable"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("page", "table", "total", "parts"), SHOWN.values(), ids=SHOWN)
def test_pages_show_what_the_program_prints(
    page: str, table: SuiteTable, total: str | None, parts: tuple[str, ...]
) -> None:
    lines = (ROOT / page).read_text().splitlines()
    assert table.markdown_head() in lines
    start = lines.index(table.markdown_head()) + 2
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    assert rows
    for row in rows:
        assert len(row) == len(table.headings)
        cells = dict(zip(table.headings, row, strict=True))
        assert total is None or int(cells[total]) == sum(int(cells[part]) for part in parts), row


RESULTS = [
    CaseResult("a", "Add", "inputs", "correct"),
    CaseResult("case_b", "Add", "inputs", "unsupported", "case_b has inputs of float64"),
    CaseResult("case_c", "Add", "inputs", "unsupported", "case_c has inputs of float64"),
    CaseResult("d", "Add", "inputs", "unsupported", "six axes"),
]


def test_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    print_tables(onnx_command.tables(RESULTS), "harness suite onnx", ("onnx", "no_such_package"), as_markdown=True)
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("`harness suite onnx`, 20")
    assert first.endswith(", no no_such_package:")
    assert "| onnx | node | inputs | 4 | 1 | 0 | 0 | 0 | 0 | 3 |" in rest
    cells = SuiteTable("", ("reason",), (("a | b\nc",),)).markdown().splitlines()[-1]
    assert cells == "| a \\| b c |"


def test_reasons_are_listed_with_their_counts(capsys: pytest.CaptureFixture[str]) -> None:
    print_reasons(RESULTS, ("unsupported",), listed=1)
    first, second = capsys.readouterr().out.splitlines()
    assert first == "2 unsupported, for instance Add case_b (inputs): ... has inputs of float64"
    assert second == "1 unsupported for other reasons: --json has them"


def test_an_outcome_without_a_column_is_an_error() -> None:
    with pytest.raises(ValueError, match="unsupported"):
        counted(RESULTS, ("correct", "wrong"))


@pytest.mark.parametrize(("share", "text"), [(100.0, "100"), (99.96, "99.9"), (0.0, "0.0"), (None, "-"), (60, "60.0")])
def test_a_hundred_percent_is_all(share: float | None, text: str) -> None:
    assert percent(share) == text


def test_the_command_that_is_printed() -> None:
    options = {"kind": ["node", "simple"], "operator": None}
    assert command_line("onnx", options, ("--no-rivals",)) == "harness suite onnx --kind node --kind simple --no-rivals"

"""The table that ``harness run`` and ``harness report`` print."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from harness.report.content import Content, Note, NoteKind, Row, content

GAP = 2  # between columns
STATUS_STYLES = {"passed": "green", "failed": "bold red", "error": "bold red", "skipped": "dim"}
NOTE_STYLES: Mapping[NoteKind, str] = {
    "failure": "red", "caution": "yellow", "conversion": "yellow", "stability": "yellow", "skipped": "dim"
}  # fmt: skip


@dataclass(frozen=True)
class _Column:
    """A column: its header, what it shows of a row, and to which side it is set."""

    header: Text
    cells: tuple[Text, ...]
    right: bool = True

    @property
    def width(self) -> int:
        return max(len(line) for text in (self.header, *self.cells) for line in text.plain.split("\n"))


def results_table(frame: pd.DataFrame) -> ResultsTable:
    """A rich renderable of a frame (see to_frame): table, notes and summary, as wide as the console."""
    return ResultsTable(content(frame))


class ResultsTable:
    """Lays a report out for the console that prints it."""

    def __init__(self, report: Content) -> None:
        self.report = report

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        report = self.report
        if report.rows:
            columns = _wide(report.rows)
            if sum(column.width + GAP for column in columns) - GAP > options.max_width:
                columns = _narrow(report.rows)
            yield _table(columns, [column.header for column in columns])
            yield Rule(style="dim", characters="─")
            # A model's name may be longer than any column, so that it stands on a line of its own.
            for model, rows in report.models.items():
                numbers = [report.rows.index(row) for row in rows]
                yield Text(f" {model}", style="bold")
                for number in numbers:
                    cells = [column.cells[number] for column in columns]
                    yield _table(columns, cells, style="red" if report.rows[number].is_bad else "")
            yield Rule(style="dim", characters="─")
            yield Text(f" CI: confidence interval. Ratio: to {report.reference} in the same schedule.", style="dim")
        for note in report.notes:
            yield _note(note)
        style = "bold red" if any(row.is_bad for row in report.rows) else "bold"
        yield Padding(Text(report.summary, style=style), (1, 1))


def _wide(rows: tuple[Row, ...]) -> list[_Column]:
    def column(header: str, values: list[str], right: bool = True) -> _Column:
        return _Column(Text(header, style="bold"), tuple(Text(value) for value in values), right)

    return [
        column(" Model", [f"  {row.conversion}" for row in rows], right=False),
        column("Runtime", [row.where for row in rows], right=False),
        _Column(Text("Status", style="bold"), tuple(_status(row) for row in rows), right=False),
        column("Error", [row.error for row in rows]),
        column("Tolerance", [row.tolerance for row in rows]),
        column("PSNR dB", [row.psnr for row in rows]),
        column("SSIM", [row.ssim for row in rows]),
        column("Median ms", [row.median for row in rows]),
        column("95 % CI", [row.interval for row in rows]),
        column("Ratio", [row.ratio for row in rows]),
        column("Note", [_numbers(row) for row in rows]),
    ]


def _narrow(rows: tuple[Row, ...]) -> list[_Column]:
    """Two lines a row: below each value is what bounds or completes it."""

    def column(headers: tuple[str, str], values: list[tuple[str, str]], right: bool = True) -> _Column:
        header = Text(headers[0], style="bold").append("\n" + headers[1], style="dim not bold")
        cells = tuple(Text(first).append("\n" + second, style="dim") for first, second in values)
        return _Column(header, cells, right)

    return [
        column((" Model", ""), [(f"  {row.conversion}", f"  {row.where}") for row in rows], right=False),
        _Column(Text("Status", style="bold"), tuple(_status(row) for row in rows), right=False),
        column(("Error", "tolerance"), [(row.error, row.tolerance) for row in rows]),
        column(("PSNR dB", "SSIM"), [(row.psnr, row.ssim) for row in rows]),
        column(("Median ms", "95 % CI"), [(row.median, row.interval) for row in rows]),
        column(("Ratio", ""), [(row.ratio, "") for row in rows]),
        column(("Note", ""), [(_numbers(row), "") for row in rows]),
    ]


def _table(columns: list[_Column], cells: list[Text], style: str = "") -> Table:
    """One row, in columns of the same widths as every other. What does not fit is folded."""
    table = Table.grid(padding=(0, GAP, 0, 0))
    for column in columns:
        table.add_column(justify="right" if column.right else "left", width=column.width, overflow="fold")
    table.add_row(*cells, style=style)
    return table


def _status(row: Row) -> Text:
    return Text(row.status, style=STATUS_STYLES[row.status])


def _numbers(row: Row) -> str:
    return ",".join(str(number) for number in row.notes)


def _note(note: Note) -> Table:
    """Its number, and its text hanging beside it."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(justify="right", width=3)
    grid.add_column(overflow="fold")
    grid.add_row(str(note.number), Text(note.text), style=NOTE_STYLES[note.kind])
    return grid

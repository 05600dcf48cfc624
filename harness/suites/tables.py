"""Tables that a suite prints: on a terminal, or as Markdown, which the documentation is pasted from."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SuiteTable:
    """Cells under headings. The first ``words`` columns hold words, the others figures."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1

    def markdown_head(self) -> str:
        """The line of the headings."""
        return f"| {' | '.join(self.headings)} |"

    def markdown(self) -> str:
        """The table in Markdown, without its title."""
        rule = f"|{'|'.join(['---'] * len(self.headings))}|"
        rows = (f"| {' | '.join(_escaped(cell) for cell in row)} |" for row in self.rows)
        return "\n".join([self.markdown_head(), rule, *rows])

    def rich(self) -> Any:
        """The table for a terminal."""
        from rich.markup import escape
        from rich.table import Table

        table = Table(title=self.title, box=None, header_style="bold", padding=(0, 1, 0, 0))
        for index, heading in enumerate(self.headings):
            table.add_column(heading, justify="left" if index < self.words else "right")
        for row in self.rows:
            table.add_row(*map(escape, row))
        return table


def print_tables(tables: Sequence[SuiteTable], command: str, packages: Sequence[str], as_markdown: bool) -> None:
    """All tables that have rows; in Markdown after a line of the command, the day and the versions of ``packages``."""
    shown = [table for table in tables if table.rows]
    if not as_markdown:
        from rich.console import Console

        console = Console()
        for table in shown:
            console.print(table.rich())
        return
    print(f"`{command}`, {time.strftime('%Y-%m-%d')}, {', '.join(map(_version, packages))}:")
    for table in shown:
        print(f"\n{table.title}:\n\n{table.markdown()}")


def percent(share: float | None) -> str:
    """A share in percent with one decimal; rounded down, since 100 is said of all alone."""
    if share is None:
        return "-"
    return "100" if share == 100 else f"{int(share * 10) / 10:.1f}"


def _version(package: str) -> str:
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return f"no {package}"


def _escaped(cell: str) -> str:
    return " ".join(cell.replace("|", "\\|").split())

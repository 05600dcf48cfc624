"""``harness doctor``: arguments, progress and tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from harness.doctor.result import Diagnosis, Verdict

_TITLES = {
    "here": "What works on this machine",
    "units": "Compute units, a tiny model on each",
    "assumptions": "What we assume of Core ML and coremltools",
}
_STYLES: dict[Verdict, str] = {"holds": "green", "differs": "bold red", "could not tell": "yellow"}
_CONDITIONS = {
    "chip": "chip", "performance_cores": "performance cores", "efficiency_cores": "efficiency cores",
    "memory_bytes": "memory", "os_version": "system version", "os_build": "system build", "xcode_version": "Xcode",
    "thermal_state": "thermal state", "low_power_mode": "low-power mode", "power_source": "power source",
    "load_average": "load average",
}  # fmt: skip


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for a bug report.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the JSON to this file too.")] = None,
    seconds: Annotated[float, typer.Option(help="Time limit of each check.", min=1)] = 120.0,
) -> None:
    """Check this machine: versions, devices, a tiny model on each compute unit, and what we assume of Core ML.

    Each check has a process of its own. Exit status 1 if something differs from what is assumed; what could not
    be told, as on other systems than macOS, is no failure.
    """
    from harness.doctor.run import diagnose

    if as_json:
        diagnosis = diagnose(seconds=seconds)
        typer.echo(json.dumps(diagnosis.to_json(), indent=2))
    else:
        from rich.console import Console

        diagnosis = _with_progress(seconds)
        render(diagnosis, Console())
    if output is not None:
        _write(diagnosis, output)
    if diagnosis.count("differs"):
        raise typer.Exit(1)


def _write(diagnosis: Diagnosis, path: Path) -> None:
    from harness.errors import UsageError

    try:
        path.write_text(json.dumps(diagnosis.to_json(), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written", received=error.strerror) from error


def _with_progress(seconds: float) -> Diagnosis:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from harness.doctor.run import diagnose

    columns = (TextColumn("checks"), BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("checks")
        return diagnose(seconds=seconds, progress=lambda done, total: bars.update(task, completed=done, total=total))


def render(diagnosis: Diagnosis, console: Any) -> None:
    """Print it as tables; rows that are not told for one and the same reason become one line."""
    from rich.table import Table

    from harness.doctor.result import VERDICTS

    def listed(title: str, pairs: list[tuple[str, str]]) -> None:
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for pair in pairs:
            table.add_row(*map(_plain, pair))
        console.print(f"[bold]{title}[/bold]")
        console.print(table)
        console.print()

    listed("Versions", list(diagnosis.versions.items()))
    listed("Machine", [(label, _reading(diagnosis, name)) for name, label in _CONDITIONS.items()])
    found = ", ".join(map(str, diagnosis.devices.found)) or f"not known: {diagnosis.devices.reason}"
    listed("Compute devices", [("Core ML", found)])
    for group, title in _TITLES.items():
        rows = [row for row in diagnosis.rows if row.group == group]
        untold = {row.observed for row in rows if row.verdict == "could not tell"}
        console.print(f"[bold]{title}[/bold]")
        if len(untold) == 1 and len(rows) > 1 and all(row.verdict == "could not tell" for row in rows):
            console.print(f"  [yellow]could not tell[/yellow], {len(rows)} checks: {_plain(untold.pop())}\n")
            continue
        table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
        table.add_column("", no_wrap=True)
        table.add_column("assumed", ratio=5)
        table.add_column("observed", ratio=5, overflow="fold")
        for row in rows:
            style = _STYLES[row.verdict]
            table.add_row(f"[{style}]{row.verdict}[/{style}]", _plain(row.what), _plain(row.observed))
        console.print(table)
        console.print()
    listed("Will be used", [("here", ", ".join(diagnosis.available))])
    if diagnosis.skipped:
        listed("Will be skipped or replaced", [(item.what, item.reason) for item in diagnosis.skipped])
    counts = ", ".join(f"{diagnosis.count(verdict)} {verdict}" for verdict in VERDICTS)
    summary = f"{len(diagnosis.rows)} checks: {counts}. A bug report wants `harness doctor --json`."
    console.print(summary, highlight=False)


def _reading(diagnosis: Diagnosis, name: str) -> str:
    value = getattr(diagnosis.conditions, name)
    if value is None:
        return f"not known: {diagnosis.conditions.reasons.get(name, 'no reason given')}"
    if name == "memory_bytes":
        return f"{value / 2**30:.1f} GiB"
    if name == "load_average":
        return ", ".join(f"{load:.2f}" for load in value)
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)

"""``harness compare``: arguments and table."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def compare(
    old: Annotated[Path, typer.Argument(help="A run's folder, or a folder of results (its last run).")],
    new: Annotated[Path, typer.Argument(help="The same, of what is to be judged.")],
    fail_on: Annotated[
        list[str] | None,
        typer.Option(help="Rules: status, accuracy=2, latency=1.2 (factors); by commas, or repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show what changed between two runs; exit 1 where a rule is broken, 2 where nothing can be compared."""
    from harness.errors import UsageError
    from harness.printing import print_for_people, print_json
    from harness.report.compare import changes_table, closing_line, compare_runs, parse_rules
    from harness.report.frame import to_frame
    from harness.store import last_run

    rules = parse_rules(fail_on or ())
    sides = [last_run(folder) for folder in (old, new)]
    if not any(record.was_judged for side in sides for record in side.records):
        folders = " nor in ".join(str(side.folder) for side in sides)
        raise UsageError(f"nothing was judged in {folders}, so that nothing can be compared")
    found = compare_runs(to_frame(sides[0].records), to_frame(sides[1].records), rules)
    if as_json:
        print_json([asdict(change) for change in found.changes])
    elif found.changes:
        print_for_people(changes_table(found.changes))
    typer.echo(closing_line(found), err=as_json)
    raise typer.Exit(1 if found.broken else 0)

"""``harness suite coremltools``: arguments, progress and tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.suites import PARTS

if TYPE_CHECKING:
    from harness.suites.comparisons import Answer, Level
    from harness.suites.summary import PartResult, SuiteResult
    from harness.suites.workers import Row

_LISTED = 40
_LISTED_REASONS = 12
_REASON_CHARACTERS = 200


def suite_coremltools(
    part: Annotated[
        list[str] | None, typer.Option(help=f"Part of the suite, one of {', '.join(PARTS)}; all if not given.")
    ] = None,
    sample: Annotated[int, typer.Option(help="Tests of each part, chosen at random; 0 for all.", min=0)] = 400,
    seed: Annotated[int, typer.Option(help="What the choice and the tests' random values start from.")] = 0,
    jobs: Annotated[int, typer.Option(help="Processes at a time.", min=1)] = 1,
    out: Annotated[Path, typer.Option(help="Folder of the results; an interrupted run goes on there.")] = Path(
        "results/suites"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Run coremltools' own tests on the portable runtime.

    Each comparison is repeated at tolerances of ours, and for a runtime that answers zeros and for one
    that answers with the wrong sign: what these pass is what passing is worth. Exit status 1 if a test
    fails for which no limitation is known.
    """
    from harness.suites.coremltools import run_suite

    parts = part or list(PARTS)
    if as_json:
        result = run_suite(parts, sample or None, seed, jobs, out, lambda *_: None)
        typer.echo(json.dumps(result.to_json(), indent=2))
    else:
        result = _run_with_progress(parts, sample or None, seed, jobs, out)
        _print(result)
    if result.unexplained:
        raise typer.Exit(1)


def _run_with_progress(parts: list[str], sample: int | None, seed: int, jobs: int, out: Path) -> SuiteResult:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from harness.suites.coremltools import run_suite

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}

        def show(name: str, done: int, total: int, row: Row | None) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done)

        return run_suite(parts, sample, seed, jobs, out, show)


def _print(result: SuiteResult) -> None:
    from rich.console import Console
    from rich.table import Table

    from harness.suites.comparisons import LEVELS, LOOSE, TIGHT_FLOAT16, TIGHT_FLOAT32

    names: dict[Level, str] = {
        "own": "own",
        "loose": f"{LOOSE:g}",
        "tight": f"{TIGHT_FLOAT16:g} / {TIGHT_FLOAT32:g}",
    }
    console = Console()
    counts = Table("part", "collected", "run", "predicted", "no numbers", "judged", "controls", title="Tests")
    passed = Table("part", title="Passed, in percent, at the test's own tolerance and at ours (float16 / float32)")
    answers: tuple[tuple[Answer, str], ...] = (("portable", ""), ("zeros", "zeros "), ("flipped", "sign "))
    for _, label in answers:
        for level in LEVELS:
            passed.add_column(f"{label}{names[level]}", justify="right")
    for part in result.parts:
        predicted = part.count("judged", "unjudged")
        figures = (part.collected, len(part.rows), predicted, part.count("unjudged"), len(part.judged))
        counts.add_row(part.name, *map(str, figures), str(len(part.controls)))
        shares = [part.share(answer, level) for answer, _ in answers for level in LEVELS]
        passed.add_row(part.name, *("-" if share is None else f"{share:.1f}" for share in shares))
    console.print(counts)
    console.print(passed)
    for part in result.parts:
        _print_failures(part, console)
    known = set(result.ops)
    console.print(f"{len(known)} ops in passing tests with values other than zeros.")


def _print_failures(part: PartResult, console: Any) -> None:
    from rich.markup import escape
    from rich.table import Table

    from harness.suites.summary import grouped

    for module, reason in part.not_collected.items():
        console.print(f"{part.name}: {module} was not collected: {reason}", markup=False)
    for reason, count in part.not_predicted.most_common(_LISTED_REASONS):
        console.print(f"{part.name}: {count} tests not predicted, {reason[:_REASON_CHARACTERS]}", markup=False)
    if not part.failures:
        return
    table = Table("op", "tests", "reason", "for instance", title=f"{part.name}: failures")
    for op, _, cases in list(grouped(part.failures))[:_LISTED]:
        first = cases[0]
        reason = f"known: {first.limitation.reason}" if first.limitation else first.reason
        cells = (op, str(len(cases)), reason[:_REASON_CHARACTERS], first.id.rpartition("/")[2])
        table.add_row(*map(escape, cells))
    console.print(table)

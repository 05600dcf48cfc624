"""``harness suite coremltools``: arguments, progress and tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.suites import PARTS
from harness.suites.processes import command_line

if TYPE_CHECKING:
    from harness.suites.comparisons import Answer, Level
    from harness.suites.summary import Case, SuiteResult
    from harness.suites.tables import SuiteTable
    from harness.suites.workers import Row

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
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables as Markdown.")] = False,
) -> None:
    """Run coremltools' own tests on the portable runtime.

    Each comparison is repeated at tolerances of ours, and for a runtime that answers zeros and for one
    that answers with the wrong sign: what these pass is what passing is worth. Every test that was run is
    in one column of the first table. Exit status 1 if a test fails, before it predicts or after, for which no
    limitation is known, or if a part of the suite cannot be collected.
    """
    from harness.suites.coremltools import run_suite
    from harness.suites.tables import print_tables

    parts = part or list(PARTS)
    if as_json:
        result = run_suite(parts, sample or None, seed, jobs, out, lambda *_: None)
        typer.echo(json.dumps(result.to_json(), indent=2))
    else:
        result = _run_with_progress(parts, sample or None, seed, jobs, out)
        command = command_line("coremltools", {"part": part, "sample": [str(sample)], "seed": [str(seed)]})
        print_tables(tables(result), command, ("coremltools", "tensorflow", "numpy", "torch"), as_markdown)
        if not as_markdown:
            _print_reasons(result)
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


def tables(result: SuiteResult) -> tuple[SuiteTable, ...]:
    """What became of the tests, what passed, and what failed."""
    return counts_table(result), passed_table(result), failures_table(result)


def counts_table(result: SuiteResult) -> SuiteTable:
    """Every test that was run in one column, and of the judged ones how many are controls."""
    from harness.suites.summary import VERDICTS
    from harness.suites.tables import SuiteTable

    headings = ("part", "modules not collected", "collected", "run", *VERDICTS, "controls")
    rows = []
    for part in result.parts:
        counts = (len(part.not_collected), part.collected, len(part.rows), *map(part.count, VERDICTS))
        rows.append((part.name, *map(str, counts), str(len(part.controls))))
    return SuiteTable("Tests", headings, tuple(rows))


def passed_table(result: SuiteResult) -> SuiteTable:
    """Shares of the judged tests that pass at each level, and of the controls for the two wrong answers."""
    from harness.suites.comparisons import LEVELS, LOOSE, TIGHT_FLOAT16, TIGHT_FLOAT32
    from harness.suites.tables import SuiteTable, percent

    names: dict[Level, str] = {
        "own": "own",
        "loose": f"{LOOSE:g}",
        "tight": f"{TIGHT_FLOAT16:g} / {TIGHT_FLOAT32:g}",
    }
    answers: tuple[tuple[Answer, str], ...] = (("portable", ""), ("zeros", "zeros: "), ("flipped", "wrong sign: "))
    headings = tuple(f"{label}{names[level]}" for _, label in answers for level in LEVELS)
    rows = tuple(
        (part.name, *(percent(part.share(answer, level)) for answer, _ in answers for level in LEVELS))
        for part in result.parts
    )
    title = "Passed of the judged in percent, at the tests' own tolerance and at ours (float16 / float32)"
    return SuiteTable(title, ("part", *headings), rows)


def failures_table(result: SuiteResult) -> SuiteTable:
    """Failures by part, kind, op and reason."""
    from harness.suites.summary import grouped
    from harness.suites.tables import SuiteTable

    rows = []
    for part in result.parts:
        for cases in grouped(part.failures):
            first = cases[0]
            when = "predicting" if first.verdict == "judged" else "before predicting"
            rows.append((part.name, when, first.op, str(len(cases)), _reason(first), first.id.rpartition("/")[2]))
    headings = ("part", "failed", "op", "tests", "reason", "for instance")
    return SuiteTable("Failures", headings, tuple(rows), words=len(headings))


def _reason(case: Case) -> str:
    if case.limitation is not None:
        return f"known: {case.limitation.reason}"
    return case.reason[:_REASON_CHARACTERS]


def _print_reasons(result: SuiteResult) -> None:
    """Why modules were not collected, and tests were skipped or expected to fail."""
    from harness.suites.summary import WITH_REASONS

    for part in result.parts:
        for module, item in part.not_collected.items():
            reason = item["reason"][:_REASON_CHARACTERS]
            print(f"{part.name}: {module} was not collected ({item['outcome']}): {reason}")
        for verdict in WITH_REASONS:
            reasons = part.reasons(verdict).most_common()
            for reason, count in reasons[:_LISTED_REASONS]:
                print(f"{part.name}: {count} {verdict}: {reason[:_REASON_CHARACTERS]}")
            if left := sum(count for _, count in reasons[_LISTED_REASONS:]):
                print(f"{part.name}: {left} {verdict} for other reasons: --json has them")
    print(f"{len(result.ops)} ops in passing tests with values other than zeros.")

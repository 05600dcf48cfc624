"""``harness suite onnx``: arguments, progress and tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from harness.suites.onnx_cases import CaseResult

_KINDS = ("node", "simple", "pytorch")
_OUTCOMES = ("correct", "inexact", "wrong", "failed", "crashed", "unsupported")
_LISTED = 60
_REASON_CHARACTERS = 160


def suite_onnx(
    kind: Annotated[
        list[str] | None, typer.Option(help=f"Part of the suite, one of {', '.join(_KINDS)}; all if not given.")
    ] = None,
    operator: Annotated[list[str] | None, typer.Option(help="Only cases of this operator, repeatable.")] = None,
    jobs: Annotated[int, typer.Option(help="Processes at a time.", min=1)] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Run ONNX's own backend suite through the ONNX frontend and the portable runtime.

    Each case is run as it is and with all inputs after the first as constants. Exit status 1 if a result is wrong.
    """
    from harness.errors import UnknownNameError
    from harness.suites.onnx_cases import run_suite

    for name in kind or ():
        if name not in _KINDS:
            raise UnknownNameError("ONNX's suite has no such part", received=repr(name), supported=_KINDS)
    chosen = tuple(kind or _KINDS)
    if as_json:
        import json

        results = list(run_suite(chosen, tuple(operator or ()), jobs))
        typer.echo(json.dumps([asdict(result) for result in results], indent=2))
    else:
        results = _run_with_progress(chosen, tuple(operator or ()), jobs)
        _print(results)
    if any(result.outcome in ("wrong", "failed", "crashed") for result in results):
        raise typer.Exit(1)


def _run_with_progress(kinds: tuple[str, ...], operators: tuple[str, ...], jobs: int) -> list[CaseResult]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from harness.suites.onnx_cases import count_cases, run_suite

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("cases", total=count_cases(kinds, operators))
        results = []
        for result in run_suite(kinds, operators, jobs):
            results.append(result)
            bar.advance(task)
        return results


def _print(results: Iterable[CaseResult]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    results = list(results)
    summary = Table("kind", "form", "cases", *_OUTCOMES, title="ONNX's backend suite", box=None, header_style="bold")
    for kind in dict.fromkeys(result.kind for result in results):
        for form in dict.fromkeys(result.form for result in results):
            summary.add_row(kind, form, *_counts([r for r in results if r.kind == kind and r.form == form]))
    operators = Table("operator", "runs", *_OUTCOMES, title="Not wholly correct", box=None, header_style="bold")
    nodes = [result for result in results if result.kind == "node"]
    for name in sorted({result.operator for result in nodes if result.outcome != "correct"}):
        operators.add_row(name, *_counts([result for result in nodes if result.operator == name]))
    bad = [result for result in results if result.outcome not in ("correct", "inexact", "unsupported")]
    for table in (operators, summary):
        console.print(table)
    for result in bad[:_LISTED]:
        console.print(f"{result.outcome}: {result.name} ({result.form}): {escape(result.reason[:_REASON_CHARACTERS])}")


def _counts(results: list[CaseResult]) -> list[str]:
    counted: Counter[Any] = Counter(result.outcome for result in results)
    return [str(len(results)), *(str(counted[outcome]) for outcome in _OUTCOMES)]

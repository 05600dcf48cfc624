"""``harness suite onnx``: arguments, progress and tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from harness.suites.processes import counted, with_progress

if TYPE_CHECKING:
    from harness.suites.onnx_cases import CaseResult

_KINDS = ("node", "simple", "pytorch")
_OUTCOMES = ("correct", "inexact", "wrong", "failed", "crashed", "unsupported")
_HEADINGS = tuple("refused" if outcome == "unsupported" else outcome for outcome in _OUTCOMES)
_LISTED = 60
_REASON_CHARACTERS = 160


def suite_onnx(
    kind: Annotated[
        list[str] | None, typer.Option(help=f"Part of the suite, one of {', '.join(_KINDS)}; all if not given.")
    ] = None,
    operator: Annotated[list[str] | None, typer.Option(help="Only cases of this operator, repeatable.")] = None,
    rivals: Annotated[bool, typer.Option(help="Run other converters that are installed too.")] = True,
    jobs: Annotated[int, typer.Option(help="Processes at a time.", min=1)] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Run ONNX's own backend suite through the ONNX frontend and the portable runtime.

    Each case is run as it is and with all inputs after the first as constants, by our frontend and by every other
    converter that is installed (the extra `rivals`). Exit status 1 if a result of ours is wrong.
    """
    from harness.errors import UnknownNameError
    from harness.suites.onnx_cases import OURS, converters, count_cases, run_suite

    for name in kind or ():
        if name not in _KINDS:
            raise UnknownNameError("ONNX's suite has no such part", received=repr(name), supported=_KINDS)
    chosen = tuple(kind or _KINDS)
    by = converters() if rivals else (OURS,)
    operators = tuple(operator or ())
    found = run_suite(chosen, operators, by, jobs)
    if as_json:
        import json

        results = list(found)
        typer.echo(json.dumps([asdict(result) for result in results], indent=2))
    else:
        results = with_progress(found, count_cases(chosen, operators, by))
        _print(results)
    bad = ("wrong", "failed", "crashed")
    if any(result.outcome in bad for result in results if result.converter == OURS):
        raise typer.Exit(1)


def _print(results: Iterable[CaseResult]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from harness.suites.onnx_cases import OURS

    console = Console()
    results = list(results)
    columns = ("converter", "kind", "form", "cases", *_HEADINGS)
    summary = Table(*columns, title="ONNX's backend suite", box=None, header_style="bold", padding=(0, 1, 0, 0))
    groups = dict.fromkeys((result.converter, result.kind, result.form) for result in results)
    for converter, kind, form in groups:
        same = [r for r in results if (r.converter, r.kind, r.form) == (converter, kind, form)]
        summary.add_row(converter, kind, form, *counted(same, _OUTCOMES))
    operators = Table("operator", "runs", *_HEADINGS, title="Not wholly correct", box=None, header_style="bold")
    ours = [result for result in results if result.converter == OURS]
    nodes = [result for result in ours if result.kind == "node"]
    for name in sorted({result.operator for result in nodes if result.outcome != "correct"}):
        operators.add_row(name, *counted([result for result in nodes if result.operator == name], _OUTCOMES))
    bad = [result for result in ours if result.outcome not in ("correct", "inexact", "unsupported")]
    for table in (operators, summary):
        console.print(table)
    for result in bad[:_LISTED]:
        console.print(f"{result.outcome}: {result.name} ({result.form}): {escape(result.reason[:_REASON_CHARACTERS])}")

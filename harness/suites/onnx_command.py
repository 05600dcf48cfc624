"""``harness suite onnx``: arguments, progress and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from harness.suites.processes import command_line, counted, print_reasons, with_progress

if TYPE_CHECKING:
    from harness.suites.onnx_cases import CaseResult
    from harness.suites.tables import SuiteTable

_KINDS = ("node", "simple", "pytorch")
_LISTED = 60
_LISTED_REASONS = 20


def suite_onnx(
    kind: Annotated[
        list[str] | None, typer.Option(help=f"Part of the suite, one of {', '.join(_KINDS)}; all if not given.")
    ] = None,
    operator: Annotated[list[str] | None, typer.Option(help="Only cases of this operator, repeatable.")] = None,
    rivals: Annotated[bool, typer.Option(help="Run other converters that are installed too.")] = True,
    jobs: Annotated[int, typer.Option(help="Processes at a time.", min=1)] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables as Markdown.")] = False,
) -> None:
    """Run ONNX's own backend suite through the ONNX frontend and the portable runtime.

    Each case is run as it is and with all inputs after the first as constants, by our frontend and by every other
    converter that is installed (the extra `rivals`). Exit status 1 if a result of ours is wrong.
    """
    from harness.suites.onnx_cases import BAD, OURS, check_choice, converters, count_cases, count_expanded, run_suite
    from harness.suites.tables import print_tables

    chosen, operators = tuple(kind or _KINDS), tuple(operator or ())
    check_choice(chosen, operators)
    by = converters() if rivals else (OURS,)
    found = run_suite(chosen, operators, by, jobs)
    if as_json:
        import json

        results = list(found)
        typer.echo(json.dumps([asdict(result) for result in results], indent=2))
    else:
        results = with_progress(found, count_cases(chosen, operators, by))
        command = command_line("onnx", {"kind": kind, "operator": operator}, () if rivals else ("--no-rivals",))
        print_tables(tables(results), command, ("onnx",), as_markdown)
        if not as_markdown:
            ours = [result for result in results if result.converter == OURS]
            print_reasons(ours, BAD, _LISTED)
            print_reasons(ours, ("unsupported",), _LISTED_REASONS)
            print(f"{count_expanded(chosen)} cases of ONNX's own function bodies (_expanded) are not run.")
    if any(result.outcome in BAD for result in results if result.converter == OURS):
        raise typer.Exit(1)


def tables(results: Sequence[CaseResult]) -> tuple[SuiteTable, ...]:
    """Counts of operators whose cases are not all correct, and of each converter, kind and form."""
    from harness.suites.onnx_cases import OURS, OUTCOMES
    from harness.suites.tables import SuiteTable

    headings = tuple("refused" if outcome == "unsupported" else outcome for outcome in OUTCOMES)
    nodes = [result for result in results if result.kind == "node" and result.converter == OURS]
    operators = tuple(
        (name, *counted([result for result in nodes if result.operator == name], OUTCOMES))
        for name in sorted({result.operator for result in nodes if result.outcome != "correct"})
    )
    groups = dict.fromkeys((result.converter, result.kind, result.form) for result in results)
    summary = tuple(
        (*group, *counted([r for r in results if (r.converter, r.kind, r.form) == group], OUTCOMES)) for group in groups
    )
    return (
        SuiteTable("Not wholly correct", ("operator", "runs", *headings), operators),
        SuiteTable("ONNX's backend suite", ("converter", "kind", "form", "runs", *headings), summary, words=3),
    )

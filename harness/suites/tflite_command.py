"""``harness suite tflite``: arguments, progress and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.suites.processes import command_line, counted, print_reasons, with_progress

if TYPE_CHECKING:
    from harness.suites.tables import SuiteTable
    from harness.suites.tflite_cases import CaseResult

_LISTED = 60
_LISTED_REASONS = 20


def suite_tflite(
    operator: Annotated[list[str] | None, typer.Option(help="Only cases of this operator, repeatable.")] = None,
    form: Annotated[
        list[str] | None,
        typer.Option(
            help="float32, float16, dynamic, int8, int8-float, int16x8 or made (by hand), repeatable; all if not given."
        ),
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="Folder of the table of cases; the checkout's if not given.")
    ] = None,
    jobs: Annotated[int, typer.Option(help="Processes at a time.", min=1)] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables as Markdown.")] = False,
) -> None:
    """Run a table of TensorFlow Lite cases through the TFLite frontend and the portable runtime.

    Each case is a TensorFlow function that TFLiteConverter writes in several forms, or a model made by hand, compared
    with the interpreter's reference kernels. Exit status 1 if a result is wrong, fails or crashes.
    """
    from harness.suites.tables import print_tables
    from harness.suites.tflite_cases import BAD, chosen, find_table, run_suite

    folder = find_table(table)
    operators, forms = tuple(operator or ()), tuple(form or ())
    total = len(chosen(folder, operators, forms))
    found = run_suite(folder, operators, forms, jobs)
    if as_json:
        import json

        results = list(found)
        typer.echo(json.dumps([asdict(result) for result in results], indent=2))
    else:
        results = with_progress(found, total)
        command = command_line("tflite", {"operator": operator, "form": form})
        print_tables(tables(results), command, ("tensorflow",), as_markdown)
        if not as_markdown:
            print_reasons(results, BAD, _LISTED)
            print_reasons(results, ("refused", "unavailable"), _LISTED_REASONS)
    if any(result.outcome in BAD for result in results):
        raise typer.Exit(1)


def tables(results: Sequence[CaseResult]) -> tuple[SuiteTable, ...]:
    """Correct cases of each operator in each form, and the outcomes of each form."""
    from harness.suites.tables import SuiteTable
    from harness.suites.tflite_cases import FORMS, MADE, OUTCOMES

    forms = [form for form in (*FORMS, MADE) if any(result.form == form for result in results)]
    operators, summary = [], []
    for name in sorted({result.operator for result in results}):
        same = [result for result in results if result.operator == name]
        operators.append((name, *(_share([result for result in same if result.form == form]) for form in forms)))
    for form in forms:
        same = [result for result in results if result.form == form]
        exact = [result.exact for result in same if result.exact is not None]
        summary.append((form, *counted(same, OUTCOMES), f"{100 * sum(exact) / len(exact):.2f}" if exact else ""))
    return (
        SuiteTable("Correct of all that could be made", ("operator", *forms), tuple(operators)),
        SuiteTable("TensorFlow Lite cases", ("form", "runs", *OUTCOMES, "elements exact, %"), tuple(summary)),
    )


def _share(results: Sequence[CaseResult]) -> str:
    made = [result for result in results if result.outcome != "unavailable"]
    correct = sum(result.outcome == "correct" for result in made)
    return f"{correct}/{len(made)}" if made else ""

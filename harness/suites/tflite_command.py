"""``harness suite tflite``: arguments, progress and tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.suites.processes import counted, with_progress

if TYPE_CHECKING:
    from harness.suites.tflite_cases import CaseResult

_LISTED = 60
_LISTED_REASONS = 20
_REASON_CHARACTERS = 200


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
) -> None:
    """Run a table of TensorFlow Lite cases through the TFLite frontend and the portable runtime.

    Each case is a TensorFlow function that TFLiteConverter writes in several forms, or a model made by hand, compared
    with the interpreter's reference kernels. Exit status 1 if a result is wrong, fails or crashes.
    """
    from harness.suites.tflite_cases import chosen, find_table, run_suite

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
        _print(results)
    if any(result.outcome in ("wrong", "failed", "crashed") for result in results):
        raise typer.Exit(1)


def _print(results: Iterable[CaseResult]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from harness.suites.tflite_cases import FORMS, MADE, OUTCOMES

    console = Console()
    results = list(results)
    forms = [form for form in (*FORMS, MADE) if any(result.form == form for result in results)]
    operators = Table(
        "operator", *forms, title="Correct of all that could be made", box=None, header_style="bold",
        padding=(0, 1, 0, 0),
    )  # fmt: skip
    for name in sorted({result.operator for result in results}):
        same = [result for result in results if result.operator == name]
        operators.add_row(name, *(_share([result for result in same if result.form == form]) for form in forms))
    console.print(operators)
    summary = Table("form", "runs", *OUTCOMES, "exact", title="TensorFlow Lite cases", box=None, header_style="bold")
    for form in forms:
        same = [result for result in results if result.form == form]
        exact = [result.exact for result in same if result.exact is not None]
        summary.add_row(form, *counted(same, OUTCOMES), f"{sum(exact) / len(exact):.2%}" if exact else "")
    console.print(summary)
    for outcomes, most in ((("wrong", "failed", "crashed"), _LISTED), (("refused",), _LISTED_REASONS)):
        for result in [result for result in results if result.outcome in outcomes][:most]:
            reason = escape(result.reason[:_REASON_CHARACTERS])
            console.print(f"{result.outcome}: {result.operator} {result.name} ({result.form}): {reason}")


def _share(results: list[CaseResult]) -> str:
    made = [result for result in results if result.outcome != "unavailable"]
    correct = sum(result.outcome == "correct" for result in made)
    return f"{correct}/{len(made)}" if made else ""

"""``harness inspect``: arguments, progress and tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from harness.inspection import Inspection


def inspect(
    model: Annotated[str, typer.Argument(help="A name from models/, a model file, or an .mlpackage.")],
    route: Annotated[list[str] | None, typer.Option(help="Conversion route, repeatable. All by default.")] = None,
    precision: Annotated[str, typer.Option(help="float32 or float16.")] = "float32",
    inputs: Annotated[list[Path] | None, typer.Option(help="Files that give flexible dimensions their size.")] = None,
    plugin: Annotated[
        list[Path] | None, typer.Option("--plugin", help="Python file with translations of its own, repeatable.")
    ] = None,
    models_folder: Annotated[Path, typer.Option("--models", help="The folder of model cases.")] = Path("models"),
    trust: Annotated[bool, typer.Option("--trust", help="Let model files run code of their own.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Count the operations of a model's conversions, route beside route."""
    from rich.console import Console
    from rich.text import Text

    from harness.case import find_case
    from harness.errors import UnknownNameError
    from harness.frontends.plugin_files import load_plugin_files
    from harness.inputs import check_files
    from harness.inspection import inspect_package, inspect_routes
    from harness.plan import default_routes
    from harness.routes.base import PRECISIONS

    if precision not in PRECISIONS:
        raise UnknownNameError(f"there is no precision {precision!r}", supported=PRECISIONS)
    check_files(inputs or ())
    load_plugin_files(plugin or ())
    if Path(model).suffix == ".mlpackage":
        found = [inspect_package(Path(model))]
    else:
        case = find_case(model, models_folder, trust=trust)
        console = Console(stderr=True)
        with console.status("starting") as status:
            chosen = tuple(route or default_routes())
            found = inspect_routes(case, chosen, precision, tuple(inputs or ()), lambda what: status.update(Text(what)))
    if as_json:
        import json

        typer.echo(json.dumps([item.to_json() for item in found], indent=2))
    else:
        _print(found)
    raise typer.Exit(0 if any(not item.error for item in found) else 1)


def _print(found: list[Inspection]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    good = [item for item in found if not item.error]
    if good:
        table = Table("operation", box=None, header_style="bold", padding=(0, 2, 0, 0))
        for item in good:
            table.add_column(" ".join(filter(None, (item.route, item.precision))), justify="right")
        names = sorted({name for item in good for name in item.operations})
        names.sort(key=lambda name: -max(item.operations.get(name, 0) for item in good))
        for name in names:
            table.add_row(Text(name), *(str(item.operations.get(name, "")) for item in good))
        table.add_section()
        table.add_row("all", *(str(item.total) for item in good), style="bold")
        table.add_row("transposes left", *(str(item.transposes) for item in good))
        table.add_row("bytes", *(f"{item.bytes:,}" for item in good))
        if any(item.seconds for item in good):
            table.add_row("seconds to convert", *(f"{item.seconds:.2f}" for item in good))
        console.print(table)
    for item in found:
        for warning in item.warnings:
            console.print(Text(f"{item.route}: warning: {warning}"))
        if item.error:
            console.print(Text(f"{item.route}: {item.error}"))

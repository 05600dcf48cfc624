"""``harness list``: models, routes, runtimes and known limitations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer


def list_(
    what: Annotated[str, typer.Argument(help="models, routes, runtimes or limitations")],
    models_folder: Annotated[Path, typer.Option("--models", help="The folder of model cases.")] = Path("models"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List what there is."""
    from harness.errors import UnknownNameError
    from harness.printing import print_json

    listings = {
        "models": lambda: _model_rows(models_folder),
        "routes": lambda: _plugin_rows("harness.routes"),
        "runtimes": lambda: _plugin_rows("harness.runtimes"),
        "limitations": _limitation_rows,
    }
    if what not in listings:
        raise UnknownNameError(f"there is no list of {what!r}", supported=sorted(listings))
    rows = listings[what]()
    if as_json:
        print_json(rows)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*(rows[0] if rows else {"nothing": ""}), box=None, header_style="bold", padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*map(Text, row.values()))  # brackets in them are no markup
    Console().print(table)


def _model_rows(folder: Path) -> list[dict[str, str]]:
    from harness.case import discover

    return [{"name": case.name, "description": case.description} for case in discover(folder).values()]


def _plugin_rows(group: str) -> list[dict[str, str]]:
    from harness import plugins

    load: Callable[[str], Any] = plugins.route if group == plugins.ROUTES else plugins.runtime
    return [{"name": name, "available": load(name).unavailable() or "yes"} for name in plugins.names(group)]


def _limitation_rows() -> list[dict[str, str]]:
    from harness.limitations import limitations

    return [
        {"where": item.where, "what": item.what, "kind": item.kind, "reason": item.reason} for item in limitations()
    ]

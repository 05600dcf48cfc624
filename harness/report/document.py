"""The documents that are made from templates, and what both kinds share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from harness.disk import write_atomically
from harness.errors import StoreError
from harness.report.content import NOTE_TITLES, Content, Row


def environment(autoescape: bool) -> jinja2.Environment:
    """Templates of this package; a name that a template misspells is an error."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("harness.report", "templates"),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=autoescape,
        lstrip_blocks=autoescape,
        keep_trailing_newline=True,
    )


def render(templates: jinja2.Environment, name: str, report: Content) -> str:
    """A report in one form."""
    pictures = {model: shown for model, rows in report.models.items() if (shown := _with_pictures(rows))}
    bad = any(row.is_bad for row in report.rows)
    values: dict[str, Any] = {"report": report, "sections": NOTE_TITLES.items(), "pictures": pictures, "bad": bad}
    return templates.get_template(name).render(values)


def _with_pictures(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row.picture is not None]


def write(path: Path, text: str) -> Path:
    """Write a report, whole or not at all. Raises StoreError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)
    except OSError as error:
        raise StoreError(
            f"the report {path} could not be written: {error.strerror or error}",
            remedy="Free space there, or choose another folder with --out",
        ) from error
    return path

"""The report as one self-contained page: pictures embedded, no script, nothing fetched."""

from __future__ import annotations

import base64
from pathlib import Path

import pandas as pd

from harness.report.content import content
from harness.report.document import environment, render, write

NAME = "report.html"


def write_html(frame: pd.DataFrame, folder: Path) -> Path:
    """Write ``report.html`` of a frame (see to_frame) into ``folder``, with the pictures that lie there or
    in its run's folder; its path. Raises StoreError.
    """
    templates = environment(autoescape=True)
    templates.filters["embedded"] = _embedded
    return write(folder / NAME, render(templates, "report.html.jinja", content(frame, folder)))


def _embedded(picture: Path) -> str:
    """A picture as a data URL (RFC 2397)."""
    return "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()

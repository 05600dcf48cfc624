"""The report as Markdown, as GitHub shows it; its table can be pasted into a README."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from harness.report.content import content
from harness.report.document import environment, render, write

NAME = "report.md"


def write_markdown(frame: pd.DataFrame, folder: Path) -> Path:
    """Write ``report.md`` of a frame (see to_frame) into ``folder``, with links to the pictures that lie
    there or in its run's folder; its path. Raises StoreError.
    """
    templates = environment(autoescape=False)
    templates.filters["text"] = escaped
    templates.filters["link"] = lambda path: quote(path.relative_to(folder).as_posix())
    text = render(templates, "report.md.jinja", content(frame, folder))
    return write(folder / NAME, _without_gaps(text).rstrip("\n") + "\n")


def _without_gaps(text: str) -> str:
    """No more than one empty line, and none within a table."""
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"\|[ \t]*\n\n+(?=\|)", "|\n", text))


def escaped(text: str) -> str:
    """Text that stays text: on one line, and neither markup, HTML nor the end of a table's cell.

    Backslash escapes of the GitHub Flavored Markdown specification, section 6.1; ``_`` inside of words
    and ``-``, ``.`` and ``+`` inside of lines have no meaning that would need one.
    """
    line = " ".join(str(text).split())
    return re.sub(r"(?<!\w)_|_(?!\w)|[\\`*\[\]<>|~&]", lambda found: "\\" + found.group(), line)

"""What commands print for other programs."""

from __future__ import annotations

import json
from typing import Any

import typer

from harness.record_lines import strict


def print_json(value: Any) -> None:
    """Print ``value`` as JSON that every reader takes: numbers that are not finite are strings."""
    typer.echo(json.dumps(strict(value), indent=2, allow_nan=False))

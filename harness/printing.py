"""What commands print, for people and for other programs."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import typer

from harness.record_lines import strict


def print_json(value: Any) -> None:
    """Print ``value`` as JSON that every reader takes: numbers that are not finite are strings."""
    typer.echo(json.dumps(strict(value), indent=2, allow_nan=False))


def print_for_people(renderable: Any) -> None:
    """Print a table or text. A reader that has gone (``| head``) changes nothing of what a command ends with."""
    from rich.console import Console

    class Patient(Console):
        def on_broken_pipe(self) -> None:
            self.quiet = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    Patient().print(renderable)

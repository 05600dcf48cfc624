"""The ``harness`` command; ``python -m harness`` is the same."""

from __future__ import annotations

import sys
import traceback
from importlib.metadata import PackageNotFoundError, metadata
from io import TextIOWrapper

from harness.errors import HarnessError, InternalError, one_line
from harness.frontends.blame import place_of
from harness.interruption import INTERRUPTED, Interrupted

USAGE, INTERNAL = 2, 3

# The part of the name of a project's URL under which an error is reported.
_TRACKERS = ("issue", "bug", "tracker")


def main() -> None:
    """Run the command line and end with its exit status: whatever is raised becomes one sentence.

    2: the command or a file was wrong; 3: harness itself was; 130 and 143: Ctrl-C and SIGTERM.
    """
    sys.exit(_run())


def _run() -> int:
    options: dict[str, bool] = {}
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a table must not fail for a letter that a terminal has not
    try:
        from harness.cli import app

        status = app(standalone_mode=False, obj=options)
    except KeyboardInterrupt:  # while the command line is imported
        status = INTERRUPTED
    except Interrupted as error:
        _say(str(error))
        return error.status
    except Exception as error:
        if options.get("traceback"):
            traceback.print_exception(error)
        return _told(error)
    if status == INTERRUPTED:  # what typer makes of an interrupt
        _say("interrupted")
    return status if isinstance(status, int) else 0


def _told(error: Exception) -> int:
    """Say what an exception is to a user; the exit status."""
    import typer

    show = getattr(error, "show", None)
    if show is not None and isinstance(status := getattr(error, "exit_code", None), int):
        show()  # of the command line's library, whose home for these classes changes with its versions
        return status
    if isinstance(error, typer.Abort):
        _say("interrupted")
        return INTERRUPTED
    if isinstance(error, HarnessError):
        _say(str(error))
        return INTERNAL if isinstance(error, InternalError) else USAGE
    _say(_slip(error))
    return INTERNAL


def _slip(error: Exception) -> str:
    """What is said of an exception that harness does not raise on purpose."""
    place = place_of(error, "harness")
    where = f", in {place}" if place else ""
    said = f"{type(error).__name__}: {one_line(error)}{where}"
    return (
        f"this is a slip of harness itself, not of the command or a file: {said}. "
        f"Report it{_tracker()}, with what `harness --traceback COMMAND` prints."
    )


def _tracker() -> str:
    """Where the project takes reports, if its metadata says so."""
    try:
        urls = metadata("coreml-harness").get_all("Project-URL") or []
    except PackageNotFoundError:
        return ""
    for entry in urls:
        name, _, url = str(entry).partition(",")
        if any(word in name.lower() for word in _TRACKERS):
            return f" at {url.strip()}"
    return ""


def _say(text: str) -> None:
    print(f"harness: {text}", file=sys.stderr)


if __name__ == "__main__":
    main()

"""Whose fault an exception is while a model is converted: the model's, where coremltools rejects what it says, or ours.

Whose code called last decides: numpy raises for coremltools as it does for us, and coremltools calls our functions for
the blocks of a loop.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ConversionError, HarnessError, InternalError, UnsupportedError, one_line

_OURS, _BUILDERS = "harness", "coremltools"
_REPORT = (
    "Report this line, with the model if you may share it: it is a fault of harness, not of the model; "
    "`--traceback` shows the rest"
)
# How Python writes the classes that coremltools makes for types.
_CLASS = re.compile(r"<class '(?:[^']*\.)?(\w+)'>")


@dataclass(frozen=True)
class Place:
    """A line of code that was being executed; ``file`` begins with the package."""

    package: str
    function: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.function} ({self.file}:{self.line})"


def place_of(error: BaseException, *packages: str) -> Place | None:
    """The innermost line of the named packages that the exception passed through."""
    found = None
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        package = module.partition(".")[0]
        if package in packages:
            folder = module if Path(code.co_filename).name == "__init__.py" else module.rpartition(".")[0]
            file = "/".join((*folder.split("."), Path(code.co_filename).name))
            found = Place(package, code.co_name, file, trace.tb_lineno)
        trace = trace.tb_next
    return found


def is_ours(error: BaseException) -> bool:
    """Whether our own code raised an exception, or called what raised it. Memory and the stack run out for anyone."""
    place = place_of(error, _OURS, _BUILDERS)
    return not isinstance(error, MemoryError | RecursionError) and (place is None or place.package == _OURS)


def _is_of_unknown_size(error: BaseException) -> bool:
    """Whether a number was asked of a symbol, which is how MIL writes a size that is not known before it runs."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    innermost = str(trace.tb_frame.f_globals.get("__name__", "")) if trace is not None else ""
    return isinstance(error, TypeError) and innermost.startswith("sympy.")


def reason(error: BaseException, *packages: str) -> str:
    """What was said, and the function that said it: many messages ("list index out of range") mean nothing alone."""
    text = one_line(_CLASS.sub(r"\1", str(error)) or type(error).__name__, 300)
    if not isinstance(error, ValueError | NotImplementedError) and type(error).__name__ not in text:
        text = f"{type(error).__name__}: {text}"
    place = place_of(error, *(packages or (_BUILDERS,)))
    return text if place is None else f"{text}, in {place}"


def blamed(error: Exception, where: str, action: str = "cannot be translated", by: str | None = None) -> HarnessError:
    """The error to raise from an exception that is none of harness's. ``where`` is what of the model is concerned and
    ``by`` the function that translates it."""
    if _is_of_unknown_size(error):
        return UnsupportedError(
            f"{where} {action} with sizes that are not known before it runs",
            received="flexible dimensions",
            remedy="Give the model's inputs fixed shapes",
        )
    if not is_ours(error):
        return ConversionError(f"{where} {action}", received=reason(error))
    return InternalError(
        f"{where} {action}: " + (f"its translation {by} failed" if by else "harness failed"),
        received=reason(error, _OURS),
        remedy=_REPORT,
    )


@contextmanager
def blame(where: str, action: str = "cannot be translated") -> Iterator[None]:
    """Exceptions that are none of harness's become one, with the original as their cause. Files that cannot be read or
    written are left to whoever opens them."""
    try:
        yield
    except (HarnessError, OSError):
        raise
    except Exception as error:  # the builder and numpy raise much
        raise blamed(error, where, action) from error

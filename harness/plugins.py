"""Routes and runtimes by name, found through entry points, ours and third parties' alike."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar, cast

from harness.errors import UnknownNameError, UsageError
from harness.routes.base import Route
from harness.runtimes.base import Runtime

ROUTES = "harness.routes"
RUNTIMES = "harness.runtimes"

Plugin = TypeVar("Plugin", Route, Runtime)


def names(group: str) -> list[str]:
    """Every name of a group, in alphabetical order."""
    return sorted({entry.name for entry in entry_points(group=group)})


def route(name: str) -> Route:
    """The route of that name. Raises UnknownNameError, and UsageError where it cannot be imported."""
    return cast(Route, _load(ROUTES, "route", name))


def runtime(name: str) -> Runtime:
    """The runtime of that name. Raises UnknownNameError, and UsageError where it cannot be imported."""
    return cast(Runtime, _load(RUNTIMES, "runtime", name))


def _load(group: str, kind: str, name: str) -> object:
    found: list[EntryPoint] = [entry for entry in entry_points(group=group) if entry.name == name]
    if not found:
        raise UnknownNameError(f"there is no {kind} {name!r}", supported=names(group))
    try:
        return found[0].load()()
    except ImportError as error:
        raise UsageError(
            f"{kind} {name!r} cannot be imported from {found[0].value}",
            received=error,
            remedy="Install what it needs",
        ) from error

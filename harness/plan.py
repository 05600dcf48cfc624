"""What a run consists of: models x routes x precisions x runtimes x compute units, and their defaults."""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness import plugins
from harness.case import ModelCase
from harness.errors import UsageError
from harness.routes.base import Route
from harness.runtimes.base import IsolatedRuntime, Isolation, Runtime
from harness.timing import Schedule, Stability


@dataclass(frozen=True)
class Plan:
    """What to run. ``compute_units`` empty means all of each runtime's; ``samples`` 0 leaves timing out.

    ``max_seconds`` bounds the timing of one target in one cell; ``isolation`` is of cells with a process of their own.
    ``plugins`` are files of translations.
    """

    cases: tuple[ModelCase, ...]
    routes: tuple[str, ...]
    precisions: tuple[str, ...]
    runtimes: tuple[str, ...]
    compute_units: tuple[str, ...] = ()
    inputs: tuple[Path, ...] = ()
    samples: int = 20
    warm_up: Stability = field(default_factory=Stability)
    max_seconds: float = 10.0
    seed: int = 0
    isolation: Isolation = field(default_factory=Isolation)
    plugins: tuple[Path, ...] = ()

    @property
    def schedule(self) -> Schedule | None:
        """How predictions are timed, or None."""
        return Schedule(self.samples, self.warm_up, self.seed, self.max_seconds) if self.samples else None


@dataclass(frozen=True)
class Cell:
    """One combination."""

    case: ModelCase
    route: Route
    precision: str
    runtime: Runtime
    compute_unit: str

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        """As Record.cell."""
        return (self.case.name, self.route.name, self.precision, self.runtime.name, self.compute_unit)

    @property
    def file_name(self) -> str:
        """Of its files in the run's folder, without a suffix."""
        return file_name("-".join(self.key))

    def __str__(self) -> str:
        return f"{self.case.name}, {self.route.name} {self.precision}, {self.runtime.name} {self.compute_unit}"


def file_name(text: str) -> str:
    """Text as the name of a file; texts that differ have names that differ."""
    plain = re.sub(r"[^\w.@-]", "_", text)
    return plain if plain == text else f"{plain}-{zlib.crc32(text.encode()):08x}"


def cells(plan: Plan) -> list[Cell]:
    """Every cell of a plan, in order. Raises UnknownNameError for names that are not known."""
    routes = [plugins.route(name) for name in plan.routes]
    runtimes = [plugins.runtime(name) for name in plan.runtimes]
    known_units = {unit for runtime in runtimes for unit in runtime.compute_units}
    for unit in plan.compute_units:
        if unit not in known_units:
            raise UsageError(f"no chosen runtime has the compute unit {unit!r}", supported=sorted(known_units))
    return [
        Cell(case, route, precision, runtime, unit)
        for case in plan.cases
        for route in routes
        for precision in plan.precisions
        for runtime in runtimes
        for unit in runtime.compute_units
        if not plan.compute_units or unit in plan.compute_units
    ]


def in_random_order(cells: Sequence[Cell], seed: int) -> list[Cell]:
    """One model's cells in the order in which they are run: those with a process of their own come last, routes and
    compute units mixed, so that what drifts while they are measured favours none of them."""
    apart = [cell for cell in cells if isinstance(cell.runtime, IsolatedRuntime)]
    together = [cell for cell in cells if cell not in apart]
    random.Random(seed).shuffle(apart)
    return [*together, *apart]


def default_routes() -> tuple[str, ...]:
    """Routes that can be taken on this machine: those of extras that are not installed are left out, and those that
    only check others."""
    routes = [plugins.route(name) for name in plugins.names(plugins.ROUTES)]
    return tuple(route.name for route in routes if route.by_default and not route.unavailable())


def default_runtimes(*, available: bool = True) -> tuple[str, ...]:
    """Runtimes that execute conversions; ``available``: only those that can run on this machine."""
    runtimes = [plugins.runtime(name) for name in plugins.names(plugins.RUNTIMES)]
    return tuple(
        item.name for item in runtimes if "mlprogram" in item.formats and not (available and item.unavailable())
    )

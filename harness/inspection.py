"""What a conversion consists of: operations by kind, bytes, and the transposes that are left; routes side by side."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness import plugins
from harness.case import ModelCase
from harness.errors import HarnessError
from harness.inputs import open_source
from harness.runtimes.portable.package import open_package
from harness.runtimes.portable.program import Block, read_program

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Inspection:
    """One route's result. ``operations`` counts those of every block, constants left out. ``error``: why there is
    none."""

    route: str
    precision: str
    operations: Mapping[str, int] = field(default_factory=dict)
    bytes: int = 0
    seconds: float = 0.0
    error: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """How many operations there are."""
        return sum(self.operations.values())

    @property
    def transposes(self) -> int:
        """Those that only change a layout."""
        return self.operations.get("transpose", 0)

    def to_json(self) -> dict[str, Any]:
        """With what is derived."""
        return {**asdict(self), "total": self.total, "transposes": self.transposes, "format_version": FORMAT_VERSION}


def count_operations(package: Path) -> Counter[str]:
    """Of all functions of an ``.mlpackage``. Raises ModelFileError or PackageError."""
    model, weights = open_package(package)
    program = read_program(model.mlProgram, weights)
    counted: Counter[str] = Counter()
    for function in program.functions.values():
        _count(function.block, counted)
    return counted


def _count(block: Block, counted: Counter[str]) -> None:
    for operation in block.operations:
        if operation.type != "const":
            counted[operation.type] += 1
        for inner in operation.blocks:
            _count(inner, counted)


def inspect_package(package: Path) -> Inspection:
    """A package that is there. Raises ModelFileError or PackageError."""
    size = sum(path.stat().st_size for path in package.rglob("*") if path.is_file())
    return Inspection("as given", "", dict(count_operations(package)), size)


def inspect_routes(
    case: ModelCase,
    routes: tuple[str, ...],
    precision: str,
    files: tuple[Path, ...] = (),
    progress: Callable[[str], None] = lambda what: None,
) -> list[Inspection]:
    """Convert a model by each route and count. A route that cannot convert it is a row with its reason.

    Raises UsageError for models and inputs that cannot be used.
    """
    source = open_source(case, files)
    found = []
    for name in routes:
        progress(f"converting by {name}")
        route = plugins.route(name)
        reason = route.unavailable() or route.refuses(source)
        if reason:
            found.append(Inspection(name, precision, error=reason))
            continue
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            try:
                artifact = route.convert(source, precision, Path(folder, f"{case.name}.mlpackage"))
                took = time.perf_counter() - start
                counted = dict(count_operations(artifact.path))
                found.append(Inspection(name, precision, counted, artifact.size_bytes, took, "", artifact.warnings))
            except HarnessError as error:
                found.append(Inspection(name, precision, error=str(error)))
    return found

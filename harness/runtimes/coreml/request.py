"""What a cell's process is asked, and where everything lies in the folder that it is given.

    request.json    CellRequest        inputs.npz     arrays by the package's input names
    stages.txt      a line for each stage reached
    result.json     what is known so far, written anew after each stage
    outputs.npz     of the first prediction
    stderr.txt      what it printed

The folder with its first two files is all that ``python -m harness.runtimes.coreml.cell FOLDER`` needs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from harness.isolation import Limits
from harness.timing import Schedule

VERSION = 1
REQUEST = "request.json"
INPUTS = "inputs.npz"
STAGES = "stages.txt"
RESULT = "result.json"
OUTPUTS = "outputs.npz"


@dataclass(frozen=True)
class CellRequest:
    """``package``: a path, relative to the folder or absolute. Without a ``schedule`` nothing is timed repeatedly,
    and the compute plan is not read."""

    package: Path
    compute_unit: str
    limits: Limits = field(default_factory=Limits)
    schedule: Schedule | None = None

    def write(self, folder: Path) -> None:
        """As the folder's request.json."""
        value = {
            "version": VERSION,
            "package": str(self.package),
            "compute_unit": self.compute_unit,
            "limits": asdict(self.limits),
            "schedule": None if self.schedule is None else self.schedule.to_json(),
        }
        (folder / REQUEST).write_text(json.dumps(value, indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Of a folder. Raises OSError, ValueError, KeyError or TypeError where there is none."""
        value = json.loads((folder / REQUEST).read_text())
        if value["version"] != VERSION:
            raise ValueError(f"a request of version {value['version']}, not {VERSION}")
        schedule = value["schedule"]
        return cls(
            package=folder / value["package"],
            compute_unit=value["compute_unit"],
            limits=Limits(**value["limits"]),
            schedule=None if schedule is None else Schedule.from_json(schedule),
        )


@dataclass(frozen=True)
class CellResult:
    """What a cell's process found out until its end. ``fields`` are those of Record; ``error`` is what the last of
    ``stages`` raised; ``skipped`` says why there was nothing to do."""

    fields: Mapping[str, Any]
    stages: tuple[str, ...] = ()
    error: str = ""
    skipped: str = ""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Of a folder, with nothing where the process had not got so far."""
        try:
            value = json.loads((folder / RESULT).read_text())
        except (OSError, ValueError):
            value = {}
        try:
            stages = tuple((folder / STAGES).read_text().split())
        except OSError:
            stages = ()
        return cls(value.get("fields", {}), stages, value.get("error", ""), value.get("skipped", ""))

    @property
    def stage(self) -> str:
        """The last that was reached."""
        return self.stages[-1] if self.stages else "start"

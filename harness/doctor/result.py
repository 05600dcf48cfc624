"""What doctor found, as data: rows of verdicts, and what will be skipped."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from harness.runtimes.coreml.conditions import Conditions
from harness.runtimes.coreml.devices import Devices

VERSION = 1

Verdict = Literal["holds", "differs", "could not tell"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
Group = Literal["here", "units", "assumptions"]


@dataclass(frozen=True)
class Finding:
    """Of one check: the verdict, and what was observed."""

    verdict: Verdict
    observed: str


@dataclass(frozen=True)
class Row:
    """One check. ``what``: what is assumed; ``seconds``: of the whole process, 0 where there was none."""

    name: str
    group: Group
    what: str
    verdict: Verdict
    observed: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Skip:
    """A runtime, route or compute unit that ``run`` leaves out, or takes although a device is missing."""

    what: str
    reason: str


@dataclass(frozen=True)
class Diagnosis:
    """All of it. ``versions``: of packages, by name."""

    versions: dict[str, str]
    conditions: Conditions
    devices: Devices
    rows: tuple[Row, ...]
    available: tuple[str, ...]
    skipped: tuple[Skip, ...]
    version: int = field(default=VERSION)

    def count(self, verdict: Verdict) -> int:
        """How many rows have it."""
        return sum(row.verdict == verdict for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """For ``--json``, and so for a bug report."""
        return {
            "version": self.version,
            "versions": self.versions,
            "conditions": self.conditions.to_json(),
            "devices": self.devices.to_json(),
            "rows": [asdict(row) for row in self.rows],
            "available": list(self.available),
            "skipped": [asdict(item) for item in self.skipped],
        }

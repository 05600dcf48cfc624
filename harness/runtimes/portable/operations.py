"""The table of MIL operations and how each is executed; ``python -m harness.runtimes.portable.operations FILE``
writes it as Markdown."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from harness.limitations import limitations
from harness.quiet import quiet_imports
from harness.runtimes.portable import ops  # noqa: F401 (fills the tables of implementations)
from harness.runtimes.portable.registry import KERNELS, LOWERINGS

WHERE = "runtimes.portable.ops"

# Executed by compiler.py itself.
_BY_THE_COMPILER = {"const": "when the program is loaded", "cond": "control flow", "while_loop": "control flow"}


@dataclass(frozen=True)
class OperationRow:
    """One operation of coremltools' core set. ``executed`` is how, empty where it is not."""

    name: str
    since: str
    executed: str
    remarks: str


def operation_rows() -> list[OperationRow]:
    """Every core operation of coremltools' registry, in alphabetical order."""
    with quiet_imports():
        from coremltools.converters.mil._deployment_compatibility import AvailableTarget
        from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    remarks = {item.what: f"{item.kind}: {item.reason}" for item in limitations(WHERE)}
    names = {target: target.name for target in AvailableTarget}
    rows = []
    for name, versions in sorted(SSAOpRegistry.core_ops.items()):
        how = "ONNX Runtime" if name in LOWERINGS else "numpy" if name in KERNELS else _BY_THE_COMPILER.get(name, "")
        rows.append(OperationRow(name, names[min(versions)], how, remarks.get(name, "")))
    return rows


def markdown() -> str:
    """The table as a Markdown page."""
    rows = operation_rows()
    executed = sum(bool(row.executed) for row in rows)
    lines = [
        "# Operations of the portable runtime",
        "",
        f"{executed} of the {len(rows)} operations of coremltools' core set are executed. Written by",
        "`python -m harness.runtimes.portable.operations docs/operations.md`; a test keeps it current.",
        "",
        "| operation | since | executed by | remarks |",
        "|---|---|---|---|",
        *(f"| `{row.name}` | {row.since} | {row.executed or '-'} | {row.remarks} |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(markdown(), encoding="utf-8")

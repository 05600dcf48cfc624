"""What changed between two runs: status, accuracy and latency, cell by cell, and rules that a change breaks."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
from rich.console import Group
from rich.table import Table
from rich.text import Text

from harness.errors import UsageError
from harness.latency import LatencyChange, Measured, compare_latency
from harness.report.content import milliseconds, small
from harness.report.frame import CELL, latest
from harness.report.latency_words import latency_reason
from harness.report.names import runtime_name
from harness.runtimes.coreml.plan import ComputePlan, difference

# An error that grows or shrinks by no more than this factor is the same: sums are reordered between machines.
ACCURACY_FACTOR = 1.1
# Lines of a difference between two compute plans, cells of a run and broken rules that are shown.
_LISTED = 5

Kind = Literal["status", "accuracy", "latency", "placement"]
Verdict = Literal["better", "worse", "same", "cannot tell", "not comparable"]
CellKey = tuple[str, ...]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Rule:
    """What must not get worse; ``factor`` is by how much it may, of accuracy and latency."""

    kind: Kind
    factor: float = 1.0

    def __str__(self) -> str:
        return self.kind if self.factor == 1.0 else f"{self.kind}>{self.factor:g}"


@dataclass(frozen=True)
class Change:
    """One cell that both runs have, or only one; ``change`` is new over old where both have a number.

    ``measure`` is what ``old`` and ``new`` are: statuses, maximum absolute errors, ratios to the reference or median
    milliseconds, formatted. ``reason`` says why a verdict is what it is, ``breaks`` which rules it breaks.
    """

    cell: CellKey
    kind: Kind
    measure: str
    old: str
    new: str
    verdict: Verdict
    change: float | None = None
    reason: str = ""
    breaks: tuple[Rule, ...] = ()


@dataclass(frozen=True)
class RunComparison:
    """What changed between two runs; ``cells`` counts those of either, ``idle`` are rules that judged none of them."""

    changes: tuple[Change, ...]
    cells: int
    idle: tuple[Rule, ...] = ()

    @property
    def broken(self) -> tuple[Change, ...]:
        """Changes that break a rule."""
        return tuple(change for change in self.changes if change.breaks)


def parse_rules(texts: Iterable[str]) -> tuple[Rule, ...]:
    """Rules from texts of ``status``, ``accuracy`` and ``latency``, separated by commas, each but the first with
    ``=FACTOR`` or ``>FACTOR`` if one is wanted: ``status,latency=1.2``. Raises UsageError, also for factors below
    what counts as a change at all.
    """
    return tuple(_rule(part) for text in texts for part in text.split(","))


def _rule(text: str) -> Rule:
    found = re.fullmatch(r"\s*(?:(status)|(accuracy|latency)(?:\s*[=>]\s*(\d+(?:\.\d+)?))?)\s*", text)
    factor = float(found[3]) if found and found[3] else 1.0
    kind: Kind = "status" if found is None or found[1] else "accuracy" if found[2] == "accuracy" else "latency"
    least = ACCURACY_FACTOR if kind == "accuracy" else 1.0
    if found is None or (found[3] and factor < least):
        raise UsageError(
            "this is no rule",
            received=repr(text.strip()),
            supported="status, accuracy, latency, "
            f"accuracy=FACTOR with a factor from {ACCURACY_FACTOR}, latency=FACTOR with a factor from 1",
        )
    return Rule(kind, factor)


def compare_runs(old: pd.DataFrame, new: pd.DataFrame, rules: tuple[Rule, ...] = ()) -> RunComparison:
    """All that changed from ``old`` to ``new`` (frames as of to_frame; of each cell the latest record).

    A status changes by its name. Accuracy changes if the maximum absolute error does by more than
    ``ACCURACY_FACTOR``. How latency is judged says harness.latency; it cannot be compared between machines. What is
    the same is left out. A rule is broken by what is worse, by more than the rule's factor. Raises UsageError where
    the runs have no cell in common, and where none of the rules had anything to judge: that is no success.
    """
    before, after = _by_cell(old), _by_cell(new)
    shared = [cell for cell in before if cell in after]
    if not shared:
        raise UsageError(
            "the two runs have no cell in common, so that nothing can be compared",
            received=f"{_cells(before)} in the old run; {_cells(after)} in the new one",
            supported="runs of the same models, routes, precisions, runtimes and compute units",
        )
    measured: Measures = (_measured(before), _measured(after))
    compared = [found for cell in shared for found in _compared(cell, before[cell], after[cell], measured)]
    absent = [
        _appearance(cell, before.get(cell), after.get(cell)) for cell in {**before, **after} if cell not in shared
    ]
    judged = {change.kind for change in compared if change.kind == "status" or change.verdict != "not comparable"}
    idle = tuple(rule for rule in rules if rule.kind not in judged)
    if rules and len(idle) == len(rules):
        raise UsageError(
            "no rule had anything to judge, so that none can be said to hold",
            received=", ".join(map(str, rules)),
            remedy=_why_idle(compared),
        )
    changes = tuple(_judged(change, rules) for change in (*compared, *absent) if change.verdict != "same")
    return RunComparison(changes, len({**before, **after}), idle)


# By model: samples of its reference in the old and in the new run.
Measures = tuple[Mapping[str, tuple[float, ...]], Mapping[str, tuple[float, ...]]]


def _by_cell(frame: pd.DataFrame) -> dict[CellKey, Row]:
    rows: list[dict[Any, Any]] = latest(frame).to_dict("records")
    return {tuple(row[name] for name in CELL): row for row in rows}


def _measured(rows: Mapping[CellKey, Row]) -> dict[str, tuple[float, ...]]:
    """By model, all samples of its reference that a run has."""
    found: dict[str, tuple[float, ...]] = {}
    for row in rows.values():
        found[row["model"]] = (*found.get(row["model"], ()), *row["reference_samples"])
    return found


def _cells(rows: Mapping[CellKey, Row]) -> str:
    names = [" ".join(cell) for cell in rows]
    rest = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{rest}" if names else "none"


def _why_idle(compared: list[Change]) -> str:
    reasons = dict.fromkeys(change.reason for change in compared if change.kind == "latency" and change.reason)
    return next(iter(reasons), "Compare runs in which both have the numbers that the rules are about")


def _compared(cell: CellKey, first: Row, second: Row, references: Measures) -> list[Change]:
    """What can be compared of a cell that both runs have."""
    found = (
        _status(cell, first, second),
        _accuracy(cell, first, second),
        _latency(cell, first, second, references),
        _placement(cell, first, second),
    )
    return [change for change in found if change is not None]


def _appearance(cell: CellKey, first: Row | None, second: Row | None) -> Change:
    if first is None:
        assert second is not None
        return Change(
            cell, "status", "status", "absent", second["status"], "not comparable", reason="only the new run has it"
        )
    # What is no longer run is no longer known to pass.
    verdict: Verdict = "worse" if first["status"] == "passed" else "not comparable"
    return Change(cell, "status", "status", first["status"], "absent", verdict, reason="only the old run has it")


def _status(cell: CellKey, first: Row, second: Row) -> Change:
    old, new = first["status"], second["status"]
    verdict: Verdict = "same"
    if old != new:
        # Neither of failed, error and skipped is better than another, yet that it changed is told.
        verdict = "better" if new == "passed" else "worse" if old == "passed" else "not comparable"
    return Change(cell, "status", "status", old, new, verdict, reason=second["error"] if verdict != "same" else "")


def _accuracy(cell: CellKey, first: Row, second: Row) -> Change | None:
    """By the greatest error, and of labels, whose distance means nothing, by the share of elements that differ."""
    labels = {row["judged_as"] for row in (first, second)} == {"labels"}
    name, measure = ("deviation", "labels that differ") if labels else ("max_abs_error", "max error")
    old, new = first[name], second[name]
    if math.isnan(old) or math.isnan(new):  # where there is none, the status says so
        return None
    verdict: Verdict = "worse" if new > old * ACCURACY_FACTOR else "better" if old > new * ACCURACY_FACTOR else "same"
    return Change(cell, "accuracy", measure, small(old), small(new), verdict, _quotient(new, old))


def _latency(cell: CellKey, first: Row, second: Row, references: Measures) -> Change | None:
    sides = [
        Measured(row["samples"], row["reference_samples"], of_model.get(row["model"], ()))
        for row, of_model in zip((first, second), references, strict=True)
    ]
    found = compare_latency(*sides)
    if found is None:  # what was not timed did not change
        return None
    reason = _other_conditions(first, second)
    if reason:
        old, new = milliseconds(first["median_ms"]), milliseconds(second["median_ms"])
        return Change(cell, "latency", "median ms", old, new, "not comparable", reason=reason)
    reference = _reference_name(first)
    measure = f"ratio to {reference}" if found.way == "ratio" else "median ms"
    old, new = _formatted(found)
    change = None if found.verdict == "not comparable" else found.change
    return Change(cell, "latency", measure, old, new, found.verdict, change, latency_reason(found, reference))


def _other_conditions(first: Row, second: Row) -> str:
    """Why latencies cannot be compared at all, if so."""
    machines = [f"{row['machine']}, {row['system']}" for row in (first, second)]
    if machines[0] != machines[1]:
        return f"{machines[0]} is another machine than {machines[1]}"
    references = [_reference_name(row) for row in (first, second)]
    if references[0] != references[1]:
        return f"timed beside {references[0]} in the old run and beside {references[1]} in the new one"
    return ""


def _reference_name(row: Row) -> str:
    return runtime_name(row["reference"])


def _formatted(found: LatencyChange) -> tuple[str, str]:
    scale = 1.0 if found.way == "ratio" else 1000.0
    old, new = (milliseconds((timing.median or 0.0) * scale) for timing in (found.old, found.new))
    return old, new


def _placement(cell: CellKey, first: Row, second: Row) -> Change | None:
    """Core ML's estimates of where operations are executed; no verdict, for an estimate is neither good nor bad."""
    if not first["compute_plan"] or not second["compute_plan"]:
        return None
    plans = [ComputePlan.from_json(record["compute_plan"]) for record in (first, second)]
    lines = difference(*plans).lines()
    if not lines:
        return None
    old, new = (
        ", ".join(f"{kind} {'?' if share is None else f'{share:.0%}'}" for kind, share in plan.shares().items())
        for plan in plans
    )
    rest = f" and {len(lines) - _LISTED} more" if len(lines) > _LISTED else ""
    reason = "; ".join(lines[:_LISTED]) + rest
    return Change(cell, "placement", "placement, estimated", old, new, "not comparable", reason=reason)


def _quotient(new: float, old: float) -> float:
    return new / old if old else math.inf if new else 1.0


def _judged(change: Change, rules: tuple[Rule, ...]) -> Change:
    broken = tuple(
        rule
        for rule in rules
        if rule.kind == change.kind
        and change.verdict == "worse"
        and (rule.factor == 1.0 or (change.change is not None and change.change > rule.factor))
    )
    return Change(**{**vars(change), "breaks": broken})


def changes_table(changes: Iterable[Change]) -> Group:
    """What changed, for the terminal, with reasons below; a broken rule is named in its row, which is red too."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for header in ("Cell", "What"):
        table.add_column(header, overflow="fold")
    for header in ("Old", "New", "New/old"):
        table.add_column(header, justify="right")
    for header in ("Verdict", "Note"):
        table.add_column(header, overflow="fold")
    notes: dict[str, int] = {}
    for change in changes:
        quotient = "" if change.change is None else f"{change.change:.2f}"
        verdict = change.verdict + "".join(f", breaks {rule}" for rule in change.breaks)
        note = str(notes.setdefault(change.reason, len(notes) + 1)) if change.reason else ""
        style = "bold red" if change.breaks else {"better": "green", "worse": "yellow"}.get(change.verdict, "dim")
        cells = (" ".join(change.cell), change.measure, change.old, change.new, quotient, verdict, note)
        table.add_row(*map(Text, cells), style=style)
    below = Table.grid(padding=(0, 1, 0, 0))
    below.add_column(justify="right", width=3)
    below.add_column(overflow="fold")
    for reason, number in notes.items():
        below.add_row(str(number), Text(reason))
    return Group(table, below)


def closing_line(comparison: RunComparison) -> str:
    """The comparison in one line: how much changed, what could not be told, and which rules are broken by what."""
    latencies = [change.verdict for change in comparison.changes if change.kind == "latency"]
    untold, incomparable = latencies.count("cannot tell"), latencies.count("not comparable")
    count = len(comparison.changes) - untold - incomparable
    parts = [f"{_counted(count, 'change') if count else 'Nothing changed'} in {_counted(comparison.cells, 'cell')}"]
    parts += [f"{_counted(untold, 'latency', 'latencies')} cannot be told from noise"] if untold else []
    parts += [f"{_counted(incomparable, 'latency', 'latencies')} cannot be compared"] if incomparable else []
    parts += [f"the rule {rule} had nothing to judge" for rule in comparison.idle]
    if comparison.broken:
        broken = [_broken(change, rule) for change in comparison.broken for rule in change.breaks]
        rest = f" and {len(broken) - _LISTED} more" if len(broken) > _LISTED else ""
        verb = "breaks" if len(comparison.broken) == 1 else "break"
        parts.append(f"{len(comparison.broken)} {verb} a rule: {', '.join(broken[:_LISTED])}{rest}")
    return "; ".join(parts) + "."


def _broken(change: Change, rule: Rule) -> str:
    by = f"{change.old}, now {change.new}" if change.change is None else f"{change.change:.2f}"
    return f"{rule} by {' '.join(change.cell)} ({by})"


def _counted(count: int, word: str, plural: str = "") -> str:
    return f"{count} {word if count == 1 else plural or f'{word}s'}"

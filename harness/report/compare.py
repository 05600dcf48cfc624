"""What changed between two runs: status, accuracy and latency, cell by cell, and rules that a change breaks."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
from rich.table import Table
from rich.text import Text

from harness.errors import UsageError
from harness.report.content import milliseconds, small
from harness.report.frame import CELL, latest
from harness.runtimes.coreml.plan import ComputePlan, difference
from harness.timing import intervals_differ

# An error that grows or shrinks by no more than this factor is the same: sums are reordered between machines.
ACCURACY_FACTOR = 1.1
# Lines of a difference between two compute plans that are shown.
_LISTED = 5

Kind = Literal["status", "accuracy", "latency", "placement"]
Verdict = Literal["better", "worse", "same", "not comparable"]


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

    ``old`` and ``new`` are statuses, maximum absolute errors or median milliseconds, formatted.
    ``reason`` says why a verdict is what it is, ``breaks`` which rules it breaks.
    """

    cell: tuple[str, ...]
    kind: Kind
    old: str
    new: str
    verdict: Verdict
    change: float | None = None
    reason: str = ""
    breaks: tuple[Rule, ...] = ()


def parse_rules(text: str) -> tuple[Rule, ...]:
    """Rules from ``status``, ``accuracy``, ``latency``, each but the first with ``>FACTOR`` if one is wanted,
    separated by commas: ``status,latency>1.2``. Raises UsageError, also for factors below what counts as a
    change at all.
    """
    rules = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*(?:(status)|(accuracy|latency)(?:\s*>\s*(\d+(?:\.\d+)?))?)\s*", part)
        factor = float(found[3]) if found and found[3] else 1.0
        kind: Kind = "status" if found is None or found[1] else "accuracy" if found[2] == "accuracy" else "latency"
        least = ACCURACY_FACTOR if kind == "accuracy" else 1.0
        if found is None or (found[3] and factor < least):
            raise UsageError(
                "this is no rule",
                received=repr(part.strip()),
                supported="status, accuracy, latency, "
                f"accuracy>FACTOR with a factor from {ACCURACY_FACTOR}, latency>FACTOR with a factor from 1",
            )
        rules.append(Rule(kind, factor))
    return tuple(rules)


def compare_runs(old: pd.DataFrame, new: pd.DataFrame, rules: tuple[Rule, ...] = ()) -> list[Change]:
    """All that changed from ``old`` to ``new`` (frames as of to_frame; of each cell the latest record).

    A status changes by its name. Accuracy changes if the maximum absolute error does by more than
    ``ACCURACY_FACTOR``. Latency changes only if the 95 % confidence intervals of the medians do not overlap,
    and cannot be compared between machines. What is the same is left out. A rule is broken by what is worse,
    by more than the rule's factor.
    """
    before, after = _by_cell(old), _by_cell(new)
    changes = []
    for cell in dict.fromkeys((*before, *after)):
        first, second = before.get(cell), after.get(cell)
        if first is None or second is None:
            changes.append(_appearance(cell, first, second))
        else:
            kinds = (_status, _accuracy, _latency, _placement)
            changes += [kind(cell, first, second) for kind in kinds]
    return [_judged(change, rules) for change in changes if change.verdict != "same"]


def _by_cell(frame: pd.DataFrame) -> dict[tuple[str, ...], Mapping[str, Any]]:
    rows: list[dict[Any, Any]] = latest(frame).to_dict("records")
    return {tuple(row[name] for name in CELL): row for row in rows}


def _appearance(cell: tuple[str, ...], first: Mapping[str, Any] | None, second: Mapping[str, Any] | None) -> Change:
    if first is None:
        assert second is not None
        return Change(cell, "status", "absent", second["status"], "not comparable", reason="only the new run has it")
    # What is no longer run is no longer known to pass.
    verdict: Verdict = "worse" if first["status"] == "passed" else "not comparable"
    return Change(cell, "status", first["status"], "absent", verdict, reason="only the old run has it")


def _status(cell: tuple[str, ...], first: Mapping[str, Any], second: Mapping[str, Any]) -> Change:
    old, new = first["status"], second["status"]
    verdict: Verdict = "same"
    if old != new:
        verdict = "better" if new == "passed" else "worse" if old == "passed" else "not comparable"
    return Change(cell, "status", old, new, verdict, reason=second["error"] if verdict != "same" else "")


def _accuracy(cell: tuple[str, ...], first: Mapping[str, Any], second: Mapping[str, Any]) -> Change:
    old, new = first["max_abs_error"], second["max_abs_error"]
    verdict: Verdict = "same"
    if not (math.isnan(old) or math.isnan(new)):  # where there is none, the status says so
        verdict = "worse" if new > old * ACCURACY_FACTOR else "better" if old > new * ACCURACY_FACTOR else "same"
    return Change(cell, "accuracy", small(old), small(new), verdict, _quotient(new, old))


def _latency(cell: tuple[str, ...], first: Mapping[str, Any], second: Mapping[str, Any]) -> Change:
    old, new = first["median_ms"], second["median_ms"]
    verdict: Verdict = "not comparable"
    reason, change = "", None
    if math.isnan(old) or math.isnan(new):
        verdict = "same"  # what was not timed did not change
    elif (first["machine"], first["system"]) != (second["machine"], second["system"]):
        reason = (
            f"{first['machine']}, {first['system']} is another machine than {second['machine']}, {second['system']}"
        )
    elif math.isnan(first["median_low_ms"]) or math.isnan(second["median_low_ms"]):
        reason = "too few samples for a confidence interval"
    else:
        before, after = ((record["median_low_ms"], record["median_high_ms"]) for record in (first, second))
        differ = intervals_differ(before, after)
        verdict, change = ("worse" if new > old else "better") if differ else "same", _quotient(new, old)
    return Change(cell, "latency", milliseconds(old), milliseconds(new), verdict, change, reason)


def _placement(cell: tuple[str, ...], first: Mapping[str, Any], second: Mapping[str, Any]) -> Change:
    """Core ML's estimates of where operations are executed; no verdict, for an estimate is neither good nor bad."""
    if not first["compute_plan"] or not second["compute_plan"]:
        return Change(cell, "placement", "", "", "same")
    plans = [ComputePlan.from_json(record["compute_plan"]) for record in (first, second)]
    lines = difference(*plans).lines()
    if not lines:
        return Change(cell, "placement", "", "", "same")
    old, new = (
        ", ".join(f"{kind} {'?' if share is None else f'{share:.0%}'}" for kind, share in plan.shares().items())
        for plan in plans
    )
    rest = f" and {len(lines) - _LISTED} more" if len(lines) > _LISTED else ""
    return Change(cell, "placement", old, new, "not comparable", reason="; ".join(lines[:_LISTED]) + rest)


def _quotient(new: float, old: float) -> float | None:
    if math.isnan(new) or math.isnan(old):
        return None
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


def changes_table(changes: list[Change]) -> Table | Text:
    """What changed, for the terminal; broken rules are red."""
    if not changes:
        return Text("Nothing changed.")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for header in ("Cell", "What"):
        table.add_column(header, overflow="fold")
    for header in ("Old", "New", "New/old"):
        table.add_column(header, justify="right")
    table.add_column("Verdict", overflow="fold")
    units = {
        "status": "status", "accuracy": "max error", "latency": "median ms", "placement": "placement, estimated",
    }  # fmt: skip
    for change in changes:
        quotient = "" if change.change is None else f"{change.change:.2f}"
        verdict = change.verdict + (f": {change.reason}" if change.reason else "")
        style = "bold red" if change.breaks else {"better": "green", "worse": "yellow"}.get(change.verdict, "dim")
        table.add_row(
            Text(" ".join(change.cell)),
            units[change.kind],
            change.old,
            change.new,
            quotient,
            Text(verdict),
            style=style,
        )
    return table

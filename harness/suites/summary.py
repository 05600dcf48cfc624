"""Counts over a suite's rows: how much passed, at which tolerance, and what that is worth."""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from harness.limitations import Limitation, limitations
from harness.suites.comparisons import ANSWERS, LEVELS, Answer, Level
from harness.suites.workers import Row

Verdict = Literal["not predicted", "unjudged", "judged"]

LIMITATIONS_OF = "suites.coremltools"


@dataclass(frozen=True)
class Case:
    """One test and what became of it."""

    row: Row

    @property
    def id(self) -> str:
        """Of the test; see plugin.stable_ids."""
        return str(self.row["id"])

    @cached_property
    def verdict(self) -> Verdict:
        """``not predicted``: skipped or expected to fail, or no ML Program was asked to predict. ``unjudged``:
        it passed and compared no numbers with a prediction (shapes, statistics, messages)."""
        if self.row["outcome"] == "crashed":
            return "judged"
        if self.row["outcome"] != "skipped" and (self.row["load_errors"] or self.row["calls"]):
            return "unjudged" if self.passed("portable", "own") and not self.row["comparisons"] else "judged"
        return "not predicted"

    @cached_property
    def failed(self) -> bool:
        """Failed in what concerns the runtime: by its own checks, or at 1e-2."""
        return self.verdict == "judged" and not (self.passed("portable", "own") and self.passed("portable", "loose"))

    @property
    def is_control(self) -> bool:
        """Whether controls mean anything: something other than zeros was expected."""
        return any(comparison["nonzero"] for comparison in self.row.get("comparisons", ()))

    def passed(self, answer: Answer, level: Level) -> bool:
        """Whether all comparisons pass for that answer at that level, and for ours whether the test ended well.

        At a level of ours, a test may have failed by its own, narrower comparison.
        """
        comparisons = self.row.get("comparisons", ())
        agreed = bool(comparisons) and all(comparison["passed"][answer][level] for comparison in comparisons)
        if answer != "portable":
            return agreed
        if level == "own":
            return bool(self.row["outcome"] == "passed" and not self.row["load_errors"])
        narrower = any(not comparison["passed"]["portable"]["own"] for comparison in comparisons)
        return agreed and not self.row["load_errors"] and (self.row["outcome"] == "passed" or narrower)

    @property
    def reason(self) -> str:
        """Why it failed, in a line."""
        if errors := [*self.row.get("load_errors", ()), *self.row.get("errors", ())]:
            return str(errors[0])
        if self.row["outcome"] != "passed":
            return str(self.row.get("reason", ""))
        worst = max((comparison["worst"] for comparison in self.row["comparisons"]), default=0.0)
        return f"passes its own tolerance and not 1e-2: largest difference {worst:.3g}"

    @property
    def op(self) -> str:
        """The op that an error names, else those of the program (without casts), else the test."""
        words = self.reason.split()
        if "op" in words[:-1]:
            return words[words.index("op") + 1]
        ops = [op for op in self.row.get("ops", ()) if op != "cast"] or self.row.get("ops", ())
        return " ".join(ops) if 0 < len(ops) <= 3 else self.test

    @property
    def test(self) -> str:
        """File, class and function, without folders and parameters."""
        return self.id.partition("[")[0].rpartition("/")[2]

    @cached_property
    def limitation(self) -> Limitation | None:
        """The known one that explains the failure. An inexact result is one that passes at 1e-2."""
        for item in limitations(LIMITATIONS_OF):
            if item.kind == "inexact" and not self.passed("portable", "loose"):
                continue
            if fnmatch.fnmatchcase(self.id, f"*{item.what}"):
                return item
        return None


@dataclass(frozen=True)
class PartResult:
    """All of one part that was run. ``collected`` counts everything the part holds."""

    name: str
    collected: int
    not_collected: Mapping[str, str]
    rows: tuple[Row, ...]

    @cached_property
    def cases(self) -> tuple[Case, ...]:
        """All, in the order of collection."""
        return tuple(Case(row) for row in self.rows)

    def count(self, *verdicts: Verdict) -> int:
        """How many cases have one of these verdicts."""
        return sum(case.verdict in verdicts for case in self.cases)

    @property
    def judged(self) -> tuple[Case, ...]:
        """Those whose predictions were compared with numbers, or failed before."""
        return tuple(case for case in self.cases if case.verdict == "judged")

    @property
    def controls(self) -> tuple[Case, ...]:
        """Those in which a control means something."""
        return tuple(case for case in self.judged if case.is_control)

    def share(self, answer: Answer, level: Level) -> float | None:
        """Share of passed cases, in percent; of the controls where ``answer`` is one. None where there are none."""
        cases = self.judged if answer == "portable" else self.controls
        return 100 * sum(case.passed(answer, level) for case in cases) / len(cases) if cases else None

    @property
    def not_predicted(self) -> Counter[str]:
        """Why tests ended before a prediction: reasons of those that were skipped or failed without one."""
        ended = (case.row for case in self.cases if case.verdict == "not predicted")
        return Counter(f"{row['outcome']}: {row['reason']}" for row in ended if row["outcome"] != "passed")

    @property
    def failures(self) -> tuple[Case, ...]:
        """Cases that fail, by op and reason."""
        return tuple(sorted((case for case in self.cases if case.failed), key=lambda case: (case.op, case.reason)))

    @property
    def ops(self) -> tuple[str, ...]:
        """MIL ops of programs in cases that pass at 1e-2 with values other than zeros."""
        good = (case for case in self.controls if case.passed("portable", "loose"))
        return tuple(sorted({op for case in good for op in case.row["ops"]}))

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "part": self.name,
            "collected": self.collected,
            "not_collected": dict(self.not_collected),
            "run": len(self.rows),
            "predicted": self.count("judged", "unjudged"),
            "unjudged": self.count("unjudged"),
            "judged": self.count("judged"),
            "controls": len(self.controls),
            "passed_percent": {answer: {level: self.share(answer, level) for level in LEVELS} for answer in ANSWERS},
            "not_predicted": dict(self.not_predicted.most_common()),
            "ops": list(self.ops),
            "failures": [
                {
                    "id": case.id,
                    "op": case.op,
                    "reason": case.reason,
                    "limitation": case.limitation.reason if case.limitation else None,
                }
                for case in self.failures
            ],
        }


@dataclass(frozen=True)
class SuiteResult:
    """The parts in the order in which they were asked for."""

    parts: tuple[PartResult, ...]

    @property
    def unexplained(self) -> tuple[Case, ...]:
        """Failures that no known limitation explains."""
        return tuple(case for part in self.parts for case in part.failures if case.limitation is None)

    @property
    def ops(self) -> tuple[str, ...]:
        """See PartResult.ops; of all parts."""
        return tuple(sorted({op for part in self.parts for op in part.ops}))

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "parts": [part.to_json() for part in self.parts],
            "ops": list(self.ops),
            "unexplained": len(self.unexplained),
        }


def grouped(cases: tuple[Case, ...]) -> Iterator[tuple[str, str, list[Case]]]:
    """Failures by op and the limitation or beginning of their reason, the most frequent first."""
    groups: dict[tuple[str, str], list[Case]] = {}
    for case in cases:
        kind = case.limitation.what if case.limitation else _kind(case.reason)
        groups.setdefault((case.op, kind), []).append(case)
    sizes = Counter({key: len(members) for key, members in groups.items()})
    for (op, kind), _ in sizes.most_common():
        yield op, kind, groups[op, kind]


def _kind(reason: str) -> str:
    """A reason without the figures that differ from case to case."""
    text = "".join("0" if character.isdigit() else character for character in reason)
    while "00" in text:
        text = text.replace("00", "0")
    return text[:60]

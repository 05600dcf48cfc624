"""Counts over a suite's rows: what became of every test, how much passed at which tolerance, and what that is worth."""

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

# What became of a test that was run; each has exactly one, so that no test leaves the figures.
#
# skipped: by coremltools or pytest. library missing: skipped by us, for it uses a library that is not installed.
# expected to fail: by coremltools; also where it passed. no prediction: it passed and asked no model to predict.
# failed before predicting: no model was asked to predict, and the error is none of the portable runtime's. no numbers:
# it passed, predicted and compared no numbers (shapes, statistics, messages). judged: it compared predicted numbers,
# or failed while or after it predicted.
Verdict = Literal[
    "skipped", "library missing", "expected to fail", "no prediction", "failed before predicting", "no numbers",
    "judged",
]  # fmt: skip
VERDICTS: tuple[Verdict, ...] = (
    "skipped", "library missing", "expected to fail", "no prediction", "failed before predicting", "no numbers",
    "judged",
)  # fmt: skip
WITH_REASONS = VERDICTS[:3]
_BEFORE: Verdict = "failed before predicting"

_OF_OUTCOMES: Mapping[str, Verdict] = {
    "skipped": "skipped", "absent": "library missing", "xfailed": "expected to fail", "xpassed": "expected to fail",
    "not run": _BEFORE, "not collected": _BEFORE, "crashed": "judged",
}  # fmt: skip

LIMITATIONS_OF = "suites.coremltools"
_RAISES = " raises "


@dataclass(frozen=True)
class Case:
    """One test and what became of it; or a module that could not be collected."""

    row: Row

    @property
    def id(self) -> str:
        """Of the test; see plugin.stable_ids."""
        return str(self.row["id"])

    @cached_property
    def verdict(self) -> Verdict:
        """See VERDICTS."""
        if known := _OF_OUTCOMES.get(self.row["outcome"]):
            return known
        passed = self.row["outcome"] == "passed"
        if not (self.row["calls"] or self.row["load_errors"] or self.row["is_ours"]):
            return "no prediction" if passed else _BEFORE
        return "no numbers" if self.passed("portable", "own") and not self.row["comparisons"] else "judged"

    @cached_property
    def failed(self) -> bool:
        """Failed before it predicted, or in what concerns the runtime: by its own checks, or at 1e-2."""
        passed = self.passed("portable", "own") and self.passed("portable", "loose")
        return self.verdict == _BEFORE or (self.verdict == "judged" and not passed)

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
            return words[words.index("op") + 1].strip("'\":,")
        ops = [op for op in self.row.get("ops", ()) if op != "cast"] or self.row.get("ops", ())
        return " ".join(ops) if 0 < len(ops) <= 3 else self.test

    @property
    def test(self) -> str:
        """File, class and function, without folders and parameters."""
        return self.id.partition("[")[0].rpartition("/")[2]

    @cached_property
    def limitation(self) -> Limitation | None:
        """The known one that explains the failure: its ``what`` is a pattern of the test's id, and of the error after
        `` raises ``. An inexact result is one that passes at 1e-2; another one must name the error."""
        for item in limitations(LIMITATIONS_OF):
            test, _, error = item.what.partition(_RAISES)
            if item.kind == "inexact" and not self.passed("portable", "loose"):
                continue
            if fnmatch.fnmatchcase(self.id, f"*{test}") and fnmatch.fnmatchcase(self.reason, f"*{error}*"):
                return item
        return None


@dataclass(frozen=True)
class PartResult:
    """All of one part that was run. ``collected`` counts everything the part holds; ``not_collected`` are modules and
    classes, with an outcome and a reason, of which nobody knows how many tests they hold."""

    name: str
    collected: int
    not_collected: Mapping[str, Mapping[str, str]]
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
        """Those whose predictions were compared with numbers, or that failed while or after they predicted."""
        return tuple(case for case in self.cases if case.verdict == "judged")

    @property
    def controls(self) -> tuple[Case, ...]:
        """Those in which a control means something."""
        return tuple(case for case in self.judged if case.is_control)

    def share(self, answer: Answer, level: Level) -> float | None:
        """Share of passed cases, in percent; of the controls where ``answer`` is one. None where there are none."""
        cases = self.judged if answer == "portable" else self.controls
        return 100 * sum(case.passed(answer, level) for case in cases) / len(cases) if cases else None

    def reasons(self, verdict: Verdict) -> Counter[str]:
        """Why tests were skipped or expected to fail."""
        return Counter(str(case.row.get("reason", "")) for case in self.cases if case.verdict == verdict)

    @property
    def failures(self) -> tuple[Case, ...]:
        """Cases that fail, by verdict, op and reason; those that are judged, and those that failed before they
        predicted, with the modules that could not be collected."""
        lost = (
            Case({"id": name, "outcome": "not collected", "reason": item["reason"]})
            for name, item in self.not_collected.items()
            if item["outcome"] == "failed"
        )
        failed = [*lost, *(case for case in self.cases if case.failed)]
        return tuple(sorted(failed, key=lambda case: (case.verdict, case.op, case.reason)))

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
            "not_collected": {name: dict(item) for name, item in self.not_collected.items()},
            "run": len(self.rows),
            "verdicts": {verdict: self.count(verdict) for verdict in VERDICTS},
            "reasons": {verdict: dict(self.reasons(verdict).most_common()) for verdict in WITH_REASONS},
            "controls": len(self.controls),
            "passed_percent": {answer: {level: self.share(answer, level) for level in LEVELS} for answer in ANSWERS},
            "ops": list(self.ops),
            "failures": [
                {
                    "id": case.id,
                    "verdict": case.verdict,
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


def grouped(cases: tuple[Case, ...]) -> Iterator[list[Case]]:
    """Failures by verdict, op and the limitation or beginning of their reason, the most frequent first."""
    groups: dict[tuple[str, str, str], list[Case]] = {}
    for case in cases:
        kind = case.limitation.what if case.limitation else _kind(case.reason)
        groups.setdefault((case.verdict, case.op, kind), []).append(case)
    yield from sorted(groups.values(), key=len, reverse=True)


def _kind(reason: str) -> str:
    """A reason without the figures that differ from case to case."""
    text = "".join("0" if character.isdigit() else character for character in reason)
    while "00" in text:
        text = text.replace("00", "0")
    return text[:60]

from __future__ import annotations

from typing import Any

import pytest

from harness.limitations import Limitation
from harness.suites import summary
from harness.suites.summary import Case, PartResult, SuiteResult, grouped

GOOD = {"own": True, "loose": True, "tight": True}
BAD = {"own": False, "loose": False, "tight": False}


def comparison(portable: dict[str, bool] = GOOD, zeros: dict[str, bool] = BAD, nonzero: bool = True) -> dict[str, Any]:
    return {"passed": {"portable": portable, "zeros": zeros, "flipped": BAD}, "nonzero": nonzero, "worst": 0.5}


def row(test: str = "a/test_x.py::Test::test_y[p]", outcome: str = "passed", **changes: Any) -> dict[str, Any]:
    plain = {"load_errors": [], "errors": [], "calls": 1, "ops": ["cast", "relu"], "comparisons": [comparison()]}
    return {"id": test, "outcome": outcome} | plain | changes


NARROW = {"own": False, "loose": True, "tight": False}
WIDE = {"own": True, "loose": False, "tight": False}


@pytest.mark.parametrize(
    ("changes", "verdict", "own", "loose", "failed"),
    [
        ({}, "judged", True, True, False),
        ({"outcome": "failed", "comparisons": [comparison(BAD)]}, "judged", False, False, True),
        # Its own tolerance is narrower than ours.
        ({"outcome": "failed", "comparisons": [comparison(NARROW)]}, "judged", False, True, True),
        ({"comparisons": [comparison(), comparison(WIDE)]}, "judged", True, False, True),
        # The comparison is fine, something after it is not.
        ({"outcome": "failed"}, "judged", False, False, True),
        ({"outcome": "failed", "comparisons": []}, "judged", False, False, True),
        ({"load_errors": ["op conv 'a' failed"], "calls": 0, "comparisons": []}, "judged", False, False, True),
        # The test expects the error.
        ({"errors": ["op conv 'a' failed"], "comparisons": []}, "unjudged", True, False, False),
        ({"comparisons": []}, "unjudged", True, False, False),
        ({"calls": 0, "comparisons": []}, "not predicted", True, False, False),
        ({"outcome": "failed", "calls": 0, "comparisons": []}, "not predicted", False, False, False),
        ({"outcome": "skipped", "comparisons": [comparison(BAD)]}, "not predicted", False, False, False),
    ],
)
def test_verdicts(changes: dict[str, Any], verdict: str, own: bool, loose: bool, failed: bool) -> None:
    case = Case(row(**changes))
    assert (case.verdict, case.failed) == (verdict, failed)
    assert (case.passed("portable", "own"), case.passed("portable", "loose")) == (own, loose)


def test_a_lost_process_is_a_failure() -> None:
    case = Case({"id": "a::b", "outcome": "crashed", "reason": "no end after 9 s"})
    assert (case.verdict, case.failed, case.reason, case.op) == ("judged", True, "no end after 9 s", "a::b")


def part(*rows: dict[str, Any]) -> PartResult:
    return PartResult("mil", 100, {"a/test_z.py": "needs torch"}, rows)


def test_shares_are_of_the_judged_and_of_the_controls() -> None:
    zeros = comparison(zeros=GOOD, nonzero=False)
    result = part(
        row(), row(), row(outcome="failed", comparisons=[comparison(BAD)]),
        row(comparisons=[zeros]), row(comparisons=[comparison(zeros=GOOD), zeros]),
        row(comparisons=[]), row(outcome="skipped"),
    )  # fmt: skip
    assert (len(result.judged), len(result.controls)) == (5, 4)
    assert (result.count("judged", "unjudged"), result.count("unjudged")) == (6, 1)
    assert [result.share("portable", "loose"), result.share("zeros", "loose")] == [80.0, 25.0]
    assert part().share("portable", "own") is None


def test_ops_are_those_of_passing_tests_that_expect_something() -> None:
    zeros = comparison(nonzero=False)
    result = part(
        row(ops=["conv"]), row(ops=["relu"], comparisons=[zeros]), row(ops=["add"], comparisons=[comparison(BAD)])
    )
    assert result.ops == ("conv",)


@pytest.mark.parametrize(
    ("changes", "op"),
    [
        ({"errors": ["op conv_transpose 'y': no such mode"]}, "conv_transpose"),
        ({"ops": ["cast", "gelu"], "outcome": "failed", "reason": "not equal"}, "gelu"),
        ({"ops": ["a", "b", "c", "d"], "outcome": "failed", "reason": "x"}, "test_x.py::Test::test_y"),
    ],
)
def test_a_failure_names_an_op(changes: dict[str, Any], op: str) -> None:
    assert Case(row(**changes)).op == op


def test_failures_are_grouped_without_their_figures() -> None:
    reasons = ["largest difference 0.25", "largest difference 0.125", "no such input"]
    cases = tuple(Case(row(outcome="failed", reason=reason)) for reason in reasons)
    assert [(op, len(members)) for op, _, members in grouped(cases)] == [("relu", 2), ("relu", 1)]


@pytest.mark.parametrize(
    ("kind", "comparisons", "reasons"),
    [
        ("unsupported", [comparison(BAD)], ["because", None]),
        ("inexact", [comparison(BAD)], [None, None]),
        ("inexact", [comparison(NARROW)], ["because", None]),
    ],
)
def test_a_limitation_explains_failures(
    monkeypatch: pytest.MonkeyPatch, kind: Any, comparisons: Any, reasons: list[str | None]
) -> None:
    known = Limitation("suites.coremltools", "test_x.py::*::test_y[[]p*", kind, "because")
    monkeypatch.setattr(summary, "limitations", lambda where: (known,))
    rows = [
        row(test, outcome="failed", comparisons=comparisons, reason="not equal")
        for test in ("a/test_x.py::Test::test_y[p]", "a/test_x.py::Test::test_z[p]")
    ]
    result = SuiteResult((part(*rows),))
    assert len(result.unexplained) == reasons.count(None)
    failures = result.to_json()["parts"][0]["failures"]
    assert [failure["limitation"] for failure in failures] == reasons

from __future__ import annotations

from typing import Any

import pytest

from harness.limitations import Limitation, limitations
from harness.suites import summary
from harness.suites.summary import VERDICTS, Case, PartResult, SuiteResult, grouped

GOOD = {"own": True, "loose": True, "tight": True}
BAD = {"own": False, "loose": False, "tight": False}


def comparison(portable: dict[str, bool] = GOOD, zeros: dict[str, bool] = BAD, nonzero: bool = True) -> dict[str, Any]:
    return {"passed": {"portable": portable, "zeros": zeros, "flipped": BAD}, "nonzero": nonzero, "worst": 0.5}


def row(test: str = "a/test_x.py::Test::test_y[p]", outcome: str = "passed", **changes: Any) -> dict[str, Any]:
    plain = {
        "is_ours": False,
        "load_errors": [],
        "errors": [],
        "calls": 1,
        "ops": ["cast", "relu"],
        "comparisons": [comparison()],
    }
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
        ({"errors": ["op conv 'a' failed"], "comparisons": []}, "no numbers", True, False, False),
        ({"comparisons": []}, "no numbers", True, False, False),
        ({"calls": 0, "comparisons": []}, "no prediction", True, False, False),
        ({"outcome": "failed", "calls": 0, "comparisons": []}, "failed before predicting", False, False, True),
        # Raised in the portable runtime, which was asked for something else than a prediction.
        ({"outcome": "failed", "calls": 0, "is_ours": True, "comparisons": []}, "judged", False, False, True),
        ({"outcome": "not run", "comparisons": []}, "failed before predicting", False, False, True),
        ({"outcome": "skipped", "comparisons": [comparison(BAD)]}, "skipped", False, False, False),
        ({"outcome": "absent", "calls": 0, "comparisons": []}, "library missing", False, False, False),
        ({"outcome": "xfailed", "comparisons": [comparison(BAD)]}, "expected to fail", False, False, False),
        ({"outcome": "xpassed"}, "expected to fail", False, False, False),
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
    return PartResult("mil", 100, {"a/test_z.py": {"outcome": "skipped", "reason": "needs a phone"}}, rows)


def test_shares_are_of_the_judged_and_of_the_controls() -> None:
    zeros = comparison(zeros=GOOD, nonzero=False)
    result = part(
        row(), row(), row(outcome="failed", comparisons=[comparison(BAD)]),
        row(comparisons=[zeros]), row(comparisons=[comparison(zeros=GOOD), zeros]),
        row(comparisons=[]), row(outcome="skipped"),
    )  # fmt: skip
    assert (len(result.judged), len(result.controls)) == (5, 4)
    assert (result.count("no numbers"), result.count("skipped")) == (1, 1)
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
    assert [[case.op for case in members] for members in grouped(cases)] == [["relu", "relu"], ["relu"]]


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


@pytest.mark.parametrize(
    ("what", "explained"),
    [
        ("test_x.py::Test::test_y* raises op 'Erfc' not implemented", True),
        ("test_x.py::Test::test_y* raises op 'Erf' not implemented", False),
        ("test_x.py::Test::test_z* raises op 'Erfc' not implemented", False),
    ],
)
def test_a_limitation_explains_the_error_that_it_names(
    monkeypatch: pytest.MonkeyPatch, what: str, explained: bool
) -> None:
    known = Limitation("suites.coremltools", what, "unsupported", "because")
    monkeypatch.setattr(summary, "limitations", lambda where: (known,))
    failed = row(outcome="failed", calls=0, comparisons=[], reason="Conversion for TF op 'Erfc' not implemented.")
    assert (Case(failed).limitation is known) is explained


def test_limitations_are_not_blanket() -> None:
    """One that explains more than an inexact result names the error."""
    for item in limitations(summary.LIMITATIONS_OF):
        test, _, error = item.what.partition(" raises ")
        assert len(test.replace("*", "")) > 10, item
        assert item.kind == "inexact" or len(error.replace("*", "")) > 10, item


@pytest.mark.parametrize(("outcome", "failures"), [("failed", 1), ("skipped", 0)])
def test_a_module_that_cannot_be_collected_is_a_failure(outcome: str, failures: int) -> None:
    result = SuiteResult((PartResult("mil", 1, {"a/test_z.py": {"outcome": outcome, "reason": "no op x"}}, (row(),)),))
    assert len(result.unexplained) == failures
    assert [case.id for case in result.unexplained] == ["a/test_z.py"] * failures


def test_every_test_is_in_one_column() -> None:
    outcomes = ("passed", "failed", "skipped", "absent", "xfailed", "xpassed", "crashed", "not run")
    rows = [
        row(outcome=outcome, calls=calls, comparisons=comparisons, load_errors=errors, is_ours=ours)
        for outcome in outcomes
        for calls in (0, 1)
        for comparisons in ([], [comparison()], [comparison(BAD)])
        for errors in ([], ["no"])
        for ours in (False, True)
    ]
    result = part(*rows)
    assert sum(map(result.count, VERDICTS)) == len(rows)
    bad = {id(case.row) for case in result.failures}
    for case in result.cases:
        ended_badly = case.row["outcome"] in ("failed", "crashed", "not run")
        assert not ended_badly or id(case.row) in bad, case.row

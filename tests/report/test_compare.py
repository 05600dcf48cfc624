from __future__ import annotations

import math
from typing import Any

import pytest
from rich.console import Console

from harness.errors import UsageError
from harness.record import Record
from harness.report.compare import Change, Rule, changes_table, compare_runs, parse_rules
from harness.report.frame import to_frame
from tests.report.conftest import NOTHING, record, samples


def changed(old: Record | None, new: Record | None, rules: str = "status,accuracy,latency") -> list[Change]:
    old_records, new_records = ([] if item is None else [item] for item in (old, new))
    return compare_runs(to_frame(old_records), to_frame(new_records), parse_rules(rules))


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("status", (Rule("status"),)),
        ("accuracy", (Rule("accuracy"),)),
        ("latency>1.2", (Rule("latency", 1.2),)),
        (" accuracy > 2 , status", (Rule("accuracy", 2.0), Rule("status"))),
    ],
)
def test_rules(text: str, rules: tuple[Rule, ...]) -> None:
    assert parse_rules(text) == rules
    assert parse_rules(",".join(map(str, rules))) == rules


@pytest.mark.parametrize(
    "text",
    ["", "speed", "status>2", "latency>", "latency>fast", "latency<1.2", "latency>0.5", "accuracy>1.05", "status,"],
)
def test_what_is_no_rule(text: str) -> None:
    with pytest.raises(UsageError, match="this is no rule"):
        parse_rules(text)


def test_nothing_changed() -> None:
    assert changed(record(), record(run="other", samples=samples(0.0821, seed=5), max_abs_error=3.6e-6)) == []


@pytest.mark.parametrize(
    ("old", "new", "kind", "verdict", "breaks"),
    [
        # status
        ({}, {"status": "failed"}, "status", "worse", True),
        ({}, {"status": "skipped", **NOTHING}, "status", "worse", True),
        ({"status": "failed"}, {}, "status", "better", False),
        ({"status": "failed"}, {"status": "error", **NOTHING}, "status", "not comparable", False),
        # accuracy: by a factor of 1.1
        ({"max_abs_error": 1e-5}, {"max_abs_error": 1.2e-5}, "accuracy", "worse", True),
        ({"max_abs_error": 1.2e-5}, {"max_abs_error": 1e-5}, "accuracy", "better", False),
        ({"max_abs_error": 0.0}, {"max_abs_error": 1e-9}, "accuracy", "worse", True),
        # latency: only where intervals do not overlap
        ({"samples": samples(0.1)}, {"samples": samples(0.11)}, "latency", "worse", True),
        ({"samples": samples(0.11)}, {"samples": samples(0.1)}, "latency", "better", False),
        ({}, {"machine": "arm64"}, "latency", "not comparable", False),
        ({}, {"samples": (0.2,) * 5}, "latency", "not comparable", False),
    ],
)
def test_one_change(old: dict[str, Any], new: dict[str, Any], kind: str, verdict: str, breaks: bool) -> None:
    (change,) = changed(record(**old), record(**new))
    assert (change.kind, change.verdict) == (kind, verdict)
    assert change.breaks == ((Rule(kind),) if breaks else ())  # type: ignore[arg-type]
    assert change.cell == record().cell


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"max_abs_error": 1e-5}, {"max_abs_error": 1.09e-5}),
        ({"max_abs_error": 0.0}, {"max_abs_error": 0.0}),
        ({"samples": samples(0.1, slope=0.001)}, {"samples": samples(0.104, slope=0.001)}),
        ({"samples": ()}, {"samples": samples(0.1)}),
    ],
)
def test_what_is_within_the_noise_is_no_change(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert changed(record(**old), record(**new)) == []


def test_the_quotient_is_new_over_old() -> None:
    (slower,) = changed(record(samples=samples(0.1)), record(samples=samples(0.15)))
    assert slower.change == pytest.approx(1.5, rel=0.02)
    (worse,) = changed(record(max_abs_error=0.0), record(max_abs_error=1e-6))
    assert worse.change == math.inf


@pytest.mark.parametrize(("rule", "breaks"), [("latency>1.2", False), ("latency>1.05", True), ("accuracy", False)])
def test_a_rules_factor(rule: str, breaks: bool) -> None:
    (change,) = changed(record(samples=samples(0.1)), record(samples=samples(0.11)), rule)
    assert bool(change.breaks) == breaks


def test_cells_that_only_one_run_has() -> None:
    (appeared,) = changed(None, record())
    assert (appeared.old, appeared.new, appeared.breaks) == ("absent", "passed", ())
    (gone,) = changed(record(), None)
    assert (gone.old, gone.new, gone.breaks) == ("passed", "absent", (Rule("status"),))
    (never_good,) = changed(record(status="failed"), None)
    assert never_good.breaks == ()


def test_the_latest_record_of_each_run_counts() -> None:
    older, newer = record(run="1", started="2025-01-01", max_abs_error=0.5), record(run="2", started="2025-01-02")
    assert compare_runs(to_frame([newer, older]), to_frame([newer])) == []


def test_the_table() -> None:
    changes = changed(
        record(samples=samples(0.1), max_abs_error=1e-5),
        record(samples=samples(0.15), max_abs_error=1e-6, status="failed", error="[red]why"),
    )
    console = Console(width=120)
    with console.capture() as capture:
        console.print(changes_table(changes))
        console.print(changes_table([]))
    text = capture.get()
    for words in ("unet native float32 portable CPU", "worse: [red]why", "1e-05", "better", "1.5", "Nothing changed."):
        assert words in text

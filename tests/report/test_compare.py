from __future__ import annotations

import math
import re
from typing import Any

import pytest
from rich.console import Console

from harness.errors import UsageError
from harness.record import Record
from harness.report.compare import Change, Rule, RunComparison, changes_table, closing_line, compare_runs, parse_rules
from harness.report.frame import to_frame
from tests.report.conftest import NOTHING, record, samples


def compared(old: list[Record], new: list[Record], *rules: str) -> RunComparison:
    return compare_runs(to_frame(old), to_frame(new), parse_rules(rules))


def changed(old: Record, new: Record, rules: str = "status,accuracy,latency") -> list[Change]:
    return list(compared([old], [new], rules).changes)


@pytest.mark.parametrize(
    ("texts", "rules"),
    [
        (["status"], (Rule("status"),)),
        (["accuracy"], (Rule("accuracy"),)),
        (["latency>1.2"], (Rule("latency", 1.2),)),
        (["latency=1.2"], (Rule("latency", 1.2),)),
        ([" accuracy > 2 , status"], (Rule("accuracy", 2.0), Rule("status"))),
        (["status,latency=2", "accuracy = 2"], (Rule("status"), Rule("latency", 2.0), Rule("accuracy", 2.0))),
    ],
)
def test_rules(texts: list[str], rules: tuple[Rule, ...]) -> None:
    assert parse_rules(texts) == rules
    assert parse_rules(map(str, rules)) == rules


@pytest.mark.parametrize(
    "text",
    [
        "",
        "speed",
        "status>2",
        "status=2",
        "latency>",
        "latency=",
        "latency>fast",
        "latency<1.2",
        "latency>=1.2",
        "latency>0.5",
        "latency=0.5",
        "accuracy>1.05",
        "status,",
    ],
)
def test_what_is_no_rule(text: str) -> None:
    with pytest.raises(UsageError, match="this is no rule"):
        parse_rules([text])


def test_nothing_changed() -> None:
    found = compared([record()], [record(run="other", samples=samples(0.0821, seed=5), max_abs_error=3.6e-6)])
    assert found == RunComparison((), 1)
    assert closing_line(found) == "Nothing changed in 1 cell."


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
    both = record("espcn")
    (appeared,) = compared([both], [both, record()], "status").changes
    assert (appeared.old, appeared.new, appeared.breaks) == ("absent", "passed", ())
    (gone,) = compared([both, record()], [both], "status").changes
    assert (gone.old, gone.new, gone.breaks) == ("passed", "absent", (Rule("status"),))
    (never_good,) = compared([both, record(status="failed")], [both], "status").changes
    assert never_good.breaks == ()


UNTIMED: dict[str, Any] = {"samples": (), "reference_samples": ()}


@pytest.mark.parametrize(
    ("old", "new", "rules", "words"),
    [
        ([], [record()], [], "have no cell in common.*none in the old run; unet native float32 portable CPU in the"),
        ([record()], [], [], "have no cell in common"),
        ([record(), record("a")], [record(precision="float16")], [], "float32 portable CPU and 1 more in the old run"),
        ([record()], [record("other")], ["status"], "have no cell in common"),
        ([record(**UNTIMED)], [record()], ["latency=2"], "no rule had anything to judge.*received latency>2"),
        ([record()], [record(machine="arm64")], ["latency"], "no rule had.*is another machine than"),
        ([record()], [record(samples=(0.2,) * 5)], ["latency"], "no rule had.*5 in the new one, where each needs 6"),
        ([record(**NOTHING)], [record(**NOTHING)], ["accuracy", "latency"], "no rule had anything to judge"),
    ],
)
def test_nothing_compared_is_no_success(old: list[Record], new: list[Record], rules: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        compared(old, new, *rules)


def test_a_rule_without_anything_to_judge_is_named_beside_others() -> None:
    found = compared([record(**UNTIMED)], [record()], "status", "latency=2")
    assert found.idle == (Rule("latency", 2.0),)
    assert closing_line(found) == "Nothing changed in 1 cell; the rule latency>2 had nothing to judge."
    for status in ("failed", "error"):  # a status is judged whatever it is
        never_passed = record(status=status, **NOTHING)
        assert compared([record(status="skipped", **NOTHING)], [never_passed], "status").idle == ()


def moved(factor: float, **values: Any) -> Record:
    """A record of a run in which the machine was so much slower."""
    return record(reference_samples=samples(0.1 * factor, seed=1), run="new", **values)


APART: dict[str, Any] = {"runtime": "coreml", "compute_unit": "ALL", "reference_samples": ()}


@pytest.mark.parametrize(
    ("old", "new", "measure", "verdict", "words"),
    [
        (
            [record()], [moved(1.0, samples=samples(0.246))], "ratio to TensorFlow", "worse",
            r"the ratio to TensorFlow went from 0\.82\d \(95 % interval 0\.8\d\d to 0\.8\d\d\) to 2\.4\d \(95 % "
            r"interval 2\.\d\d to 2\.\d\d\); TensorFlow itself took 1\.\d\d times as long in the (new|old) run as in "
            r"the other, and its samples scatter by 1% in the old run and 1% in the new run \(interquartile range "
            r"over median\), which together accounts for a factor of 1\.0\d and no more",
        ),
        (
            [record()], [moved(2.5, samples=samples(0.0821 * 2.5 * 1.5))], "ratio to TensorFlow", "cannot tell",
            r"TensorFlow itself took 2\.5\d? times as long in the new run.*only a factor beyond 2\.5\d tells",
        ),
        (
            [record(), record(**APART)], [moved(1.0), record(**{**APART, "samples": samples(0.246)})],
            "median ms", "worse",
            r"the median went from 82\.\d ms .* to 24\d ms .*medians are compared, for not every sample "
            r"has one of TensorFlow in its round; TensorFlow itself took",
        ),
        (
            [record(), record(**APART)],
            [moved(2.5, samples=samples(0.205)), record(**{**APART, "samples": samples(0.16)})],
            "median ms", "cannot tell", r"TensorFlow itself took 2\.5",
        ),
        (
            [record(**APART)], [record(**{**APART, "samples": samples(0.246)})], "median ms", "worse",
            "TensorFlow was not timed with this model in either run, so that a slower machine would look the same",
        ),
        (
            [record(), record(**APART)], [record(**{**APART, "samples": samples(0.246)})], "median ms", "worse",
            "TensorFlow was timed with this model in one run only; its samples scatter by 1% in the old run",
        ),
        (
            [record()], [record(reference="tflite")], "median ms", "not comparable",
            "timed beside TensorFlow in the old run and beside TensorFlow Lite in the new one",
        ),
    ],
)  # fmt: skip
def test_how_latency_is_judged(old: list[Record], new: list[Record], measure: str, verdict: str, words: str) -> None:
    (change,) = [item for item in compared(old, new).changes if item.kind == "latency"]
    assert (change.measure, change.verdict) == (measure, verdict)
    assert re.search(words, change.reason), change.reason


def test_a_slower_machine_breaks_no_rule() -> None:
    """The same ratio on a machine 3 times slower, and half more on one 2.5 times slower, where nothing can be told."""
    slower = moved(3.0, samples=samples(0.2463, seed=3))
    assert changed(record(), slower, "latency=1.2") == []
    found = compared([record()], [moved(2.5, samples=samples(0.0821 * 2.5 * 1.5))], "latency=1.2")
    assert found.broken == ()
    assert closing_line(found) == "Nothing changed in 1 cell; 1 latency cannot be told from noise."


def test_the_latest_record_of_each_run_counts() -> None:
    older, newer = record(run="1", started="2025-01-01", max_abs_error=0.5), record(run="2", started="2025-01-02")
    assert compared([newer, older], [newer]).changes == ()


def test_the_table_and_its_closing_line() -> None:
    """A broken rule stands in its row and below, in words: colours are lost in a log."""
    found = compared(
        [record(samples=samples(0.1), max_abs_error=1e-5), record("espcn")],
        [record(samples=samples(0.15), max_abs_error=1e-6, status="failed", error="[red]why"), record("espcn")],
        "status,latency=1.2",
    )
    console = Console(width=200)
    with console.capture() as capture:
        console.print(changes_table(found.changes))
    text = capture.get()
    for words in (
        "unet native float32 portable CPU", "worse, breaks status ", "1 [red]why", "1e-05", "better", "1.5",
        "worse, breaks latency>1.2 ", "2 the ratio to TensorFlow went from",
    ):  # fmt: skip
        assert words in text
    cell = "unet native float32 portable CPU"
    assert re.fullmatch(
        rf"3 changes in 2 cells; 2 break a rule: status by {cell} \(passed, now failed\), "
        rf"latency>1.2 by {cell} \(1\.\d\d\)\.",
        closing_line(found),
    )


def test_the_closing_line_names_a_few_of_many() -> None:
    names = [f"model {index}" for index in range(7)]
    found = compared([record(name) for name in names], [record(name, status="failed") for name in names], "status")
    line = closing_line(found)
    assert line.startswith("7 changes in 7 cells; 7 break a rule: status by model 0 native float32")
    assert line.endswith("status by model 4 native float32 portable CPU (passed, now failed) and 2 more.")


def test_labels_are_compared_by_how_many_differ() -> None:
    """Labels are as far apart as before, and differ in four times as many elements."""
    sides = [[record(judged_as="labels", deviation=share, max_abs_error=197.0)] for share in (0.001, 0.004)]
    (change,) = compared(*sides).changes
    assert (change.kind, change.verdict, change.measure) == ("accuracy", "worse", "labels that differ")
    assert (change.old, change.new) == ("1e-03", "4e-03")
    beside = [[record(judged_as=kind, deviation=1e-6, max_abs_error=1e-6)] for kind in ("absolute", "range")]
    assert compared(*beside).changes == ()

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from harness.errors import HarnessError, StoreError, UnknownNameError, UsageError
from harness.suites import coremltools as suite
from harness.suites.command import suite_coremltools
from harness.suites.workers import Row, Settings

IDS = [f"coremltools/test_x.py::test[{number}]" for number in range(20)]


def row(test: str, passes: bool) -> Row:
    levels = dict.fromkeys(("own", "loose", "tight"), passes)
    comparison = {
        "passed": {"portable": levels, "zeros": dict.fromkeys(levels, False), "flipped": dict.fromkeys(levels, False)},
        "nonzero": True,
        "worst": 0.0 if passes else 1.0,
    }
    return {
        "id": test, "outcome": "passed" if passes else "failed", "reason": "not equal", "is_ours": False,
        "load_errors": [], "errors": [], "calls": 1, "ops": ["relu"], "comparisons": [comparison],
    }  # fmt: skip


class Runs:
    """In place of pytest's processes: every test passes, except those named; notes what it was asked."""

    def __init__(self) -> None:
        self.collections = 0
        self.asked: list[str] = []
        self.failing: set[str] = set()
        self.not_collected = {"coremltools/test_z.py": {"outcome": "skipped", "reason": "needs a phone"}}
        self.stop_after: int | None = None

    def collect(self, paths: Sequence[Path], settings: Settings) -> Row:
        self.collections += 1
        return {"ids": IDS, "not_collected": self.not_collected}

    def run_tests(self, ids: Sequence[str], jobs: int, settings: Settings) -> Iterator[Row]:
        for count, test in enumerate(ids):
            if count == self.stop_after:
                raise KeyboardInterrupt
            self.asked.append(test)
            yield row(test, test not in self.failing)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    made = Runs()
    monkeypatch.setattr(suite, "collect", made.collect)
    monkeypatch.setattr(suite, "run_tests", made.run_tests)
    return made


def run(folder: Path, sample: int | None = None, **changes: Any) -> Any:
    arguments: dict[str, Any] = {"parts": ["mil"], "sample": sample, "seed": 1, "jobs": 1, "folder": folder}
    return suite.run_suite(**arguments | {"progress": lambda *_: None} | changes)


def test_samples_are_nested_and_depend_on_the_seed() -> None:
    small, large, other = suite.choose(IDS, 4, 1), suite.choose(IDS, 9, 1), suite.choose(IDS, 9, 2)
    assert (len(small), len(large)) == (4, 9)
    assert set(small) < set(large) != set(other)
    assert large == [test for test in IDS if test in large]
    assert suite.choose(IDS, None, 1) == suite.choose(IDS, 99, 1) == IDS


def test_an_interrupted_run_goes_on(tmp_path: Path, runs: Runs) -> None:
    runs.stop_after = 5
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, 8)
    runs.stop_after = None
    (results,) = tmp_path.glob("mil-seed1-*.jsonl")
    with results.open("a") as file:
        file.write('{"id": "half a li')
    seen: list[tuple[int, int]] = []
    result = run(tmp_path, 8, progress=lambda part, done, total, row: seen.append((done, total)))
    assert sorted(runs.asked) == sorted(suite.choose(IDS, 8, 1))
    assert seen == [(5, 8), (6, 8), (7, 8), (8, 8)]
    assert runs.collections == 1
    assert [case.id for case in result.parts[0].cases] == suite.choose(IDS, 8, 1)
    run(tmp_path, 8)
    assert len(runs.asked) == 8


@pytest.mark.parametrize(("changed", "collections"), [("runtime_hash", 1), ("environment_hash", 2)])
def test_results_of_another_runtime_are_not_reused(
    tmp_path: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch, changed: str, collections: int
) -> None:
    run(tmp_path, 3)
    monkeypatch.setattr(suite, changed, lambda: "another")
    run(tmp_path, 3)
    assert (len(runs.asked), runs.collections) == (6, collections)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"parts": ["mil", "torch"]}, UnknownNameError),
        ({"jobs": 0}, UsageError),
        ({"sample": 0}, UsageError),
    ],
)
def test_arguments_that_do_not_fit(tmp_path: Path, runs: Runs, changes: Any, error: type[HarnessError]) -> None:
    with pytest.raises(error):
        run(tmp_path, **changes)
    assert not runs.collections


def test_libraries_that_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "_LIBRARIES", {"tf1": ("no_such_library", "numpy")})
    with pytest.raises(UsageError, match=r"received no_such_library\."):
        run(tmp_path, parts=["tf1"])


def test_a_damaged_list_of_ids_is_told(tmp_path: Path, runs: Runs) -> None:
    run(tmp_path, 1)
    (collected,) = tmp_path.glob("mil-collected-*.json")
    collected.write_text("{")
    with pytest.raises(StoreError, match="Delete it"):
        run(tmp_path, 1)


def called(tmp_path: Path, *arguments: str) -> Any:
    app = typer.Typer(rich_markup_mode=None)
    app.command()(suite_coremltools)
    return CliRunner().invoke(app, ["--part", "mil", "--out", str(tmp_path), *arguments], env={"COLUMNS": "200"})


def test_command(tmp_path: Path, runs: Runs) -> None:
    result = called(tmp_path, "--sample", "0")
    assert result.exit_code == 0, result.output
    assert "100" in result.stdout
    assert "test_z.py was not collected (skipped): needs a phone" in result.stdout
    assert "0 ops" not in result.stdout


def test_command_lists_failures(tmp_path: Path, runs: Runs) -> None:
    runs.failing = set(IDS[:2])
    result = called(tmp_path, "--sample", "0")
    assert result.exit_code == 1
    assert "90.0" in result.stdout
    assert "relu" in result.stdout
    assert "test_x.py::test[0]" in result.stdout


def test_command_in_json(tmp_path: Path, runs: Runs) -> None:
    runs.failing = set(IDS[:2])
    result = called(tmp_path, "--json", "--sample", "0")
    assert result.exit_code == 1
    (part,) = json.loads(result.stdout)["parts"]
    assert (part["collected"], part["run"], part["verdicts"]["judged"]) == (20, 20, 20)
    assert part["passed_percent"]["portable"] == {"own": 90.0, "loose": 90.0, "tight": 90.0}
    assert part["passed_percent"]["zeros"]["tight"] == 0.0
    assert [failure["id"] for failure in part["failures"]] == IDS[:2]

"""The command line without a model: what it says, of stored results and of itself, and its exit statuses."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from email.message import Message
from importlib.metadata import version
from pathlib import Path

import pytest

from harness import plugins
from harness.errors import InputError, InternalError
from harness.inputs import check_files
from harness.record import Record
from harness.store import RECORDS_FILE, RunInfo, Store
from tests.conftest import Harness
from tests.report.conftest import record, samples


def stored(folder: str, *records: Record) -> Path:
    """The folder of a run with these records."""
    with Store(folder).begin(RunInfo()) as run:
        for item in records:
            run.append(replace(item, run=run.name))
    return run.folder


# Of stored results


@pytest.mark.parametrize("arguments", [["report", "typo"], ["compare", "typo", "old"], ["compare", "old", "typo"]])
def test_a_folder_that_is_not_there(harness: Harness, arguments: list[str]) -> None:
    stored("old", record())
    done = harness(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "there is no folder typo" in done.err
    assert not Path("typo").exists()


def empty(folder: str) -> Path:
    """A run without records, as earlier versions left them."""
    run = stored(folder, record())
    (run / RECORDS_FILE).write_text("")
    return run


def test_a_run_without_records_is_no_run(harness: Harness) -> None:
    good = stored("good", record())
    mixed = stored("mixed", record())
    bad, _ = empty("bad"), empty("mixed")
    for arguments in (["report", "bad"], ["report", bad], ["compare", "bad", good], ["compare", good, bad]):
        done = harness(*arguments)
        assert done.code == 2
        assert f"there is no run in {arguments[1] if arguments[1] != good else bad}" in done.err
    assert harness("compare", "mixed", good).out == "Nothing changed in 1 cell.\n"  # its last run is the one before
    assert harness("compare", mixed, good, "--fail-on", "status").code == 0
    assert list(Path("bad").glob("report.*")) == []


def test_a_report_of_one_run_and_of_all(harness: Harness) -> None:
    stored("out", record("espcn"))
    run = stored("out", record("unet"))
    assert [item["model"] for item in json.loads(harness("report", "out", "--json").out)] == ["espcn", "unet"]
    assert [item["model"] for item in json.loads(harness("report", run, "--json").out)] == ["unet"]
    done = harness("report", run)
    assert done.code == 0
    assert (run / "report.md").exists()
    assert "espcn" not in done.out
    assert not Path("out", "report.md").exists()


RULES = {
    "kept": (["--fail-on", "status"], 0),
    "broken": (["--fail-on", "latency=1.2"], 1),
    "a greater factor": (["--fail-on", "latency=9"], 0),
    "the other form": (["--fail-on", "latency>1.2"], 1),
    "by commas": (["--fail-on", "status,latency=1.2"], 1),
    "repeated": (["--fail-on", "latency=1.2", "--fail-on", "status"], 1),
    "repeated, the other way round": (["--fail-on", "status", "--fail-on", "latency=1.2"], 1),
    "none": ([], 0),
    "no rule": (["--fail-on", "beauty"], 2),
    "an empty one": (["--fail-on", ""], 2),
}


@pytest.mark.parametrize("name", RULES)
def test_rules_of_a_comparison(harness: Harness, name: str) -> None:
    arguments, code = RULES[name]
    old, new = stored("old", record()), stored("new", record(samples=samples(0.246)))
    done = harness("compare", old, new, *arguments)
    assert done.code == code
    breaks = "; 1 breaks a rule: latency>1.2 by unet native float32 portable CPU (3.00)." if code == 1 else "."
    if code != 2:
        assert done.out.splitlines()[-1] == f"1 change in 1 cell{breaks}"


def test_a_comparison_as_json(harness: Harness) -> None:
    old, new = stored("old", record(max_abs_error=0.0)), stored("new", record(max_abs_error=1e-6))
    done = harness("compare", old, new, "--fail-on", "accuracy", "--json")
    (change,) = json.loads(done.out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert (change["verdict"], float(change["change"])) == ("worse", math.inf)
    assert done.err.startswith("1 change in 1 cell; 1 breaks a rule: accuracy by unet")


def test_runs_without_a_cell_in_common(harness: Harness) -> None:
    done = harness("compare", stored("old", record("a")), stored("new", record("b")))
    assert done.code == 2
    assert "no cell in common" in done.err


# Of itself


def test_the_version(harness: Harness) -> None:
    done = harness("--version")
    assert (done.code, done.out, done.err) == (0, f"{version('coreml-harness')}\n", "")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "[OPTIONS] COMMAND [ARGS]"),
        (["--help"], 0, "[OPTIONS] COMMAND [ARGS]"),
        (["compare", "--help"], 0, "latency=1.2"),
        (["frobnicate"], 2, "No such command 'frobnicate'"),
        (["run", "--fast"], 2, "No such option: --fast"),
        (["run", "--samples", "few"], 2, "Invalid value for '--samples'"),
        (["compare", "old"], 2, "Missing argument 'NEW'"),
    ],
)
def test_usage(harness: Harness, arguments: list[str], code: int, words: str) -> None:
    done = harness(*arguments)
    assert done.code == code
    assert words.lower() in f"{done.out}{done.err}".lower()
    assert "Traceback" not in done.err


def fail(error: Exception) -> object:
    def failing(*_: object) -> None:
        raise error

    return failing


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KeyError("cells"), "KeyError: 'cells', in "),
        (ValueError("two\nlines"), "ValueError: two lines, in "),
        (AssertionError(), "AssertionError: AssertionError, in "),
    ],
)
def test_a_slip_of_ours(harness: Harness, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str) -> None:
    monkeypatch.setattr("harness.list_command._limitation_rows", fail(error))
    done = harness("list", "limitations")
    assert done.code == 3
    assert done.err.startswith("harness: this is a slip of harness itself")
    assert words in done.err
    assert "list_ (harness/list_command.py:" in done.err
    assert "Report it, with what `harness --traceback COMMAND` prints." in done.err
    assert "Traceback" not in done.err
    assert len(done.err.splitlines()) == 1
    traced = harness("--traceback", "list", "limitations")
    assert traced.code == 3
    assert traced.err.startswith("Traceback (most recent call last)")
    assert "harness/list_command.py" in traced.err
    assert traced.err.endswith(done.err)


def test_where_a_slip_is_reported(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.list_command._limitation_rows", fail(KeyError("cells")))
    project = Message()
    project["Project-URL"] = "Homepage, https://harness.example"
    project["Project-URL"] = "Issue tracker, https://harness.example/issues"
    monkeypatch.setattr("harness.__main__.metadata", lambda name: project)
    assert "Report it at https://harness.example/issues, with" in harness("list", "limitations").err


def test_an_internal_error_is_a_slip_too(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.list_command._limitation_rows", fail(InternalError("op 'Mul' failed")))
    done = harness("list", "limitations")
    assert (done.code, done.err) == (3, "harness: op 'Mul' failed.\n")


def test_causes_of_an_error_of_harness(harness: Harness) -> None:
    Path("cases").mkdir()
    Path("cases", "broken.py").write_text("1 / 0\n")
    done = harness("list", "models", "--models", "cases")
    assert (done.code, "Traceback" in done.err) == (2, False)
    traced = harness("--traceback", "list", "models", "--models", "cases")
    assert traced.code == 2
    for words in ("ZeroDivisionError", "direct cause of the following exception", "UsageError", 'broken.py", line 1'):
        assert words in traced.err
    assert traced.err.endswith(done.err)


# Text of others is printed as it is.

MARKUP = "a [bold]b[/bold] [rivals] :smile: [/] \\["


def test_brackets_are_no_markup(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    Path("cases").mkdir()
    case = f"from harness.case import ModelCase\nCASE = ModelCase('m [x]', description={MARKUP!r})\n"
    Path("cases", "m.py").write_text(case)
    listed = harness("list", "models", "--models", "cases").out
    assert "m [x]" in listed
    assert MARKUP in listed
    monkeypatch.setattr(
        type(plugins.route("onnxsim")), "unavailable", lambda self: "pip install 'coreml-harness[rivals]'"
    )
    assert "pip install 'coreml-harness[rivals]'" in harness("list", "routes").out
    old, new = stored("old", record("m [x]")), stored("new", record("m [x]", status="error", error=MARKUP))
    compared = harness("compare", old, new).out
    assert "m [x] native float32 portable CPU" in compared
    assert MARKUP in compared


def test_progress_shows_text_as_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from harness.cli import _progress

    monkeypatch.setenv("COLUMNS", "300")
    with _progress(1, 0, quiet=False) as (announce, _):
        announce("loading m [bold]x[/bold]", None)
    assert "loading m [bold]x[/bold]" in capsys.readouterr().err


# What is known before a model is loaded

WATCH = """
import sys
from harness.__main__ import main
sys.argv = ["harness", *sys.argv[1:]]
try:
    main()
finally:
    print("tensorflow" in sys.modules)
"""


@pytest.mark.parametrize(
    "arguments", [["run", "m.keras"], ["convert", "m.keras", "-o", "m.mlpackage"], ["inspect", "m.keras"]]
)
def test_inputs_are_looked_at_before_the_model(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "m.keras").write_bytes(b"a model that is never opened")
    command = [sys.executable, "-c", WATCH, *arguments, "--inputs", "gone.png"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "False\n")
    assert "there is no file of inputs at gone.png" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["m.keras"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("gone.npy", None, "there is no file of inputs at"),
        ("folder.png", "", "there is no file of inputs at"),
        ("text.npy", b"1 2 3", "text.npy is not a .npy array"),
        ("text.png", b"1 2 3", "text.png is not a photograph, and has not the suffix of an array"),
        ("empty.jpg", b"", "empty.jpg is not a photograph"),
        ("array.bin", b"\x93NUMPY\x01\x00", "array.bin is not a photograph"),
        ("array.npy", b"\x93NUMPY\x01\x00", ""),
        ("a picture without a suffix", b"\xff\xd8\xff\xe0", ""),
        ("b.PNG", b"\x89PNG\r\n\x1a\n", ""),
    ],
)
def test_files_of_inputs(tmp_path: Path, name: str, content: bytes | str | None, words: str) -> None:
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.mkdir()
    if words:
        with pytest.raises(InputError, match=words):
            check_files([path])
    else:
        check_files([path])

"""The workflows and the action: what they say, and their shell steps, executed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / ".github" / "scripts" / "workflow_steps.py"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
ACTION_STEPS: dict[str, dict[str, Any]] = {step["name"]: step for step in ACTION["runs"]["steps"]}
DOCUMENT = (ROOT / "docs" / "ci.md").read_text()


def load(path: Path) -> dict[str, Any]:
    workflow: dict[Any, Any] = yaml.safe_load(path.read_text())
    workflow["on"] = workflow.pop(True)  # YAML 1.1 reads a bare `on` so
    return workflow


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in load(path)["jobs"].values() for step in job["steps"]]


ALL_STEPS = [(path.name, step) for path in WORKFLOWS for step in steps(path)]
ALL_STEPS += [("action.yml", step) for step in ACTION_STEPS.values()]


# What they say


@pytest.mark.parametrize(("file", "step"), ALL_STEPS, ids=lambda item: item if isinstance(item, str) else None)
def test_steps(file: str, step: dict[str, Any]) -> None:
    # An expression in a script is text of the script: whoever names a branch or a file could write it.
    assert "${{" not in step.get("run", "")
    if "uses" in step:
        assert re.fullmatch(r"\./|actions/[\w-]+@v\d+", step["uses"])
    if step.get("uses", "").startswith("actions/checkout@"):
        assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_may_little_and_end(path: Path) -> None:
    workflow = load(path)
    assert workflow["permissions"]
    assert set(workflow["permissions"].values()) == {"read"}
    assert "pull_request_target" not in workflow["on"]
    assert workflow["concurrency"]["group"]
    assert all("timeout-minutes" in job and "permissions" not in job for job in workflow["jobs"].values())


def test_macos_matrix() -> None:
    workflow = load(ROOT / ".github" / "workflows" / "macos.yml")
    (job,) = workflow["jobs"].values()
    assert job["strategy"] == {"fail-fast": False, "matrix": {"image": ["macos-14", "macos-15", "macos-26"]}}
    assert job["runs-on"] == "${{ matrix.image }}"
    assert workflow["permissions"] == {"contents": "read", "actions": "read"}
    scripts = " ".join(step.get("run", "") for step in job["steps"])
    for command in ("doctor results", "pytest --benchmark", "harness report", "compare results"):
        assert command in scripts
    upload = job["steps"][-1]
    assert upload["if"] == "${{ always() }}"
    assert "upload-artifact" in upload["uses"]
    # What is uploaded by one run is what the next one asks for.
    (compare,) = (step for step in job["steps"] if "BASELINE_BRANCH" in step.get("env", {}))
    assert compare["env"]["ARTIFACT_NAME"] == upload["with"]["name"]
    # Steps must not take longer together than the job may: a cancelled job uploads nothing it has not got to.
    assert sum(step.get("timeout-minutes", 0) for step in job["steps"]) < job["timeout-minutes"]


def test_inputs_are_documented_and_used() -> None:
    text = (ROOT / "action.yml").read_text()
    assert set(re.findall(r"inputs\.([\w-]+)", text)) == ACTION["inputs"].keys()
    for name, item in ACTION["inputs"].items():
        default = re.escape(f"`{item['default']}`") if item["default"] else ""
        assert item["description"]
        assert re.search(rf"^\| `{name}` \| {default} ?\| \S", DOCUMENT, re.MULTILINE), name
    for name, item in ACTION["outputs"].items():
        assert item["description"]
        assert re.search(rf"^\| `{name}` \| \S", DOCUMENT, re.MULTILINE), name
    tables = re.findall(r"^\| `([\w-]+)` \|", DOCUMENT, re.MULTILINE)
    assert tables == [*ACTION["inputs"], *ACTION["outputs"]]


def test_the_example_is_right() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)
    assert len(example.splitlines()) == 5
    _, step = yaml.safe_load(example)
    assert step["with"].keys() <= ACTION["inputs"].keys()


def test_the_script_reads_what_the_steps_set() -> None:
    read = set(re.findall(r'(?:value|required)\("(\w+)"\)', SCRIPT.read_text()))
    read |= set(re.findall(r'\("--[\w-]+", "(\w+)"\)', SCRIPT.read_text())) | {"MODELS", "PHOTOGRAPHS"}
    ours = {name for name in read if not name.startswith("GITHUB_")}
    given = set().union(*(step.get("env", {}) for step in ACTION_STEPS.values()))
    assert ours <= given
    assert given - ours == {
        "ACTION_PATH", "BIN", "ENVIRONMENT", "GH_TOKEN", "PIP_CACHE_DIR", "PYTHON_PATH", "RUN_FOLDER"
    }  # fmt: skip


def test_actionlint() -> None:
    actionlint = shutil.which("actionlint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if actionlint is None:
        pytest.skip("actionlint is not installed")
    # actionlint reads action.yml too, as test.yml uses it.
    done = subprocess.run([actionlint, *WORKFLOWS], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", [name for name, step in ACTION_STEPS.items() if "run" in step])
def test_shellcheck(name: str) -> None:
    # actionlint looks into the scripts of workflows only.
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed")
    command = [shellcheck, "--shell=bash", "--enable=quote-safe-variables", "-"]
    script = ACTION_STEPS[name]["run"]
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# What they do: commands that note how they were called, and answer as they are told to

RECORDER = """
import json, os, sys
from pathlib import Path
name, arguments = Path(sys.argv[1]).name, sys.argv[2:]
with open(os.environ["CALLS"], "a") as file:
    file.write(json.dumps([name, *arguments]) + "\\n")
said, complaint, status = json.loads(os.environ["ANSWERS"]).get(" ".join([name, *arguments[:2]]), ["", "", 0])
if name == "harness" and arguments[0] == "run" and status != 2:
    folder = Path(arguments[arguments.index("--out") + 1]) / "20260101T000000Z-00000b"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    (folder / "report.md").write_text("# Report\\n\\n![a picture](a.png)\\n")
if name == "gh" and arguments[1] == "download" and status == 0:
    folder = Path(arguments[arguments.index("--dir") + 1])
    (folder / "of_main").write_text("")
sys.stdout.write(said)
sys.stderr.write(complaint)
sys.exit(status)
"""

CONTEXT = {
    "github.action_path": str(ROOT),
    "github.token": "a token",
    "runner.temp": "/tmp/runner temp",
    "steps.python.outputs.python-version": "3.12.9",
    "steps.python.outputs.python-path": "/opt/python3.12",
}


@dataclass
class Step:
    """What a step did."""

    status: int
    log: str
    calls: list[list[str]]
    outputs: dict[str, str]
    summary: str


@dataclass
class Runner:
    """Executes steps as GitHub does: bash, with expressions evaluated in ``env`` only."""

    folder: Path
    answers: dict[str, tuple[str, str, int]] = field(default_factory=dict)
    context: dict[str, str] = field(default_factory=dict)
    stubs: tuple[str, ...] = ("harness", "gh", "make")
    number: int = 0

    def __post_init__(self) -> None:
        self.workspace.mkdir(parents=True)
        self.bin.mkdir()
        (self.folder / "recorder.py").write_text(RECORDER)
        self.command("python", f'exec "{sys.executable}" "$@"')
        for name in self.stubs:
            self.command(name, f'exec "{sys.executable}" "{self.folder}/recorder.py" "$0" "$@"')

    @property
    def workspace(self) -> Path:
        return self.folder / "work space"

    @property
    def bin(self) -> Path:
        return self.folder / "its bin"

    def command(self, name: str, script: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def evaluate(self, text: str, inputs: dict[str, str]) -> str:
        known = CONTEXT | {"steps.install.outputs.bin": str(self.bin)} | self.context
        known |= {f"inputs.{name}": item["default"] for name, item in ACTION["inputs"].items()}
        known |= {f"inputs.{name}": text for name, text in inputs.items()}
        return re.sub(r"\$\{\{ ([\w.-]+) \}\}", lambda found: known[found[1]], text)

    def run(self, step: dict[str, Any], environment: dict[str, str] | None = None, **inputs: str) -> Step:
        given = {name.replace("_", "-"): text for name, text in inputs.items()}
        self.number += 1
        calls, outputs, summary = (self.folder / f"{name}{self.number}" for name in ("calls", "outputs", "summary"))
        for file in (calls, outputs, summary):
            file.touch()
        # Actions pass the token in GH_TOKEN; nothing of this machine's own GitHub settings takes part.
        own = {name: text for name, text in os.environ.items() if not name.startswith(("GITHUB_", "GH_"))}
        own |= {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "CALLS": str(calls), "ANSWERS": json.dumps(self.answers),
            "GITHUB_OUTPUT": str(outputs), "GITHUB_STEP_SUMMARY": str(summary), "GITHUB_PATH": os.devnull,
            "GITHUB_REPOSITORY": "some/body",
            "GITHUB_WORKFLOW_REF": "some/body/.github/workflows/their models.yml@refs/heads/main",
        }  # fmt: skip
        own |= {name: self.evaluate(str(text), given) for name, text in step["env"].items()} | (environment or {})
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=self.workspace, env=own, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        return Step(
            done.returncode,
            done.stdout + done.stderr,
            [json.loads(line) for line in calls.read_text().splitlines()],
            dict(line.split("=", 1) for line in outputs.read_text().splitlines()),
            summary.read_text(),
        )


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


def test_install_and_lock(runner: Runner) -> None:
    runner.context["github.action_path"] = "/actions/some body's $HOME/v1"
    done = runner.run(ACTION_STEPS["Install what is locked"])
    assert done.status == 0, done.log
    assert done.calls == [
        ["make", "-C", "/actions/some body's $HOME/v1", "VENV=.venv-3.12.9", "PYTHON=/opt/python3.12",
         ".venv-3.12.9/.ready"]
    ]  # fmt: skip
    assert done.outputs == {"bin": "/actions/some body's $HOME/v1/.venv-3.12.9/bin"}
    runner.answers = {"make -C /actions/some body's $HOME/v1": ("", "no such wheel", 2)}
    failed = runner.run(ACTION_STEPS["Install what is locked"])
    assert (failed.status, failed.outputs) == (2, {})
    del runner.context["github.action_path"]
    assert re.fullmatch("[0-9a-f]{40}", runner.run(ACTION_STEPS["Lock"]).outputs["hash"])


@pytest.mark.parametrize(("text", "as_json"), [(0, 0), (1, 1), (0, 1), (-11, 0)])
def test_doctor(runner: Runner, text: int, as_json: int) -> None:
    runner.answers = {
        "harness doctor": ("all ```holds```\n", "", text % 256), "harness doctor --json": ('{"a": 1}', "", as_json)
    }  # fmt: skip
    done = runner.run(ACTION_STEPS["Doctor"], results_folder="my results")
    assert (done.status != 0) == bool(text or as_json)
    assert done.calls == [["harness", "doctor"], ["harness", "doctor", "--json"]]
    assert json.loads((runner.workspace / "my results" / "doctor.json").read_text()) == {"a": 1}
    assert (runner.workspace / "my results" / "doctor.txt").read_text() == "all ```holds```\n"
    assert "````text\nall ```holds```\n````\n" in done.summary
    assert ACTION_STEPS["Doctor"]["continue-on-error"] is True


def test_every_default(runner: Runner) -> None:
    done = runner.run(ACTION_STEPS["Run"])
    results = runner.workspace / "harness-results"
    assert done.calls == [["harness", "run", "--out", str(results), "--models", "models", "--samples", "20"]]
    assert done.status == 0
    folder = results / "20260101T000000Z-00000b"
    assert done.outputs == {
        "status": "passed", "results": str(results), "run": str(folder), "report": str(folder / "report.md")
    }  # fmt: skip
    assert done.summary == "# Report\n\n\n1 pictures are among the uploaded results.\n"


def test_every_input_arrives_as_it_is(runner: Runner) -> None:
    hostile = "a \"b\" $(touch stolen) `touch stolen`; touch stolen 'c'.keras"
    for name in ("one.onnx", "two three.onnx"):
        (runner.workspace / name).touch()
    done = runner.run(
        ACTION_STEPS["Run"],
        models=f"  {hostile}\n\n--trust\n*.onnx\n",
        models_folder="my models",
        photographs="a cat.png\nb.npy",
        routes="native, onnx",
        precisions="float32\nfloat16",
        runtimes="portable",
        compute_units="CPU_ONLY,ALL",
        samples="7",
        trust="true",
        results_folder="my results",
    )
    assert done.calls == [[
        "harness", "run", "--out", str(runner.workspace / "my results"), "--models", "my models", "--samples", "7",
        "--route=native", "--route=onnx", "--precision=float32", "--precision=float16", "--runtime=portable",
        "--compute-unit=CPU_ONLY", "--compute-unit=ALL", "--inputs=a cat.png", "--inputs=b.npy", "--trust",
        "--", hostile, "--trust", "one.onnx", "two three.onnx",
    ]]  # fmt: skip
    assert done.status == 0
    assert not (runner.workspace / "stolen").exists()


@pytest.mark.parametrize(("status", "name"), [(0, "passed"), (1, "failed"), (2, "error"), (139, "error")])
def test_exit_status_of_a_run(runner: Runner, status: int, name: str) -> None:
    results = runner.workspace / "harness-results"
    earlier = results / "20990101T000000Z-ffffff"
    earlier.mkdir(parents=True)
    (earlier / "run.json").write_text("{}")
    runner.answers = {"harness run --out": ("", "harness: no", status)}
    done = runner.run(ACTION_STEPS["Run"])
    assert (done.status, done.outputs["status"]) == (status, name)
    # The run that was made, not what was there before it.
    assert done.outputs.get("run") == (None if status == 2 else str(results / "20260101T000000Z-00000b"))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"samples": "many"}, "samples is 'many'; supported: a whole number"),
        ({"trust": "yes"}, "trust is 'yes'; supported: true, false"),
        ({"models": "exports/*.keras"}, "nothing matches 'exports/*.keras'"),
        ({"results_folder": " "}, "results-folder is empty"),
        ({"models_folder": ""}, "models-folder is empty"),
        ({"trust": "no\n::set-env::"}, "trust is 'no\\n::set-env::'"),
    ],
)
def test_wrong_inputs(runner: Runner, inputs: dict[str, str], message: str) -> None:
    done = runner.run(ACTION_STEPS["Run"], **inputs)
    assert (done.status, done.calls) == (2, [])
    assert f"::error title=harness::{message}" in done.log
    assert "Traceback" not in done.log


def test_long_reports_are_cut(runner: Runner, tmp_path: Path) -> None:
    report = tmp_path / "report.md"
    report.write_text("# Report\n" + "a line of ümlauts\n" * 80_000)
    step = {"run": f'python "{SCRIPT}" summary "{report}"', "env": {}}
    done = runner.run(step)
    assert done.status == 0
    assert len(done.summary.encode()) < 2**20
    assert done.summary.endswith("a line of ümlauts\n\nThe rest is too long for a summary; the uploaded results "
                                 "hold all of it.\n")  # fmt: skip


LISTED = json.dumps([{"databaseId": 41, "headSha": "0123456789abcdef"}])


def compare(runner: Runner, **inputs: str) -> Step:
    (runner.workspace / "the run").mkdir(exist_ok=True)
    runner.context["steps.run.outputs.run"] = "the run"
    return runner.run(ACTION_STEPS["Compare"], **inputs)


@pytest.mark.parametrize(("status", "name"), [(0, "passed"), (1, "failed"), (2, "error")])
def test_comparison_with_a_folder(runner: Runner, status: int, name: str) -> None:
    (runner.workspace / "kept results").mkdir()
    runner.answers = {"harness compare kept results": ("unet: slower\n", "", status)}
    done = compare(runner, baseline="kept results", fail_on="status, latency>1.5")
    assert done.calls == [["harness", "compare", "kept results", "the run", "--fail-on=status, latency>1.5"]]
    assert (done.status, done.outputs["comparison"]) == (status, name)
    assert "kept results" in done.summary
    assert "unet: slower" in done.summary
    assert (runner.workspace / "the run" / "comparison.txt").read_text() == "unet: slower\n"


def test_comparison_with_a_branch(runner: Runner) -> None:
    runner.answers = {"gh run list": (LISTED, "", 0)}
    done = compare(runner, baseline_branch="main", artifact_name="their results")
    listing, download, compared = done.calls
    assert listing == [
        "gh", "run", "list", "--workflow", "their models.yml", "--branch", "main", "--event", "push",
        "--status", "success", "--limit", "1", "--json", "databaseId,headSha", "--repo", "some/body",
    ]  # fmt: skip
    assert download[:6] == ["gh", "run", "download", "41", "--name", "their results"]
    assert compared == [
        "harness", "compare", download[download.index("--dir") + 1], "the run",
        f"--fail-on={ACTION['inputs']['fail-on']['default']}",
    ]  # fmt: skip
    assert done.outputs["comparison"] == "passed"
    assert "run 41 of main (0123456789)" in done.summary
    assert not Path(compared[2]).exists()


@pytest.mark.parametrize(
    ("listed", "downloaded", "reason"),
    [
        (("[]", "", 0), ("", "", 0), "no push to main has had a successful run of their models.yml yet"),
        (("", "HTTP 404: not found", 1), ("", "", 0), "no push to main has had a successful run"),
        ((LISTED, "", 0), ("", "no valid artifacts found to download", 1), "run 41 of main holds no harness-results"),
    ],
)
def test_nothing_to_compare_with(
    runner: Runner, listed: tuple[str, str, int], downloaded: tuple[str, str, int], reason: str
) -> None:
    runner.answers = {"gh run list": listed, "gh run download": downloaded}
    done = compare(runner, baseline_branch="main")
    assert (done.status, done.outputs) == (0, {"comparison": "none"})
    assert "harness" not in [call[0] for call in done.calls]
    assert f"Nothing was compared: {reason}" in done.summary
    assert f"::notice title=harness::{reason}" in done.log


@pytest.mark.parametrize(
    ("answers", "inputs", "message"),
    [
        ({"gh run list": ("", "HTTP 403: no\npermission", 1)}, {}, "could not be listed: HTTP 403: no%0Apermission"),
        ({"gh run list": (LISTED, "", 0), "gh run download": ("", "connection reset", 1)}, {}, "connection reset"),
        ({}, {"baseline": "kept"}, "are both given"),
        ({}, {"baseline": "kept", "baseline_branch": ""}, "baseline 'kept' is no folder"),
    ],
)
def test_comparisons_that_fail(
    runner: Runner, answers: dict[str, tuple[str, str, int]], inputs: dict[str, str], message: str
) -> None:
    runner.answers = answers
    done = compare(runner, **{"baseline_branch": "main", **inputs})
    assert done.status == 2
    assert message in done.log
    assert "Traceback" not in done.log
    assert "harness" not in [call[0] for call in done.calls]


def test_steps_of_the_macos_workflow(runner: Runner) -> None:
    (runner.workspace / ".github").symlink_to(ROOT / ".github")
    (runner.workspace / "results").mkdir()
    (runner.workspace / "results" / "report.md").write_text("# All runs\n")
    runner.context["matrix.image"] = "macos-15"
    runner.answers = {"gh run list": (LISTED, "", 0)}
    named = {step.get("name"): {"env": {}} | step for step in steps(ROOT / ".github" / "workflows" / "macos.yml")}
    assert runner.run(named["Install what is locked"]).calls == [["make", ".venv/.ready", "PYTHON=python"]]
    assert runner.run(named["Doctor"]).status == 0
    reported = runner.run(named["Report"])
    assert (reported.calls, reported.summary) == ([["harness", "report", "results"]], "# All runs\n")
    runner.answers["gh run download"] = ("", "no artifact matches any of the names or patterns provided", 1)
    assert runner.run(named["Compare with the last run on main"]).status == 0
    del runner.answers["gh run download"]
    runner.command("harness", 'echo "$@"; exit 1')
    compared = runner.run(named["Compare with the last run on main"])
    assert compared.calls[1][:6] == ["gh", "run", "download", "41", "--name", "results-macos-15"]
    assert "results --fail-on=status,accuracy=2,latency=2" in compared.log
    assert compared.status == 1
    assert "**A rule is broken**" in compared.summary


MODEL = """
from harness.case import ModelCase

def build():
    import keras
    image = keras.layers.Input((8, 8, 3), batch_size=1, name="image")
    return keras.Model(image, keras.layers.Conv2D(3, 1, activation="sigmoid", name="result")(image))

CASE = ModelCase("theirs", build)
"""


def test_the_action_with_harness_itself(tmp_path: Path) -> None:
    runner = Runner(tmp_path, stubs=())
    runner.command("harness", f'exec "{sys.executable}" -m harness "$@"')
    (runner.workspace / "models").mkdir()
    (runner.workspace / "models" / "theirs.py").write_text(MODEL)
    own = {"HARNESS_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    done = runner.run(
        ACTION_STEPS["Run"], own,
        models="theirs", routes="native", precisions="float32", runtimes="portable", compute_units="CPU", samples="0",
    )  # fmt: skip
    assert (done.status, done.outputs["status"]) == (0, "passed"), done.log
    assert "| theirs | native | float32 | portable | CPU | passed |" in done.summary
    assert Path(done.outputs["report"]).parent == Path(done.outputs["run"])
    runner.context["steps.run.outputs.run"] = done.outputs["run"]
    compared = runner.run(ACTION_STEPS["Compare"], own, baseline=done.outputs["results"])
    assert (compared.status, compared.outputs["comparison"]) == (0, "passed"), compared.log
    assert "Nothing changed in 1 cell; the rule latency>2 had nothing to judge." in compared.summary

"""The steps of the workflows and of the action that are more than one command.

    workflow_steps.py doctor FOLDER     keep what `harness doctor` says, as text and as JSON
    workflow_steps.py run               run `harness run` on the action's inputs; set the action's outputs
    workflow_steps.py summary REPORT    show a Markdown report as the step's summary
    workflow_steps.py compare RESULTS   compare with a baseline, or with the last run on a branch

Inputs arrive in environment variables, never in the text of a script. Only the standard library is used:
`harness` and `gh` are commands on the PATH. The exit status is that of the command that was run; 2 where an
input is wrong.
"""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# GitHub refuses summaries of more than 1 MiB a step.
LONGEST_SUMMARY = 1_000_000

STATUSES = {0: "passed", 1: "failed"}

# What `gh` says where a workflow has never run on the default branch, and where artifacts have expired.
NO_WORKFLOW = re.compile(r"HTTP 404|could not find any workflows", re.IGNORECASE)
NO_ARTIFACT = re.compile(r"no valid artifacts found|no artifact matches", re.IGNORECASE)


class InputError(Exception):
    """An input of the action is wrong; the message is for its user."""


def doctor(folder: Path) -> int:
    """Write ``doctor.txt`` and ``doctor.json`` into ``folder``; the worse exit status of the two."""
    folder.mkdir(parents=True, exist_ok=True)
    said = harness("doctor")
    print(said.stdout, flush=True)
    (folder / "doctor.txt").write_text(said.stdout)
    as_json = harness("doctor", "--json")
    (folder / "doctor.json").write_text(as_json.stdout)
    summarize("## This machine", fenced(said.stdout))
    return max(said.returncode, as_json.returncode, key=abs)


def run() -> int:
    """Run the matrix of the action's inputs; sets ``status``, ``results``, ``run`` and ``report``."""
    results = Path(required("RESULTS_FOLDER")).absolute()
    before = run_folders(results)
    status = subprocess.run(["harness", "run", *run_arguments(results)], check=False, env=wide()).returncode
    print(f"harness run ended with exit status {status}", flush=True)
    output("status", STATUSES.get(status, "error"))
    output("results", results)
    new = sorted(run_folders(results) - before)
    if new:
        output("run", new[-1])
        report = new[-1] / "report.md"
        if report.exists():
            output("report", report)
            summary(report)
    return status


def run_arguments(results: Path) -> list[str]:
    """The arguments of ``harness run``. Models stand behind ``--``: a name is never taken for an option."""
    arguments = ["--out", str(results), "--models", required("MODELS_FOLDER"), "--samples", samples()]
    for option, name in (
        ("--route", "ROUTES"),
        ("--precision", "PRECISIONS"),
        ("--runtime", "RUNTIMES"),
        ("--compute-unit", "COMPUTE_UNITS"),
    ):
        for item in re.split(r"[\s,]+", value(name)):
            arguments += [f"{option}={item}"] if item else []
    arguments += [f"--inputs={path}" for path in paths("PHOTOGRAPHS")]
    trust = value("TRUST")
    if trust not in ("true", "false"):
        raise InputError(f"trust is {trust!r}; supported: true, false")
    arguments += ["--trust"] if trust == "true" else []
    models = paths("MODELS")
    return [*arguments, "--", *models] if models else arguments


def samples() -> str:
    """The number of samples, as given."""
    given = required("SAMPLES")
    if not re.fullmatch(r"\d+", given):
        raise InputError(f"samples is {given!r}; supported: a whole number, 0 times nothing")
    return given


def paths(name: str) -> list[str]:
    """One path or name a line; a line with wildcards stands for all files that it matches."""
    found = []
    for line in filter(None, map(str.strip, value(name).splitlines())):
        if glob.has_magic(line) and not Path(line).exists():
            matches = sorted(glob.glob(line, recursive=True))  # noqa: PTH207, for absolute patterns too
            if not matches:
                raise InputError(f"nothing matches {line!r}; paths start at {Path.cwd()}")
            found += matches
        else:
            found.append(line)
    return found


def summary(report: Path) -> None:
    """Show a report without its pictures, which a summary cannot show: they are among the results."""
    lines = report.read_text().splitlines()
    text = [line for line in lines if not line.startswith("![")]
    if len(text) < len(lines):
        text += ["", f"{len(lines) - len(text)} pictures are among the uploaded results."]
    summarize("\n".join(text))


def compare(results: Path) -> int:
    """Compare ``results`` with the baseline; where there is none, say so and pass. Sets ``comparison``."""
    output("comparison", "none")
    with tempfile.TemporaryDirectory() as folder:
        baseline, name = find_baseline(Path(folder))
        if baseline is None:
            annotate("notice", name)
            summarize("## Compared", f"Nothing was compared: {name}.")
            return 0
        rule = value("FAIL_ON")
        done = harness("compare", str(baseline), str(results), *([f"--fail-on={rule}"] if rule else []))
    print(done.stdout, flush=True)
    output("comparison", STATUSES.get(done.returncode, "error"))
    (results / "comparison.txt").write_text(done.stdout)
    verdict = {0: "No rule is broken", 1: "**A rule is broken**"}.get(done.returncode, "**It could not be compared**")
    rules = f"`{rule}`" if rule else "none"
    summarize(f"## Compared with {name}", f"{verdict} (rules: {rules}).", fenced(done.stdout or done.stderr))
    return done.returncode


def find_baseline(folder: Path) -> tuple[Path | None, str]:
    """The results to compare with and what they are; None and the reason where there are none."""
    given, branch = value("BASELINE"), value("BASELINE_BRANCH")
    if given and branch:
        raise InputError("baseline and baseline-branch are both given; give one of them")
    if given:
        if not Path(given).is_dir():
            raise InputError(f"baseline {given!r} is no folder; paths start at {Path.cwd()}")
        return Path(given), given
    if not branch:
        return None, "no baseline is given"
    # Pull requests of forks may come from a branch of the same name: only pushes are trusted.
    workflow = required("GITHUB_WORKFLOW_REF").partition("@")[0].rpartition("/")[2]
    filters = ["--workflow", workflow, "--branch", branch, "--event", "push", "--status", "success", "--limit", "1"]
    listed = gh("run", "list", *filters, "--json", "databaseId,headSha")
    if listed.returncode and not NO_WORKFLOW.search(listed.stderr):
        raise InputError(f"the runs of {workflow} could not be listed: {listed.stderr.strip()}")
    runs = json.loads(listed.stdout) if listed.returncode == 0 else []
    if not runs:
        return None, f"no push to {branch} has had a successful run of {workflow} yet"
    number, commit = str(runs[0]["databaseId"]), str(runs[0]["headSha"])[:10]
    artifact = required("ARTIFACT_NAME")
    downloaded = gh("run", "download", number, "--name", artifact, "--dir", str(folder))
    if downloaded.returncode and not NO_ARTIFACT.search(downloaded.stderr):
        raise InputError(f"{artifact} of run {number} could not be downloaded: {downloaded.stderr.strip()}")
    if downloaded.returncode:
        return None, f"run {number} of {branch} holds no {artifact} any more"
    return folder, f"run {number} of {branch} ({commit})"


def gh(*arguments: str) -> subprocess.CompletedProcess[str]:
    """GitHub's command line, on the repository that runs the workflow."""
    if not shutil.which("gh"):
        raise InputError("gh, which reads the results of earlier runs, is not installed on this runner")
    command = ["gh", *arguments, "--repo", required("GITHUB_REPOSITORY")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def harness(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run harness; what it complains of is shown, and returned."""
    done = subprocess.run(["harness", *arguments], capture_output=True, text=True, check=False, env=wide())
    print(done.stderr, file=sys.stderr, end="", flush=True)
    return done


def wide() -> dict[str, str]:
    """The environment with room for tables: a log has no width of its own."""
    return {**os.environ, "COLUMNS": "200"}


def run_folders(results: Path) -> set[Path]:
    """The folders of all runs."""
    return {path.parent for path in results.glob("*/run.json")}


def value(name: str) -> str:
    """An environment variable that the workflow sets."""
    return os.environ.get(name, "").strip()


def required(name: str) -> str:
    """The same, where it cannot be left empty."""
    given = value(name)
    if not given:
        raise InputError(f"{name.lower().replace('_', '-')} is empty")
    return given


def annotate(kind: str, text: str) -> None:
    """Show a message beside the job; line breaks in it are no commands to the runner."""
    escaped = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    print(f"::{kind} title=harness::{escaped}", flush=True)


def output(name: str, text: object) -> None:
    """Set an output of the step."""
    if "\n" in str(text) or "\r" in str(text):
        raise InputError(f"{name} cannot hold a line break: {str(text)!r}")
    with Path(os.environ["GITHUB_OUTPUT"]).open("a") as file:
        file.write(f"{name}={text}\n")


def summarize(*parts: str) -> None:
    """Add paragraphs to the step's summary, cut at a line where GitHub would refuse it."""
    path = Path(os.environ["GITHUB_STEP_SUMMARY"])
    text = "\n\n".join(parts) + "\n"
    room = LONGEST_SUMMARY - (path.stat().st_size if path.exists() else 0)
    if len(text.encode()) > room:
        kept = text.encode()[: max(room, 0)].decode(errors="ignore").rpartition("\n")[0]
        text = f"{kept}\n\nThe rest is too long for a summary; the uploaded results hold all of it.\n"
    with path.open("a") as file:
        file.write(text)


def fenced(text: str) -> str:
    """Text as a block of code, whatever backticks it holds."""
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text)), 3)
    return f"{fence}text\n{text.rstrip()}\n{fence}"


def main(arguments: list[str]) -> int:
    """Run one step."""
    try:
        match arguments:
            case ["doctor", folder]:
                return doctor(Path(folder))
            case ["run"]:
                return run()
            case ["summary", report]:
                if not Path(report).is_file():
                    raise InputError(f"there is no report {report!r}")
                summary(Path(report))
                return 0
            case ["compare", results]:
                return compare(Path(results))
            case _:
                raise InputError(f"there is no step {' '.join(arguments)!r}; supported: doctor, run, summary, compare")
    except InputError as error:
        annotate("error", str(error))
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

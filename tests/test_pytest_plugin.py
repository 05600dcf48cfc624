"""The plug-in in a repository of somebody else's: accuracy by default, timed with ``--benchmark``."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

MODEL = """
from harness.case import ModelCase

def build():
    import keras
    keras.utils.set_random_seed(3)
    image = keras.layers.Input((24, 24, 3), batch_size=1, name="image")
    hidden = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    return keras.Model(image, keras.layers.Conv2D(3, 1, activation="sigmoid", name="result")(hidden))

CASE = ModelCase("theirs", build)
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    (folder / "models").mkdir()
    (folder / "models" / "theirs.py").write_text(MODEL)
    (folder / "models" / "unrelated.py").write_text("raise RuntimeError('must not be imported')\n")
    (folder / "test_own.py").write_text("def test_own():\n    pass\n")
    (folder / "pytest.ini").write_text("[pytest]\nharness_runtimes = portable\nharness_routes = native\n")
    return folder


def run(repository: Path, *arguments: str) -> str:
    done = start(repository, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def start(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Not as a worker of the tests that run here.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    environment |= {"HARNESS_CACHE_DIR": str(repository / "cache")}
    # An installed plug-in is found by itself; one that is not would be named like this.
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-p", "harness.pytest_plugin", *arguments],
        cwd=repository, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_accuracy_matrix(repository: Path) -> None:
    output = run(repository)
    assert "test_own.py::test_own PASSED" in output
    for precision in ("float32", "float16"):
        assert re.search(rf"test_accuracy\[native-{precision}-portable-CPU\] PASSED", output)
        assert re.search(rf"test_latency\[native-{precision}-portable-CPU\] SKIPPED", output)
    assert not (repository / "results").exists()


def test_times_are_not_taken_beside_others(repository: Path) -> None:
    done = start(repository, "--benchmark", "-n", "2")
    assert done.returncode == 4
    assert "leave out -n" in done.stderr


def test_timed_matrix(repository: Path) -> None:
    output = run(repository, "--benchmark", "--benchmark-json=timed.json", "--benchmark-max-time=0.2")
    assert "test_own" not in output
    measured = json.loads((repository / "timed.json").read_text())["benchmarks"]
    assert len(measured) == 2
    for item in measured:
        said = item["extra_info"]
        assert (said["model"], said["route"], said["runtime"]) == ("theirs", "native", "portable")
        assert said["compute_unit"] == "CPU"
        assert said["status"] == "passed"
        assert 0 < said["max_abs_error"] < {"float32": 1e-4, "float16": 1e-2}[said["precision"]]
    (file,) = repository.glob("results/*/records.jsonl")
    records = [json.loads(line) for line in file.open()]
    assert [len(record["samples"]) for record in records] == [item["stats"]["rounds"] for item in measured]

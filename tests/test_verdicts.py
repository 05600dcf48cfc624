"""What ``harness run`` and pytest end with: success only where something was judged, and all of it is right."""

from __future__ import annotations

import json
import os
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
    return keras.Model(image, keras.layers.Conv2D(3, 3, padding="same", activation="sigmoid", name="result")(image))

CASE = ModelCase("{name}", build)
"""
BROKEN = """
from harness.case import ModelCase

def build():
    raise RuntimeError("no weights today")

CASE = ModelCase("broken", build)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "theirs.py").write_text(MODEL.format(name="theirs"))
    (tmp_path / "pytest.ini").write_text("[pytest]\nharness_routes = native\nharness_runtimes = portable\n")
    return tmp_path


def start(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    environment |= {"HARNESS_CACHE_DIR": str(folder / "cache")}
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return start(folder, "harness", "run", *arguments, "--samples", "0", "--json")


def pytest_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return start(folder, "pytest", "-p", "no:cacheprovider", "-p", "harness.pytest_plugin", *arguments)


def statuses(done: subprocess.CompletedProcess[str]) -> dict[tuple[str, str], str]:
    return {(record["model"], record["precision"]): record["status"] for record in json.loads(done.stdout)}


@pytest.mark.skipif(sys.platform == "darwin", reason="Core ML is there")
def test_nothing_judged_is_no_success(folder: Path) -> None:
    done = run(folder, "--route", "native", "--runtime", "coreml", "--compute-unit", "CPU_ONLY")
    assert set(statuses(done).values()) == {"skipped"}
    assert done.returncode == 2
    assert "nothing was judged" in done.stderr
    assert "Core ML predicts on macOS only" in done.stderr
    assert "0 of 0" not in done.stdout + done.stderr
    (folder / "pytest.ini").write_text("[pytest]\nharness_routes = native\nharness_runtimes = coreml\n")
    for arguments in ((), ("--benchmark",)):
        done = pytest_in(folder, *arguments)
        assert done.returncode == 2, done.stdout
        assert "harness: nothing was judged" in done.stdout


def test_two_models_of_which_one_cannot_be_built(folder: Path) -> None:
    (folder / "models" / "broken.py").write_text(BROKEN)
    done = run(folder, "--route", "native", "--runtime", "portable")
    assert done.returncode == 1, done.stderr
    assert statuses(done) == {
        ("broken", "float32"): "error", ("broken", "float16"): "error",
        ("theirs", "float32"): "passed", ("theirs", "float16"): "passed",
    }  # fmt: skip
    assert "Traceback" not in done.stderr
    alone = run(folder, "broken", "--route", "native", "--runtime", "portable")
    assert alone.returncode == 2
    assert "no weights today" in alone.stderr
    assert len(json.loads(alone.stdout)) == 2


@pytest.mark.parametrize("arguments", [(), ("--benchmark",)])
def test_pytest_tells_a_broken_model_once(folder: Path, arguments: tuple[str, ...]) -> None:
    (folder / "models" / "broken.py").write_text(BROKEN)
    done = pytest_in(folder, *arguments, "-rs")
    assert done.returncode == 1
    assert "no weights today" in done.stdout
    assert "1 failed, 2 passed" in done.stdout
    assert "could not be opened: told in its first test" in done.stdout


def test_a_cell_that_the_machine_cannot_run_is_skipped(folder: Path) -> None:
    """The file is TensorFlow Lite's, so that the native route cannot start from it: a reason to skip, not a failure."""
    (folder / "models" / "lite.py").write_text(
        MODEL.format(name="lite").replace('CASE = ModelCase("lite", build)', "")
        + "\nfrom pathlib import Path\nimport numpy as np\n"
        "CASE = ModelCase('lite', source=Path(__file__).with_suffix('.tflite'), format='tflite',\n"
        "                 inputs=lambda: [np.zeros((1, 24, 24, 3), np.float32)])\n"
    )
    make = (
        "from models.lite import build; import tensorflow as tf; from pathlib import Path\n"
        "Path('models/lite.tflite').write_bytes(tf.lite.TFLiteConverter.from_keras_model(build()).convert())"
    )
    subprocess.run([sys.executable, "-c", make], cwd=folder, capture_output=True, check=True)
    done = pytest_in(folder, "--benchmark", "-rs", "--benchmark-json=timed.json")
    assert done.returncode == 0, done.stdout
    assert "2 passed, 2 skipped" in done.stdout
    assert "route native starts from tensorflow, not from tflite" in done.stdout
    timed = json.loads((folder / "timed.json").read_text())["benchmarks"]
    assert [item["group"] for item in timed] == ["theirs", "theirs"]
    assert all(item["name"].startswith("theirs native-float") for item in timed)
    assert "theirs native-float32-portable-CPU" in done.stdout


def test_timed_cells_share_a_schedule_under_pytest(folder: Path) -> None:
    done = pytest_in(folder, "--benchmark")
    assert done.returncode == 0, done.stdout
    (file,) = folder.glob("results/*/records.jsonl")
    records = [json.loads(line) for line in file.open()]
    assert len(records) == 2
    assert len({tuple(record["reference_samples"]) for record in records}) == 1
    assert all(len(record["samples"]) == len(record["reference_samples"]) > 0 for record in records)


def test_two_files_of_one_stem_and_one_that_cannot_be_read(folder: Path) -> None:
    save = (
        "import sys; sys.path.insert(0, 'models'); from theirs import build\n"
        "from pathlib import Path\n"
        "for name in 'ab':\n    Path(name).mkdir(); build().save(f'{name}/m.keras')\n"
        "Path('c').mkdir(); Path('c/m.keras').write_bytes(b'PK')\n"
    )
    subprocess.run([sys.executable, "-c", save], cwd=folder, capture_output=True, check=True)
    done = run(folder, "b/m.keras", "a/m.keras", "c/m.keras", "--route", "native", "--precision", "float32")
    assert done.returncode == 1
    assert statuses(done) == {
        ("b/m.keras", "float32"): "passed", ("a/m.keras", "float32"): "passed", ("c/m.keras", "float32"): "error",
    }  # fmt: skip

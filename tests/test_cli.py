"""The command line as a user meets it: exit status, one sentence for bad input, earlier results untouched."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.quiet import quiet_imports
from tests.conftest import Harness

with quiet_imports():
    import keras
    import tensorflow as tf


@pytest.fixture(scope="session")
def flexible_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small flexible network of known weights."""
    keras.utils.set_random_seed(7)
    layers = keras.layers
    image = layers.Input((None, None, 3), name="image")
    hidden = layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    result = layers.Conv2D(3, 1, activation="sigmoid", name="result")(hidden)
    path = tmp_path_factory.mktemp("model") / "small.keras"
    keras.Model(image, result).save(path)
    return path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(5).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def records(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for file in sorted(folder.glob("*/records.jsonl")) for line in file.open()]


def test_run_stores_and_reports_a_users_model(harness: Harness, flexible_model: Path, photo: Path) -> None:
    done = harness("run", flexible_model, "--route", "native", "--inputs", photo, "--samples", "6", "--out", "out")
    assert done.code == 0, done.err
    found = records(Path("out"))
    assert [(record["precision"], record["status"]) for record in found] == [
        ("float32", "passed"),
        ("float16", "passed"),
    ]
    float32, float16 = found
    assert 0 < float(str(float16["max_abs_error"])) < 1e-2
    assert float(str(float32["max_abs_error"])) < 1e-4
    assert float32["max_abs_error"] != float16["max_abs_error"]
    assert "(1, 40, 56, 3)" in str(float32["input_shapes"])
    assert all(len(list(record["samples"])) == 6 for record in found)  # type: ignore[call-overload]
    (folder,) = Path("out").glob("*/")
    report = (folder / "report.md").read_text()
    pictures = list(folder.glob("*.png"))
    assert len(pictures) == 2
    assert all(f"({picture.name})" in report for picture in pictures)
    assert "small" in done.out

    again = harness(
        "run", flexible_model, "--route", "native", "--inputs", photo, "--samples", "0", "--out", "out", "--json"
    )
    assert again.code == 0
    assert all(record["convert_cached"] for record in json.loads(again.out))
    assert len(records(Path("out"))) == 4
    assert harness("report", "out").code == 0
    assert len(json.loads(harness("report", "out", "--json").out)) == 4


def test_resume_runs_only_what_is_missing(harness: Harness, flexible_model: Path, photo: Path) -> None:
    assert (
        harness("run", flexible_model, "--route", "native", "--inputs", photo, "--samples", "0", "--out", "out").code
        == 0
    )
    (file,) = Path("out").glob("*/records.jsonl")
    first, second = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(first + second[: len(second) // 2])  # killed while it wrote
    resumed = harness("run", "--resume", "--out", "out")
    assert resumed.code == 0, resumed.err
    assert file.read_bytes().startswith(first)
    assert [record["precision"] for record in records(Path("out"))] == ["float32", "float16"]


def test_beyond_tolerance_is_exit_1(harness: Harness, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "strict.py").write_text(
        "from harness.case import ModelCase, Tolerance\n"
        "def build():\n"
        "    import keras\n"
        "    keras.utils.set_random_seed(1)\n"
        "    image = keras.layers.Input((16, 16, 3), batch_size=1, name='image')\n"
        "    return keras.Model(image, keras.layers.Conv2D(3, 3, padding='same', name='result')(image))\n"
        "CASE = ModelCase('strict', build, tolerance=Tolerance({'float16': 1e-9, 'float32': 1e-9}, 'a test'))\n"
    )
    done = harness("run", "--route", "native", "--precision", "float16", "--samples", "0")
    assert done.code == 1
    (record,) = records(Path("results"))
    assert record["status"] == "failed"
    assert "beyond" in str(record["error"])


def _bad_png(path: Path) -> str:
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"broken")
    return str(path)


def _grayscale(path: Path) -> str:
    Image.new("L", (40, 40)).save(path)
    return str(path)


def _truncated(path: Path, model: Path) -> str:
    path.write_bytes(model.read_bytes()[:200])
    return str(path)


BAD_COMMANDS: dict[str, tuple[Callable[[Path, Path, Path], list[str]], str]] = {
    "missing model": (lambda tmp, model, photo: ["run", "nowhere.keras"], "nowhere.keras"),
    "unknown name": (lambda tmp, model, photo: ["run", "no_such_model"], "no_such_model"),
    "wrong format": (lambda tmp, model, photo: ["run", str(photo)], ".png"),
    "truncated model": (lambda tmp, model, photo: ["run", _truncated(tmp / "t.keras", model)], "t.keras"),
    "empty h5": (lambda tmp, model, photo: ["run", str((tmp / "e.h5").touch() or tmp / "e.h5")], "e.h5"),
    "folder": (lambda tmp, model, photo: ["run", str(tmp)], "saved_model.pb"),
    "unknown route": (lambda tmp, model, photo: ["run", str(model), "--route", "teleport"], "teleport"),
    "unknown runtime": (lambda tmp, model, photo: ["run", str(model), "--runtime", "abacus"], "abacus"),
    "unknown precision": (lambda tmp, model, photo: ["run", str(model), "--precision", "float8"], "float8"),
    "unknown unit": (lambda tmp, model, photo: ["run", str(model), "--compute-unit", "TPU"], "TPU"),
    "missing photograph": (lambda tmp, model, photo: ["run", str(model), "--inputs", "gone.png"], "gone.png"),
    "broken photograph": (lambda tmp, model, photo: ["run", str(model), "--inputs", _bad_png(tmp / "b.png")], "b.png"),
    "grayscale": (lambda tmp, model, photo: ["run", str(model), "--inputs", _grayscale(tmp / "g.png")], "grayscale"),
    "two photographs": (lambda tmp, model, photo: ["run", str(model), *["--inputs", str(photo)] * 2], "1 input"),
    "nothing to resume": (lambda tmp, model, photo: ["run", "--resume", "--out", "empty"], "resume"),
    "unknown list": (lambda tmp, model, photo: ["list", "planets"], "planets"),
    "unknown option": (lambda tmp, model, photo: ["run", "--fast"], "--fast"),
    "wrong suffix": (lambda tmp, model, photo: ["convert", str(model), "-o", "x.onnx"], "x.onnx"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_COMMANDS)
def test_bad_commands_are_one_sentence(
    harness: Harness, tmp_path: Path, flexible_model: Path, photo: Path, name: str
) -> None:
    build, mention = BAD_COMMANDS[name]
    done = harness(*build(tmp_path, flexible_model, photo))
    assert done.code == 2
    assert mention in done.err
    assert "Traceback" not in done.err
    assert len(done.err) < 1000


def test_results_that_cannot_be_written_leave_earlier_ones(
    harness: Harness, flexible_model: Path, photo: Path, tmp_path: Path
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file stands where the folder should be")
    done = harness("run", flexible_model, "--route", "native", "--inputs", photo, "--samples", "0", "--out", blocked)
    assert done.code == 2
    assert str(blocked) in done.err
    assert blocked.read_text().startswith("a file")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(harness: Harness, flexible_model: Path, photo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    assert harness("run", flexible_model, "--route", "native", "--inputs", photo, "--out", folder).code == 2


def test_full_disk_keeps_what_is_stored(
    harness: Harness, flexible_model: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (
        harness("run", flexible_model, "--route", "native", "--inputs", photo, "--samples", "0", "--out", "out").code
        == 0
    )
    (file,) = Path("out").glob("*/records.jsonl")
    first = file.read_bytes().splitlines(keepends=True)[0]
    file.write_bytes(first)

    def full(descriptor: int, content: bytes) -> None:
        os.write(descriptor, content[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("harness.store.write_through", full)
        done = harness("run", "--resume", "--out", "out")
    assert done.code == 2
    assert "Traceback" not in done.err
    assert str(file) in done.err
    assert file.read_bytes() == first
    assert harness("run", "--resume", "--out", "out").code == 0
    assert len(records(Path("out"))) == 2


def test_compare_two_runs(harness: Harness, flexible_model: Path, photo: Path) -> None:
    for _ in range(2):
        assert (
            harness(
                "run", flexible_model, "--route", "native", "--inputs", photo, "--samples", "0", "--out", "out"
            ).code
            == 0
        )
    first, second = sorted(path.parent for path in Path("out").glob("*/run.json"))
    assert harness("compare", first, second, "--fail-on", "status,accuracy").code == 0
    file = second / "records.jsonl"
    file.write_text(re.sub('"(max_abs_error|deviation)": ', r'"\1": 1', file.read_text()))
    worse = harness("compare", first, second, "--fail-on", "accuracy", "--json")
    assert worse.code == 1
    assert {change["verdict"] for change in json.loads(worse.out)} == {"worse"}
    assert harness("compare", first, second, "--fail-on", "beauty").code == 2
    assert harness("compare", "nowhere", second).code == 2


def test_lists_and_cache(harness: Harness, flexible_model: Path, photo: Path) -> None:
    assert "portable" in harness("list", "runtimes").out
    assert "native" in harness("list", "routes").out
    rows = json.loads(harness("list", "limitations", "--json").out)
    assert {"where", "what", "kind", "reason"} == set(rows[0])
    assert harness("convert", flexible_model, "--route", "native", "--inputs", photo, "-o", "small.mlpackage").code == 0
    assert (Path("small.mlpackage") / "Manifest.json").is_file()
    assert harness("run", flexible_model, "--route", "native", "--inputs", photo, "--samples", "0").code == 0
    assert harness("cache", "clear").out.startswith("2 conversions")
    shutil.rmtree("small.mlpackage")


def test_convert_wants_no_inputs_of_known_sizes(harness: Harness, tmp_path: Path) -> None:
    """Neither numbers that no photograph is nor the name of a route."""
    layers = keras.layers
    sound = layers.Input((30,), batch_size=1, name="sound")
    model = keras.Model(sound, layers.Dense(4)(sound))
    model.save(tmp_path / "sound.keras")
    (tmp_path / "sound.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    for name in ("sound.keras", "sound.tflite"):
        result = harness("convert", name, "-o", f"{name}.mlpackage")
        assert result.code == 0, result.err
        assert (tmp_path / f"{name}.mlpackage").is_dir()


def test_killed_run_resumes(harness: Harness, flexible_model: Path, photo: Path) -> None:
    arguments = [
        "run",
        str(flexible_model),
        "--route",
        "native",
        "--inputs",
        str(photo),
        "--samples",
        "2000",
        "--out",
        "out",
    ]
    victim = subprocess.Popen([sys.executable, "-m", "harness", *arguments])
    try:
        for _ in range(1200):
            found = list(Path("out").glob("*/records.jsonl"))
            if found and found[0].read_bytes().count(b"\n") == 1:
                break
            assert victim.poll() is None, "it ended before it could be killed"
            time.sleep(0.05)
    finally:
        victim.kill()
        victim.wait()
    (file,) = found
    before = file.read_bytes()
    assert before.count(b"\n") == 1
    assert harness("run", "--resume", "--out", "out").code == 0
    assert file.read_bytes().startswith(before)
    assert [record["precision"] for record in records(Path("out"))] == ["float32", "float16"]

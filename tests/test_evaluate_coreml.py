"""The pipeline with Core ML cells, through the stand-in: the matrix goes on, and the ladder names the rung."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import plugins
from harness.attribution import read_ladders
from harness.cache import ConversionCache
from harness.case import ModelCase
from harness.evaluate import Plan, evaluate
from harness.record import Record
from harness.runtimes.portable.stand_in import Fault
from harness.store import RunInfo, Store
from tests.runtimes.coreml.conftest import ISOLATION, stand_in_runtime


def build() -> Any:
    import keras

    keras.utils.set_random_seed(3)
    image = keras.Input((16, 16, 3), name="image")
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    return keras.Model(image, keras.layers.Conv2D(3, 1, name="result")(x))


CASE = ModelCase(
    "small", build=build, inputs=lambda: {"image": np.random.default_rng(2).random((1, 16, 16, 3), np.float32)}
)


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, *faults: Fault) -> tuple[list[Record], Path]:
    core_ml = stand_in_runtime(*faults)
    known = plugins.runtime
    monkeypatch.setattr(plugins, "runtime", lambda name: core_ml if name == "coreml" else known(name))
    plan = Plan(
        (CASE,), routes=("native", "onnx"), precisions=("float16",), runtimes=("portable", "coreml"), samples=6,
        isolation=ISOLATION,
    )  # fmt: skip
    with Store(folder / "out").begin(RunInfo()) as stored, ConversionCache(folder / "cache") as cache:
        records = list(evaluate(plan, stored, cache, lambda what, cell: None))
        return records, stored.folder


def test_matrix_goes_on_and_the_rung_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = (Fault("sigsegv", at="load", units=("CPU_AND_GPU",)),
              Fault("inexact", at="predict", units=("CPU_AND_NE",), size=0.3))  # fmt: skip
    records, folder = run(tmp_path, monkeypatch, *faults)
    found = {(record.route, record.compute_unit): record for record in records}
    assert len(found) == 2 * 5
    for route in ("native", "onnx"):
        assert found[route, "CPU"].status == found[route, "CPU_ONLY"].status == found[route, "ALL"].status == "passed"
        crashed = found[route, "CPU_AND_GPU"]
        assert (crashed.status, crashed.stage, crashed.signal) == ("error", "load", "SIGSEGV")
        assert (folder / crashed.bundle / "README.md").is_file()
        assert found[route, "CPU_AND_NE"].status == "failed"
        assert found[route, "CPU_AND_NE"].max_abs_error == pytest.approx(0.3, abs=0.01)
    positions = [record.position for record in records]
    assert sorted(positions) == list(range(10))
    ladders = read_ladders(folder)
    assert {ladder.route for ladder in ladders} == {"native", "onnx"}
    for ladder in ladders:
        assert ladder.entry is not None
        assert ladder.entry.name == "CPU_AND_NE"
        assert ladder.entry.step == pytest.approx(0.3, abs=0.01)
        assert "CPU_AND_GPU" in dict(ladder.missing)
    assert not (folder / "outputs").exists()

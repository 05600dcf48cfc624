"""Real processes and signals: what is said, what is kept, and that going on is what was promised."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import StoreError
from harness.interruption import Interrupted, Terminated, interruptible
from harness.store import Store, runs_at

SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}

# Says that it is there, and takes its time.
WAIT = """
import time
from pathlib import Path
def wait():
    Path(__file__).with_name("ready").touch()
    time.sleep(600)
"""
CASE = """
import numpy as np
from harness.case import ModelCase
def build():
    import keras
    image = keras.layers.Input((16, 16, 3), batch_size=1, name="image")
    return keras.Model(image, keras.layers.Conv2D(3, 3, padding="same", activation="sigmoid", name="result")(image))
"""
PIXELS = "[np.full((1, 16, 16, 3), 0.5, np.float32)]"
IMPORTED = f"{WAIT}\nwait()\nCASE = None\n"
FAST = f"{CASE}\nCASE = ModelCase('fast', build, inputs=lambda: {PIXELS})\n"
# Waits for its inputs until there is a file `go` beside it.
SLOW = f"""{WAIT}{CASE}
def inputs():
    if not Path(__file__).with_name("go").exists():
        wait()
    return {PIXELS}
CASE = ModelCase('slow', build, inputs=inputs)
"""


def interrupted(
    tmp_path: Path, arguments: list[str], ready: Callable[[], bool], number: signal.Signals
) -> tuple[int, str]:
    """The exit status of a command that got a signal when it was ready, and what it said."""
    environment = {**os.environ, "HARNESS_CACHE_DIR": str(tmp_path / "cache")}
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", *arguments], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        while not ready():
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.02)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    return process.returncode, said


def write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("arguments", "number", "status", "said"),
    [
        (["run"], signal.SIGINT, 130, "harness: interrupted; nothing was kept\n"),
        (["run"], signal.SIGTERM, 143, "harness: interrupted; nothing was kept\n"),
        (["convert", "slow", "-o", "x.mlpackage"], signal.SIGINT, 130, "harness: interrupted\n"),
        (["list", "models"], signal.SIGINT, 130, "harness: interrupted\n"),
    ],
)
def test_before_there_is_a_run(
    tmp_path: Path, arguments: list[str], number: signal.Signals, status: int, said: str
) -> None:
    write(tmp_path / "models" / "slow.py", IMPORTED)
    assert interrupted(tmp_path, arguments, (tmp_path / "models" / "ready").exists, number) == (status, said)
    assert not (tmp_path / "results").exists()


def test_before_a_cell_has_finished(tmp_path: Path) -> None:
    write(tmp_path / "models" / "slow.py", SLOW)
    status, said = interrupted(tmp_path, ["run", "slow"], (tmp_path / "models" / "ready").exists, signal.SIGINT)
    assert status == 130
    assert said.endswith("harness: interrupted; no cell had finished, so that nothing was kept\n")
    assert list((tmp_path / "results").iterdir()) == []


@pytest.mark.parametrize("number", SIGNALS)
def test_what_is_kept_and_how_to_go_on(tmp_path: Path, number: signal.Signals) -> None:
    """What the sentence says to type finishes the run, from another folder and without the options of the first."""
    cases, out = tmp_path / "cases of mine", tmp_path / "out folder"
    write(cases / "fast.py", FAST)
    write(cases / "slow.py", SLOW)
    arguments = ["run", "fast", "slow", "--models", "cases of mine", "--route", "native", "--samples", "6"]
    status, said = interrupted(tmp_path, [*arguments, "--out", str(out)], (cases / "ready").exists, number)
    assert status == SIGNALS[number]
    (run,) = runs_at(out)
    assert [record.model for record in run.records] == ["fast", "fast"]
    sentence = said.splitlines()[-1]
    again = f"harness run --resume --out '{out}'"
    assert sentence == (f"harness: interrupted; 2 of 4 cells are kept in {run.folder}; `{again}` goes on with the rest")
    (cases / "go").touch()
    (tmp_path / "elsewhere").mkdir()
    command = f"{sys.executable} -m {again}"
    environment = {**os.environ, "HARNESS_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        command, shell=True, cwd=tmp_path / "elsewhere", env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (finished,) = runs_at(out)
    assert [record.model for record in finished.records] == ["fast", "fast", "slow", "slow"]
    assert finished.records[:2] == run.records
    with pytest.raises(StoreError, match="there is no unfinished run"):
        Store(out).resume()


@pytest.mark.parametrize(("number", "status"), SIGNALS.items())
def test_signals_become_a_sentence(number: signal.Signals, status: int) -> None:
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with (
        pytest.raises(Interrupted, match="interrupted; half of it is kept") as caught,
        interruptible(lambda: "half of it is kept"),
    ):
        signal.raise_signal(number)
    assert caught.value.status == status
    assert isinstance(caught.value.__cause__, Terminated) == (number == signal.SIGTERM)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers


def test_other_threads_and_other_errors() -> None:
    entered = []

    def work() -> None:
        with interruptible(str):
            entered.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert entered == [True]
    with pytest.raises(ValueError, match="its own"), interruptible(str):
        raise ValueError("its own")

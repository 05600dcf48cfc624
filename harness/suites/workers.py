"""Runs tests in processes of their own: a crash or a hang costs the one test that caused it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import PredictionError

Row = dict[str, Any]

_POLL_SECONDS = 0.2
_OUTPUT_CHARACTERS = 2000


@dataclass(frozen=True)
class Settings:
    """How pytest is run. ``root``: the folder that test ids are relative to; seconds are of one test,
    ``start_seconds`` of importing and collecting."""

    root: Path
    seed: int
    numerics: str = "float16"
    environment: Mapping[str, str] = field(default_factory=dict)
    tests_per_process: int = 100
    test_seconds: float = 180.0
    start_seconds: float = 600.0

    def command(self, *arguments: str) -> list[str]:
        """The pytest command with our plugin and without anyone's configuration."""
        return [
            *(sys.executable, "-m", "pytest", "-q", "-c", os.devnull, f"--rootdir={self.root}"),
            *("-p", "no:cacheprovider", "-p", "harness.suites.plugin", f"--suite-seed={self.seed}"),
            *(f"--suite-numerics={self.numerics}", "--continue-on-collection-errors", *arguments),
        ]

    def variables(self) -> dict[str, str]:
        """The environment; plugins that happen to be installed stay away."""
        return os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | dict(self.environment)


def collect(paths: Sequence[Path], settings: Settings) -> Row:
    """``ids`` of all tests, and ``not_collected``: outcomes and reasons of modules and classes by id.

    Raises PredictionError, also where there is no test at all: a suite without tests proves nothing.
    """
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "collected.json"
        result = subprocess.run(
            settings.command("--collect-only", f"--suite-collected={target}", *map(str, paths)),
            env=settings.variables(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        if not target.exists():
            raise PredictionError(
                "pytest could not collect the suite",
                received=result.stdout[-_OUTPUT_CHARACTERS:],
                remedy="Install the extra `suites`",
            )
        collected: Row = json.loads(target.read_text())
    if not collected["ids"]:
        reasons = [f"{name}: {item['reason']}" for name, item in collected["not_collected"].items()]
        raise PredictionError(
            f"pytest collected no test in {', '.join(map(str, paths))}",
            received="; ".join(reasons)[:_OUTPUT_CHARACTERS] or "modules without tests",
            remedy="Install the extra `suites`",
        )
    return collected


def run_tests(ids: Sequence[str], jobs: int, settings: Settings) -> Iterator[Row]:
    """A row for each id, as results come, from ``jobs`` processes at a time.

    ``outcome`` is what plugin.outcome_of says; "crashed" of a test that ended its process or did not end; "not run"
    of one that pytest did not begin.
    """
    size = min(settings.tests_per_process, max(1, -(-len(ids) // jobs)))
    waiting = deque(list(ids[start : start + size]) for start in range(0, len(ids), size))
    with tempfile.TemporaryDirectory() as folder:
        running: list[_Worker] = []
        count = 0
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    count += 1
                    running.append(_Worker(waiting.popleft(), Path(folder) / str(count), settings))
                time.sleep(_POLL_SECONDS)
                for worker in list(running):
                    yield from worker.poll()
                    if worker.ended:
                        running.remove(worker)
                        if worker.left:
                            waiting.appendleft(worker.left)
        finally:
            for worker in running:
                worker.stop()


class _Worker:
    """One pytest process over some ids, and what it has written."""

    def __init__(self, ids: Sequence[str], folder: Path, settings: Settings) -> None:
        folder.mkdir()
        self.left = list(ids)
        self.ended = False
        self._settings = settings
        self._started: str | None = None
        self._progressed = False
        self._moved = time.monotonic()
        self._events = folder / "events.jsonl"
        self._events.touch()
        self._position = 0
        self._output = folder / "output.txt"
        selected = folder / "selected.json"
        selected.write_text(json.dumps(self.left))
        functions = folder / "functions.txt"
        # Parameters stay out of the arguments: see plugin.stable_ids.
        functions.write_text("\n".join(dict.fromkeys(f"{settings.root / function_of(test)}" for test in self.left)))
        command = settings.command(
            f"--suite-selected={selected}", f"--suite-events={self._events}", "--tb=short", f"@{functions}"
        )
        with self._output.open("w") as output:
            self._process = subprocess.Popen(
                command, env=settings.variables(), cwd=folder, stdout=output, stderr=subprocess.STDOUT
            )

    def poll(self) -> Iterator[Row]:
        """Rows since the last call, with one made up here for a test that took its process with it."""
        code = self._process.poll()
        yield from self._read()
        if code is not None:
            self.ended = True
            if self._started is not None:
                yield self._lost(f"the process ended with code {code}: {self._tail()}")
            elif not self._progressed:
                # Collection failed, or pytest does not know the ids any more.
                yield from self._not_run(f"pytest did not run it: {self._tail()}")
            return
        limit = self._settings.start_seconds if self._started is None else self._settings.test_seconds
        if time.monotonic() - self._moved > limit:
            self.stop()
            yield from self._read()
            self.ended = True
            if self._started is not None:
                yield self._lost(f"no end after {limit:.0f} s")
            elif not self._progressed:
                yield from self._not_run(f"pytest had not begun after {limit:.0f} s")

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()

    def _read(self) -> Iterator[Row]:
        with self._events.open(encoding="utf-8") as file:
            file.seek(self._position)
            while (line := file.readline()).endswith("\n"):
                self._position = file.tell()
                self._moved = time.monotonic()
                event = json.loads(line)
                self._progressed = True
                if "started" in event:
                    self._started = event["started"]
                else:
                    self._started = None
                    self.left.remove(event["id"])
                    yield event

    def _lost(self, reason: str) -> Row:
        assert self._started is not None
        self.left.remove(self._started)
        return _row(self._started, "crashed", reason)

    def _not_run(self, reason: str) -> Iterator[Row]:
        left, self.left = self.left, []
        yield from (_row(test, "not run", reason) for test in left)

    def _tail(self) -> str:
        return self._output.read_text(errors="replace")[-_OUTPUT_CHARACTERS:].strip()


def function_of(test: str) -> str:
    """The id of a test without its parameters."""
    return test.partition("[")[0].partition("#")[0]


def _row(test: str, outcome: str, reason: str) -> Row:
    return {"id": test, "outcome": outcome, "reason": reason}

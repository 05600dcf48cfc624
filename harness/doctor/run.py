"""Runs the checks, each in a process of its own: a crash or a hang ends the check and not doctor."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness import plugins
from harness.doctor.checks import CHECKS, Check
from harness.doctor.child import BUILD, MACHINE
from harness.doctor.result import Diagnosis, Finding, Row, Skip
from harness.errors import HarnessError
from harness.runtimes.coreml.conditions import Conditions
from harness.runtimes.coreml.devices import COMPUTE_UNITS, Devices

SECONDS = 120.0
_JOBS = 4
_PACKAGES = ("coreml-harness", "coremltools", "tensorflow", "onnxruntime", "onnx", "numpy", "protobuf", "pillow")
_ENTRY = (sys.executable, "-m", "harness.doctor.child")
_TAIL_CHARACTERS = 300


def diagnose(
    entry: Sequence[str] = _ENTRY,
    seconds: float = SECONDS,
    progress: Callable[[int, int], None] = lambda done, total: None,
    checks: Sequence[str] = tuple(CHECKS),
) -> Diagnosis:
    """All checks, or those that are named. ``entry``: the command that executes one, given its name, the models'
    folder and a file for its answer; ``seconds``: the time limit of each; ``progress(done, total)`` is called
    as they end. Nothing native is called in this process."""
    with tempfile.TemporaryDirectory() as folder:
        processes = _Processes(Path(folder), entry, seconds)
        with ThreadPoolExecutor(min(_JOBS, os.cpu_count() or 1)) as pool:
            try:
                machine = pool.submit(processes.answer, MACHINE)
                rows = _rows([CHECKS[name] for name in checks], processes, pool, progress)
                conditions, devices = _read(machine.result())
            except BaseException:  # an interrupt, too, ends what is running
                pool.shutdown(wait=False, cancel_futures=True)
                processes.stop()
                raise
    runtimes, routes = plugins.names(plugins.RUNTIMES), plugins.names(plugins.ROUTES)
    reasons = {f"runtime {name}": _reason(plugins.runtime, name) for name in runtimes}
    reasons |= {f"route {name}": _reason(plugins.route, name) for name in routes}
    missing = {f"compute unit {unit}": devices.missing_for(unit) for unit in COMPUTE_UNITS}
    skipped = [Skip(what, reason) for what, reason in reasons.items() if reason]
    skipped += [
        Skip(what, f"there is no {' and no '.join(kinds)}: it runs, on another device")
        for what, kinds in missing.items()
        if kinds
    ]
    return Diagnosis(
        versions=_versions(),
        conditions=conditions,
        devices=devices,
        rows=rows,
        available=tuple(what for what, reason in reasons.items() if reason is None),
        skipped=tuple(skipped),
    )


def _read(machine: dict[str, Any] | str) -> tuple[Conditions, Devices]:
    if isinstance(machine, str):
        time = datetime.now(UTC).isoformat(timespec="seconds")
        unread = {item.name: machine for item in fields(Conditions) if item.default is None}
        return Conditions(time, platform.system(), reasons=unread), Devices((), machine)
    return Conditions.from_json(machine["conditions"]), Devices.from_json(machine["devices"])


def _rows(
    checks: Sequence[Check], processes: _Processes, pool: ThreadPoolExecutor, progress: Callable[[int, int], None]
) -> tuple[Row, ...]:
    total = 1 + len(checks)
    progress(0, total)
    built = processes.answer(BUILD)
    progress(1, total)
    done = 1

    def row(check: Check) -> Row:
        nonlocal done
        reason = _not_checked(check, built)
        start = time.monotonic()
        found = Finding("could not tell", reason) if reason else _finding(check, processes)
        taken = 0.0 if reason else round(time.monotonic() - start, 1)
        done += 1
        progress(done, total)
        return Row(check.name, check.group, check.what, found.verdict, found.observed, taken)

    return tuple(pool.map(row, checks))


def _not_checked(check: Check, built: dict[str, Any] | str) -> str | None:
    """Why a check is not begun."""
    if isinstance(built, str):
        return f"the models were not made: {built}"
    if check.native and built["native"]:
        return str(built["native"])
    if check.native and tuple(built["macos"]) < check.macos:
        return "needs macOS {}.{}".format(*check.macos)
    return None


def _finding(check: Check, processes: _Processes) -> Finding:
    answer = processes.answer(check.name)
    return Finding("could not tell", answer) if isinstance(answer, str) else Finding(**answer)


class _Processes:
    """Executes checks, each in a process group of its own with a time limit."""

    def __init__(self, folder: Path, entry: Sequence[str], seconds: float) -> None:
        self._folder = folder
        self._entry = entry
        self._seconds = seconds
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def answer(self, name: str) -> dict[str, Any] | str:
        """What the process answered, or how it ended instead."""
        if self._stopped:
            return "doctor was interrupted"
        result = self._folder / f"{name}.json"
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                [*self._entry, name, str(self._folder), str(result)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
            self._running.add(process)
            try:
                status = process.wait(self._seconds)
            except subprocess.TimeoutExpired:
                status = None
            finally:
                _kill(process)
                self._running.discard(process)
            if status == 0 and result.exists():
                value: dict[str, Any] = json.loads(result.read_text())
                return value
            output.seek(0)
            said = " ".join(output.read().decode(errors="replace").split())[-_TAIL_CHARACTERS:]
        stage = result.with_name(result.name + ".stage")
        during = f" during {stage.read_text()}" if stage.exists() else ""
        return f"{_ended(status, self._seconds)}{during}{f': {said}' if said else ''}"

    def stop(self) -> None:
        """End what is running, and begin nothing more."""
        self._stopped = True
        for process in list(self._running):
            _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """The process, and whatever it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _ended(status: int | None, seconds: float) -> str:
    if status is None:
        return f"no end after {seconds:.0f} s"
    if status < 0:
        return f"the process ended by {signal.Signals(-status).name}"
    return f"the process ended with status {status}"


def _reason(load: Callable[[str], Any], name: str) -> str | None:
    try:
        reason: str | None = load(name).unavailable()
    except HarnessError as error:
        return str(error)
    return reason


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "system": platform.platform()}
    for name in _PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found

"""The command line for tests; and how tests are shared out where several processes run them (``make test``): a file
stays in one, with its fixtures.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Result:
    """What a command left: its exit status and what it printed."""

    code: int
    out: str
    err: str


Harness = Callable[..., Result]


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Harness:
    """Run a command in this process, in a folder and with a cache of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_CACHE_DIR", str(tmp_path / "cache"))

    def run(*arguments: str | Path) -> Result:
        from harness.__main__ import main

        monkeypatch.setattr(sys, "argv", ["harness", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capfd.readouterr()
        return Result(stop.value.code if isinstance(stop.value.code, int) else 1, captured.out, captured.err)

    return run


# Its last test looks back at all others of the folder.
TOGETHER = "tests/runtimes/portable/"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return TOGETHER if nodeid.startswith(TOGETHER) else nodeid.partition("::")[0]

    return ByFile(config, log)

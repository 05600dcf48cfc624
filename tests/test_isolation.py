"""Processes that crash, hang and eat memory, and what is left of them."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import pytest

from harness.isolation import Ended, Limits, own_folder, remove_abandoned, run_isolated

CASES = {
    "ends well": ("pass", (0, "", "")),
    "fails": ("raise SystemExit(3)", (3, "", "")),
    "SIGSEGV": ("import ctypes; ctypes.string_at(0)", (None, "SIGSEGV", "")),
    "SIGABRT": ("import os; os.abort()", (None, "SIGABRT", "")),
    "hang that holds the interpreter": ("import ctypes; ctypes.PyDLL(None).sleep(60)", (None, "SIGKILL", "time")),
    "memory": ("import time; x = bytearray(400_000_000); time.sleep(60)", (None, "SIGKILL", "memory")),
}


def run(code: str, folder: Path, **limits: float) -> Ended:
    given = Limits(**{"seconds": 5, "memory_bytes": 200_000_000, **limits})  # type: ignore[arg-type]
    return run_isolated([sys.executable, "-c", code], folder, given)


@pytest.mark.parametrize("name", CASES)
def test_ends(name: str, tmp_path: Path) -> None:
    code, (status, signal, exceeded) = CASES[name]
    ended = run(code, tmp_path)
    assert (ended.status, ended.signal, ended.exceeded) == (status, signal, exceeded)
    assert ended.is_clean == (name == "ends well")


def test_what_it_said_last_is_kept(tmp_path: Path) -> None:
    ended = run("import sys, os; print('on the way', file=sys.stderr, flush=True); os.abort()", tmp_path)
    assert "on the way" in ended.stderr_tail


def test_children_and_temporary_files_go_with_it(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, tempfile, os\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, tempfile.mkdtemp(), flush=True)\n"
        "os.abort()"
    )
    with own_folder() as folder:
        run(code, folder)
        child, temporary = (folder / "stdout.txt").read_text().split()
        assert Path(temporary).is_relative_to(folder)
        assert _is_gone(child)
    assert not folder.exists()


def _is_gone(process: str) -> bool:
    """Within the moment that the kernel takes to deliver a signal."""
    for _ in range(100):
        try:
            if Path(f"/proc/{process}/stat").read_text().split()[2] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_many_cells_leave_nothing() -> None:
    """40 cells, half of them killed; `python -m tests.many_cells 1000` runs more."""
    from tests.many_cells import leftovers, run_cells

    before = leftovers()
    run_cells(40)
    assert leftovers() == before


def test_folders_of_a_killed_owner_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "harness-cell-999999999-abc").mkdir()
    with own_folder() as mine:
        assert remove_abandoned() == 1
        assert mine.exists()

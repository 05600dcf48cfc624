"""``python -m tests.many_cells 1000``: so many isolated processes, half of them killed, and what is left afterwards."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from harness.isolation import Limits, own_folder, run_isolated

_ENDS = ("pass", "import os; os.abort()", "import tempfile; tempfile.mkdtemp()", "import ctypes; ctypes.string_at(0)")


def run_cells(count: int) -> None:
    """Every second one is ended by a signal."""
    for index in range(count):
        code = _ENDS[index % len(_ENDS)]
        with own_folder() as folder:
            ended = run_isolated([sys.executable, "-S", "-c", code], folder, Limits(seconds=30))
            assert bool(ended.signal) == (index % 2 == 1)


def leftovers() -> tuple[int, int, int, int]:
    """Child processes, temporary folders of ours, semaphores and open files."""
    own = str(os.getpid())
    children = sum(
        1
        for path in Path("/proc").glob("[0-9]*/stat")
        if (fields := _fields(path)) and fields[1] == own and fields[0] != "Z"
    )
    folders = len(list(Path(tempfile.gettempdir()).glob(f"harness-cell-{own}-*")))
    semaphores = len(list(Path("/dev/shm").glob("sem.*")))
    return children, folders, semaphores, len(list(Path("/proc/self/fd").iterdir()))


def _fields(path: Path) -> list[str]:
    try:
        return path.read_text().rpartition(")")[2].split()
    except OSError:
        return []


if __name__ == "__main__":
    before = leftovers()
    run_cells(int(sys.argv[1]))
    print("children, folders, semaphores, open files before and after:", before, leftovers())

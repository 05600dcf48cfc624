"""A process of its own for what may crash, hang or eat all memory, and the certainty that nothing of it is left."""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

STANDARD_ERROR = "stderr.txt"
STANDARD_OUTPUT = "stdout.txt"

_PREFIX = "harness-cell-"
_POLL_SECONDS = 0.25
_TAIL_BYTES = 4000
# The kernel ends a process that outlives its parent, so much later than the parent would have.
_GRACE_SECONDS = 30
# Memory that a process may reserve beyond its limit; Python's extension modules reserve much and touch little.
_RESERVED_BYTES = 8 * 1024**3
# libproc.h: proc_pid_rusage, flavour RUSAGE_INFO_V0, and where ri_phys_footprint is in its structure.
_RUSAGE_INFO_V0 = 0
_FOOTPRINT_OFFSET = 72
_RUSAGE_BYTES = 96


def _physical_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@dataclass(frozen=True)
class Limits:
    """What one process may take: ``seconds`` from its start to its end, ``memory_bytes`` resident
    (three quarters of the machine's memory if 0)."""

    seconds: float = 900.0
    memory_bytes: int = 0

    @property
    def memory(self) -> int:
        """Bytes."""
        return self.memory_bytes or _physical_memory() * 3 // 4


@dataclass(frozen=True)
class Ended:
    """How a process ended. ``exceeded``: the limit that it was killed for, ``time`` or ``memory``; ``signal``: the
    name of the signal that ended it, ``SIGKILL`` where a limit did; ``status``: its exit status otherwise."""

    status: int | None
    signal: str
    exceeded: str
    seconds: float
    peak_bytes: int
    stderr_tail: str

    @property
    def is_clean(self) -> bool:
        """Whether it ended by itself, with status 0."""
        return self.status == 0 and not self.exceeded

    def describe(self, limits: Limits) -> str:
        """``was ended by SIGSEGV``, and the like; what follows the name of what ended."""
        if self.exceeded == "time":
            return f"had not ended after {limits.seconds:g} s"
        if self.exceeded == "memory":
            return f"took {self.peak_bytes / 1e9:.1f} GB of memory, where {limits.memory / 1e9:.1f} GB were allowed"
        if self.signal:
            return f"was ended by {self.signal}"
        return f"ended with status {self.status}"


@contextmanager
def own_folder() -> Iterator[Path]:
    """A temporary folder that is removed whatever happens, also with what a killed process left in it."""
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned() -> int:
    """Remove folders whose owner was killed before it could; how many there were."""
    removed = 0
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        owner = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdigit() and not _is_alive(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    return removed


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def run_isolated(
    command: Sequence[str],
    folder: Path,
    limits: Limits,
    environment: Mapping[str, str] | None = None,
    poll: Callable[[], None] = lambda: None,
) -> Ended:
    """Execute ``command`` in a process group of its own until it ends or exceeds a limit, and end all that is
    left of the group. Its temporary files go into ``folder``, with what it prints. ``poll`` is called now and then.

    Interrupts, SIGTERM and SIGHUP of this process end the other one too, and are raised as KeyboardInterrupt or
    SystemExit.
    """
    temporary = folder / "temporary"
    temporary.mkdir(exist_ok=True)
    variables = {**os.environ, **(environment or {}), "TMPDIR": str(temporary), "PYTHONFAULTHANDLER": "1"}
    start = time.monotonic()
    exceeded, peak = "", 0
    with (
        (folder / STANDARD_OUTPUT).open("wb") as output,
        (folder / STANDARD_ERROR).open("wb") as error,
        _raised_signals(),
    ):
        process = subprocess.Popen(
            list(command), stdin=subprocess.DEVNULL, stdout=output, stderr=error, env=variables, start_new_session=True
        )
        try:
            while not exceeded:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(min(_POLL_SECONDS, max(0.0, start + limits.seconds - time.monotonic())))
                    break
                peak = max(peak, resident_bytes(process.pid))
                if peak > limits.memory:
                    exceeded = "memory"
                elif time.monotonic() - start >= limits.seconds:
                    exceeded = "time"
                poll()
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    status = process.returncode
    return Ended(
        status=status if status >= 0 else None,
        signal=signal.Signals(-status).name if status < 0 else "",
        exceeded=exceeded,
        seconds=time.monotonic() - start,
        peak_bytes=peak,
        stderr_tail=_tail(folder / STANDARD_ERROR),
    )


@contextmanager
def _raised_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP raise SystemExit, so that ``finally`` is reached; other handlers than the default stay."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    changed: dict[signal.Signals, Any] = {}
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            changed[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in changed.items():
            signal.signal(number, handler)


def guard_process(limits: Limits) -> None:
    """In the other process: the kernel ends it some time after its limit, even where the parent is gone and native
    code holds the interpreter; it writes no core file; where the system has such a limit, it reserves no more memory.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(limits.seconds) + _GRACE_SECONDS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":  # macOS takes the call and does not keep to it
        with suppress(ValueError, OSError):
            most = limits.memory + _RESERVED_BYTES
            resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def peak_resident_bytes() -> int:
    """The most memory that this process had so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # getrusage(2): bytes on macOS, kilobytes on Linux


def resident_bytes(process: int) -> int:
    """Memory of another process now; 0 where it cannot be told, as after its end."""
    try:
        if sys.platform == "darwin":
            return _footprint(process)
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _footprint(process: int) -> int:
    """``ri_phys_footprint``, what Activity Monitor calls Memory; it costs no process, as ``ps`` would."""
    buffer = ctypes.create_string_buffer(_RUSAGE_BYTES)
    if ctypes.CDLL(None).proc_pid_rusage(process, _RUSAGE_INFO_V0, buffer):
        return 0
    return int.from_bytes(buffer.raw[_FOOTPRINT_OFFSET : _FOOTPRINT_OFFSET + 8], sys.byteorder)


def _tail(path: Path) -> str:
    """The end of a file of text, in whole lines."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        cut = file.tell() > 0
        text = file.read().decode(errors="replace")
    return (text.partition("\n")[2] if cut else text).strip()

"""Files that are written whole or not at all, locks on them, and what is said where the disk refuses."""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path

from harness.errors import StoreError


def write_atomically(path: Path, text: str) -> None:
    """Write a file that, whatever happens meanwhile, is there whole or as it was before. Raises OSError."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            write_through(descriptor, text.encode())
        finally:
            os.close(descriptor)
        aside.replace(path)
        flush_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise


def write_through(descriptor: int, content: bytes) -> None:
    """Write all of ``content``, onto the disk itself. Raises OSError."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    os.fsync(descriptor)


def flush_folder(folder: Path) -> None:
    """Have the names of a folder's files on the disk itself. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Lock an open file against other processes until it is closed; False where one of them has locked it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


_REMEDIES = {
    errno.ENOSPC: "Free space on that disk and run again, with --resume if a cell had finished",
    errno.EDQUOT: "Free space within your quota and run again, with --resume if a cell had finished",
    errno.EACCES: "Choose a folder that you may write to, with --out",
    errno.EPERM: "Choose a folder that you may write to, with --out",
    errno.EROFS: "Choose a folder that you may write to, with --out",
    errno.ENOTDIR: "Choose a folder, not a file, with --out",
    errno.EEXIST: "Choose a folder, not a file, with --out",
}


def disk_error(path: Path, error: OSError) -> StoreError:
    """The system's error as one sentence of ours, with what to do about it."""
    return StoreError(
        f"{path} could not be read or written: {error.strerror or error}",
        remedy=_REMEDIES.get(error.errno or 0, "Check the disk and the folder"),
    )

"""Ctrl-C and SIGTERM: a command ends in order, and says what is kept of its work."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM  # exit statuses, as shells count them


class Terminated(KeyboardInterrupt):
    """SIGTERM, raised where Ctrl-C would be: what cleans up after the one cleans up after the other."""


class Interrupted(Exception):  # noqa: N818 - no error, as KeyboardInterrupt is none
    """A command was ended by its user or the system, in order; the message says what is kept."""

    def __init__(self, message: str, status: int) -> None:
        self.status = status
        super().__init__(message)


@contextmanager
def interruptible(kept: Callable[[], str]) -> Iterator[None]:
    """Within it Ctrl-C and SIGTERM become Interrupted, with what ``kept`` then says. In the main thread only, for
    others are not told of signals."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Terminated

    mine = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, stop) if mine else signal.SIG_DFL
    try:
        yield
    except KeyboardInterrupt as error:
        status = TERMINATED if isinstance(error, Terminated) else INTERRUPTED
        raise Interrupted(f"interrupted; {kept()}", status) from error
    finally:
        if mine:
            signal.signal(signal.SIGTERM, before or signal.SIG_DFL)

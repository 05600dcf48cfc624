"""What the suites of cases share: processes of their own for the cases, a bar of progress, and counted outcomes."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

Work = TypeVar("Work")
Result = TypeVar("Result")


SECONDS_PER_CASE = 180.0
_REASON_CHARACTERS = 200
_AFTER = 0.01  # seconds, so that a deadline has passed when it is looked at


def run_isolated(
    work: Sequence[Work],
    run: Callable[[Work], Result],
    lost: Callable[[Work, str], Result],
    jobs: int,
    seconds: float = SECONDS_PER_CASE,
) -> Iterator[Result]:
    """``run`` of each item in order, in ``jobs`` processes at a time; ``lost`` of one that ends its process or takes
    more than ``seconds``, with the reason.

    ``run`` is a function of a module and the items can be pickled.
    """
    waiting = deque(range(len(work)))
    finished: dict[int, Result] = {}
    following = 0
    workers: list[_Worker] = []
    try:
        while following < len(work):
            workers += [_Worker(run) for _ in range(min(jobs - len(workers), len(waiting)))]
            for worker in workers:
                if worker.item is None and waiting:
                    worker.begin(waiting.popleft(), work, seconds)
            _wait_for_any(workers)
            for worker in workers:
                item = worker.item
                if item is None:
                    continue
                reason = worker.poll(finished, seconds)
                if reason is not None:
                    finished[item] = lost(work[item], reason)
            workers = [worker for worker in workers if not worker.ended]
            while following in finished:
                yield finished.pop(following)
                following += 1
    finally:
        for worker in workers:
            worker.stop()


class _Worker:
    """A process that runs one item after the other."""

    def __init__(self, run: Callable[[Any], Any]) -> None:
        from multiprocessing import get_context

        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.item: int | None = None
        self.deadline = 0.0
        self.ended = False
        self._process = context.Process(target=_serve, args=(run, theirs))
        self._process.start()
        theirs.close()

    def begin(self, item: int, work: Sequence[Any], seconds: float) -> None:
        """Run an item."""
        self.item, self.deadline = item, time.monotonic() + seconds
        with suppress(BrokenPipeError):  # told by ``poll``
            self.connection.send(work[item])

    def poll(self, finished: dict[int, Any], seconds: float) -> str | None:
        """Take the result if it is there; why there will be none."""
        assert self.item is not None
        if self.connection.poll():
            try:
                finished[self.item] = self.connection.recv()
            except (EOFError, ConnectionResetError):
                self.stop()
                return "the process ended"
            self.item = None
        elif time.monotonic() > self.deadline:
            self.stop()
            return f"took more than {seconds:g} s"
        return None

    def stop(self) -> None:
        """End the process."""
        self.ended = True
        self._process.kill()
        self._process.join()
        self.connection.close()


def _serve(run: Callable[[Any], Any], connection: Any) -> None:
    with suppress(EOFError):  # the other end is closed
        while True:
            connection.send(run(connection.recv()))


def _wait_for_any(workers: Sequence[_Worker]) -> None:
    """Until a process has something to tell, or has had its time."""
    from multiprocessing.connection import wait

    busy = [worker for worker in workers if worker.item is not None]
    first = min(worker.deadline for worker in busy)
    wait([worker.connection for worker in busy], timeout=max(first - time.monotonic(), 0) + _AFTER)


def with_progress(results: Iterable[Result], total: int) -> list[Result]:
    """All results, with a bar on standard error while they come."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    collected = []
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("cases", total=total)
        for result in results:
            collected.append(result)
            bar.advance(task)
    return collected


def command_line(suite: str, options: Mapping[str, Sequence[str] | None], flags: Sequence[str] = ()) -> str:
    """What has to be typed for the same cases."""
    given = [f"--{name} {value}" for name, values in options.items() for value in values or ()]
    return " ".join(["harness suite", suite, *given, *flags])


def print_reasons(results: Sequence[Any], outcomes: Sequence[str], listed: int) -> None:
    """Why cases ended so: a line of each reason with the number of its cases, the most frequent first. A reason is the
    same for two cases if it differs in nothing but their names."""
    reasons: dict[tuple[str, str], list[Any]] = {}
    for result in results:
        if result.outcome in outcomes:
            reason = result.reason.replace(result.name, "...")[:_REASON_CHARACTERS]
            reasons.setdefault((result.outcome, reason), []).append(result)
    ordered = sorted(reasons.items(), key=lambda item: len(item[1]), reverse=True)
    for (outcome, reason), same in ordered[:listed]:
        print(f"{len(same)} {outcome}, for instance {same[0].operator} {same[0].name} ({same[0].form}): {reason}")
    if left := sum(len(same) for _, same in ordered[listed:]):
        print(f"{left} {' or '.join(outcomes)} for other reasons: --json has them")


def counted(results: Sequence[Any], outcomes: Sequence[str]) -> list[str]:
    """How many results, and how many of each outcome, as the cells of a table; ``outcomes`` are all that there are."""
    counts: Counter[Any] = Counter(result.outcome for result in results)
    if unknown := set(counts) - set(outcomes):
        raise ValueError(f"outcomes without a column: {sorted(unknown)}")
    return [str(len(results)), *(str(counts[outcome]) for outcome in outcomes)]

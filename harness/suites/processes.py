"""What the suites of cases share: processes of their own for the cases, a bar of progress, and counted outcomes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

Work = TypeVar("Work")
Result = TypeVar("Result")


def run_isolated(
    work: Sequence[Work], run: Callable[[Work], Result], crashed: Callable[[Work], Result], jobs: int
) -> Iterator[Result]:
    """``run`` of each item in order, in ``jobs`` processes at a time; ``crashed`` of one that ends its process.

    ``run`` is a function of a module and the items can be pickled.
    """
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    context = get_context("spawn")
    while work:
        done = 0
        with ProcessPoolExecutor(min(jobs, len(work)), mp_context=context) as pool:
            for future in [pool.submit(run, item) for item in work]:
                try:
                    yield future.result()
                except BrokenProcessPool:
                    break
                done += 1
        if done == len(work):
            return
        # Something ended a process: the next case alone, to see whether it was that one.
        with ProcessPoolExecutor(1, mp_context=context) as alone:
            try:
                yield alone.submit(run, work[done]).result()
            except BrokenProcessPool:
                yield crashed(work[done])
        work = work[done + 1 :]


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


def counted(results: Sequence[Any], outcomes: Sequence[str]) -> list[str]:
    """How many results, and how many of each outcome, as the cells of a table."""
    counts: Counter[Any] = Counter(result.outcome for result in results)
    return [str(len(results)), *(str(counts[outcome]) for outcome in outcomes)]

from __future__ import annotations

import os
import time

import pytest

from harness.suites.processes import run_isolated


def doubled(number: int) -> int:
    if number == 3:
        os._exit(1)
    if number == 5:
        time.sleep(1000)
    return 2 * number


def lost(number: int, reason: str) -> tuple[int, str]:
    return number, reason


@pytest.mark.parametrize(
    ("number", "reason"), [(3, "the process ended"), (5, "took more than 3 s")], ids=["ends its process", "hangs"]
)
def test_a_case_costs_itself_alone(number: int, reason: str) -> None:
    results = list(run_isolated([1, number, 2, number, 4], doubled, lost, jobs=2, seconds=3))
    assert results == [2, (number, reason), 4, (number, reason), 8]


def test_nothing_to_run() -> None:
    assert list(run_isolated([], doubled, lost, jobs=2)) == []

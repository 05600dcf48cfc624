from __future__ import annotations

import os

from harness.suites.processes import run_isolated


def doubled(number: int) -> int:
    if number == 3:
        os._exit(1)
    return 2 * number


def test_a_case_that_ends_its_process_costs_itself_alone() -> None:
    assert list(run_isolated([1, 2, 3, 4], doubled, lambda number: -number, jobs=2)) == [2, 4, -3, 8]

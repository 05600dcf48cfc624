"""Where an error enters."""

from __future__ import annotations

import numpy as np
import pytest

from harness.ladder import Ladder, climb, merged

EXACT = np.linspace(0, 1, 12).reshape(3, 4)


def rungs(**errors: float) -> dict[str, dict[str, np.ndarray]]:
    """Outputs of each rung, off by a constant."""
    names = {"float32": "portable float32", "float16": "portable float16"}
    return {names.get(name, name): {"y": EXACT + error} for name, error in errors.items()}


def ladder(**errors: float) -> Ladder:
    climbed = climb({"y": EXACT}, rungs(**errors), "tensorflow")["y"]
    return Ladder("model", "native", "float16", "y", "tensorflow", 1e-2, climbed)


@pytest.mark.parametrize(
    ("errors", "entry", "cause", "step"),
    [
        ({"float32": 0.5, "float16": 0.501, "CPU_ONLY": 0.5}, "portable float32", "conversion", 0.5),
        ({"float32": 1e-7, "float16": 2e-3, "CPU_ONLY": 2e-3}, "portable float16", "precision", 2e-3),
        ({"float32": 0, "float16": 1e-3, "CPU_ONLY": 0.1, "CPU_AND_GPU": 0.1}, "CPU_ONLY", "device", 0.099),
        ({"float32": 0, "float16": 1e-3, "CPU_ONLY": 1e-3, "CPU_AND_GPU": 1e-3, "CPU_AND_NE": 0.3, "ALL": 0.3},
         "CPU_AND_NE", "device", 0.299),
        ({"float32": 0, "CPU_ONLY": 0, "CPU_AND_GPU": 0, "CPU_AND_NE": 0, "ALL": 0.2}, "ALL", "device", 0.2),
    ],
)  # fmt: skip
def test_entry(errors: dict[str, float], entry: str, cause: str, step: float) -> None:
    found = ladder(**errors).entry
    assert found is not None
    assert (found.name, found.cause) == (entry, cause)
    assert found.step == pytest.approx(step, rel=1e-3)


def test_both_last_rungs_start_from_the_one_before() -> None:
    climbed = ladder(float32=0, CPU_ONLY=0, CPU_AND_GPU=0.1, CPU_AND_NE=0.3, ALL=0.4).rungs
    assert [rung.below for rung in climbed] == [
        "tensorflow", "portable float32", "CPU_ONLY", "CPU_AND_GPU", "CPU_AND_GPU",
    ]  # fmt: skip


def test_nothing_moves() -> None:
    found = ladder(float32=0, CPU_ONLY=0)
    assert found.entry is None
    assert found.is_within
    assert not ladder(float32=0.5).is_within


def test_an_output_that_is_not_there_is_where_it_enters() -> None:
    given = rungs(float32=0, float16=0)
    given["CPU_ONLY"] = {}
    climbed = climb({"y": EXACT}, given)["y"]
    found = Ladder("model", "native", "float16", "y", "tensorflow", 1e-2, climbed)
    assert found.entry is not None
    assert found.entry.name == "CPU_ONLY"
    assert found.entry.obstacle
    assert not found.is_within


def test_json_round_trip_and_merging() -> None:
    first, second = ladder(float32=0.5), ladder(float32=0)
    assert Ladder.from_json(first.to_json()) == first
    assert merged([first], [second]) == (second,)

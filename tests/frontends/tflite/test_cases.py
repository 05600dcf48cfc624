"""A case of each operator of the table; `harness suite tflite` runs all, in every form."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.frontends.tflite.registry import TRANSLATIONS
from harness.suites.tflite_cases import Case, read_table, run_case
from tests.frontends.tflite.test_operators import PENDING, builtins

TABLE = Path(__file__).parent / "cases"


def first_cases() -> dict[str, Case]:
    """One of each operator, made by hand where there is one: TFLiteConverter takes its time."""
    found: dict[str, Case] = {}
    for case in sorted(read_table(TABLE), key=lambda case: case.ran_forms != ("made",)):
        found.setdefault(case.operator, case)
    return found


CASES = first_cases()


@pytest.mark.parametrize("operator", sorted(CASES))
def test_operator(operator: str) -> None:
    case = CASES[operator]
    result = run_case(case, case.ran_forms[0])
    assert (result.outcome, result.reason) == ("correct", "")


def test_every_translated_operator_has_a_case() -> None:
    # DENSIFY is read as a dense constant and QUANTIZE is in every quantised model.
    without = (set(TRANSLATIONS.operators()) & builtins()) - set(CASES) - PENDING
    assert without <= {"DENSIFY", "QUANTIZE"}

"""A case of each operator of the table; `harness suite tflite` runs all, in every form."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.frontends.tflite.registry import TRANSLATIONS
from harness.suites.tflite_cases import Case, read_table, run_case
from tests.frontends.tflite.test_operators import builtins

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


# DENSIFY is read as a dense constant, QUANTIZE is in every quantised model; models of several subgraphs, variables and
# recurrent layers have tests of their own.
ELSEWHERE = {
    "ASSIGN_VARIABLE", "BIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_RNN", "CALL", "CALL_ONCE", "DENSIFY",
    "IF", "LSTM", "QUANTIZE", "READ_VARIABLE", "RNN", "SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM",
    "UNIDIRECTIONAL_SEQUENCE_RNN", "VAR_HANDLE", "WHILE",
}  # fmt: skip


def test_every_translated_operator_has_a_case() -> None:
    assert (set(TRANSLATIONS.operators()) & builtins()) - set(CASES) <= ELSEWHERE

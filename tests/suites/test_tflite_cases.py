from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import UnknownNameError, UsageError
from harness.runtimes import portable
from harness.suites import tflite_cases
from harness.suites.tflite_cases import Case, Input, chosen, find_table, read_table, run_case
from tests.frontends.tflite.building import Tensor, constant, one_operator

TABLE = Path(__file__).parent.parent / "frontends" / "tflite" / "cases"


def made(factor: float = 2.0, **changes: Any) -> Case:
    vector = Tensor((2, 3))
    model = one_operator("MUL", [vector, constant([factor] * 3)], [vector])
    return Case("MUL", "by a constant", model, (Input((2, 3)),), **changes)


def test_a_right_answer_is_correct() -> None:
    assert run_case(made(), "made").outcome == "correct"


@pytest.mark.parametrize("factor", [0.0, -1.0, 1.001, np.nan])
def test_a_wrong_answer_is_wrong(factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    load = portable.load

    class Distorted:
        def __init__(self, path: Path) -> None:
            self.model = load(path)

        def predict(self, inputs: dict[str, Any]) -> dict[str, Any]:
            return {name: value * factor for name, value in self.model.predict(inputs).items()}

    monkeypatch.setattr(portable, "load", Distorted)
    assert run_case(made(), "made").outcome == "wrong"


def test_an_expected_output_of_zeros_shows_nothing() -> None:
    assert run_case(made(factor=0.0), "made").outcome == "failed"
    assert run_case(made(factor=0.0, constant=True), "made").outcome == "correct"


def test_a_model_without_the_operator_is_told() -> None:
    result = run_case(Case("SUB", "none", made().model, (Input((2, 3)),)), "made")
    assert result.outcome == "unavailable"
    assert "MUL" in result.reason


def test_the_table(tmp_path: Path) -> None:
    assert find_table(TABLE) == TABLE
    assert chosen(TABLE, (read_table(TABLE)[0].operator,), ())
    with pytest.raises(UnknownNameError, match="NOT_ONE"):
        chosen(TABLE, ("NOT_ONE",), ())
    with pytest.raises(UsageError, match="--table"):
        find_table(tmp_path)
    with pytest.raises(UsageError, match=r"received CONV_3D_TRANSPOSE in int8"):
        chosen(TABLE, ("CONV_3D_TRANSPOSE",), ("int8",))


def test_a_case_that_never_runs_is_told(tmp_path: Path) -> None:
    table = tmp_path / "never_run"
    table.mkdir()
    (table / "__init__.py").touch()
    (table / "table.py").write_text(
        "from harness.suites.tflite_cases import Case\nCASES = [Case('MUL', 'never', lambda: None, (), forms=())]\n"
    )
    with pytest.raises(UsageError, match="no form"):
        read_table(table)


def test_a_model_without_outputs_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tflite_cases, "_expected", lambda *_: ({}, {}))
    assert run_case(made(constant=True), "made").outcome == "failed"

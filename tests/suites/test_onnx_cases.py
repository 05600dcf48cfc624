from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from harness.errors import UnknownNameError
from harness.suites.onnx_cases import KINDS, cases, check_choice, count_expanded, run_case


@dataclasses.dataclass
class Emptied:
    """A case of the suite with other data."""

    case: Any
    data_sets: list[tuple[list[Any], list[Any]]]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.case, name)


def relu() -> Any:
    return next(case for case in cases("node") if case.name == "test_relu")


@pytest.mark.parametrize("form", ["inputs", "constants"])
@pytest.mark.parametrize("keep_inputs", [False, True], ids=["no data", "no expected outputs"])
def test_a_case_that_compares_nothing_fails(form: str, keep_inputs: bool) -> None:
    case = relu()
    inputs, outputs = case.data_sets[0]
    assert run_case(Emptied(case, [(inputs, outputs)]), form).outcome == "correct"
    assert run_case(Emptied(case, [(inputs, [])] if keep_inputs else []), form).outcome == "failed"


@pytest.mark.parametrize(("kinds", "operators"), [(("node", "real"), ()), (("node",), ("Relu", "Rellu"))])
def test_a_choice_that_there_is_not(kinds: tuple[str, ...], operators: tuple[str, ...]) -> None:
    check_choice(("node",), ("Relu",))
    with pytest.raises(UnknownNameError, match=r"real|Rellu"):
        check_choice(kinds, operators)


def test_cases_that_are_left_out_are_counted() -> None:
    from onnx.backend.test.loader import load_model_tests

    everything = load_model_tests(kind="node")
    assert len(cases("node")) + count_expanded(["node"]) == len(everything)
    assert count_expanded(KINDS) >= count_expanded(["node"]) > 0

from __future__ import annotations

from typing import Any

import pytest

from harness.errors import PredictionError
from harness.failures import failure_text


def raised(code: str, *modules: str) -> Exception:
    """What ``code`` raises within functions of the named modules, the outermost first."""
    function: Any = None
    for module in reversed(modules):
        namespace: dict[str, Any] = {"__name__": module, "inner": function}
        body = code if function is None else "inner()"
        exec(f"def call():\n    {body}", namespace)
        function = namespace["call"]
    with pytest.raises(Exception) as caught:
        function()
    return caught.value


@pytest.mark.parametrize(
    ("code", "modules", "begins", "says"),
    [
        ("{}[7]", ("harness.bench", "theirs.route"), "theirs raised KeyError: 7, in call (theirs.route:2)", ""),
        ("[][3]", ("theirs.route", "harness.metrics"), "harness failed; received IndexError", "(harness.metrics:2)"),
        ("1 / 0", ("harness.metrics", "numpy.linalg"), "harness failed; received ZeroDivisionError", "Report it"),
        ("[][3]", ("harness.routes", "coremltools.converters"), "coremltools raised IndexError", ""),
        ("raise OSError('one\\ntwo')", ("tensorflow.python",), "tensorflow raised OSError: one two", ""),
    ],
)  # fmt: skip
def test_whose_code_raised_is_said(code: str, modules: tuple[str, ...], begins: str, says: str) -> None:
    text = failure_text(raised(code, *modules))
    assert text.startswith(begins)
    assert says in text
    assert "\n" not in text


def test_errors_raised_on_purpose_speak_for_themselves() -> None:
    error = PredictionError("it broke", received=3)
    assert failure_text(error) == str(error)

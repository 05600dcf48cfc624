"""Binding of nodes to translations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.errors import ConversionError, HarnessError, UnsupportedError
from harness.frontends.dispatch import Array, Translations, Value, Var

TABLE = Translations()


@TABLE.translates("Scale", since=1)
def old_scale(x: Var, *, by: float = 2.0) -> tuple[str, Any, float]:
    return "old", x, by


@TABLE.translates("Scale", since=9)
def new_scale(x: Var, by: float, bias: Array | None = None, either: Value | None = None) -> tuple[Any, ...]:
    return "new", x, by, bias, either


def call(version: int, inputs: list[Any], **attributes: Any) -> tuple[Any, ...]:
    translation = TABLE.find("Scale", version)
    assert translation is not None
    return translation.call(inputs, attributes, None, "Scale node 'n'", lambda index: f"constant {index}")


def test_newest_version_at_or_below() -> None:
    assert call(8, ["x"])[0] == "old"
    assert call(9, ["x", np.float32(3).reshape(1)])[0] == "new"
    assert TABLE.find("Scale", 0) is None
    assert TABLE.find("Other", 9) is None


def test_binding_by_annotation() -> None:
    weights = np.arange(3)
    assert call(9, [weights, np.array([3.0]), weights, weights]) == ("new", "constant 0", 3.0, weights, weights)
    assert call(9, ["x", np.array(3.0), None, "y"]) == ("new", "x", 3.0, None, "y")


@pytest.mark.parametrize(
    ("version", "inputs", "attributes", "error", "words"),
    [
        (8, [], {}, ConversionError, "lacks its input 'x'"),
        (8, ["x", "y"], {}, ConversionError, "at most 1"),
        (8, ["x"], {"unknown": 1}, UnsupportedError, "unknown=1"),
        (9, ["x", "computed"], {}, UnsupportedError, "input 'by' of Scale node 'n' must be a constant"),
        (9, ["x", np.ones(2)], {}, ConversionError, "must be one float"),
        (9, [None, np.ones(1)], {}, ConversionError, "lacks its input 'x'"),
    ],
)
def test_what_does_not_bind(
    version: int, inputs: list[Any], attributes: dict[str, Any], error: type[HarnessError], words: str
) -> None:
    with pytest.raises(error, match="Scale node 'n'") as caught:
        call(version, inputs, **attributes)
    assert words in str(caught.value)


def test_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        TABLE.translates("Scale", since=9)(old_scale)

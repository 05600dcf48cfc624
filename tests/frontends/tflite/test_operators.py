"""Every builtin operator of TFLite's schema is translated, or a limitation says why it is not."""

from __future__ import annotations

import re

from harness.frontends.tflite import convert  # noqa: F401 (fills the table of translations)
from harness.frontends.tflite.registry import TRANSLATIONS
from harness.frontends.tflite.schema import schema
from harness.limitations import LIMITATIONS

# Members of the enumeration that are no operators, and another dialect's.
NO_OPERATORS = {"CUSTOM", "PLACEHOLDER_FOR_GREATER_OP_CODES"}


def builtins() -> set[str]:
    names = set(schema().enumerations["BuiltinOperator"].values())
    return {name for name in names - NO_OPERATORS if not name.startswith("STABLEHLO")}


def test_every_builtin_operator_is_translated_or_a_limitation() -> None:
    limited = {
        name
        for item in LIMITATIONS
        if item.where == "frontends.tflite" and item.kind == "unsupported"
        for name in re.findall(r"[A-Z][A-Z0-9_]{2,}(?=, |$)", item.what)
    }
    translated = set(TRANSLATIONS.operators())
    assert builtins() - translated - limited == set()
    assert translated & limited == set()

"""Every operator of ONNX is translated, expanded, or a known limitation; so is every whole model of its suite."""

from __future__ import annotations

import re

import onnx
import pytest

from harness.frontends.onnx.convert import TRANSLATIONS
from harness.limitations import LIMITATIONS
from harness.suites.onnx_cases import cases, run_case

LIMITED = " ".join(item.what for item in LIMITATIONS if item.where in ("frontends", "frontends.onnx"))
SCHEMAS = {(schema.domain, schema.name): schema for schema in onnx.defs.get_all_schemas()}


@pytest.mark.parametrize(("domain", "name"), sorted(SCHEMAS), ids=lambda part: part or "onnx")
def test_every_operator_is_known(domain: str, name: str) -> None:
    schema = SCHEMAS[domain, name]
    is_translated = not domain and name in TRANSLATIONS.operators()
    is_expanded = not domain and (schema.has_function or schema.has_context_dependent_function)
    is_limited = re.search(rf"\b{name}\b", LIMITED) is not None
    assert is_translated or is_expanded or is_limited or name == "Constant"
    assert not (is_translated and is_limited), "the limitation is no more"


# What a refusal's reason names, and a limitation does.
EXPLAINED = re.compile(r"Sequence\w*|String\w*|Gradient|float64|broadcast|axes")


@pytest.mark.parametrize("kind", ["simple", "pytorch"])
def test_whole_models_are_correct_or_limited(kind: str) -> None:
    results = [run_case(case) for case in cases(kind)]
    refused = [result for result in results if result.outcome != "correct"]
    assert all(result.outcome == "unsupported" for result in refused), refused
    for result in refused:
        found = EXPLAINED.search(result.reason)
        assert found, result
        assert found[0] in LIMITED, result
    assert len(refused) <= 22

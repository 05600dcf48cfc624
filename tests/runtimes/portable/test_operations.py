"""The set of operations is complete, its table in the documentation is current, and every one was executed."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from harness.limitations import limitations
from harness.quiet import quiet_imports
from harness.runtimes.portable.operations import WHERE, markdown, operation_rows
from harness.runtimes.portable.registry import KERNELS, LOWERINGS
from tests.runtimes.portable.executed import EXECUTED

with quiet_imports():
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

DOCUMENT = Path(__file__).parents[3] / "docs" / "operations.md"
ROWS = operation_rows()


def test_no_operation_is_forgotten() -> None:
    assert len(ROWS) == 168
    limited = {item.what for item in limitations(WHERE) if item.kind == "unsupported"}
    assert {row.name for row in ROWS if not row.executed} == limited


def test_the_document_is_current() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == markdown(), (
        "run: python -m harness.runtimes.portable.operations docs/operations.md"
    )


@pytest.mark.parametrize("name", sorted({*LOWERINGS, *KERNELS} & set(SSAOpRegistry.core_ops)))
def test_signature_covers_every_version(name: str) -> None:
    implementation = LOWERINGS.get(name) or KERNELS[name]
    known = set(inspect.signature(implementation.function).parameters)
    for version in SSAOpRegistry.core_ops[name].values():
        assert set(version.input_spec.input_types) - {"name"} <= known


@pytest.mark.last
def test_every_operation_was_executed(request: pytest.FixtureRequest) -> None:
    """By a test of this folder, with a result other than zeros; the whole folder must have run."""
    folder = Path(__file__).parent
    modules = {Path(item.path) for item in request.session.items}
    if not set(folder.rglob("test_*.py")) <= modules:
        pytest.skip("needs the whole folder of tests")
    missing = {row.name for row in ROWS if row.executed} - EXECUTED
    assert not missing

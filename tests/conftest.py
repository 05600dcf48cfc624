"""How tests are shared out where several processes run them (``make test``): a file stays in one, with its fixtures."""

from __future__ import annotations

from pathlib import Path

import pytest

# Its last test looks back at all others of the folder.
TOGETHER = Path(__file__).parent / "runtimes" / "portable"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder = TOGETHER if item.path.is_relative_to(TOGETHER) else item.path
        item.add_marker(pytest.mark.xdist_group(str(folder)))

"""How tests are shared out where several processes run them (``make test``): a file stays in one, with its fixtures."""

from __future__ import annotations

from typing import Any

import pytest

# Its last test looks back at all others of the folder.
TOGETHER = "tests/runtimes/portable/"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return TOGETHER if nodeid.startswith(TOGETHER) else nodeid.partition("::")[0]

    return ByFile(config, log)

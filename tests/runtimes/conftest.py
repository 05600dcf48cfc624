from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """A small network in every format of TensorFlow's, by file name."""
    from tests.runtimes.tensorflow_models import write_files

    return write_files(tmp_path_factory.mktemp("models"))

"""Opens ``.mlpackage`` folders and ``.mlmodel`` files as Core ML's Model protobuf."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.errors import ModelFileError, PackageError
from harness.quiet import quiet_imports


def open_package(path: Path) -> tuple[Any, Path]:
    """The package's ``Model_pb2.Model`` and its folder of weights.

    Raises ModelFileError where there is no such package, PackageError where it is damaged.
    """
    model_file = _model_file(path)
    with quiet_imports():
        from coremltools.proto import Model_pb2
        from google.protobuf.message import DecodeError

    model = Model_pb2.Model()
    try:
        model.ParseFromString(model_file.read_bytes())
    except (OSError, DecodeError) as error:
        raise PackageError(
            f"{path} is not a readable Core ML model", received=error, remedy="Convert the model again"
        ) from error
    return model, model_file.parent / "weights"


def _model_file(path: Path) -> Path:
    if not path.exists():
        raise ModelFileError(f"there is no model at {path}", remedy="Check the path")
    if path.is_file():
        return path
    try:
        manifest = json.loads((path / "Manifest.json").read_text())
        entry = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PackageError(
            f"{path} has no usable Manifest.json", received=repr(error), remedy="Convert the model again"
        ) from error
    data = (path / "Data").resolve()
    model_file = (data / str(entry)).resolve()
    if not model_file.is_relative_to(data) or not model_file.is_file():
        raise PackageError(
            f"the manifest of {path} names no model in it", received=repr(entry), remedy="Convert the model again"
        )
    return model_file

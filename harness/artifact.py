"""A converted model on disk."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from harness.errors import StoreError
from harness.tensors import ImageSpec, TensorSpec


@dataclass(frozen=True)
class Artifact:
    """What a route made of a model, or the model itself for its reference runtime.

    ``format``: mlprogram, neuralnetwork, tensorflow, tflite or onnx. ``output_names`` maps the
    reference's output names to this artifact's, ``input_names`` likewise. ``provenance`` holds route,
    precision, options and versions as text. ``warnings`` say where the conversion may differ from the model.
    """

    path: Path
    format: str
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    input_names: Mapping[str, str] = field(default_factory=dict)
    output_names: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def content_hash(self) -> str:
        """SHA-256 of the artifact's files, with their places in its folder."""
        digest = hashlib.sha256()
        files = [self.path] if self.path.is_file() else sorted(p for p in self.path.rglob("*") if p.is_file())
        for file in files:
            place = file.name if file == self.path else file.relative_to(self.path).as_posix()
            digest.update(place.encode() + b"\0" + file.read_bytes())
        return digest.hexdigest()

    @property
    def size_bytes(self) -> int:
        """Bytes on disk."""
        if self.path.is_file():
            return self.path.stat().st_size
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())

    def to_json(self) -> dict[str, Any]:
        """As a JSON object; the path is as given."""
        return {**asdict(self), "path": str(self.path)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of ``to_json``. Raises KeyError, TypeError or ValueError where it is no artifact."""
        return cls(
            path=Path(data["path"]),
            format=str(data["format"]),
            inputs=tuple(_spec(item) for item in data["inputs"]),
            outputs=tuple(_spec(item) for item in data["outputs"]),
            input_names=dict(data["input_names"]),
            output_names=dict(data["output_names"]),
            provenance=dict(data["provenance"]),
            warnings=tuple(data.get("warnings", ())),
        )


def _spec(data: Mapping[str, Any]) -> TensorSpec:
    image = None if data["image"] is None else ImageSpec(**data["image"])
    return TensorSpec(**{**data, "shape": tuple(data["shape"]), "image": image})


def place_package(destination: Path, write: Callable[[Path], None]) -> None:
    """``write`` a package beside its destination, then rename it there, so that no half package is ever found.

    Raises StoreError where the disk does not take it; what ``write`` raises otherwise is passed on.
    """
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=destination.parent, prefix=f".{destination.stem}-") as folder:
            package = Path(folder, f"new{destination.suffix}")
            write(package)
            if destination.is_dir():
                destination.rename(Path(folder, f"old{destination.suffix}"))
            package.rename(destination)
    except (OSError, shutil.Error) as error:
        raise StoreError(
            f"package {destination} cannot be written",
            received=error.strerror if isinstance(error, OSError) and error.strerror else error,
            remedy="Check that the folder is writable and the disk is not full",
        ) from error

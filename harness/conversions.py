"""The conversions of one model: each once, out of the cache where it was made before."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.artifact import Artifact
from harness.cache import ConversionCache, conversion_key
from harness.code import code_hash
from harness.failures import failure_text
from harness.plan import Cell, file_name
from harness.source import Source
from harness.tensors import Array

# What is going on, and in which cell if it is of one.
Progress = Callable[[str, Cell | None], None]


@dataclass(frozen=True)
class Conversion:
    """``fields`` are those of Record; ``error`` says why there is no artifact."""

    artifact: Artifact | None
    fields: dict[str, Any]
    error: str = ""


class Conversions:
    """By route and precision. ``plugin_files`` are files of translations, with their hashes."""

    def __init__(
        self, source: Source, cache: ConversionCache, progress: Progress, plugin_files: Mapping[str, str]
    ) -> None:
        self.source, self.cache, self.progress, self.plugin_files = source, cache, progress, plugin_files
        self.model_hash = source.content_hash()
        self._made: dict[tuple[str, str], Conversion] = {}

    def of(self, cell: Cell, inputs: Mapping[str, Array]) -> Conversion:
        """The one of a cell, made or found for these inputs."""
        key = (cell.route.name, cell.precision)
        if key not in self._made:
            self.progress("converting", cell)
            self._made[key] = self._convert(cell, inputs)
        return self._made[key]

    def _convert(self, cell: Cell, inputs: Mapping[str, Array]) -> Conversion:
        key = self._key(cell, inputs)
        start = time.perf_counter()
        artifact = self.cache.get(key)
        cached = artifact is not None
        try:
            if artifact is None:
                with self.cache.workspace() as folder:
                    package = folder / f"{file_name(self.source.name)}.mlpackage"
                    made = cell.route.convert(self.source, cell.precision, package)
                    artifact = self.cache.put(key, made, convert_seconds=time.perf_counter() - start)
        except Exception as error:  # a route may raise anything
            return Conversion(None, {"convert_seconds": time.perf_counter() - start}, failure_text(error))
        fields = {
            "convert_seconds": time.perf_counter() - start,
            "convert_cached": cached,
            "artifact_hash": artifact.content_hash(),
            "artifact_bytes": artifact.size_bytes,
            "conversion_warnings": artifact.warnings,
        }
        return Conversion(artifact, fields)

    def _key(self, cell: Cell, inputs: Mapping[str, Array]) -> str:
        route = cell.route
        options = {f"plugin {index}": content for index, content in enumerate(self.plugin_files.values())}
        return conversion_key(
            model_hash=self.model_hash,
            route=route.name,
            precision=cell.precision,
            input_shapes={name: array.shape for name, array in inputs.items()},
            versions=route.versions(),
            options=options | {f"route {name}": repr(value) for name, value in vars(route).items()},
            code=code_hash(type(route)),
        )

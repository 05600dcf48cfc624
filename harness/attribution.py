"""Ladders of a run: keeps what each cell predicted until its model is done, and then tells where errors enter.

<run>/outputs/       of the model whose cells are being run; gone when they are done
<run>/ladders.json   one ladder for each output of each conversion
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from harness.disk import write_atomically
from harness.errors import StoreError
from harness.ladder import PORTABLE, Ladder, climb, merged, rungs_of
from harness.plan import file_name
from harness.runtimes.coreml.features import read_arrays, write_arrays
from harness.tensors import Array

FILE = "ladders.json"
FOLDER = "outputs"
FORMAT_VERSION = 1

Outputs = Mapping[str, Array]


class Attribution:
    """Of one model. ``folder`` is the run's; without one, nothing outlives this object."""

    def __init__(self, model: str, folder: Path | None) -> None:
        self._model = model
        self._run = folder
        self._own = tempfile.TemporaryDirectory() if folder is None else None
        self._folder = Path(self._own.name) if self._own else Path(str(folder), FOLDER)
        self._failed: dict[tuple[str, str, str], str] = {}

    def keep(self, route: str, precision: str, rung: str, outputs: Outputs) -> None:
        """What one rung predicted, by the reference's names. Raises StoreError."""
        if not outputs:
            return
        path = self._path(route, precision, rung)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_arrays(path, outputs)
        except OSError as error:
            raise StoreError(f"{path} could not be written: {error.strerror or error}") from error

    def fail(self, route: str, precision: str, rung: str, reason: str) -> None:
        """Why a rung has no outputs."""
        self._failed[route, precision, rung] = reason

    def has(self, route: str, precision: str, rung: str) -> bool:
        """Whether a rung's outputs are known, or why there are none."""
        return (route, precision, rung) in self._failed or self._path(route, precision, rung).exists()

    def ladders(
        self,
        expected: Outputs,
        reference: str,
        conversions: Iterable[tuple[str, str]],
        bounds: Callable[[str], Mapping[str, float | None]],
    ) -> tuple[Ladder, ...]:
        """Of every conversion (route and precision) that has a rung. The portable float32 rung is of the route's
        float32 conversion, whatever the precision; ``bounds`` are the greatest absolute errors that pass, by output."""
        found = []
        for route, precision in conversions:
            rungs, missing = {}, []
            for name in rungs_of(precision):
                of = "float32" if name == PORTABLE["float32"] else precision
                with suppress(OSError, ValueError, KeyError, EOFError):
                    rungs[name] = read_arrays(self._path(route, of, name))
                if (route, of, name) in self._failed:
                    missing.append((name, self._failed[route, of, name]))
            within = bounds(precision)
            for output, climbed in climb(expected, rungs, reference).items():
                if climbed:
                    key = (self._model, route, precision, output)
                    found.append(Ladder(*key, reference, within[output], climbed, tuple(missing)))
        return tuple(found)

    def close(self, ladders: tuple[Ladder, ...] = ()) -> None:
        """Store the ladders with the run, and forget the outputs. Raises StoreError."""
        if self._own is not None:
            self._own.cleanup()
        if self._run is None:
            return
        if ladders:
            write_ladders(self._run, merged(read_ladders(self._run), ladders))
        shutil.rmtree(self._folder / file_name(self._model), ignore_errors=True)
        with suppress(OSError):
            self._folder.rmdir()

    def _path(self, route: str, precision: str, rung: str) -> Path:
        return self._folder / file_name(self._model) / f"{file_name(f'{route}-{precision}-{rung}')}.npz"


def write_ladders(run: Path, ladders: Iterable[Ladder]) -> None:
    """All ladders of a run's folder. Raises StoreError."""
    value = {"format_version": FORMAT_VERSION, "ladders": [ladder.to_json() for ladder in ladders]}
    try:
        write_atomically(run / FILE, json.dumps(value, indent=1, allow_nan=False) + "\n")
    except OSError as error:
        raise StoreError(f"{run / FILE} could not be written: {error.strerror or error}") from error


def read_ladders(run: Path) -> tuple[Ladder, ...]:
    """Of a run's folder; none where it has none. Raises StoreError."""
    path = run / FILE
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if value["format_version"] > FORMAT_VERSION:
            raise StoreError(
                f"{path} was written by a newer harness",
                received=f"format version {value['format_version']}",
                supported=f"versions up to {FORMAT_VERSION}",
                remedy="Upgrade harness",
            )
        return tuple(Ladder.from_json(ladder) for ladder in value["ladders"])
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise StoreError(f"{path} could not be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path} is damaged", received=error, remedy="Move it away; the records stay") from error

"""A model under test, and where it comes from."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from harness.errors import HarnessError, ModelFileError, UnknownNameError, UsageError
from harness.tensors import Array
from harness.tolerance import DEFAULT_TOLERANCE, Tolerance

# Suffix, or form of a folder, of every format that a user may give.
FORMATS = {
    ".keras": "keras", ".h5": "h5", ".hdf5": "h5", ".pb": "frozen_graph", ".tflite": "tflite",
    ".onnx": "onnx", ".mlpackage": "mlpackage", ".mlmodel": "mlmodel",
}  # fmt: skip

# Those that may have several ways of being called.
SIGNED = ("tflite", "saved_model")


@dataclass(frozen=True)
class ModelCase:
    """One model, its inputs and how exact its conversions must be.

    ``build`` returns a Keras model (or any trackable with one serving function); a case without it is
    a file at ``source`` in ``format`` (keras, h5, saved_model, frozen_graph, tflite, onnx, mlpackage,
    mlmodel). ``inputs`` returns arrays by input name, or in the order of the model's inputs.
    ``signature`` names one of several ways of calling the file. ``trust`` lets the file run code of its own (Keras
    Lambda layers, unsafe deserialisation).
    """

    name: str
    build: Callable[[], Any] | None = None
    source: Path | None = None
    format: str = "keras"
    inputs: Callable[[], Mapping[str, Array] | Iterable[Array]] | None = None
    tolerance: Tolerance = DEFAULT_TOLERANCE
    description: str = ""
    trust: bool = False
    signature: str | None = None
    files: tuple[Path, ...] = field(default=())

    @property
    def argument(self) -> str:
        """What ``find_case`` finds it by."""
        if self.source is None:
            return self.name
        return str(self.source) if self.signature is None else f"{self.source}@{self.signature}"

    def content_hash(self) -> str:
        """SHA-256 of everything that the model is made of: its source files and weights, and the signature."""
        digest = hashlib.sha256((self.signature or "").encode())
        for path in self._content():
            digest.update(path.name.encode())
            with path.open("rb") as file:
                for block in iter(lambda: file.read(1 << 20), b""):
                    digest.update(block)
        return digest.hexdigest()

    def _content(self) -> list[Path]:
        if self.source is not None and self.source.is_dir():
            return sorted(path for path in self.source.rglob("*") if path.is_file())
        own = [self.source] if self.source is not None else []
        if self.build is not None:
            own.append(Path(inspect.getfile(self.build)))
        return [*own, *self.files]


def case_from_file(
    path: Path, *, trust: bool = False, tolerance: Tolerance = DEFAULT_TOLERANCE, signature: str | None = None
) -> ModelCase:
    """A user's own model. Raises ModelFileError where there is none, or of no known format, and UsageError for a
    signature of a format that has none."""
    if not path.exists():
        raise ModelFileError(f"there is no model at {path}", remedy="Check the path")
    format_ = _format_of(path)
    if signature is not None and format_ not in SIGNED:
        raise UsageError(f"a model of the format {format_} has no signatures", received=signature, supported=SIGNED)
    return ModelCase(
        name=path.stem if signature is None else f"{path.stem}@{signature}", source=path.resolve(), format=format_,
        trust=trust, tolerance=tolerance, description=f"a user's file, {path.name}", signature=signature,
    )  # fmt: skip


def _format_of(path: Path) -> str:
    if path.is_dir() and path.suffix != ".mlpackage":
        if (path / "saved_model.pb").is_file():
            return "saved_model"
        raise ModelFileError(f"folder {path} is not a SavedModel: it has no saved_model.pb")
    format_ = FORMATS.get(path.suffix.lower())
    if format_ is None:
        raise ModelFileError(
            f"{path} is of no known model format",
            received=path.suffix or "no suffix",
            supported=["a SavedModel folder", *sorted(FORMATS)],
        )
    return format_


def discover(folder: Path, *, tolerant: bool = False) -> dict[str, ModelCase]:
    """Cases of a ``models/`` folder by name: each ``CASE`` of a ``*.py`` file not starting with ``_``.

    Raises UsageError for a file that cannot be imported or defines none. ``tolerant``: files without a CASE are passed
    over, and one that cannot be imported is a case of its own name that cannot be built, so that no other is lost.
    """
    cases: dict[str, ModelCase] = {}
    for path in sorted(folder.glob("*.py")):
        if path.name.startswith("_") or (tolerant and not defines_case(path)):
            continue
        try:
            case = load_case(path)
        except UsageError as error:
            if not tolerant:
                raise
            case = ModelCase(path.stem, build=partial(_fail, error), files=(path,), description="cannot be imported")
        if case.name in cases:
            raise UsageError(f"two files in {folder} define the model {case.name!r}", remedy="Rename one")
        cases[case.name] = case
    return cases


def defines_case(path: Path) -> bool:
    """Whether a file of models assigns CASE: files that do not are not imported, nor are those that begin with ``_``.
    What cannot be read as Python is taken for a case, so that it is told."""
    if path.name.startswith("_"):
        return False
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return True
    return any(
        isinstance(node, ast.Assign | ast.AnnAssign)
        and any(isinstance(name, ast.Name) and name.id == "CASE" for name in ast.walk(node))
        for node in tree.body
    )


def _fail(error: UsageError) -> NoReturn:
    raise error


def load_case(path: Path) -> ModelCase:
    """The CASE that a file defines. Raises UsageError where it cannot be imported or defines none."""
    spec = importlib.util.spec_from_file_location(f"harness_models_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except HarnessError:
        raise
    except (Exception, SystemExit) as error:  # a user's file may raise anything
        raise UsageError(f"{path} cannot be imported", received=repr(error), remedy="Mend the file") from error
    case = getattr(module, "CASE", None)
    if not isinstance(case, ModelCase):
        raise UsageError(f"{path} defines no CASE", supported="CASE = ModelCase(...)")
    if path not in case.files:
        case = replace(case, files=(path, *case.files))
    return case


def call_of_case(function: Callable[[], Any], what: str, name: str) -> Any:
    """What a function of a case returns. Raises ModelFileError with the line where it raised."""
    try:
        return function()
    except HarnessError:
        raise
    except (Exception, SystemExit) as error:  # a user's function may raise anything, and must not end the run
        frames = traceback.extract_tb(error.__traceback__)
        file = getattr(getattr(function, "__code__", None), "co_filename", "")
        own = next((frame for frame in reversed(frames) if frame.filename == file), frames[-1])
        raise ModelFileError(
            f"{what} of model {name} raised {type(error).__name__}",
            received=str(error).strip().partition("\n")[0] or "no message",
            remedy=f"Mend {own.filename}, line {own.lineno}",
        ) from error


def distinct_names(cases: Iterable[ModelCase]) -> tuple[ModelCase, ...]:
    """Cases with names that tell them apart, each once: files of one stem are called by as much of their path as it
    takes, beginning with the suffix. A case of a models folder keeps its name."""
    chosen = list({(case.name, case.argument): case for case in cases}.values())
    for count in range(1, 1 + max((len(case.source.parts) for case in chosen if case.source), default=0)):
        counts = Counter(case.name for case in chosen)
        if max(counts.values()) == 1:
            break
        chosen = [_called_by(case, count) if counts[case.name] > 1 else case for case in chosen]
    return tuple(chosen)


def _called_by(case: ModelCase, count: int) -> ModelCase:
    """A file called by the last parts of its path."""
    if case.source is None:
        return case
    name = "/".join(case.source.parts[-count:])
    return replace(case, name=name if case.signature is None else f"{name}@{case.signature}")


def find_case(name: str, folder: Path, *, trust: bool = False) -> ModelCase:
    """A case by its name in ``folder``, or by the path of a file: ``PATH``, or ``PATH@SIGNATURE``."""
    cases = discover(folder, tolerant=True) if folder.is_dir() else {}
    if name in cases:
        return cases[name]
    path, at, signature = name.rpartition("@")
    if at and not Path(name).exists() and Path(path).exists():
        return case_from_file(Path(path), trust=trust, signature=signature)
    if Path(name).exists() or Path(name).suffix or "/" in name:
        return case_from_file(Path(name), trust=trust)
    raise UnknownNameError(f"there is no model {name!r}", supported=[*cases, "the path of a model file"])

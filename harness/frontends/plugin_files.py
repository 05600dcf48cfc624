"""A user's own files of translations (``--plugin FILE``): Python that registers operators when it is executed."""

from __future__ import annotations

import hashlib
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from harness.errors import UsageError
from harness.frontends.tflite import ops  # noqa: F401 (fills the table first)
from harness.frontends.tflite.registry import TRANSLATIONS
from harness.quiet import quiet_imports

# Name in sys.modules, by the file's path.
_MODULE = "harness_plugin_{}"
_loaded: dict[str, str] = {}


def load_plugin_files(paths: Iterable[Path]) -> dict[str, str]:
    """Register what the files translate. Gives the SHA-256 of each by its path: part of what decides a conversion.

    A file is executed again only where its content has changed. Raises UsageError naming file and line.
    """
    return {str(path): _load(path) for path in paths}


def _load(path: Path) -> str:
    try:
        source = path.read_bytes()
    except OSError as error:
        raise UsageError(f"plugin {path} cannot be read", received=error.strerror) from error
    file = str(path.resolve())
    name = _MODULE.format(hashlib.sha256(file.encode()).hexdigest()[:16])
    content = hashlib.sha256(source).hexdigest()
    if _loaded.get(name) == content:
        return content
    _forget(name)
    module = ModuleType(name)
    module.__file__ = file
    sys.modules[name] = module
    line: int | None = None
    try:
        code = compile(source, file, "exec")
        with quiet_imports():  # most import coremltools
            exec(code, vars(module))
        for translation in TRANSLATIONS.of_module(name):
            line = translation.function.__code__.co_firstlineno
            _ = (translation.hints, translation.attributes)  # annotations that name nothing are found now
    except (Exception, SystemExit) as error:
        _forget(name)
        raise UsageError(
            f"plugin {path} cannot be loaded: line {line or _line(error, file)}",
            received=f"{type(error).__name__}: {error}",
            remedy="Mend the file",
        ) from error
    if not TRANSLATIONS.of_module(name):
        _forget(name)
        raise UsageError(
            f"plugin {path} translates no operator",
            remedy='Put @translates("Name") of harness.frontends.tflite above a function',
        )
    _loaded[name] = content
    return content


def _forget(name: str) -> None:
    TRANSLATIONS.withdraw(name)
    sys.modules.pop(name, None)
    _loaded.pop(name, None)


def _line(error: BaseException, file: str) -> int:
    """Where in the file it went wrong, be it in what the file calls."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return error.lineno or 1
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return (lines[-1] if lines else None) or 1

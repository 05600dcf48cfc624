"""``python -m harness.doctor.child NAME FOLDER RESULT``: one check, ``build`` or ``machine``, in this process.

RESULT receives the finding as JSON; RESULT with ``.stage`` added, the stage that was reached.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.doctor.checks import CHECKS
from harness.doctor.models import Models
from harness.doctor.result import Finding
from harness.quiet import quiet_imports, without_frameworks
from harness.runtimes.coreml.conditions import read_conditions
from harness.runtimes.coreml.devices import available_devices

BUILD = "build"
MACHINE = "machine"


def main(arguments: list[str]) -> None:
    """See the module."""
    without_frameworks()
    name, folder, result = arguments
    stage = Path(result + ".stage")
    models = Models(Path(folder), lambda reached: (stage.write_text(reached), None)[1])
    tasks: dict[str, Callable[[], dict[str, Any]]] = {
        BUILD: lambda: _build(models),
        MACHINE: lambda: _machine(models),
    }
    value = tasks.get(name, lambda: asdict(_find(name, models)))()
    Path(result).write_text(json.dumps(value))


def _build(models: Models) -> dict[str, Any]:
    """The models, and what this system is: ``native`` is why there is no Core ML, or None."""
    models.reached("import of coremltools")
    with quiet_imports():
        import coremltools
        from coremltools.models import model
    models.reached("conversion of the models")
    models.build()
    missing = None if model._MLModelProxy is not None else "Core ML is on macOS only"
    return {"native": missing, "macos": list(coremltools.utils._macos_version())}


def _machine(models: Models) -> dict[str, Any]:
    models.reached("reading of conditions")
    conditions = read_conditions()
    models.reached("reading of devices")
    return {"conditions": conditions.to_json(), "devices": available_devices().to_json()}


def _find(name: str, models: Models) -> Finding:
    try:
        return CHECKS[name].function(models)
    except Exception as error:  # whatever the framework raises is what was observed
        lines = str(error).splitlines()
        return Finding("differs", f"{type(error).__name__}: {lines[0][:300] if lines else ''}")


if __name__ == "__main__":
    main(sys.argv[1:])

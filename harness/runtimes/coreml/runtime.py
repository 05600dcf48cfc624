"""Core ML through coremltools, one process a cell. Works on macOS only; not verified on a real Mac."""

from __future__ import annotations

import platform
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness.artifact import Artifact
from harness.errors import PredictionError
from harness.isolation import Ended, own_folder, remove_abandoned, run_isolated
from harness.quiet import quiet_imports
from harness.runtimes.base import IsolatedRuntime, Isolation, LoadedModel, Measurement
from harness.runtimes.coreml.bundle import write_bundle
from harness.runtimes.coreml.conditions import Conditions, read_conditions
from harness.runtimes.coreml.devices import COMPUTE_UNITS
from harness.runtimes.coreml.features import (
    Description,
    passed_inputs,
    read_arrays,
    read_description,
    received_outputs,
    write_arrays,
)
from harness.runtimes.coreml.request import INPUTS, OUTPUTS, CellRequest, CellResult
from harness.tensors import Array
from harness.timing import Schedule

_COOLING_POLL = 2.0
_TUPLES = ("samples", "framework_samples", "warm_up_samples", "warnings", "remarks")
# What a cell is doing in each stage, for messages and progress.
_DOING = {
    "start": "starting", "import": "importing coremltools", "compile": "compiling", "load": "loading",
    "predict": "predicting", "time": "timing", "plan": "reading the compute plan", "end": "ending",
}  # fmt: skip
# Stages as records name them.
_RECORDED = {"start": "load", "import": "load", "time": "predict", "end": "predict"}


class CoreMLRuntime(IsolatedRuntime):
    """Each compute unit of ``coremltools.ComputeUnit``. ``entry`` is the command that executes a cell's folder."""

    name = "coreml"
    formats = ("mlprogram", "neuralnetwork")
    compute_units = COMPUTE_UNITS
    entry: tuple[str, ...] = (sys.executable, "-m", "harness.runtimes.coreml.cell")
    environment: Mapping[str, str] = {}

    def unavailable(self) -> str | None:
        """Core ML predicts on macOS only."""
        if platform.system() != "Darwin":
            return f"Core ML predicts on macOS only; this is {platform.system()}"
        return None

    def measure(
        self,
        artifact: Artifact,
        inputs: Mapping[str, Array],
        compute_unit: str,
        *,
        schedule: Schedule | None,
        isolation: Isolation,
        bundle: Path | None = None,
        progress: Callable[[str], None] = lambda stage: None,
    ) -> Measurement:
        """See IsolatedRuntime.measure."""
        request = CellRequest(artifact.path.resolve(), compute_unit, isolation.limits, schedule)
        remove_abandoned()
        discarded: list[str] = []
        cooled = 0.0
        for attempt in range(1, max(1, isolation.attempts) + 1):
            if schedule is not None:
                progress("cooling down")
                cooled += _cool_down(isolation)
            measured = self._attempt(request, artifact, inputs, bundle, progress)
            throttled = _was_throttled(measured.fields)
            fields = dict(measured.fields)
            fields |= {"attempts": attempt, "cool_down_seconds": cooled, "throttled": throttled}
            if not throttled or schedule is None or fields.get("status") == "error":
                break
            discarded.append(f"attempt {attempt}: {_thermal_states(fields)}")
        if throttled and schedule is not None:
            fields["warnings"] = (
                *fields.get("warnings", ()),
                f"measured while the machine was throttled, in {_counted(attempt)}: {'; '.join(discarded)}",
            )
        elif discarded:
            fields["remarks"] = (
                *fields.get("remarks", ()),
                f"run again, as the machine was throttled: {'; '.join(discarded)}",
            )
        return Measurement(fields, measured.outputs)

    def _attempt(
        self,
        request: CellRequest,
        artifact: Artifact,
        inputs: Mapping[str, Array],
        bundle: Path | None,
        progress: Callable[[str], None],
    ) -> Measurement:
        with own_folder() as folder:
            request.write(folder)
            write_arrays(folder / INPUTS, inputs)
            ended = run_isolated(
                [*self.entry, str(folder)], folder, request.limits, self.environment,
                poll=lambda: progress(_DOING[CellResult.read(folder).stage]),
            )  # fmt: skip
            result = CellResult.read(folder)
            fields = {name: tuple(value) if name in _TUPLES else value for name, value in result.fields.items()}
            fields["peak_memory_bytes"] = max(ended.peak_bytes, fields.get("peak_memory_bytes", 0))
            fields.setdefault("conditions_after", read_conditions().to_json())
            outputs = _outputs(folder)
            if result.skipped:
                return Measurement(fields | {"status": "skipped", "error": result.skipped})
            if ended.is_clean:
                return Measurement(fields, outputs)
            sentence = _sentence(request, result, ended)
            fields |= {"signal": ended.signal, "stderr_tail": ended.stderr_tail}
            if bundle is not None:
                try:
                    write_bundle(bundle, folder, request, artifact, ended, sentence)
                    fields["bundle"] = str(Path(bundle.parent.name, bundle.name))
                except OSError as error:
                    sentence += f" The bundle {bundle} could not be written: {error.strerror or error}."
            if result.stage in ("plan", "end"):  # all that was measured stands
                fields["remarks"] = (*fields.get("remarks", ()), sentence)
                return Measurement(fields, outputs)
            stage = _RECORDED.get(result.stage, result.stage)
            return Measurement(fields | {"status": "error", "stage": stage, "error": sentence}, outputs)

    def load(self, artifact: Artifact, compute_unit: str, precision: str) -> LoadedModel:
        """In this process, where a crash is everyone's; see Runtime.load. A model that fails to load leaves a
        RuntimeWarning only, which becomes the error."""
        with quiet_imports():
            import coremltools

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                model = coremltools.models.MLModel(
                    str(artifact.path), compute_units=coremltools.ComputeUnit[compute_unit]
                )
            except Exception as error:  # the framework's errors have no common class
                raise PredictionError(f"Core ML cannot load {artifact.path.name}", received=error) from error
        if model.__proxy__ is None:
            reason = "; ".join(str(item.message) for item in caught if item.category is RuntimeWarning)
            raise PredictionError(
                f"Core ML cannot load {artifact.path.name} for {compute_unit}", received=reason or "no reason given"
            )
        return _Loaded(model, read_description(artifact.path))


class _Loaded(LoadedModel):
    def __init__(self, model: Any, description: Description) -> None:
        self._model = model
        self._description = description
        self._state = model.make_state() if description.is_stateful else None

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        passed = passed_inputs(self._description, inputs)
        try:
            outputs = self._model.predict(passed, self._state)
        except Exception as error:  # the framework's errors have no common class
            raise PredictionError("Core ML failed to predict", received=error) from error
        return received_outputs(self._description, outputs)[0]


def _outputs(folder: Path) -> dict[str, Array]:
    try:
        return read_arrays(folder / OUTPUTS)
    except (OSError, ValueError, KeyError, EOFError):  # not there, or cut off
        return {}


def _sentence(request: CellRequest, result: CellResult, ended: Ended) -> str:
    doing = _DOING[result.stage]
    if result.error and not ended.signal and not ended.exceeded:
        return f"Core ML failed while {doing} for {request.compute_unit}: {result.error}"
    said = next((line for line in reversed(ended.stderr_tail.splitlines()) if _tells(line)), "")
    sentence = f"the process {ended.describe(request.limits)} while {doing} for {request.compute_unit}"
    return sentence + (f"; it last said: {said.strip()}" if said else "")


def _tells(line: str) -> bool:
    """Whether a line is more than a frame or a heading of a Python traceback."""
    return bool(line.strip()) and not line.startswith(("  File", "Thread ", "Current thread", "Extension modules"))


def _cool_down(isolation: Isolation) -> float:
    """Wait; the seconds that it took. A machine that does not tell its thermal state is given the pause alone."""
    start = time.monotonic()
    time.sleep(isolation.cool_down)
    while read_conditions().is_throttled:
        left = isolation.longest_cool_down - (time.monotonic() - start)
        if left <= 0:
            break
        time.sleep(min(_COOLING_POLL, left))
    return time.monotonic() - start


def _conditions(fields: Mapping[str, Any]) -> list[Conditions]:
    names = ("conditions_before", "conditions_after")
    return [Conditions.from_json(fields[name]) for name in names if fields.get(name)]


def _was_throttled(fields: Mapping[str, Any]) -> bool | None:
    """Before or after; None where neither reading tells."""
    told = [item.is_throttled for item in _conditions(fields) if item.is_throttled is not None]
    return any(told) if told else None


def _thermal_states(fields: Mapping[str, Any]) -> str:
    return "thermal state " + ", then ".join(item.thermal_state or "unknown" for item in _conditions(fields))


def _counted(attempts: int) -> str:
    return f"{attempts} attempt{'' if attempts == 1 else 's'}"

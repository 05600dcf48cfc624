"""``python -m harness.runtimes.coreml.cell FOLDER``: one cell in this process; see request.py for the folder.

The five costs are measured apart: compile, load, first prediction, steady prediction as the framework reports it, and
as Python sees it. The package is compiled to a new path and loaded from it, which is as cold as it can be; then the
same ``.mlmodelc`` is loaded again, warm, and the steady predictions are of that one.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Any, TypeVar

import numpy as np

from harness.isolation import guard_process, peak_resident_bytes
from harness.quiet import quiet_imports, without_frameworks
from harness.runtimes.coreml.conditions import read_conditions
from harness.runtimes.coreml.devices import available_devices
from harness.runtimes.coreml.features import (
    Description,
    passed_inputs,
    read_arrays,
    read_description,
    received_outputs,
    write_arrays,
)
from harness.runtimes.coreml.plan import read_plan
from harness.runtimes.coreml.request import INPUTS, OUTPUTS, RESULT, STAGES, CellRequest
from harness.runtimes.coreml.warmth import cache_entries, warmth
from harness.tensors import Array
from harness.timing import Schedule

Answer = TypeVar("Answer")


class _Cell:
    def __init__(self, folder: Path, request: CellRequest) -> None:
        self.folder = folder
        self.request = request
        self.fields: dict[str, Any] = {}
        self.remarks: list[str] = []
        self.error = self.skipped = ""

    def reach(self, stage: str) -> None:
        """What was done so far is on the disk before a stage begins that may be the last."""
        self.save()
        with (self.folder / STAGES).open("a") as file:
            file.write(stage + "\n")

    def save(self) -> None:
        self.fields["remarks"] = self.remarks
        self.fields["peak_memory_bytes"] = peak_resident_bytes()
        value = {"fields": self.fields, "error": self.error, "skipped": self.skipped}
        aside = self.folder / f".{RESULT}"
        aside.write_text(json.dumps(value))
        aside.replace(self.folder / RESULT)

    def run(self) -> None:
        """All stages. What one raises ends the cell, and is its error."""
        try:
            self._stages()
        except Exception as error:  # the framework's errors have no common class
            self.error = f"{type(error).__name__}: {error}"
        self.save()

    def _stages(self) -> None:
        self.reach("import")
        with quiet_imports():
            import coremltools
            from coremltools.models.utils import compile_model

        unit = coremltools.ComputeUnit[self.request.compute_unit]
        conditions = read_conditions()
        self.fields["conditions_before"] = conditions.to_json()
        missing = available_devices().missing_for(self.request.compute_unit)
        if missing and self.request.compute_unit != "ALL":
            self.skipped = f"this Mac has no {' and no '.join(missing)}: another device would stand in for it"
            return
        if missing:
            self.remarks.append(f"this Mac has no {' and no '.join(missing)}")
        description = read_description(self.request.package)
        inputs = passed_inputs(description, read_arrays(self.folder / INPUTS))
        with tempfile.TemporaryDirectory() as kept:
            self.reach("compile")
            target = Path(kept) / f"{self.request.package.stem}.mlmodelc"
            compiled, seconds = _timed(lambda: compile_model(str(self.request.package), str(target)))
            self.fields["compile_seconds"] = seconds

            def load(loaded_before: bool) -> Any:
                before = cache_entries()
                model, seconds = _timed(lambda: coremltools.models.CompiledMLModel(str(compiled), compute_units=unit))
                found = warmth(
                    loaded_before=loaded_before, build=conditions.os_build, before=before, after=cache_entries()
                )
                prefix = "warm_" if loaded_before else ""
                self.fields |= {
                    f"{prefix}load_seconds": seconds,
                    f"{prefix}load_state": found.state,
                    f"{prefix}load_evidence": found.evidence,
                    f"{prefix}framework_load_seconds": _seconds(model._proxy.get_load_duration_in_nano_seconds()),
                }
                return model

            self.reach("load")
            model = load(loaded_before=False)
            self.reach("predict")
            outputs, self.fields["first_predict_seconds"] = _timed(_prediction(model, description, inputs))
            arrays, remarks = received_outputs(description, outputs)
            self.remarks += remarks
            write_arrays(self.folder / OUTPUTS, arrays)
            if self.request.schedule is not None:
                del model, outputs
                gc.collect()
                self.reach("load")
                model = load(loaded_before=True)
                self.reach("predict")
                predict = _prediction(model, description, inputs)
                _, self.fields["warm_first_predict_seconds"] = _timed(predict)
                self.reach("time")
                self._time(model, predict, self.request.schedule)
                self.fields["conditions_after"] = read_conditions().to_json()
                self._repeat(predict, description, arrays)
                self.reach("plan")
                self.fields["compute_plan"] = read_plan(Path(compiled), self.request.compute_unit).to_json()
            else:
                self.fields["conditions_after"] = read_conditions().to_json()
            self.reach("end")

    def _time(self, model: Any, predict: Callable[[], Any], schedule: Schedule) -> None:
        """The framework's own figure of each sample is read between the calls, not within them."""
        reported: list[float] = []

        def read(name: str, count: int) -> None:
            nanoseconds = model._proxy.get_last_predict_duration_in_nano_seconds()
            if nanoseconds is not None:
                reported.append(nanoseconds / 1e9)

        timing = schedule.time({"coreml": predict}, read)["coreml"]
        self.fields |= {
            "samples": timing.samples,
            "framework_samples": tuple(reported) if len(reported) == len(timing.samples) else (),
            "warm_up": timing.warm_up,
            "warm_up_samples": timing.warm_up_samples,
            "warm_up_stable": timing.stable,
            "warnings": timing.warnings,
        }
        if timing.error is not None:
            raise timing.error

    def _repeat(self, predict: Callable[[], Any], description: Description, first: dict[str, Array]) -> None:
        """Whether the last prediction says what the first did; not asked of a model with state."""
        if description.is_stateful:
            return
        again, remarks = received_outputs(description, predict())
        self.remarks += [remark for remark in remarks if remark not in self.remarks]
        for name, array in again.items():
            if name not in first or np.array_equal(array, first[name], equal_nan=array.dtype.kind == "f"):
                continue
            same = array.shape == first[name].shape and array.dtype.kind in "biuf"
            size = np.abs(array.astype(np.float64) - first[name].astype(np.float64)).max() if same else np.nan
            self.remarks.append(f"output {name!r} of the last prediction is {size:.2g} off that of the first")


def _timed(call: Callable[[], Answer]) -> tuple[Answer, float]:
    start = perf_counter_ns()
    answer = call()
    return answer, (perf_counter_ns() - start) / 1e9


def _prediction(model: Any, description: Description, inputs: dict[str, Any]) -> Callable[[], Any]:
    """A prediction of the same inputs each time; a model with state goes on from where the last one left it."""
    if not description.is_stateful:
        return lambda: model.predict(inputs)
    state = model.make_state()
    return lambda: model.predict(inputs, state)


def _seconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1e9


def main(arguments: list[str]) -> None:
    """See the module. The exit status says whether the cell got to its end."""
    without_frameworks()
    folder = Path(arguments[0]).resolve()
    request = CellRequest.read(folder)
    guard_process(request.limits)
    cell = _Cell(folder, request)
    cell.run()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not through the interpreter's own end, which would free the arrays that Core ML still holds.
    os._exit(1 if cell.error else 0)


if __name__ == "__main__":
    main(sys.argv[1:])

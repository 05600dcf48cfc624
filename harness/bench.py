"""One model with its inputs, its reference and its conversions, and the records of its cells."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.artifact import Artifact
from harness.attribution import Attribution
from harness.cache import ConversionCache
from harness.case import ModelCase
from harness.conversions import Conversions, Progress
from harness.doubt import doubt_of
from harness.errors import ModelFileError, StoreError
from harness.failures import failure_text
from harness.inputs import prepare
from harness.ladder import CAUSES, PORTABLE, Ladder
from harness.machine import machine_name
from harness.metrics import Comparison, absolute_bounds, compare
from harness.plan import Cell
from harness.record import Record
from harness.runtimes.base import IsolatedRuntime, Isolation, LoadedModel, Measurement
from harness.runtimes.portable.runtime import PortableRuntime
from harness.tensors import Array
from harness.timing import Schedule, Timing

# Draws input, reference and candidate into a file, with the names of the two runtimes and what else is to be said of
# the candidate; False where there is nothing to see.
Draw = Callable[[Path, Array, Array, Array, str, str, str], bool]

_REFERENCE = "reference"


@dataclass(frozen=True)
class Settings:
    """What all models of a run share. Pictures are drawn into ``folder`` by ``draw``; ladders and bundles of failures
    go there too. ``inputs`` are a user's files; ``plugin_files`` those that were loaded, with their hashes. ``begun``
    says by model what was converted for the cells that the run has finished already."""

    cache: ConversionCache
    inputs: tuple[Path, ...] = ()
    run: str = ""
    seed: int = 0
    progress: Progress = lambda what, cell: None
    folder: Path | None = None
    draw: Draw | None = None
    isolation: Isolation = field(default_factory=Isolation)
    plugin_files: Mapping[str, str] = field(default_factory=dict)
    begun: Mapping[str, str] = field(default_factory=dict)


def records_of(
    case: ModelCase, settings: Settings, cells: Sequence[Cell], schedule: Schedule | None, planned: Sequence[Cell]
) -> Iterator[Record]:
    """Records of one model's ``cells``, as they are finished, and then the ladders of all that are ``planned``.

    A model that cannot be opened, or whose reference fails, is a record of each cell. Raises StoreError.
    """
    try:
        bench = Bench(case, settings)
    except Exception as error:  # a user's builder may raise anything
        yield from (_unopened(cell, settings, error) for cell in cells)
        return
    yield from bench.records(cells, schedule)
    bench.finish(planned)


class Bench:
    """Opens a model and asks its reference. Raises ModelFileError, InputError, and what the model's own code raises."""

    def __init__(self, case: ModelCase, settings: Settings) -> None:
        self.case, self.settings = case, settings
        self.attribution = Attribution(case.name, settings.folder)
        self.prepared = prepare(case, settings.inputs)
        self.source, self.inputs = self.prepared.source, self.prepared.inputs
        self.conversions = Conversions(self.source, settings.cache, settings.progress, settings.plugin_files)
        begun = settings.begun.get(case.name, self.conversions.model_hash)
        if begun != self.conversions.model_hash:
            raise ModelFileError(
                f"model {case.name} is not the one that this run began with: its weights or its graph have changed",
                received=self.conversions.model_hash[:16],
                supported=begun[:16],
                remedy="Begin a new run",
            )
        self.reference = self.prepared.reference()
        self.expected = self.reference.predict(self.inputs)
        self.doubt = doubt_of(self.prepared, self.reference, self.expected)

    def record(self, cell: Cell) -> Record:
        """The record of one cell, not timed."""
        (record,) = self.records([cell], None)
        return record

    def records(self, cells: Sequence[Cell], schedule: Schedule | None) -> Iterator[Record]:
        """Records as they are finished, raising nothing of what fails inside a cell.

        All cells that run in this process are timed in one interleaved ``schedule`` with the reference; without one,
        nothing is timed. Cells with a process of their own come last.
        """
        together = [cell for cell in cells if not isinstance(cell.runtime, IsolatedRuntime)]
        with ExitStack() as stack:
            loaded: list[_Loaded] = []
            for cell in together:
                outcome = self._load(cell)
                if isinstance(outcome, Record):
                    yield outcome
                elif schedule is None:
                    with outcome.model:
                        yield self._judged(outcome)
                else:
                    stack.enter_context(outcome.model)
                    loaded.append(outcome)
            if schedule is not None and loaded:
                timings = self._time(loaded, schedule)
                for item in loaded:
                    yield _timed(self._judged(item), timings[str(item.cell)], timings[_REFERENCE])
        for cell in cells:
            if isinstance(cell.runtime, IsolatedRuntime):
                yield self._measured_apart(cell, cell.runtime, schedule)

    def _load(self, cell: Cell) -> Record | _Loaded:
        """The model of a cell after its first prediction, or the record that says why there is none."""
        record, stage = self._begun(cell), "convert"
        if record.status == "skipped" or record.error:
            return record
        try:
            artifact, record = self._converted(cell, record)
            if artifact is None:
                return record
            stage = "load"
            self.settings.progress("loading", cell)
            start = time.perf_counter()
            with ExitStack() as stack:
                model = stack.enter_context(cell.runtime.load(artifact, cell.compute_unit, cell.precision))
                record, stage = replace(record, load_seconds=time.perf_counter() - start), "predict"
                self.settings.progress("predicting", cell)
                inputs, start = self._inputs_of(artifact), time.perf_counter()
                outputs = model.predict(inputs)
                record = replace(record, first_predict_seconds=time.perf_counter() - start)
                stack.pop_all()
            return _Loaded(cell, record, artifact, model, inputs, outputs)
        except Exception as error:  # a runtime or route may raise anything; the matrix goes on
            return self._failed(cell, record, stage, error)

    def _begun(self, cell: Cell) -> Record:
        """A record before anything was tried; skipped where this machine or route cannot, an error where the reference
        cannot judge."""
        prepared = self.prepared
        record = replace(
            blank_record(cell, self.settings),
            reference=prepared.reference_name,
            model_hash=self.conversions.model_hash,
            input_source=prepared.input_source,
            input_shapes="; ".join(f"{name} {array.shape}" for name, array in self.inputs.items()),
            cautions=prepared.cautions,
        )
        reason = cell.route.unavailable() or cell.route.refuses(self.source) or cell.runtime.unavailable()
        if reason:
            return replace(record, status="skipped", error=reason)
        if self.doubt:
            return replace(record, stage="reference", error=self.doubt)
        return record

    def _failed(self, cell: Cell, record: Record, stage: str, error: Exception) -> Record:
        failed = replace(record, status="error", stage=stage, error=failure_text(error))
        self._missing(cell, failed.error)
        return failed

    def _converted(self, cell: Cell, record: Record) -> tuple[Artifact | None, Record]:
        conversion = self.conversions.of(cell, self.inputs)
        record = replace(record, **conversion.fields)
        if conversion.artifact is None:
            self._missing(cell, conversion.error)
            record = replace(record, stage="convert", error=conversion.error)
        return conversion.artifact, record

    def _time(self, loaded: Sequence[_Loaded], schedule: Schedule) -> dict[str, Timing]:
        """Every loaded cell and the reference, once a round each."""
        targets: dict[str, Callable[[], object]] = {_REFERENCE: lambda: self.reference.predict(self.inputs)}
        for item in loaded:
            targets[str(item.cell)] = item.predict
        what = f"timing {self.case.name}"

        def progress(name: str, count: int) -> None:
            if name == _REFERENCE:
                self.settings.progress(f"{what}: round {count} of {schedule.samples}", None)

        self.settings.progress(f"{what}: warming up", None)
        # Warming up takes half as long as measuring at most: it is not what was asked for.
        most = max(2 * schedule.warm_up.window, min(schedule.warm_up.most, schedule.samples // 2))
        return replace(schedule, warm_up=replace(schedule.warm_up, most=most)).time(targets, progress)

    def _judged(self, item: _Loaded) -> Record:
        try:
            return self._compared(item.cell, item.record, item.artifact, item.outputs)
        except StoreError:  # the disk is full, say
            raise
        except Exception as error:  # outputs of a third party's runtime may be anything
            return self._failed(item.cell, item.record, "compare", error)

    def _measured_apart(self, cell: Cell, runtime: IsolatedRuntime, schedule: Schedule | None) -> Record:
        record = self._begun(cell)
        if record.status == "skipped" or record.error:
            return record
        try:
            artifact, record = self._converted(cell, record)
            return record if artifact is None else self._measure(cell, runtime, record, artifact, schedule)
        except Exception as error:  # a runtime or route may raise anything; the matrix goes on
            return self._failed(cell, record, "load", error)

    def _measure(
        self, cell: Cell, runtime: IsolatedRuntime, record: Record, artifact: Artifact, schedule: Schedule | None
    ) -> Record:
        folder = self.settings.folder
        measured: Measurement = runtime.measure(
            artifact,
            self._inputs_of(artifact),
            cell.compute_unit,
            schedule=schedule,
            isolation=self.settings.isolation,
            bundle=None if folder is None else folder / "failures" / cell.file_name,
            progress=lambda stage: self.settings.progress(stage, cell),
        )
        if measured.outputs:
            record = self._compared(cell, record, artifact, measured.outputs)
        record = replace(record, **measured.fields)
        if record.status in ("error", "skipped") and not measured.outputs:
            self._missing(cell, record.error or "it predicted nothing")
        return record

    def _inputs_of(self, artifact: Artifact) -> dict[str, Array]:
        return {artifact.input_names.get(name, name): array for name, array in self.inputs.items()}

    def _compared(self, cell: Cell, record: Record, artifact: Artifact, outputs: Mapping[str, Array]) -> Record:
        """The record with the outputs judged, drawn, and kept for the ladder."""
        candidate = self._candidate(artifact, outputs)
        comparison = self._comparison(candidate, cell.precision)
        if rung := _rung_of(cell):
            self.attribution.keep(cell.route.name, cell.precision, rung, candidate)
        fields = _accuracy(comparison)
        cautions = (*record.cautions, *fields.pop("cautions"))
        return replace(record, **fields, cautions=cautions, picture=self._picture(cell, candidate))

    def _comparison(self, candidate: Mapping[str, Array], precision: str) -> Comparison:
        specs = {spec.name: spec for spec in self.source.outputs}
        return compare(self.expected, candidate, self.case.tolerance, specs, precision)

    def _candidate(self, artifact: Artifact, outputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by the reference's names."""
        return {
            name: outputs[artifact.output_names.get(name, name)]
            for name in self.expected
            if artifact.output_names.get(name, name) in outputs
        }

    def _missing(self, cell: Cell, reason: str) -> None:
        if rung := _rung_of(cell):
            self.attribution.fail(cell.route.name, cell.precision, rung, reason)

    def finish(self, cells: Sequence[Cell]) -> tuple[Ladder, ...]:
        """The ladders of the conversions of these cells, stored with the run. The rungs of the portable runtime are
        executed now where they were no cells themselves."""
        conversions: dict[tuple[str, str], Cell] = {}
        for cell in cells:
            key = (cell.route.name, cell.precision)
            rung = _rung_of(cell)
            if rung and self.attribution.has(*key, rung) and not cell.route.unavailable():
                conversions[key] = cell
        for cell in conversions.values():
            for precision in dict.fromkeys(("float32", cell.precision)):
                self._execute_rung(replace(cell, precision=precision, runtime=PortableRuntime(), compute_unit="CPU"))
        ladders = self.attribution.ladders(self.expected, self.prepared.reference_name, conversions, self._bounds)
        self.attribution.close(ladders)
        return ladders

    def _bounds(self, precision: str) -> dict[str, float | None]:
        """The greatest absolute error that passes, by output; None where none is meant."""
        return absolute_bounds(self.expected, self.case.tolerance, precision)

    def _execute_rung(self, cell: Cell) -> None:
        rung = PORTABLE[cell.precision]
        if self.attribution.has(cell.route.name, cell.precision, rung):
            return
        outcome = self._load(cell)
        if isinstance(outcome, Record):  # the ladder has one rung less
            self._missing(cell, outcome.error)
            return
        with outcome.model:
            candidate = self._candidate(outcome.artifact, outcome.outputs)
            self.attribution.keep(cell.route.name, cell.precision, rung, candidate)

    def _picture(self, cell: Cell, candidate: Mapping[str, Array]) -> str:
        output, folder = next(iter(self.expected)), self.settings.folder
        if self.settings.draw is None or folder is None or output not in candidate:
            return ""
        name = f"{cell.file_name}.png"
        title = f"{cell.route.name} {cell.precision}, {cell.compute_unit}"
        photograph = next(iter(self.inputs.values()))
        names = (self.prepared.reference_name, cell.runtime.name, title)
        drawn = self.settings.draw(folder / name, photograph, self.expected[output], candidate[output], *names)
        return name if drawn else ""


@dataclass(frozen=True)
class _Loaded:
    """A cell's model in memory, with what it predicted first."""

    cell: Cell
    record: Record
    artifact: Artifact
    model: LoadedModel
    inputs: dict[str, Array]
    outputs: Mapping[str, Array]

    def predict(self) -> object:
        return self.model.predict(self.inputs)


def blank_record(cell: Cell, settings: Settings) -> Record:
    """A record that nothing is known for but its cell."""
    return Record(
        run=settings.run,
        model=cell.case.name,
        route=cell.route.name,
        precision=cell.precision,
        runtime=cell.runtime.name,
        compute_unit=cell.compute_unit,
        status="error",
        tolerance_source=cell.case.tolerance.source,
        seed=settings.seed,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine_name(),
        system=f"{platform.system()} {platform.release()}",
        versions=cell.route.versions(),
    )


def _unopened(cell: Cell, settings: Settings, error: Exception) -> Record:
    reason = cell.route.unavailable() or cell.runtime.unavailable()
    record = blank_record(cell, settings)
    if reason:
        return replace(record, status="skipped", error=reason)
    return replace(record, stage="open", error=failure_text(error))


def _timed(record: Record, timing: Timing, reference: Timing) -> Record:
    if timing.error is not None:
        return replace(record, status="error", stage="predict", error=failure_text(timing.error))
    return replace(
        record,
        samples=timing.samples,
        reference_samples=reference.samples,
        warm_up=timing.warm_up,
        warm_up_samples=timing.warm_up_samples,
        warm_up_stable=timing.stable,
        warnings=timing.warnings,
    )


def _rung_of(cell: Cell) -> str:
    """The cell's place in the ladder, or nothing."""
    if cell.runtime.name == PortableRuntime.name:
        return PORTABLE.get(cell.precision, "")
    return cell.compute_unit if isinstance(cell.runtime, IsolatedRuntime) and cell.compute_unit in CAUSES else ""


def _accuracy(comparison: Comparison) -> dict[str, Any]:
    worst = comparison.worst
    judged = worst.judgement
    fields: dict[str, Any] = {
        "status": "passed" if comparison.passed else "failed",
        "stage": "" if comparison.passed else "compare",
        "error": comparison.reason,
        "output": worst.name,
        "cautions": comparison.remarks,
    }
    if judged is not None:
        fields |= {
            "judged_as": judged.kind,
            "judged_because": judged.because,
            "deviation": judged.deviation,
            "tolerance": judged.bound,
            "differing": judged.differing,
            "elements": judged.elements,
        }
    metrics = ("max_abs_error", "mean_abs_error", "relative_error", "cosine", "psnr", "ssim")
    return fields | {name: getattr(worst, name) for name in metrics}

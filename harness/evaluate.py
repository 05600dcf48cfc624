"""The one pipeline: models x routes x precisions x runtimes x compute units -> Records."""

from __future__ import annotations

import platform
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness import plugins
from harness.artifact import Artifact
from harness.attribution import Attribution
from harness.cache import ConversionCache, conversion_key
from harness.case import ModelCase
from harness.errors import HarnessError, UsageError
from harness.frontends.plugin_files import load_plugin_files
from harness.inputs import prepare
from harness.ladder import CAUSES, PORTABLE, Ladder
from harness.machine import machine_name
from harness.metrics import Comparison, compare
from harness.record import Record
from harness.routes.base import Route
from harness.runtimes.base import IsolatedRuntime, Isolation, LoadedModel, Measurement, Runtime
from harness.runtimes.portable.runtime import PortableRuntime
from harness.store import Run
from harness.tensors import Array
from harness.timing import Schedule, Stability, Timing


@dataclass(frozen=True)
class Plan:
    """What to run. ``compute_units`` empty means all of each runtime's; ``samples`` 0 leaves timing out.

    ``max_seconds`` bounds the timing of one target in one cell; ``isolation`` is of cells with a process of their own.
    ``plugins`` are files of translations.
    """

    cases: tuple[ModelCase, ...]
    routes: tuple[str, ...]
    precisions: tuple[str, ...]
    runtimes: tuple[str, ...]
    compute_units: tuple[str, ...] = ()
    inputs: tuple[Path, ...] = ()
    samples: int = 20
    warm_up: Stability = field(default_factory=Stability)
    max_seconds: float = 10.0
    seed: int = 0
    isolation: Isolation = field(default_factory=Isolation)
    plugins: tuple[Path, ...] = ()

    @property
    def schedule(self) -> Schedule | None:
        """How predictions are timed, or None."""
        return Schedule(self.samples, self.warm_up, self.seed, self.max_seconds) if self.samples else None


@dataclass(frozen=True)
class Cell:
    """One combination."""

    case: ModelCase
    route: Route
    precision: str
    runtime: Runtime
    compute_unit: str

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        """As Record.cell."""
        return (self.case.name, self.route.name, self.precision, self.runtime.name, self.compute_unit)

    def __str__(self) -> str:
        return f"{self.case.name}, {self.route.name} {self.precision}, {self.runtime.name} {self.compute_unit}"


Progress = Callable[[str, Cell | None], None]

Call = Callable[[], object]
# Times the reference's and the candidate's prediction.
Timer = Callable[[Call, Call], tuple[Timing, Timing]]

# Draws input, reference and candidate into a file, with the candidate's title; False where there is
# nothing to see.
Draw = Callable[[Path, Array, Array, Array, str], bool]


def cells(plan: Plan) -> list[Cell]:
    """Every cell of a plan, in order. Raises UnknownNameError for names that are not known."""
    routes = [plugins.route(name) for name in plan.routes]
    runtimes = [plugins.runtime(name) for name in plan.runtimes]
    known_units = {unit for runtime in runtimes for unit in runtime.compute_units}
    for unit in plan.compute_units:
        if unit not in known_units:
            raise UsageError(f"no chosen runtime has the compute unit {unit!r}", supported=sorted(known_units))
    return [
        Cell(case, route, precision, runtime, unit)
        for case in plan.cases
        for route in routes
        for precision in plan.precisions
        for runtime in runtimes
        for unit in runtime.compute_units
        if not plan.compute_units or unit in plan.compute_units
    ]


def in_random_order(cells: Sequence[Cell], seed: int) -> list[Cell]:
    """One model's cells in the order in which they are run: those with a process of their own come last, routes and
    compute units mixed, so that what drifts while they are measured favours none of them."""
    apart = [cell for cell in cells if isinstance(cell.runtime, IsolatedRuntime)]
    together = [cell for cell in cells if cell not in apart]
    random.Random(seed).shuffle(apart)
    return [*together, *apart]


def default_routes() -> tuple[str, ...]:
    """Routes that can be taken on this machine: those of extras that are not installed are left out, and those that
    only check others."""
    routes = [plugins.route(name) for name in plugins.names(plugins.ROUTES)]
    return tuple(route.name for route in routes if route.by_default and not route.unavailable())


def default_runtimes(*, available: bool = True) -> tuple[str, ...]:
    """Runtimes that execute conversions; ``available``: only those that can run on this machine."""
    runtimes = [plugins.runtime(name) for name in plugins.names(plugins.RUNTIMES)]
    return tuple(
        item.name for item in runtimes if "mlprogram" in item.formats and not (available and item.unavailable())
    )


def evaluate(
    plan: Plan, run: Run, cache: ConversionCache, progress: Progress, draw: Draw | None = None
) -> Iterator[Record]:
    """Run every cell that ``run`` has not finished; each record is stored before it is yielded.

    ``progress`` is told what is going on. Raises UsageError for models and inputs that cannot be
    used; whatever fails inside a cell is that cell's record.
    """
    planned = cells(plan)
    plugin_files = load_plugin_files(plan.plugins)
    for case in plan.cases:
        ordered = in_random_order([cell for cell in planned if cell.case is case], plan.seed)
        mine = [cell for cell in ordered if cell.key not in run.finished]
        if mine:
            progress(f"loading {case.name}", None)
            bench = Bench(
                case, cache, plan.inputs, run.name, plan.seed, progress, run.folder, draw, plan.isolation, plugin_files
            )
            timer = None if plan.schedule is None else _timer(plan.schedule)
            for position, cell in enumerate(ordered):
                if cell in mine:
                    record = replace(bench.record(cell, timer, plan.schedule), position=position)
                    run.append(record)
                    yield record
            bench.finish(ordered)


def _timer(schedule: Schedule) -> Timer:
    """References and candidates interleaved in one schedule."""

    def timer(reference: Call, candidate: Call) -> tuple[Timing, Timing]:
        timings = schedule.time({"reference": reference, "candidate": candidate})
        return timings["reference"], timings["candidate"]

    return timer


class Bench:
    """One model with its inputs, its reference and its conversions, for all of its cells.

    Pictures are drawn into ``folder`` by ``draw``; ladders and bundles of failures go there too. ``plugin_files`` are
    those that were loaded, with their hashes. Raises UsageError for models and inputs that cannot be used.
    """

    def __init__(
        self,
        case: ModelCase,
        cache: ConversionCache,
        files: tuple[Path, ...] = (),
        run: str = "",
        seed: int = 0,
        progress: Progress = lambda what, cell: None,
        folder: Path | None = None,
        draw: Draw | None = None,
        isolation: Isolation | None = None,
        plugin_files: Mapping[str, str] | None = None,
    ) -> None:
        self.case, self.cache, self.run, self.seed = case, cache, run, seed
        self.progress, self.folder, self.draw = progress, folder, draw
        self.isolation = isolation or Isolation()
        self.plugin_files = plugin_files or {}
        self.attribution = Attribution(case.name, folder)
        prepared = prepare(case, files)
        self.source, self.inputs, self.input_source = prepared.source, prepared.inputs, prepared.input_source
        self.reference_name, self.reference = prepared.reference_name, prepared.reference()
        self.expected = self.reference.predict(self.inputs)
        self.model_hash = case.content_hash()
        self.conversions: dict[tuple[str, str], _Conversion] = {}

    def record(self, cell: Cell, timer: Timer | None = None, schedule: Schedule | None = None) -> Record:
        """The finished record of one cell, with samples if a ``timer`` takes them, or, in a process of its own, a
        ``schedule`` says how. Raises nothing of what fails inside the cell."""
        record = Record(
            run=self.run,
            model=cell.case.name,
            route=cell.route.name,
            precision=cell.precision,
            runtime=cell.runtime.name,
            compute_unit=cell.compute_unit,
            status="error",
            tolerance=cell.case.tolerance.for_precision(cell.precision),
            tolerance_source=cell.case.tolerance.source,
            reference=self.reference_name,
            seed=self.seed,
            model_hash=self.model_hash,
            input_source=self.input_source,
            input_shapes="; ".join(f"{name} {array.shape}" for name, array in self.inputs.items()),
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            machine=machine_name(),
            system=f"{platform.system()} {platform.release()}",
            versions=cell.route.versions(),
        )
        unavailable = cell.route.unavailable() or cell.route.refuses(self.source) or cell.runtime.unavailable()
        if unavailable:
            return replace(record, status="skipped", error=unavailable)
        stage = "convert"
        try:
            conversion = self._convert(cell)
            record = replace(record, **conversion.fields)
            if conversion.artifact is None:
                return replace(record, stage=stage, error=conversion.error)
            stage = "load"
            if isinstance(cell.runtime, IsolatedRuntime):
                return self._measure_apart(cell, cell.runtime, record, conversion.artifact, schedule)
            self.progress("loading", cell)
            start = time.perf_counter()
            with cell.runtime.load(conversion.artifact, cell.compute_unit, cell.precision) as model:
                record = replace(record, load_seconds=time.perf_counter() - start)
                stage = "predict"
                return self._measure(cell, record, conversion.artifact, model, timer)
        except HarnessError as error:
            failed = replace(record, stage=stage, error=str(error))
        except Exception as error:  # a runtime or route may raise anything; the matrix goes on
            failed = replace(record, stage=stage, error=f"{type(error).__name__}: {error}")
        self._missing(cell, failed.error)
        return failed

    def _convert(self, cell: Cell) -> _Conversion:
        key = (cell.route.name, cell.precision)
        if key not in self.conversions:
            self.progress("converting", cell)
            self.conversions[key] = self._converted(cell)
        return self.conversions[key]

    def _converted(self, cell: Cell) -> _Conversion:
        cache_key = conversion_key(
            model_hash=self.model_hash,
            route=cell.route.name,
            precision=cell.precision,
            input_shapes={name: array.shape for name, array in self.inputs.items()},
            versions=cell.route.versions(),
            options={f"plugin {index}": content for index, content in enumerate(self.plugin_files.values())},
        )
        start = time.perf_counter()
        artifact = self.cache.get(cache_key)
        cached = artifact is not None
        try:
            if artifact is None:
                with self.cache.workspace() as folder:
                    made = cell.route.convert(self.source, cell.precision, folder / f"{self.case.name}.mlpackage")
                    took = time.perf_counter() - start
                    artifact = self.cache.put(cache_key, made, convert_seconds=took)
        except HarnessError as error:
            return _Conversion(None, {"convert_seconds": time.perf_counter() - start}, str(error))
        fields = {
            "convert_seconds": time.perf_counter() - start,
            "convert_cached": cached,
            "artifact_hash": artifact.content_hash(),
            "artifact_bytes": artifact.size_bytes,
            "conversion_warnings": artifact.warnings,
        }
        return _Conversion(artifact, fields)

    def _measure(
        self, cell: Cell, record: Record, artifact: Artifact, model: LoadedModel, timer: Timer | None
    ) -> Record:
        self.progress("predicting", cell)
        inputs = self._inputs_of(artifact)
        start = time.perf_counter()
        outputs = model.predict(inputs)
        record = replace(record, first_predict_seconds=time.perf_counter() - start)
        record = self._compared(cell, record, artifact, outputs)
        if timer is None:
            return record
        self.progress("timing", cell)
        reference_timing, timing = timer(lambda: self.reference.predict(self.inputs), lambda: model.predict(inputs))
        if timing.error is not None:
            return replace(record, status="error", stage="predict", error=str(timing.error))
        return replace(
            record,
            samples=timing.samples,
            reference_samples=reference_timing.samples,
            warm_up=timing.warm_up,
            warm_up_samples=timing.warm_up_samples,
            warm_up_stable=timing.stable,
            warnings=timing.warnings,
        )

    def _measure_apart(
        self, cell: Cell, runtime: IsolatedRuntime, record: Record, artifact: Artifact, schedule: Schedule | None
    ) -> Record:
        measured: Measurement = runtime.measure(
            artifact,
            self._inputs_of(artifact),
            cell.compute_unit,
            schedule=schedule,
            isolation=self.isolation,
            bundle=None if self.folder is None else self.folder / "failures" / "-".join(cell.key),
            progress=lambda stage: self.progress(stage, cell),
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
        specs = {spec.name: spec for spec in self.source.outputs}
        comparison = compare(self.expected, candidate, record.tolerance or 0.0, specs)
        if rung := _rung_of(cell):
            self.attribution.keep(cell.route.name, cell.precision, rung, candidate)
        return replace(record, **_accuracy(comparison), picture=self._picture(cell, candidate))

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
        tolerance = self.case.tolerance.for_precision
        ladders = self.attribution.ladders(self.expected, self.reference_name, conversions, tolerance)
        self.attribution.close(ladders)
        return ladders

    def _execute_rung(self, cell: Cell) -> None:
        rung = PORTABLE[cell.precision]
        if self.attribution.has(cell.route.name, cell.precision, rung):
            return
        try:
            conversion = self._convert(cell)
            if conversion.artifact is None:
                self._missing(cell, conversion.error)
                return
            self.progress("predicting", cell)
            with cell.runtime.load(conversion.artifact, cell.compute_unit, cell.precision) as model:
                outputs = model.predict(self._inputs_of(conversion.artifact))
            candidate = self._candidate(conversion.artifact, outputs)
            self.attribution.keep(cell.route.name, cell.precision, rung, candidate)
        except Exception as error:  # a runtime or route may raise anything; the ladder has one rung less
            self._missing(cell, f"{type(error).__name__}: {error}")

    def _picture(self, cell: Cell, candidate: Mapping[str, Array]) -> str:
        output = next(iter(self.expected))
        if self.draw is None or self.folder is None or output not in candidate:
            return ""
        name = "-".join(cell.key) + ".png"
        title = f"{cell.route.name} {cell.precision} on {cell.runtime.name} {cell.compute_unit}"
        photograph = next(iter(self.inputs.values()))
        drawn = self.draw(self.folder / name, photograph, self.expected[output], candidate[output], title)
        return name if drawn else ""


@dataclass(frozen=True)
class _Conversion:
    artifact: Artifact | None
    fields: dict[str, Any]
    error: str = ""


def _rung_of(cell: Cell) -> str:
    """The cell's place in the ladder, or nothing."""
    if cell.runtime.name == PortableRuntime.name:
        return PORTABLE.get(cell.precision, "")
    return cell.compute_unit if isinstance(cell.runtime, IsolatedRuntime) and cell.compute_unit in CAUSES else ""


def _accuracy(comparison: Comparison) -> dict[str, Any]:
    worst = comparison.worst
    return {
        "status": "passed" if comparison.passed else "failed",
        "stage": "" if comparison.passed else "compare",
        "error": comparison.reason,
        "output": worst.name,
        "max_abs_error": worst.max_abs_error,
        "mean_abs_error": worst.mean_abs_error,
        "relative_error": worst.relative_error,
        "cosine": worst.cosine,
        "psnr": worst.psnr,
        "ssim": worst.ssim,
    }

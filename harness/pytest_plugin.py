"""``pytest`` runs the accuracy matrix of the models in ``models/``, ``pytest --benchmark`` the timed one.

Works in any repository whose ``models/*.py`` files define a ``CASE``. The timed tests run under
pytest-benchmark, with model, route, precision, runtime, compute unit and accuracy in ``extra_info``;
their samples are stored with the results too.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn, cast

import pytest

if TYPE_CHECKING:
    from harness.bench import Bench, Settings
    from harness.case import ModelCase
    from harness.plan import Cell
    from harness.record import Record
    from harness.store import Run

# Stored in extra_info beside each timing.
_ACCURACY = (
    "status", "judged_as", "deviation", "tolerance", "max_abs_error", "mean_abs_error", "relative_error", "cosine",
    "psnr", "ssim",
)  # fmt: skip
# What became of a cell: a property of its test's report, which reaches the process that counts, whichever ran it.
_JUDGED, _SKIPPED = "harness: judged", "harness: skipped"
_NOTHING_JUDGED = 2


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--benchmark`` and where things are."""
    group = parser.getgroup("harness", "accuracy and latency of Core ML conversions")
    group.addoption("--benchmark", action="store_true", help="run the timed matrix, and nothing else")
    group.addoption("--harness-results", default="results", help="folder that timed runs are stored in")
    parser.addini("harness_models", "folder of model cases, relative to the root", default="models")
    parser.addini("harness_plugins", "files of translations of your own (--plugin of harness run)", type="paths")
    for name in ("routes", "precisions", "runtimes", "compute_units"):
        parser.addini(f"harness_{name}", f"{name} of the matrix; all by default", type="args")


def pytest_configure(config: pytest.Config) -> None:
    """Times taken beside other tests would mean nothing."""
    if config.getoption("--benchmark") and config.getoption("numprocesses", None):
        raise pytest.UsageError("--benchmark times one cell after the other: leave out -n")
    if config.getoption("--benchmark") and not config.pluginmanager.hasplugin("benchmark"):
        raise pytest.UsageError("--benchmark times under pytest-benchmark: leave out -p no:benchmark")
    config.pluginmanager.register(_Tally(), "harness tally")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Collect the models' files as test modules."""
    folder = parent.config.rootpath / parent.config.getini("harness_models")
    if file_path.suffix != ".py" or file_path.parent != folder:
        return None
    from harness.case import defines_case

    if defines_case(file_path):
        return _ModelModule.from_parent(parent, path=file_path)
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With ``--benchmark``, leave out whatever measures nothing."""
    if config.getoption("--benchmark"):
        timed = [item for item in items if "benchmark" in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=[item for item in items if item not in timed])
        items[:] = timed


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Close the stored run."""
    if _matrix in session.config.stash:
        session.config.stash[_matrix].close()


class _Tally:
    """Counts cells that were judged and cells that were skipped: where all were skipped, pytest has not passed."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys((_JUDGED, _SKIPPED), 0)

    @property
    def is_empty(self) -> bool:
        """Whether there were cells, and none was judged."""
        return bool(self.counts[_SKIPPED]) and not self.counts[_JUDGED]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Of every process, if there are several."""
        for name, _ in report.user_properties if report.when == "call" else ():
            if name in self.counts:
                self.counts[name] += 1

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Nothing judged is no success."""
        if session.exitstatus == pytest.ExitCode.OK and self.is_empty:
            session.exitstatus = _NOTHING_JUDGED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say so."""
        if self.is_empty and not terminalreporter.stats.get("failed"):
            count = self.counts[_SKIPPED]
            said = f"harness: nothing was judged: all {count} cells were skipped (-rs shows the reasons)"
            terminalreporter.write_line(said, red=True)


class _ModelModule(pytest.Module):
    """The tests of one model file."""

    def _getobj(self) -> ModuleType:
        from harness.case import load_case
        from harness.errors import HarnessError, UsageError

        try:
            case = load_case(self.path)
            others = self.config.stash.setdefault(_names, {})
            if others.setdefault(case.name, self.path) != self.path:
                both = f"{others[case.name]} and {self.path}"
                raise UsageError(f"{both} define the model {case.name!r}", remedy="Rename one")
            cells = self._cells(case)
        except HarnessError as error:
            raise self.CollectError(str(error)) from None
        ids = ["-".join(cell.key[1:]) for cell in cells]

        @pytest.mark.parametrize("cell", cells, ids=ids)
        def test_accuracy(cell: Cell, request: pytest.FixtureRequest) -> None:
            _skip_unavailable(cell, request.node)
            _judge(_matrix_of(request.config).accuracy(cell), request.node)

        @pytest.mark.parametrize("cell", cells, ids=ids)
        def test_latency(cell: Cell, request: pytest.FixtureRequest, benchmark: Any) -> None:
            if not request.config.getoption("--benchmark"):
                pytest.skip("timed with --benchmark only")
            _skip_unavailable(cell, request.node)
            record = _matrix_of(request.config).latency(cell, _beside(cell, request.session))
            _show(record, request.node.callspec.id, benchmark)
            _judge(record, request.node)

        module = ModuleType(self.path.stem)
        module.__file__ = str(self.path)
        module.__dict__["test_accuracy"] = test_accuracy
        if self.config.pluginmanager.hasplugin("benchmark"):
            module.__dict__["test_latency"] = test_latency
        return module

    def _cells(self, case: Any) -> list[Cell]:
        from harness.plan import Plan, cells, default_routes, default_runtimes
        from harness.routes.base import PRECISIONS

        ini = self.config.getini
        return cells(
            Plan(
                cases=(case,),
                routes=tuple(ini("harness_routes") or default_routes()),
                precisions=tuple(ini("harness_precisions") or PRECISIONS),
                runtimes=tuple(ini("harness_runtimes") or default_runtimes(available=False)),
                compute_units=tuple(ini("harness_compute_units")),
            )
        )


class _Matrix:
    """Cells as tests: one model is open at a time, and one that cannot be opened is told once."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._case: ModelCase | None = None
        self._bench: Bench | None = None
        self._timed: dict[tuple[str, ...], Record] = {}
        self._run: Run | None = None

    def accuracy(self, cell: Cell) -> Record:
        """The record of a cell that is not timed."""
        return self._opened(cell).record(cell)

    def latency(self, cell: Cell, beside: list[Cell]) -> Record:
        """The stored record of a timed cell; ``beside`` are those of its model that are timed in one schedule."""
        from harness.timing import Schedule

        run = self._begun()
        bench = self._opened(cell)
        if cell.key not in self._timed:
            self._timed |= {record.cell: record for record in bench.records(beside, Schedule())}
        record = self._timed[cell.key]
        run.append(record)
        return record

    def close(self) -> None:
        """End the stored run."""
        if self._run is not None:
            self._run.close()

    def _begun(self) -> Run:
        from harness.store import RunInfo, Store

        if self._run is None:
            folder = Path(self._config.rootpath) / self._config.getoption("--harness-results")
            self._run = Store(folder).begin(RunInfo(command=("pytest", "--benchmark")))
        return self._run

    def _opened(self, cell: Cell) -> Bench:
        """The model's bench. Fails once for a model that cannot be opened, and skips its other cells."""
        from harness.bench import Bench
        from harness.failures import failure_text

        if self._case is cell.case:
            if self._bench is None:
                pytest.skip(f"model {cell.case.name} could not be opened: told in its first test")
            return self._bench
        self._case, self._bench = cell.case, None
        self._timed.clear()
        failure = ""
        try:
            self._bench = Bench(cell.case, self._settings())
        except Exception as error:  # a user's builder may raise anything
            failure = failure_text(error)
        if self._bench is None:
            pytest.fail(f"open: {failure}", pytrace=False)
        return self._bench

    def _settings(self) -> Settings:
        from harness.bench import Settings
        from harness.cache import ConversionCache
        from harness.frontends.plugin_files import load_plugin_files

        run = self._run.name if self._run is not None else "pytest"
        plugin_files = load_plugin_files(self._config.getini("harness_plugins"))
        return Settings(ConversionCache(), run=run, plugin_files=plugin_files)


_matrix: pytest.StashKey[_Matrix] = pytest.StashKey()
_names: pytest.StashKey[dict[str, Path]] = pytest.StashKey()  # of models, with the files that define them


def _matrix_of(config: pytest.Config) -> _Matrix:
    return config.stash.setdefault(_matrix, _Matrix(config))


def _beside(cell: Cell, session: pytest.Session) -> list[Cell]:
    """Cells of the model that are timed in this session and in this process, or the cell alone if it has its own."""
    from harness.runtimes.base import IsolatedRuntime

    if isinstance(cell.runtime, IsolatedRuntime):
        return [cell]
    others: list[Cell] = [cast(Any, item).callspec.params["cell"] for item in session.items if _times_a_cell(item)]
    return [
        other
        for other in others
        if other.case is cell.case
        and not isinstance(other.runtime, IsolatedRuntime)
        and not (other.route.unavailable() or other.runtime.unavailable())
    ]


def _times_a_cell(item: Any) -> bool:
    return isinstance(item.parent, _ModelModule) and item.originalname == "test_latency"


def _show(record: Record, name: str, benchmark: Any) -> None:
    """The record as pytest-benchmark's own row."""
    benchmark.group = record.model
    benchmark.name = f"{record.model} {name}"
    benchmark.extra_info.update(
        model=record.model,
        route=record.route,
        precision=record.precision,
        runtime=record.runtime,
        compute_unit=record.compute_unit,
        **{name: getattr(record, name) for name in _ACCURACY},
    )
    if record.samples and not benchmark.disabled:
        # It has no public way in for samples that were taken elsewhere.
        statistics = benchmark._make_stats(1)
        for sample in record.samples:
            statistics.update(sample)


def _skip_unavailable(cell: Cell, node: pytest.Item) -> None:
    if reason := cell.route.unavailable() or cell.runtime.unavailable():
        _skip(reason, node)


def _skip(reason: str, node: pytest.Item) -> NoReturn:
    node.user_properties.append((_SKIPPED, reason))
    pytest.skip(reason)


def _judge(record: Record, node: pytest.Item) -> None:
    if record.status == "skipped":
        _skip(record.error, node)
    if record.was_judged:
        node.user_properties.append((_JUDGED, record.status))
    if record.status != "passed":
        pytest.fail(f"{record.stage}: {record.error}", pytrace=False)

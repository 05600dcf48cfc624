"""``pytest`` runs the accuracy matrix of the models in ``models/``, ``pytest --benchmark`` the timed one.

Works in any repository whose ``models/*.py`` files define a ``CASE``. The timed tests run under
pytest-benchmark, with model, route, precision, runtime, compute unit and accuracy in ``extra_info``;
their samples are stored with the results too.
"""

from __future__ import annotations

import ast
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from harness.evaluate import Bench, Cell
    from harness.record import Record
    from harness.store import Run

_bench: pytest.StashKey[dict[str, Bench]] = pytest.StashKey()
_run: pytest.StashKey[Run] = pytest.StashKey()

# Stored in extra_info beside each timing.
_ACCURACY = ("status", "max_abs_error", "mean_abs_error", "relative_error", "cosine", "psnr", "ssim", "tolerance")


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


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Collect the models' files as test modules."""
    folder = parent.config.rootpath / parent.config.getini("harness_models")
    if file_path.suffix == ".py" and file_path.parent == folder and _defines_case(file_path):
        return _ModelModule.from_parent(parent, path=file_path)
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With ``--benchmark``, leave out whatever measures nothing."""
    if config.getoption("--benchmark"):
        timed = [item for item in items if "benchmark" in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=[item for item in items if item not in timed])
        items[:] = timed


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Close the stored run."""
    if _run in session.config.stash:
        session.config.stash[_run].close()


def _defines_case(path: Path) -> bool:
    """Whether the file assigns CASE: files that do not are not imported."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return False
    return any(
        isinstance(node, ast.Assign | ast.AnnAssign)
        and any(isinstance(name, ast.Name) and name.id == "CASE" for name in ast.walk(node))
        for node in tree.body
    )


class _ModelModule(pytest.Module):
    """The tests of one model file."""

    def _getobj(self) -> ModuleType:
        from harness.case import load_case
        from harness.errors import HarnessError

        try:
            cells = self._cells(load_case(self.path))
        except HarnessError as error:
            raise self.CollectError(str(error)) from error
        ids = ["-".join(cell.key[1:]) for cell in cells]

        @pytest.mark.parametrize("cell", cells, ids=ids)
        def test_accuracy(cell: Cell, request: pytest.FixtureRequest) -> None:
            _skip_unavailable(cell)
            _judge(_bench_of(request.config, cell).record(cell))

        @pytest.mark.parametrize("cell", cells, ids=ids)
        def test_latency(cell: Cell, request: pytest.FixtureRequest, benchmark: Any) -> None:
            if not request.config.getoption("--benchmark"):
                pytest.skip("timed with --benchmark only")
            _skip_unavailable(cell)
            _time(cell, request.config, benchmark)

        module = ModuleType(self.path.stem)
        module.__file__ = str(self.path)
        module.__dict__.update(test_accuracy=test_accuracy, test_latency=test_latency)
        return module

    def _cells(self, case: Any) -> list[Cell]:
        from harness.evaluate import Plan, cells, default_routes, default_runtimes
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


def _bench_of(config: pytest.Config, cell: Cell) -> Bench:
    """One bench for each model; only the last one used is kept, to bound memory."""
    from harness.cache import ConversionCache
    from harness.evaluate import Bench
    from harness.frontends.plugin_files import load_plugin_files

    benches = config.stash.setdefault(_bench, {})
    if cell.case.name not in benches:
        benches.clear()
        run = config.stash[_run].name if _run in config.stash else "pytest"
        plugin_files = load_plugin_files(config.getini("harness_plugins"))
        benches[cell.case.name] = Bench(cell.case, ConversionCache(), run=run, plugin_files=plugin_files)
    return benches[cell.case.name]


def _time(cell: Cell, config: pytest.Config, benchmark: Any) -> None:
    from harness.runtimes.base import IsolatedRuntime
    from harness.store import RunInfo, Store
    from harness.timing import Schedule, Timing

    if _run not in config.stash:
        folder = Path(config.rootpath) / config.getoption("--harness-results")
        config.stash[_run] = Store(folder).begin(RunInfo(command=("pytest", "--benchmark")))

    def timer(reference: Any, candidate: Any) -> tuple[Timing, Timing]:
        benchmark(candidate)
        return Timing(()), Timing(tuple(benchmark.stats.stats.data))

    if isinstance(cell.runtime, IsolatedRuntime):
        record = _bench_of(config, cell).record(cell, schedule=Schedule())
        _take_over(benchmark, record.samples)
    else:
        record = _bench_of(config, cell).record(cell, timer)
    benchmark.group = record.model
    benchmark.extra_info.update(
        model=record.model,
        route=record.route,
        precision=record.precision,
        runtime=record.runtime,
        compute_unit=record.compute_unit,
        **{name: getattr(record, name) for name in _ACCURACY},
    )
    config.stash[_run].append(record)
    _judge(record)


def _take_over(benchmark: Any, samples: tuple[float, ...]) -> None:
    """Samples of another process as pytest-benchmark's own; it has no public way in for them."""
    if samples:
        statistics = benchmark._make_stats(1)
        for sample in samples:
            statistics.update(sample)


def _skip_unavailable(cell: Cell) -> None:
    reason = cell.route.unavailable() or cell.runtime.unavailable()
    if reason:
        pytest.skip(reason)


def _judge(record: Record) -> None:
    if record.status != "passed":
        pytest.fail(f"{record.stage}: {record.error}", pytrace=False)

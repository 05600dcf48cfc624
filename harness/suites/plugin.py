"""pytest plugin (``-p harness.suites.plugin``): coremltools' own tests predict on the portable runtime.

It installs the stand-in before anything imports coremltools, and writes a JSON line as each test
starts and as it ends, so that a crash or a hang is known to be that test's.
"""

from __future__ import annotations

import asyncio
import builtins
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import json
import platform
import random
import re
import sys
import traceback
import types
import warnings
import zlib
from collections import Counter
from collections.abc import Collection, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from harness.runtimes import portable
from harness.runtimes.portable import stand_in
from harness.suites.recording import Recording, RecordingProxy, wrap_checks

# What plays Core ML. An error that passes through it is not of coremltools.
_OURS = Path(portable.__path__[0])
_TRACE_CHARACTERS = 3000
_REASON_CHARACTERS = 600
_NOT_INSTALLED = ", which is not installed here"
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


class _Absent(types.ModuleType):
    """Stands for a library that is not installed, so that an import at the top of a test module does not
    hide the tests that never use it. A test that does use it is skipped."""

    collecting: ClassVar[bool] = True

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Absent(f"{self.__name__}.{name}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._used()

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[()]:
        self._used()
        return ()

    def _used(self) -> _Absent:
        if not _Absent.collecting:
            pytest.skip(f"uses {self.__name__}{_NOT_INSTALLED}")
        return self


class _AbsentFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules inside of libraries that are not installed, as absent ones."""

    def __init__(self, libraries: Collection[str]) -> None:
        self.libraries = libraries

    def find_spec(self, name: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] not in self.libraries:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _Absent(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing is in it."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where results go, what the random generators start from, and which numerics are used."""
    group = parser.getgroup("harness suites")
    group.addoption("--suite-collected", type=Path, help="file that receives the collected ids, as JSON")
    group.addoption("--suite-selected", type=Path, help="file of the ids to run, as JSON")
    group.addoption("--suite-events", type=Path, help="file that receives a JSON line per event of those")
    group.addoption("--suite-seed", type=int, default=0, help="start of the random generators, with the test's id")
    group.addoption("--suite-numerics", default="float16", help="numerics of the portable runtime")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Before coremltools' conftest files import coremltools. Tests of compute plans and benchmarks are skipped on
    Intel machines, which the Mac that is played is not."""
    platform.machine = lambda: "arm64"
    stand_in.install(numerics=early_config.known_args_namespace.suite_numerics, model_proxy=RecordingProxy)
    wrap_checks()


def pytest_configure(config: pytest.Config) -> None:
    """Marks that coremltools' tests use, and the parts of this plugin that were asked for."""
    config.addinivalue_line("markers", "asyncio: the test is a coroutine")
    collected, selected = config.getoption("--suite-collected"), config.getoption("--suite-selected")
    if collected is not None:
        config.pluginmanager.register(_Collecting(collected))
    if selected is not None:
        chosen = frozenset(json.loads(selected.read_text()))
        events, seed = config.getoption("--suite-events"), config.getoption("--suite-seed")
        config.pluginmanager.register(_Recording(chosen, events, seed))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """Test modules may import PyTorch, and one of them names it without an import."""
    absent = {name: _Absent(name) for name in ("torch",) if importlib.util.find_spec(name) is None}
    finder = _AbsentFinder(absent)
    sys.modules.update(absent)
    sys.meta_path.append(finder)
    vars(builtins).update(absent)
    try:
        return (yield)
    finally:
        _Absent.collecting = False
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.partition(".")[0] in absent]:
            del sys.modules[name]


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parameters given as an iterator would be used up by the first class, and be none for those that inherit."""
    for mark in metafunc.definition.iter_markers("parametrize"):
        if len(mark.args) == 2 and isinstance(mark.args[1], Iterator):
            object.__setattr__(mark, "args", (mark.args[0], list(mark.args[1])))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> object:
    """Run tests that are coroutines."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Methods called ``setup`` and ``teardown``, which pytest 8 does not call any more."""
    instance = getattr(item, "instance", None)
    getattr(instance, "setup", lambda: None)()
    try:
        return (yield)
    finally:
        getattr(instance, "teardown", lambda: None)()


class _Collecting:
    """Writes the ids of all tests, and why modules or classes gave none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ids: list[str] | None = None
        self.not_collected: dict[str, dict[str, str]] = {}

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if not report.passed:
            self.not_collected[report.nodeid] = {"outcome": outcome_of([report]), "reason": _reason(report)}

    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage, nodeid: str) -> None:
        """pytest passes over a class that it cannot make an instance of, and only warns."""
        if issubclass(warning_message.category, pytest.PytestCollectionWarning):
            reason = str(warning_message.message)
            where = nodeid or warning_message.filename
            self.not_collected[f"{where}: {reason[:80]}"] = {"outcome": "failed", "reason": reason}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.ids = list(stable_ids([item.nodeid for item in session.items]))

    def pytest_sessionfinish(self) -> None:
        """Here, for pytest tells the warnings of collection after its end; nothing if it was given no such file."""
        if self.ids is not None:
            self.path.write_text(json.dumps({"ids": self.ids, "not_collected": self.not_collected}))


class _Recording:
    """Runs the selected tests, and writes what each predicted and how that compares."""

    def __init__(self, selected: frozenset[str], path: Path, seed: int) -> None:
        self.selected = selected
        self.file = path.open("a", encoding="utf-8")
        self.seed = seed
        self.reports: list[pytest.TestReport] = []
        self.is_ours = False
        self.ids: dict[str, str] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        node_ids = [item.nodeid for item in items]
        self.ids = dict(zip(node_ids, stable_ids(node_ids), strict=True))
        items[:] = [item for item in items if self.ids[item.nodeid] in self.selected]

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._write({"started": self.ids[nodeid]})
        self.reports = []
        self.is_ours = False
        RecordingProxy.current = Recording()
        seed = zlib.crc32(f"{self.seed} {self.ids[nodeid]}".encode())
        random.seed(seed)
        np.random.seed(seed)  # what the tests draw from
        if "tensorflow" in sys.modules:
            sys.modules["tensorflow"].random.set_seed(seed)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, Any]:
        report = yield
        if report.failed and call.excinfo is not None:
            self.is_ours = self.is_ours or is_raised_in(call.excinfo.value, _OURS)
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.reports.append(report)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        row: dict[str, Any] = {"id": self.ids[nodeid], "outcome": outcome_of(self.reports), "is_ours": self.is_ours}
        ends = [report for report in self.reports if not report.passed or hasattr(report, "wasxfail")]
        if ends:
            end = next((report for report in ends if report.failed), ends[0])
            row |= {"reason": _reason(end), "trace": end.longreprtext[-_TRACE_CHARACTERS:]}
        row["seconds"] = round(sum(report.duration for report in self.reports), 3)
        self._write(row | RecordingProxy.current.to_row())
        RecordingProxy.current = Recording()

    def _write(self, row: dict[str, Any]) -> None:
        self.file.write(json.dumps(row) + "\n")
        self.file.flush()


def stable_ids(node_ids: Sequence[str]) -> Iterator[str]:
    """pytest's ids without the addresses of objects that some of them hold, which differ in each process.

    Those that are equal without are numbered in the order of collection.
    """
    seen: Counter[str] = Counter()
    for node_id in node_ids:
        plain = _ADDRESS.sub("", node_id)
        seen[plain] += 1
        yield plain if seen[plain] == 1 else f"{plain}#{seen[plain]}"


def outcome_of(reports: Sequence[pytest.CollectReport | pytest.TestReport]) -> str:
    """What became of a test, from what pytest reports of its setup, call and teardown.

    ``failed`` wherever it failed, also after it was skipped; ``xfailed`` or ``xpassed`` where the test is marked as
    one that fails; ``absent``: skipped by this plugin, for a library is missing; ``skipped``: by the test or pytest.
    """
    if any(report.failed for report in reports):
        return "failed"
    for report in reports:
        if hasattr(report, "wasxfail"):
            return "xfailed" if report.skipped else "xpassed"
        if report.skipped:
            return "absent" if _reason(report).endswith(_NOT_INSTALLED) else "skipped"
    return "passed"


def is_raised_in(error: BaseException, folder: Path) -> bool:
    """Whether an error, or one that it was raised from or after, passed through the source in ``folder``."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        frames = traceback.walk_tb(link.__traceback__)
        if any(folder in Path(frame.f_code.co_filename).parents for frame, _ in frames):
            return True
        link = link.__cause__ or link.__context__
    return False


def _reason(report: pytest.CollectReport | pytest.TestReport) -> str:
    """One line: why a test or module failed, or was skipped."""
    if hasattr(report, "wasxfail"):
        return f"{'passed, ' if report.passed else ''}expected to fail: {report.wasxfail}"
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    lines = (str(crash.message) if crash is not None else report.longreprtext).strip().splitlines()
    text = " ".join(line.strip() for line in (lines if crash is not None else lines[-1:]))
    return text[:_REASON_CHARACTERS]

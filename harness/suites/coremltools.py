"""coremltools' own tests, executed on the portable runtime.

They ship in coremltools' wheel and compare predictions on Apple's machines. Through the stand-in of
its native module they predict here, which is evidence that does not come from us.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import random
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from harness.errors import StoreError, UnknownNameError, UsageError
from harness.suites import PARTS
from harness.suites.summary import PartResult, SuiteResult
from harness.suites.workers import Row, Settings, collect, run_tests

# coremltools' testing_reqs.py: ML Programs only, in both precisions, each op at every later opset too.
# Keras 2 is the one that its TensorFlow tests know.
_ENVIRONMENT = {
    "PYMIL_TEST_TARGETS": "mlprogram",
    "INCLUDE_MIL_FP32_UNIT_TESTS": "1",
    "RUN_BACKWARD_COMPATIBILITY": "1",
    "TF_USE_LEGACY_KERAS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
_LIBRARIES = {"tf1": ("tensorflow", "tf_keras", "parameterized", "scipy")}
_LIBRARIES["tf2"] = _LIBRARIES["tf1"]

Progress = Callable[[str, int, int, Row | None], None]


def run_suite(
    parts: Sequence[str], sample: int | None, seed: int, jobs: int, folder: Path, progress: Progress
) -> SuiteResult:
    """Run ``sample`` randomly chosen tests of each part (all if None) in ``jobs`` processes.

    Rows are appended to ``folder`` as they come; those of an interrupted run with the same seed, the same
    portable runtime and the same packages are not computed again. ``progress(part, done, total, row)`` is called after
    each test, and once before the first with no row.
    Raises UnknownNameError, UsageError, PredictionError or StoreError.
    """
    for part in parts:
        if part not in PARTS:
            raise UnknownNameError("coremltools' suite has no such part", received=repr(part), supported=PARTS)
    if jobs < 1 or (sample is not None and sample < 1):
        raise UsageError("a suite needs at least one process and one test", received=f"jobs={jobs}, sample={sample}")
    _check_libraries(parts)
    folder.mkdir(parents=True, exist_ok=True)
    return SuiteResult(tuple(_run_part(part, sample, seed, jobs, folder, progress) for part in parts))


def _run_part(part: str, sample: int | None, seed: int, jobs: int, folder: Path, progress: Progress) -> PartResult:
    root = _package().parent
    settings = Settings(root, seed, environment=_ENVIRONMENT)
    collected = _collected(part, settings, folder)
    ids = choose(collected["ids"], sample, seed)
    path = folder / f"{part}-seed{seed}-{runtime_hash()}-{environment_hash()}.jsonl"
    chosen = set(ids)
    rows = {row["id"]: row for row in _read(path) if row["id"] in chosen}
    progress(part, len(rows), len(ids), None)
    with path.open("a", encoding="utf-8") as file:
        file.write("\n")  # an interrupted run may have left half a line
        for row in run_tests([test for test in ids if test not in rows], jobs, settings):
            rows[row["id"]] = row
            file.write(json.dumps(row) + "\n")
            file.flush()
            progress(part, len(rows), len(ids), row)
    return PartResult(
        part,
        len(collected["ids"]),
        collected["not_collected"],
        tuple(rows[test] for test in ids),
    )


def choose(ids: Sequence[str], sample: int | None, seed: int) -> list[str]:
    """``sample`` of the ids at random, in the order of collection; a larger sample holds the smaller ones."""
    if sample is None or sample >= len(ids):
        return list(ids)
    order = random.Random(seed).sample(range(len(ids)), len(ids))
    return [ids[index] for index in sorted(order[:sample])]


def runtime_hash() -> str:
    """Short hash of the portable runtime's and this package's source: results of another are not reused."""
    from harness import runtimes, suites

    digest = hashlib.sha256()
    for package in (Path(runtimes.__path__[0]) / "portable", Path(suites.__path__[0])):
        for path in sorted(package.rglob("*.py")):
            digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


@functools.cache
def environment_hash() -> str:
    """Short hash of Python and every package that is installed: another TensorFlow or numpy fails in other tests."""
    installed = {f"{item.name}=={item.version}" for item in importlib.metadata.distributions()}
    return hashlib.sha256("\n".join([sys.version, *sorted(installed)]).encode()).hexdigest()[:8]


def _collected(part: str, settings: Settings, folder: Path) -> Row:
    """From the folder where it stands for what is installed and our plugin, else from pytest."""
    plugin = hashlib.sha256(Path(__file__).with_name("plugin.py").read_bytes()).hexdigest()[:8]
    path = folder / f"{part}-collected-{environment_hash()}-{plugin}.json"
    if not path.exists():
        found = collect([_package() / path for path in PARTS[part]], settings)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(found))
        partial.replace(path)
    try:
        collected: Row = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} is not readable", received=error, remedy="Delete it") from error
    return collected


def _read(path: Path) -> Iterable[Row]:
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row: Row = json.loads(line)
        except ValueError:
            continue  # the line that an interrupted run was writing
        yield row


def _package() -> Path:
    specification = importlib.util.find_spec("coremltools")
    if specification is None or specification.origin is None:
        raise UsageError("coremltools is not installed", remedy="pip install coremltools")
    return Path(specification.origin).parent


def _check_libraries(parts: Sequence[str]) -> None:
    wanted = {library for part in parts for library in _LIBRARIES.get(part, ())}
    missing = sorted(library for library in wanted if importlib.util.find_spec(library) is None)
    if missing:
        raise UsageError(
            "coremltools' tests need libraries that are not installed",
            received=", ".join(missing),
            remedy="pip install 'coreml-harness[suites]'",
        )

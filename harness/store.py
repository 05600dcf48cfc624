"""Results on disk: one run, one folder; a line per finished cell, appended and never rewritten.

    results/20250131T120000Z-3f9a1c/
        run.json         what was run and planned; written once, atomically
        records.jsonl    one Record a line, flushed to the disk before the next cell starts
        *.png            pictures that records name

The JSON is strict: numbers that are not finite are the strings "Infinity", "-Infinity" and "NaN".
"""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import secrets
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

from harness.errors import StoreError
from harness.record import FORMAT_VERSION, Record

RUN_FILE = "run.json"
RECORDS_FILE = "records.jsonl"
LATEST = "latest"

Cell = tuple[str, str, str, str, str]


@dataclass(frozen=True)
class RunInfo:
    """What a run is. ``cells`` is the planned matrix; ``options`` is what resuming it needs, as JSON values.

    ``name`` and ``started`` (ISO 8601, UTC) are given by the store.
    """

    command: tuple[str, ...] = ()
    seed: int = 0
    cells: tuple[Cell, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    system: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    started: str = ""
    format_version: int = FORMAT_VERSION


@dataclass(frozen=True)
class StoredRun:
    """A run as read. ``notes`` says what was skipped while reading, for people."""

    folder: Path
    info: RunInfo
    records: tuple[Record, ...]
    notes: tuple[str, ...] = ()


def to_line(record: Record) -> str:
    """A record as strict JSON on one line, without the line's end."""
    return json.dumps(_with_named_numbers(record.to_json()), allow_nan=False, ensure_ascii=False)


def from_line(line: str) -> Record:
    """The inverse of ``to_line``. Raises ValueError, KeyError or TypeError where it is no record."""
    data = json.loads(line)
    if not isinstance(data, dict):
        raise TypeError(f"a record is an object, not {type(data).__name__}")
    for name in _NUMBERS & data.keys():
        data[name] = _number(data[name])
    for name in _LISTS_OF_NUMBERS & data.keys():
        data[name] = [_number(item) for item in data[name]]
    return Record.from_json(data)


_HINTS = get_type_hints(Record)
_NUMBERS = {name for name, hint in _HINTS.items() if float in (hint, *get_args(hint)) and get_origin(hint) is not tuple}
_LISTS_OF_NUMBERS = {name for name, hint in _HINTS.items() if hint == tuple[float, ...]}


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, str) else value


def _with_named_numbers(value: Any) -> Any:
    """``value`` with numbers that strict JSON has not replaced by their names."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {key: _with_named_numbers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_named_numbers(item) for item in value]
    return value


class Run:
    """A run that this process is writing: it alone, as long as the run is open."""

    def __init__(self, folder: Path, info: RunInfo, records: Iterable[Record], descriptor: int) -> None:
        self.folder = folder
        self.info = info
        self._records = list(records)
        self.finished: set[Cell] = {record.cell for record in self._records}
        self._descriptor = descriptor

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    def records(self) -> list[Record]:
        """All that is recorded, in the order written."""
        return list(self._records)

    def append(self, record: Record) -> None:
        """Write one finished cell; when this returns, it is on the disk.

        Raises StoreError where the disk cannot take it, and leaves the records as they were before.
        """
        if record.run != self.name or record.cell in self.finished:
            raise StoreError(
                f"run {self.name} cannot take this record",
                received=f"cell {'/'.join(record.cell)} of run {record.run or '(none)'}",
                supported="a cell of this run that has not finished yet",
            )
        end = os.lseek(self._descriptor, 0, os.SEEK_END)
        try:
            _write(self._descriptor, (to_line(record) + "\n").encode())
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._descriptor, end)
            raise _disk_error(self.folder / RECORDS_FILE, error) from error
        self._records.append(record)
        self.finished.add(record.cell)

    def close(self) -> None:
        """Let other processes have the run."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Store:
    """All runs under one folder. Every method raises StoreError where the disk or a file is not as it should be."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    def begin(self, info: RunInfo) -> Run:
        """A new run, whole from its first appearance: its folder is made aside and renamed."""
        now = datetime.now(UTC)
        name = f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
        info = RunInfo(**{**vars(info), "name": name, "started": now.isoformat(timespec="microseconds")})
        folder, aside = self.folder / name, self.folder / f".{name}"
        text = json.dumps(_with_named_numbers(asdict(info)), indent=1, allow_nan=False) + "\n"
        descriptor = -1
        try:
            aside.mkdir(parents=True)
            write_atomically(aside / RUN_FILE, text)
            descriptor = os.open(aside / RECORDS_FILE, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o666)
            _lock(descriptor, folder)
            aside.rename(folder)
            _flush_folder(self.folder)
        except OSError as error:
            if descriptor >= 0:
                os.close(descriptor)
            shutil.rmtree(aside, ignore_errors=True)
            raise _disk_error(folder, error) from error
        return Run(folder, info, (), descriptor)

    def resume(self, name: str = LATEST) -> Run:
        """A run that was interrupted, by name, or the one that started last. A torn last line is cut off."""
        folder = self._folder_of(name)
        info = _read_info(folder)
        path = folder / RECORDS_FILE
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        except OSError as error:
            raise _disk_error(path, error) from error
        try:
            _lock(descriptor, folder)
            records, whole, torn = _read_records(path)
            if torn:
                os.ftruncate(descriptor, whole)
                os.fsync(descriptor)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, OSError):
                raise _disk_error(path, error) from error
            raise
        return Run(folder, info, records, descriptor)

    def runs(self) -> tuple[StoredRun, ...]:
        """All runs, in the order they started. None where the folder does not exist."""
        return tuple(sorted(map(read_run, self._folders()), key=lambda run: (run.info.started, run.info.name)))

    def records(self) -> list[Record]:
        """The records of all runs, in the order written."""
        return [record for run in self.runs() for record in run.records]

    def _folders(self) -> list[Path]:
        try:
            return sorted(
                path
                for path in (self.folder.iterdir() if self.folder.exists() else ())
                if not path.name.startswith(".") and (path / RUN_FILE).exists()
            )
        except OSError as error:
            raise _disk_error(self.folder, error) from error

    def _folder_of(self, name: str) -> Path:
        folders = self._folders()
        if name == LATEST:
            if not folders:
                raise StoreError(f"there is no run in {self.folder} to resume", remedy="Begin one without --resume")
            return max(folders, key=lambda folder: (_read_info(folder).started, folder.name))
        for folder in folders:
            if folder.name == name:
                return folder
        raise StoreError(f"there is no run {name!r} in {self.folder}", supported=[LATEST, *(f.name for f in folders)])


def read_run(folder: Path) -> StoredRun:
    """One run's folder, wherever it is kept. Raises StoreError."""
    info = _read_info(folder)
    records, _, torn = _read_records(folder / RECORDS_FILE)
    notes = (
        (
            f"the last line of {folder / RECORDS_FILE} is incomplete and was skipped: "
            "the run was interrupted, or is being written",
        )
        if torn
        else ()
    )
    return StoredRun(folder, info, tuple(records), notes)


def last_run(folder: Path) -> StoredRun:
    """A run's folder, or the run that started last in a folder of results. Raises StoreError."""
    if (folder / RUN_FILE).exists():
        return read_run(folder)
    runs = Store(folder).runs()
    if not runs:
        raise StoreError(f"there is no run in {folder}", remedy="Give a run's folder or a folder of results")
    return runs[-1]


def _read_info(folder: Path) -> RunInfo:
    path = folder / RUN_FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        _check_version(path, data)
        known = {item.name for item in fields(RunInfo)}
        values = {key: value for key, value in data.items() if key in known}
        values["command"] = tuple(str(word) for word in values.get("command", ()))
        values["cells"] = tuple(_cell(cell) for cell in values.get("cells", ()))
        return RunInfo(**values)
    except OSError as error:
        raise _disk_error(path, error) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            f"{path} is damaged", received=error, remedy=f"Restore it, or move {folder} out of the results"
        ) from error


def _cell(parts: Any) -> Cell:
    model, route, precision, runtime, compute_unit = parts
    return model, route, precision, runtime, compute_unit


def _read_records(path: Path) -> tuple[list[Record], int, bool]:
    """Records, the length in bytes of all their lines, and whether something incomplete follows them.

    Only the last line may be incomplete, as each line is on the disk before the next is begun.
    """
    try:
        content = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise _disk_error(path, error) from error
    records: list[Record] = []
    whole = 0
    while whole < len(content):
        end = content.find(b"\n", whole) + 1
        if not end:
            return records, whole, True
        try:
            line = content[whole:end].decode()
            _check_version(path, json.loads(line))
            records.append(from_line(line))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if end == len(content):
                return records, whole, True
            raise StoreError(
                f"line {len(records) + 1} of {path} is damaged",
                received=error,
                remedy="Restore the file, or delete that line",
            ) from error
        whole = end
    return records, whole, False


def _check_version(path: Path, data: Mapping[str, Any]) -> None:
    version = data["format_version"]
    if not isinstance(version, int) or version < 1:
        raise ValueError(f"format version {version!r}")
    if version > FORMAT_VERSION:
        raise StoreError(
            f"{path} was written by a newer harness",
            received=f"format version {version}",
            supported=f"versions up to {FORMAT_VERSION}",
            remedy="Upgrade harness, or keep these results in a folder of their own",
        )


def export(records: Iterable[Record], path: Path) -> None:
    """All records as one Parquet file, a column a field, where nested objects are JSON text. JSON lines stay the
    source. Raises StoreError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}

    def column(hint: Any) -> Any:
        origin, arguments = get_origin(hint), get_args(hint)
        if origin is Literal:
            return pa.string()
        if origin is tuple:
            return pa.list_(columns[arguments[0]])
        if origin is dict and Any in arguments:
            return pa.string()
        if origin is dict:
            return pa.map_(*(columns[argument] for argument in arguments))
        return columns[hint if origin is None else arguments[0]]

    schema = pa.schema([(item.name, column(_HINTS[item.name])) for item in fields(Record)])
    rows = [{name: _cell_of_column(_HINTS[name], value) for name, value in vars(record).items()} for record in records]
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, schema), aside)
        aside.replace(path)
    except OSError as error:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise _disk_error(path, error) from error


def _cell_of_column(hint: Any, value: Any) -> Any:
    """A mapping as pairs where it is of one type, else as JSON text."""
    if get_origin(hint) is not dict:
        return value
    if Any in get_args(hint):
        return json.dumps(_with_named_numbers(value), allow_nan=False)
    return list(value.items())


def write_atomically(path: Path, text: str) -> None:
    """Write a file that, whatever happens meanwhile, is there whole or as it was before. Raises OSError."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            _write(descriptor, text.encode())
        finally:
            os.close(descriptor)
        aside.replace(path)
        _flush_folder(path.parent)
    except OSError:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise


def _write(descriptor: int, content: bytes) -> None:
    """All of ``content``, onto the disk itself."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    os.fsync(descriptor)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StoreError(
            f"run {folder.name} is being written by another process",
            remedy="Wait until it ends, or begin a run of your own",
        ) from error


_REMEDIES = {
    errno.ENOSPC: "Free space on that disk, then continue with --resume",
    errno.EDQUOT: "Free space within your quota, then continue with --resume",
    errno.EACCES: "Choose a folder that you may write to, with --out",
    errno.EPERM: "Choose a folder that you may write to, with --out",
    errno.EROFS: "Choose a folder that you may write to, with --out",
    errno.ENOTDIR: "Choose a folder, not a file, with --out",
    errno.EEXIST: "Choose a folder, not a file, with --out",
}


def _disk_error(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"{path} could not be read or written: {error.strerror or error}",
        remedy=_REMEDIES.get(error.errno or 0, "Check the disk and the folder"),
    )

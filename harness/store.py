"""Results on disk: one run, one folder; a line per finished cell, appended and never rewritten.

    results/20250131T120000Z-3f9a1c/
        run.json         what was run and planned; written once, atomically, when the first cell has finished
        records.jsonl    one Record a line, flushed to the disk before the next cell starts
        *.png            pictures that records name

No record, no run: a folder without run.json is being written by a run that has not finished a cell yet, and is
removed with it. The JSON is strict: numbers that are not finite are the strings "Infinity", "-Infinity" and "NaN".
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.disk import disk_error, flush_folder, try_lock, write_atomically, write_through
from harness.errors import StoreError
from harness.record import FORMAT_VERSION, Record
from harness.record_lines import check_version, read_records, strict, to_line

RUN_FILE = "run.json"
RECORDS_FILE = "records.jsonl"
LATEST = "latest"

_NAME = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}")

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

    @property
    def is_unfinished(self) -> bool:
        """Whether planned cells are not recorded; a run without a plan, as of pytest, never is."""
        return not set(self.info.cells) <= {record.cell for record in self.records}


class Run:
    """A run that this process is writing: it alone, as long as the run is open.

    ``folder`` is there from the beginning, for pictures and the like; it becomes a run with its first record.
    """

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
        is_first = not (self.folder / RUN_FILE).exists()
        end = os.lseek(self._descriptor, 0, os.SEEK_END)
        try:
            if is_first:
                text = json.dumps(strict(asdict(self.info)), indent=1, allow_nan=False) + "\n"
                write_atomically(self.folder / RUN_FILE, text)
            write_through(self._descriptor, (to_line(record) + "\n").encode())
        except BaseException as error:  # an interrupt too leaves no half of a record
            with suppress(OSError):
                os.ftruncate(self._descriptor, end)
            if is_first:
                (self.folder / RUN_FILE).unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise disk_error(self.folder / RECORDS_FILE, error) from error
            raise
        self._records.append(record)
        self.finished.add(record.cell)

    def close(self) -> None:
        """Let other processes have the run; a folder in which nothing was recorded is removed."""
        if self._descriptor >= 0:
            if not (self.folder / RUN_FILE).exists():
                shutil.rmtree(self.folder, ignore_errors=True)
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
        """A new run: its folder with no record yet. Folders of killed processes that recorded nothing are removed."""
        now = datetime.now(UTC)
        name = f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
        info = RunInfo(**{**vars(info), "name": name, "started": now.isoformat(timespec="microseconds")})
        folder, aside = self.folder / name, self.folder / f".{name}"
        descriptor = -1
        try:
            self._remove_abandoned()
            # Made aside and renamed, so that the records are locked when others first see them.
            aside.mkdir(parents=True)
            descriptor = os.open(aside / RECORDS_FILE, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o666)
            _lock(descriptor, folder)
            aside.rename(folder)
            flush_folder(self.folder)
        except OSError as error:
            if descriptor >= 0:
                os.close(descriptor)
            shutil.rmtree(aside, ignore_errors=True)
            raise disk_error(folder, error) from error
        return Run(folder, info, (), descriptor)

    def resume(self, name: str = LATEST) -> Run:
        """A run that was interrupted, by name, or the last one that is unfinished. A torn last line is cut off."""
        folder = self._last_unfinished() if name == LATEST else self._folder_of(name)
        info = _read_info(folder)
        path = folder / RECORDS_FILE
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        except OSError as error:
            raise disk_error(path, error) from error
        try:
            _lock(descriptor, folder)
            records, whole, torn = read_records(path)
            if torn:
                os.ftruncate(descriptor, whole)
                os.fsync(descriptor)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, OSError):
                raise disk_error(path, error) from error
            raise
        return Run(folder, info, records, descriptor)

    def runs(self) -> tuple[StoredRun, ...]:
        """All runs, in the order they started. None where the folder does not exist."""
        return tuple(sorted(map(read_run, self._folders()), key=lambda run: (run.info.started, run.info.name)))

    def records(self) -> list[Record]:
        """The records of all runs, in the order written."""
        return [record for run in self.runs() for record in run.records]

    def _children(self) -> list[Path]:
        try:
            return sorted(self.folder.iterdir()) if self.folder.exists() else []
        except OSError as error:
            raise disk_error(self.folder, error) from error

    def _folders(self) -> list[Path]:
        return [path for path in self._children() if not path.name.startswith(".") and (path / RUN_FILE).exists()]

    def _folder_of(self, name: str) -> Path:
        folders = self._folders()
        for folder in folders:
            if folder.name == name:
                return folder
        raise StoreError(f"there is no run {name!r} in {self.folder}", supported=[LATEST, *(f.name for f in folders)])

    def _last_unfinished(self) -> Path:
        """Read from the last run backwards, for earlier runs may be many."""
        folders = sorted(self._folders(), key=lambda folder: (_read_info(folder).started, folder.name), reverse=True)
        for folder in folders:
            if read_run(folder).is_unfinished:
                return folder
        finished = {0: "", 1: ": its only run is finished"}.get(len(folders), f": all {len(folders)} are finished")
        raise StoreError(
            f"there is no unfinished run in {self.folder} to resume{finished}", remedy="Begin one without --resume"
        )

    def _remove_abandoned(self) -> None:
        """Remove folders of runs that recorded nothing and whose process is gone: its lock is."""
        for folder in self._children():
            path = folder / RECORDS_FILE
            if not _NAME.fullmatch(folder.name) or (folder / RUN_FILE).exists() or not path.exists():
                continue
            with suppress(OSError):  # what cannot be removed is in nobody's way
                descriptor = os.open(path, os.O_RDWR)
                try:
                    if try_lock(descriptor) and not path.stat().st_size:
                        shutil.rmtree(folder)
                finally:
                    os.close(descriptor)


def read_run(folder: Path) -> StoredRun:
    """One run's folder, wherever it is kept. Raises StoreError."""
    info = _read_info(folder)
    records, _, torn = read_records(folder / RECORDS_FILE)
    notes = (
        (
            f"the last line of {folder / RECORDS_FILE} is incomplete and was skipped: "
            "the run was interrupted, or is being written",
        )
        if torn
        else ()
    )
    return StoredRun(folder, info, tuple(records), notes)


def runs_at(path: Path) -> tuple[StoredRun, ...]:
    """The runs with records that a path stands for, in the order they started: the one whose folder it is, or all in
    a folder of results. Raises StoreError where there is none.
    """
    remedy = "Give a run's folder or a folder of results"
    if not path.is_dir():
        raise StoreError(f"there is no folder {path}", remedy=remedy)
    found = (read_run(path),) if (path / RUN_FILE).exists() else Store(path).runs()
    runs = tuple(run for run in found if run.records)
    if not runs:
        without = f" that has a record: {len(found)} ended before a cell had finished" if found else ""
        raise StoreError(f"there is no run in {path}{without}", remedy=remedy)
    return runs


def last_run(path: Path) -> StoredRun:
    """The run that started last of those at a path; see runs_at. Raises StoreError."""
    return runs_at(path)[-1]


def _read_info(folder: Path) -> RunInfo:
    path = folder / RUN_FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        check_version(path, data)
        known = {item.name for item in fields(RunInfo)}
        values = {key: value for key, value in data.items() if key in known}
        values["command"] = tuple(str(word) for word in values.get("command", ()))
        values["cells"] = tuple(_cell(cell) for cell in values.get("cells", ()))
        return RunInfo(**values)
    except OSError as error:
        raise disk_error(path, error) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            f"{path} is damaged", received=error, remedy=f"Restore it, or move {folder} out of the results"
        ) from error


def _cell(parts: Any) -> Cell:
    model, route, precision, runtime, compute_unit = parts
    return model, route, precision, runtime, compute_unit


def _lock(descriptor: int, folder: Path) -> None:
    if not try_lock(descriptor):
        raise StoreError(
            f"run {folder.name} is being written by another process",
            remedy="Wait until it ends, or begin a run of your own",
        )

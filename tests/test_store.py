from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import StoreError
from harness.parquet import export
from harness.record import FORMAT_VERSION, Record
from harness.record_lines import from_line, to_line
from harness.store import RECORDS_FILE, RUN_FILE, Run, RunInfo, Store, last_run, read_run, runs_at

FORMAT_1 = Path(__file__).parent / "data" / "results_format_1"
CELLS = tuple((model, "native", "float32", "portable", "CPU") for model in ("unet", "espcn", "denoiser"))
INFO = RunInfo(
    command=("harness", "run"), seed=3, cells=CELLS, options={"samples": 20}, system={"machine": "x86_64"},
    versions={"coremltools": "9.0"},
)  # fmt: skip


def record(run: Run | str, model: str = "unet", **values: object) -> Record:
    name = run if isinstance(run, str) else run.name
    base = Record(
        run=name, model=model, route="native", precision="float32", runtime="portable", compute_unit="CPU",
        status="passed", max_abs_error=1e-6, samples=(0.1, 0.25), versions={"coremltools": "9.0"},
    )  # fmt: skip
    return replace(base, **values)  # type: ignore[arg-type]


def lines(run: Run) -> Path:
    return run.folder / RECORDS_FILE


def test_what_is_appended_is_what_is_read(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    assert store.runs() == ()
    with store.begin(INFO) as run:
        written = [record(run, "unet"), record(run, "espcn", status="error", error='a "quoted" line\nand é')]
        for item in written:
            run.append(item)
        assert run.finished == {item.cell for item in written}
    (stored,) = store.runs()
    assert list(stored.records) == written == store.records() == run.records()
    assert stored.notes == ()
    assert stored.info == replace(INFO, name=run.name, started=stored.info.started)
    assert stored.info.cells == CELLS


@pytest.mark.parametrize("value", [math.inf, -math.inf, 0.1 + 0.2, 5e-324, None])
def test_every_number_survives_in_strict_json(value: float | None) -> None:
    original = record("r", psnr=value, samples=(1.5, math.inf if value is None else value))
    line = to_line(original)
    json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert from_line(line) == original


def test_nan_survives_too() -> None:
    psnr = from_line(to_line(record("r", psnr=math.nan))).psnr
    assert psnr is not None
    assert math.isnan(psnr)


def test_runs_are_in_the_order_they_started_and_have_folders_of_their_own(tmp_path: Path) -> None:
    store = Store(tmp_path)
    names = []
    for _ in range(5):
        with store.begin(INFO) as run:
            run.append(record(run))
            names.append(run.name)
    assert len(set(names)) == 5
    assert [run.info.name for run in store.runs()] == names


def begun(store: Store, *models: str, info: RunInfo = INFO) -> Path:
    """The folder of a closed run that recorded these models' cells."""
    with store.begin(info) as run:
        for model in models:
            run.append(record(run, model))
    return run.folder


def test_resuming_knows_what_finished(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = begun(store, "unet")
    folder = begun(store, "unet")
    with store.resume() as again:
        assert again.folder == folder
        assert again.info.cells == CELLS
        assert again.finished == {CELLS[0]}
        again.append(record(again, "espcn"))
        assert [item.model for item in again.records()] == ["unet", "espcn"]
    assert [item.model for item in store.records()] == ["unet", "unet", "espcn"]
    with store.resume(first.name) as other:
        assert other.folder == first


ALL = ("unet", "espcn", "denoiser")
UNPLANNED = replace(INFO, cells=())


@pytest.mark.parametrize(
    ("runs", "resumed"),
    [
        ([ALL[:1], ALL], 0),  # the last one is finished
        ([ALL[:2], ALL[:1], ALL], 1),
        ([ALL[:1], ()], 0),  # nothing was recorded: no run
        ([ALL, ALL], "all 2 are finished"),
        ([ALL], "its only run is finished"),
        ([()], "there is no unfinished run"),
        ([], "there is no unfinished run"),
    ],
)
def test_the_last_unfinished_run_is_resumed(tmp_path: Path, runs: list[tuple[str, ...]], resumed: int | str) -> None:
    store = Store(tmp_path)
    folders = [begun(store, *models) for models in runs]
    begun(store, "unet", info=UNPLANNED)  # of pytest: there is no plan to finish
    if isinstance(resumed, int):
        with store.resume() as again:
            assert again.folder == folders[resumed]
    else:
        (tmp_path / store.runs()[-1].folder.name / RUN_FILE).unlink()
        with pytest.raises(StoreError, match=resumed):
            store.resume()


def test_a_run_of_another_name_is_not_resumed(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no run '20200101T000000Z-abcdef'"):
        Store(tmp_path).resume("20200101T000000Z-abcdef")


def test_no_record_no_run(tmp_path: Path) -> None:
    """A folder is there from the beginning, a run with its first record, and nothing where there is none."""
    store = Store(tmp_path)
    with store.begin(INFO) as run:
        (run.folder / "picture.png").write_bytes(b"drawn before its cell is recorded")
        assert store.runs() == ()
        with pytest.raises(StoreError, match="there is no unfinished run"):
            store.resume()
        run.append(record(run))
        assert [stored.folder for stored in store.runs()] == [run.folder]
    assert sorted(path.name for path in run.folder.iterdir()) == ["picture.png", RECORDS_FILE, RUN_FILE]
    empty = store.begin(INFO)
    (empty.folder / "picture.png").write_bytes(b"of nothing")
    with pytest.raises(KeyboardInterrupt), empty:
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == [run.folder]


@pytest.mark.parametrize(("stop", "kept"), [(1, None), (2, None), (3, ["unet"])])
def test_an_interrupt_leaves_no_half_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int, kept: list[str] | None
) -> None:
    """Within run.json, within the first record and within the second."""
    write, calls = os.write, 0

    def interrupted(descriptor: int, content: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls == stop:
            write(descriptor, bytes(content)[:10])
            raise KeyboardInterrupt
        return write(descriptor, content)

    monkeypatch.setattr(os, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        begun(Store(tmp_path), "unet", "espcn")
    folders = list(tmp_path.iterdir())
    assert len(folders) == (0 if kept is None else 1)
    for folder in folders:
        assert [item.model for item in read_run(folder).records] == kept
        assert sorted(path.name for path in folder.iterdir()) == [RECORDS_FILE, RUN_FILE]


@pytest.mark.parametrize("path", ["typo", "", "a file", "empty run", "only/20200101T000000Z-abcdef"])
def test_there_is_nothing_at_a_path(tmp_path: Path, path: str) -> None:
    (tmp_path / "a file").touch()
    without = [tmp_path / "empty run", tmp_path / "only" / "20200101T000000Z-abcdef"]
    for folder in without:  # as earlier versions left them
        folder.mkdir(parents=True)
        (folder / RUN_FILE).write_text('{"format_version": 1}')
        (folder / RECORDS_FILE).touch()
    before = sorted(tmp_path.rglob("*"))
    words = "that has a record: 1 ended before" if (tmp_path / path) in without else "there is no (folder|run)"
    for read in (runs_at, last_run):
        with pytest.raises(StoreError, match=words):
            read(tmp_path / path)
    assert sorted(tmp_path.rglob("*")) == before


def test_runs_without_records_are_passed_over(tmp_path: Path) -> None:
    folder = begun(Store(tmp_path), "unet")
    later = tmp_path / "29990101T000000Z-abcdef"
    later.mkdir()
    (later / RUN_FILE).write_text('{"format_version": 1, "started": "2999-01-01"}')
    assert last_run(tmp_path).folder == last_run(folder).folder == folder
    assert [run.folder for run in runs_at(tmp_path)] == [folder]


def test_a_run_takes_each_of_its_cells_once(tmp_path: Path) -> None:
    with Store(tmp_path).begin(INFO) as run:
        run.append(record(run))
        for wrong in (record(run), record("another run", "espcn")):
            with pytest.raises(StoreError, match="cannot take this record"):
                run.append(wrong)
    assert len(Store(tmp_path).records()) == 1


def test_every_torn_last_line_is_skipped_reported_and_cut_off(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.begin(INFO) as run:
        run.append(record(run))
        whole = lines(run).read_bytes()
    torn = (to_line(record(run, "espcn", error="é" * 5)) + "\n").encode()
    tails = [torn[:length] for length in range(1, len(torn))] + [b"\0" * 100, b"\0" * 100 + b"\n", b"\n", b"[1]\n"]
    for tail in tails:
        lines(run).write_bytes(whole + tail)
        stored = read_run(run.folder)
        assert [item.model for item in stored.records] == ["unet"]
        assert len(stored.notes) == 1
        assert "incomplete" in stored.notes[0]
    with store.resume() as again:
        again.append(record(again, "denoiser"))
    assert lines(run).read_bytes().startswith(whole + b"{")
    assert [item.model for item in store.records()] == ["unet", "denoiser"]
    assert store.runs()[0].notes == ()


def test_damage_before_the_last_line_is_an_error(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.begin(INFO) as run:
        run.append(record(run))
        run.append(record(run, "espcn"))
    damaged = b"{" + lines(run).read_bytes()
    lines(run).write_bytes(damaged)
    for read in (store.records, store.resume):
        with pytest.raises(StoreError, match=r"line 1 of .*records.jsonl is damaged.*delete that line"):
            read()
    assert lines(run).read_bytes() == damaged


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is damaged"),
        ("[]", "is damaged"),
        ("{}", "is damaged"),
        ('{"format_version": 1, "cells": [["unet"]]}', "is damaged"),
        ('{"format_version": 1, "cells": 3}', "is damaged"),
        (f'{{"format_version": {FORMAT_VERSION + 1}}}', "newer harness.*Upgrade"),
    ],
)
def test_a_run_file_that_cannot_be_read(tmp_path: Path, text: str, words: str) -> None:
    store = Store(tmp_path)
    with store.begin(INFO) as run:
        run.append(record(run))
    (run.folder / RUN_FILE).write_text(text)
    for read in (store.runs, store.resume):
        with pytest.raises(StoreError, match=words) as caught:
            read()
        assert run.name in str(caught.value)
    assert (run.folder / RUN_FILE).read_text() == text


def test_a_record_of_a_newer_format(tmp_path: Path) -> None:
    with Store(tmp_path).begin(INFO) as run:
        run.append(record(run))
        lines(run).write_text(to_line(record(run, format_version=FORMAT_VERSION + 1)) + "\n")
    with pytest.raises(StoreError, match="newer harness"):
        Store(tmp_path).records()


def test_what_is_no_run_is_left_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (tmp_path / "README.md").write_text("kept")
    (tmp_path / "empty").mkdir()
    (tmp_path / ".20250101T000000Z-000000").mkdir()  # begun, and killed before it appeared
    (tmp_path / ".20250101T000000Z-000000" / RUN_FILE).write_text("{")
    for name, content in (("mine", ""), ("20250101T000000Z-000000", "{}\n")):  # a name of ours, and records
        (tmp_path / name).mkdir()
        (tmp_path / name / RECORDS_FILE).write_text(content)
    before = sorted(tmp_path.rglob("*"))
    folder = begun(store, "unet")
    assert sorted(path for path in tmp_path.rglob("*") if folder not in (path, *path.parents)) == before
    assert len(store.runs()) == 1


def test_a_full_disk_keeps_what_was_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    write = os.write

    def full(descriptor: int, content: bytes) -> int:
        if len(content) <= 200:  # most of the line is written before the disk is full
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, bytes(content)[:20])

    with store.begin(INFO) as run:
        run.append(record(run))
        whole = lines(run).read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            with pytest.raises(StoreError, match=r"No space left on device. Free space"):
                run.append(record(run, "espcn"))
        assert lines(run).read_bytes() == whole
        assert CELLS[1] not in run.finished
        run.append(record(run, "espcn"))
    assert len(store.records()) == 2


def test_a_disk_that_is_full_from_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreError, match="No space left"), Store(tmp_path).begin(INFO) as run:
        run.append(record(run))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_really_full_device(tmp_path: Path) -> None:
    """The kernel's own ENOSPC, through the whole of append."""
    with Store(tmp_path).begin(INFO) as run:
        descriptor = os.open("/dev/full", os.O_RDWR)
        full = Run(run.folder, run.info, (), descriptor)
        with full, pytest.raises(StoreError, match="Free space"):
            full.append(record(run))


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.raises(StoreError, match="Choose a folder, not a file"):
        Store(tmp_path / "results").begin(INFO)
    with pytest.raises(StoreError, match="Choose a folder, not a file"):
        Store(tmp_path / "results").runs()


def test_a_folder_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told by the system's error, as the superuser may write anywhere."""

    def forbidden(*arguments: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", forbidden)
    with pytest.raises(StoreError, match=r"Permission denied.*Choose a folder that you may write to"):
        Store(tmp_path / "results").begin(INFO)


WRITER = """
import sys, time
from pathlib import Path
from harness.record import Record
from harness.store import RunInfo, Store
cells = tuple((f"model {index}", "native", "float32", "portable", "CPU") for index in range(100_000))
run = Store(Path(sys.argv[1])).begin(RunInfo(cells=cells))
print(run.folder, flush=True)
if len(sys.argv) > 2:
    time.sleep(600)
for index, cell in enumerate(cells):
    run.append(Record(run.name, *cell, "passed", samples=(0.5,) * 500))
    print(index, flush=True)
"""


def test_killed_while_it_writes(tmp_path: Path) -> None:
    """Nothing that was appended is lost; the lock goes with the process, and not before."""
    writer = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    writer.stdout.readline()
    told = [int(writer.stdout.readline()) for _ in range(50)]
    with pytest.raises(StoreError, match="is being written by another process"):
        Store(tmp_path).resume()
    assert len(Store(tmp_path).records()) >= len(told)
    writer.send_signal(signal.SIGKILL)
    told += [int(line) for line in writer.stdout.read().splitlines()]
    writer.wait()
    with Store(tmp_path).resume() as run:
        assert {f"model {index}" for index in told} <= {cell[0] for cell in run.finished}
        run.append(record(run))
    models = [item.model for item in Store(tmp_path).records()]
    assert models == [f"model {index}" for index in range(len(models) - 1)] + ["unet"]


def test_killed_before_it_recorded_anything(tmp_path: Path) -> None:
    """Its folder is removed by the next run, and not while it is still written."""
    writer = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path), "wait"], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    folder = Path(writer.stdout.readline().strip())
    (folder / "picture.png").touch()
    first = begun(Store(tmp_path), "unet")
    assert sorted(tmp_path.iterdir()) == sorted((folder, first))
    assert (folder / "picture.png").exists()
    writer.kill()
    writer.wait()
    second = begun(Store(tmp_path), "unet")
    assert sorted(tmp_path.iterdir()) == sorted((first, second))


def test_a_run_is_not_resumed_twice_at_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.begin(INFO) as run:
        run.append(record(run))
        with pytest.raises(StoreError, match=run.name):
            store.resume()
    with store.resume() as run, pytest.raises(StoreError, match=run.name):
        store.resume()


def test_results_of_format_1_are_read_for_ever() -> None:
    (stored,) = Store(FORMAT_1).runs()
    assert stored.notes == ()
    info = stored.info
    assert (info.seed, info.command[-1], info.options["samples"]) == (7, "7", 8)
    assert info.started == "2025-01-31T12:00:00.123456+00:00"
    assert info.cells[3] == ("super_resolution", "native", "float16", "coreml", "ALL")
    passed, failed, equal, skipped = stored.records
    assert [item.status for item in stored.records] == ["passed", "failed", "passed", "skipped"]
    assert passed.cell == info.cells[0]
    assert (passed.max_abs_error, passed.psnr, passed.tolerance) == (3.5e-06, 128.25, 1e-4)
    assert passed.samples[2] == 0.0093
    assert passed.reference_samples[-1] == 0.0101
    assert passed.versions == {"coremltools": "9.0", "tensorflow": "2.21.0"}
    assert failed.max_abs_error is None
    assert failed.warnings == ("samples scatter: the interquartile range is 15% of the median",)
    assert equal.psnr == math.inf
    assert skipped.samples == ()


def test_parquet_holds_every_field(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    records = Store(FORMAT_1).records()
    path = tmp_path / "new folder" / "results.parquet"
    export(records, path)
    rows = pq.read_table(path).to_pylist()
    restored = [Record.from_json({**row, "versions": dict(row["versions"])}) for row in rows]
    assert restored == records
    assert [item.name for item in path.parent.iterdir()] == ["results.parquet"]
    export((), path)
    empty = pq.read_table(path)
    assert empty.num_rows == 0
    assert str(empty.schema.field("psnr").type) == "double"


def test_an_export_that_fails_leaves_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet as pq

    path = tmp_path / "results.parquet"
    export(Store(FORMAT_1).records(), path)
    before = path.read_bytes()

    def full(table: object, where: Path) -> None:
        where.write_bytes(b"part")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(StoreError, match="Free space"):
        export((), path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.artifact import Artifact
from harness.cache import ENTRY_FILE, ConversionCache, conversion_key, default_folder, default_limit
from harness.errors import StoreError, UsageError
from harness.tensors import ImageSpec, TensorSpec

KEY, OTHER, THIRD = ("a" * 64, "b" * 64, "c" * 64)
IDENTITY: dict[str, object] = {
    "model_hash": "1f",
    "route": "native",
    "precision": "float16",
    "input_shapes": {"x": (1, 64, 64, 3), "y": (2,)},
    "versions": {"coremltools": "9.0", "tensorflow": "2.21.0"},
    "options": {"target": "iOS18"},
}


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ConversionCache]:
    with ConversionCache(tmp_path / "cache") as opened:
        yield opened


def package(folder: Path, content: bytes = b"weights", name: str = "unet.mlpackage") -> Artifact:
    """An artifact with every field used."""
    path = folder / name
    (path / "Data").mkdir(parents=True)
    (path / "Manifest.json").write_text("{}")
    (path / "Data" / "weight.bin").write_bytes(content)
    return Artifact(
        path=path,
        format="mlprogram",
        inputs=(TensorSpec("x", (1, None, 64, 3), "float32", "NHWC", ImageSpec("RGB", 64, 64)),),
        outputs=(TensorSpec("y_1", (1, 5), "float16"),),
        input_names={"image": "x"},
        output_names={"y": "y_1"},
        provenance={"route": "native"},
    )


def test_the_key_is_stable_and_ignores_order() -> None:
    key = conversion_key(**IDENTITY)  # type: ignore[arg-type]
    assert len(key) == 64
    reordered = {**IDENTITY, "versions": {"tensorflow": "2.21.0", "coremltools": "9.0"}}
    assert conversion_key(**reordered) == key  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model_hash", "2f"),
        ("route", "onnx"),
        ("precision", "float32"),
        ("input_shapes", {"x": (1, 64, 64, 1), "y": (2,)}),
        ("input_shapes", {"y": (1, 64, 64, 3), "x": (2,)}),
        ("versions", {"coremltools": "9.1", "tensorflow": "2.21.0"}),
        ("options", None),
        ("options", {"target": "iOS17"}),
    ],
)
def test_everything_that_decides_the_conversion_is_in_the_key(name: str, value: object) -> None:
    assert conversion_key(**{**IDENTITY, name: value}) != conversion_key(**IDENTITY)  # type: ignore[arg-type]


def test_an_artifact_survives(cache: ConversionCache, tmp_path: Path) -> None:
    assert cache.get(KEY) is None
    made = package(tmp_path)
    kept = cache.put(KEY, made, convert_seconds=2.5)
    assert kept == replace(made, path=kept.path, provenance={"route": "native", "convert_seconds": "2.5"})
    assert kept.path.is_relative_to(cache.folder)
    assert kept.path.suffix == ".mlpackage"
    assert kept.content_hash() == made.content_hash()
    shutil.rmtree(made.path)
    assert cache.get(KEY) == kept
    assert ConversionCache(cache.folder).get(KEY) == kept
    assert cache.get(OTHER) is None


def test_an_artifact_that_is_one_file(cache: ConversionCache, tmp_path: Path) -> None:
    path = tmp_path / "espcn.mlmodel"
    path.write_bytes(b"network")
    kept = cache.put(KEY, Artifact(path, "neuralnetwork"))
    assert kept.path.read_bytes() == b"network"
    assert cache.get(KEY) == kept
    assert path.exists()


def test_what_is_made_in_the_workspace_is_moved(cache: ConversionCache) -> None:
    with cache.workspace() as folder:
        made = package(folder)
        kept = cache.put(KEY, made)
        assert not made.path.exists()
    assert not folder.exists()
    assert (kept.path / "Data" / "weight.bin").read_bytes() == b"weights"
    assert [path.name for path in cache.folder.iterdir()] == [KEY]


def test_the_first_writer_wins(cache: ConversionCache, tmp_path: Path) -> None:
    first = cache.put(KEY, package(tmp_path / "1", b"first"))
    second = cache.put(KEY, package(tmp_path / "2", b"second"))
    assert second == first
    assert (second.path / "Data" / "weight.bin").read_bytes() == b"first"
    assert [path.name for path in cache.folder.iterdir()] == [KEY]


def truncated(folder: Path) -> None:
    (folder / "model.mlpackage" / "Data" / "weight.bin").write_bytes(b"weig")


def without_package(folder: Path) -> None:
    shutil.rmtree(folder / "model.mlpackage")


def without_entry(folder: Path) -> None:
    (folder / ENTRY_FILE).unlink()


def with_entry(text: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / ENTRY_FILE).write_text(text)

    return damage


def of_another_version(folder: Path) -> None:
    entry = json.loads((folder / ENTRY_FILE).read_text())
    (folder / ENTRY_FILE).write_text(json.dumps({**entry, "format_version": 99}))


def leading_outside(folder: Path) -> None:
    entry = json.loads((folder / ENTRY_FILE).read_text())
    entry["artifact"]["path"] = "../model.mlpackage"
    (folder / ENTRY_FILE).write_text(json.dumps(entry))


def a_mere_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("")


DAMAGES = [
    truncated, without_package, without_entry, of_another_version, leading_outside, a_mere_file,
    with_entry(""), with_entry("[]"), with_entry("{}"), with_entry('{"format_version": 1, "artifact": {"path": 3}}'),
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("held", [True, False])
def test_a_damaged_entry_is_a_miss_and_is_removed(
    cache: ConversionCache, tmp_path: Path, damage: Callable[[Path], None], held: bool
) -> None:
    made = package(tmp_path)
    kept = cache.put(KEY, made)
    if not held:
        cache.close()
    damage(cache.folder / KEY)
    assert cache.get(KEY) is None
    assert list(cache.folder.iterdir()) == []
    assert cache.put(KEY, made) == kept


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_does_not_stand_in_the_way(
    cache: ConversionCache, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    made = package(tmp_path)
    kept = cache.put(KEY, made)
    damage(cache.folder / KEY)
    assert cache.put(KEY, made) == kept
    assert cache.get(KEY) == kept


def test_the_least_recently_used_entry_is_evicted(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    for number, key in enumerate((KEY, OTHER)):
        with ConversionCache(folder, limit=100_000) as cache:
            cache.put(key, package(tmp_path / str(number), bytes(30_000)))
        time.sleep(0.02)
    with ConversionCache(folder) as cache:
        assert cache.get(KEY) is not None  # now OTHER is the older
    with ConversionCache(folder, limit=70_000) as cache:
        cache.put(THIRD, package(tmp_path / "3", bytes(30_000)))
    with ConversionCache(folder) as cache:
        assert [cache.get(key) is not None for key in (KEY, OTHER, THIRD)] == [True, False, True]


def test_what_is_in_use_is_not_evicted(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    with ConversionCache(folder, limit=10) as one, ConversionCache(folder, limit=10) as two:
        first = one.put(KEY, package(tmp_path / "1"))
        second = two.put(OTHER, package(tmp_path / "2"))
        assert first.path.exists()
        assert second.path.exists()
        assert ConversionCache(folder).clear() == (0, 0)
        one.close()
        two.put(THIRD, package(tmp_path / "3"))
        assert not first.path.exists()
        assert second.path.exists()


def test_clear(cache: ConversionCache, tmp_path: Path) -> None:
    assert cache.clear() == (0, 0)
    for number, key in enumerate((KEY, OTHER)):
        cache.put(key, package(tmp_path / str(number), bytes(1000)))
    size = sum(path.stat().st_size for path in cache.folder.rglob("*") if path.is_file())
    (cache.folder / "photographs").mkdir()
    (cache.folder / "photographs" / "mine.png").write_text("somebody else's")
    assert cache.clear() == (2, size)
    assert [path.name for path in cache.folder.iterdir()] == ["photographs"]


def test_what_a_killed_process_left_is_removed_a_day_later(cache: ConversionCache, tmp_path: Path) -> None:
    for name, age in ((".aside-old", 2 * 24 * 3600), (".aside-new", 0)):
        (cache.folder / name).mkdir(parents=True)
        os.utime(cache.folder / name, (time.time() - age,) * 2)
    cache.put(KEY, package(tmp_path))
    assert sorted(path.name for path in cache.folder.iterdir()) == [".aside-new", KEY]


WRITER = """
import sys
from pathlib import Path
from harness.artifact import Artifact
from harness.cache import ConversionCache
cache_folder, source, rounds = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
for index in range(rounds):
    with ConversionCache(cache_folder, limit=3_000) as cache:
        key = f"{index % 3:064x}"
        artifact = cache.get(key) or cache.put(key, Artifact(source, "mlprogram"))
        assert (artifact.path / "Data" / "weight.bin").read_bytes() == bytes(1000), artifact.path
"""


def test_processes_that_write_and_evict_at_once(tmp_path: Path) -> None:
    source = package(tmp_path, bytes(1000)).path
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path / "cache"), str(source), "200"]
    writers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for writer in writers:
        _, errors = writer.communicate(timeout=60)
        assert writer.returncode == 0, errors
    left = list((tmp_path / "cache").iterdir())
    assert 1 <= len(left) <= 3
    assert all(len(path.name) == 64 for path in left)


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    made = package(tmp_path)
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        cache = ConversionCache(folder)
        assert cache.get(KEY) is None
        with pytest.raises(StoreError, match="HARNESS_CACHE_DIR"):
            cache.put(KEY, made)


def test_a_full_disk(cache: ConversionCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = cache.put(KEY, package(tmp_path / "1"))

    def full(source: object, target: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", full)
        with pytest.raises(StoreError, match=r"No space left on device\. Free space there"):
            cache.put(OTHER, package(tmp_path / "2"))
    assert [path.name for path in cache.folder.iterdir()] == [KEY]
    assert cache.get(KEY) == kept


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"HARNESS_CACHE_DIR": "/given", "XDG_CACHE_HOME": "/xdg"}, "/given"),
        ("linux", {"XDG_CACHE_HOME": "/xdg"}, "/xdg/coreml-harness"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "/home/me/.cache/coreml-harness"),
        ("linux", {}, "/home/me/.cache/coreml-harness"),
        ("darwin", {"XDG_CACHE_HOME": "/xdg"}, "/home/me/Library/Caches/coreml-harness"),
    ],
)
def test_where_the_cache_is(
    monkeypatch: pytest.MonkeyPatch, platform: str, variables: dict[str, str], expected: str
) -> None:
    for name in ("HARNESS_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/me", **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert default_folder() == Path(expected)


def test_how_large_the_cache_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARNESS_CACHE_BYTES", raising=False)
    assert default_limit() == 2 * 1024**3
    monkeypatch.setenv("HARNESS_CACHE_BYTES", "12345")
    assert ConversionCache(Path("unused")).limit == 12345
    for wrong in ("2GB", "-1", "", "1e9", "²"):
        monkeypatch.setenv("HARNESS_CACHE_BYTES", wrong)
        with pytest.raises(UsageError, match="HARNESS_CACHE_BYTES"):
            default_limit()

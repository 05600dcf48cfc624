from __future__ import annotations

from pathlib import Path

import pytest

from harness.case import DEFAULT_TOLERANCE, ModelCase, Tolerance, case_from_file, discover, find_case
from harness.errors import ModelFileError, UnknownNameError, UsageError

CASE = """
from harness.case import ModelCase
def build():
    return {name!r}
CASE = ModelCase(name={name!r}, build=build)
"""


def write_case(folder: Path, name: str, file: str | None = None) -> Path:
    path = folder / (file or f"{name}.py")
    path.write_text(CASE.format(name=name))
    return path


def test_tolerance() -> None:
    assert DEFAULT_TOLERANCE.for_precision("float32") == 1e-4
    assert DEFAULT_TOLERANCE.for_precision("float16") == 1e-2
    assert DEFAULT_TOLERANCE.source
    with pytest.raises(UnknownNameError, match="'int8'; supported: float32"):
        Tolerance({"float32": 1}, "here").for_precision("int8")


@pytest.mark.parametrize(
    ("name", "format_"),
    [("a.keras", "keras"), ("a.h5", "h5"), ("a.hdf5", "h5"), ("a.pb", "frozen_graph"), ("a.tflite", "tflite"),
     ("a.onnx", "onnx"), ("a.mlmodel", "mlmodel"), ("A.KERAS", "keras")],
)  # fmt: skip
def test_formats_of_files(tmp_path: Path, name: str, format_: str) -> None:
    (tmp_path / name).write_bytes(b"")
    case = case_from_file(tmp_path / name)
    assert (case.name, case.format, case.source, case.trust) == (name.split(".")[0], format_, tmp_path / name, False)


def test_formats_of_folders(tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    with pytest.raises(ModelFileError, match="not a SavedModel: it has no saved_model"):
        case_from_file(tmp_path / "saved")
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"")
    assert case_from_file(tmp_path / "saved").format == "saved_model"
    (tmp_path / "net.mlpackage").mkdir()
    assert case_from_file(tmp_path / "net.mlpackage", trust=True).format == "mlpackage"


@pytest.mark.parametrize(("name", "received"), [("model.zip", "received .zip"), ("model", "received no suffix")])
def test_unknown_formats(tmp_path: Path, name: str, received: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ModelFileError, match=f"{received}.*SavedModel folder.*keras"):
        case_from_file(tmp_path / name)


def test_absent_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no model at"):
        case_from_file(tmp_path / "absent.keras")


def test_content_hash_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(b"one")
    first = case_from_file(path).content_hash()
    assert first == case_from_file(path).content_hash()
    path.write_bytes(b"two")
    assert case_from_file(path).content_hash() != first


def test_content_hash_of_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    weights = folder / "variables" / "variables.data-00000-of-00001"
    weights.write_bytes(b"one")
    first = case_from_file(folder).content_hash()
    weights.write_bytes(b"two")
    assert case_from_file(folder).content_hash() != first


def test_content_hash_covers_builder_and_weights(tmp_path: Path) -> None:
    path = write_case(tmp_path, "net")
    weights = tmp_path / "net.npz"
    weights.write_bytes(b"one")

    def digest() -> str:
        case = discover(tmp_path)["net"]
        return ModelCase(case.name, build=case.build, files=(*case.files, weights)).content_hash()

    first = digest()
    assert digest() == first
    weights.write_bytes(b"two")
    second = digest()
    assert second != first
    path.write_text(path.read_text() + "\n# another architecture\n")
    assert digest() not in (first, second)


def test_discovery(tmp_path: Path) -> None:
    write_case(tmp_path, "beta")
    write_case(tmp_path, "alpha")
    write_case(tmp_path, "hidden", "_hidden.py")
    (tmp_path / "notes.txt").write_text("no model")
    cases = discover(tmp_path)
    assert list(cases) == ["alpha", "beta"]
    assert cases["beta"].build is not None
    assert cases["beta"].build() == "beta"
    assert tmp_path / "beta.py" in cases["beta"].files


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1", "defines no CASE; supported: CASE = ModelCase"),
        ("CASE = 'net'", "defines no CASE"),
        ("1 / 0", "cannot be imported; received ZeroDivisionError"),
        ("def (", "cannot be imported; received SyntaxError"),
        ("import no_such_module", "cannot be imported; received ModuleNotFoundError"),
    ],
)
def test_files_that_define_no_case(tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "broken.py").write_text(source)
    with pytest.raises(UsageError, match=message) as caught:
        discover(tmp_path)
    assert "broken.py" in str(caught.value)


def test_one_name_twice(tmp_path: Path) -> None:
    write_case(tmp_path, "net")
    write_case(tmp_path, "net", "other.py")
    with pytest.raises(UsageError, match=r"two files.*'net'"):
        discover(tmp_path)


def test_find_case(tmp_path: Path) -> None:
    write_case(tmp_path, "net")
    file = tmp_path / "mine.keras"
    file.write_bytes(b"")
    assert find_case("net", tmp_path).name == "net"
    assert find_case(str(file), tmp_path).source == file
    assert find_case(str(file), tmp_path, trust=True).trust
    with pytest.raises(ModelFileError, match="no model at"):
        find_case(str(tmp_path / "absent.h5"), tmp_path)
    with pytest.raises(UnknownNameError, match="no model 'nett'; supported: net"):
        find_case("nett", tmp_path)
    with pytest.raises(UnknownNameError, match="no model 'net'"):
        find_case("net", tmp_path / "absent")


def test_one_file_that_cannot_be_imported_loses_no_other(tmp_path: Path) -> None:
    """It is a case that cannot be built; files without a CASE are helpers."""
    (tmp_path / "good.py").write_text("from harness.case import ModelCase\nCASE = ModelCase('good', build=dict)\n")
    (tmp_path / "helper.py").write_text("raise RuntimeError('not to be imported')\n")
    (tmp_path / "_hidden.py").write_text("CASE = 1 / 0\n")
    broken = {"syntax": "def build(:\n", "raises": "CASE = 1 / 0\n", "leaves": "import sys\nsys.exit(0)\nCASE = 1\n"}
    for name, text in broken.items():
        (tmp_path / f"{name}.py").write_text(text)
    cases = discover(tmp_path, tolerant=True)
    assert set(cases) == {"good", *broken}
    for name in broken:
        build = cases[name].build
        assert build is not None
        with pytest.raises(UsageError, match=f"{name}.py cannot be imported"):
            build()

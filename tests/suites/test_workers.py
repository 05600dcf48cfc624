"""A made-up suite in processes of its own, as coremltools' is run."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import PredictionError
from harness.suites.summary import VERDICTS, Case, PartResult
from harness.suites.workers import Settings, collect, function_of, run_tests

SUITE = '''
import os
import time

import coremltools as ct
import numpy as np
import pytest
import torch
from coremltools.converters.mil.mil import Builder as mb

X = np.array([[1.0, -2.0, 3.0]], np.float32)


def predict(precision="FLOAT32", convert_to="mlprogram"):
    program = mb.program(input_specs=[mb.TensorSpec(X.shape)])(lambda x: mb.add(x=mb.relu(x=x), y=1.0, name="y"))
    precision = ct.precision[precision] if convert_to == "mlprogram" else None
    model = ct.convert(program, convert_to=convert_to, compute_precision=precision)
    return model.predict({"x": X.copy()})["y"]


@pytest.mark.parametrize("precision", ["FLOAT32", "FLOAT16"])
def test_right(precision):
    np.testing.assert_allclose(predict(precision), [[2, 1, 4]], atol=10)


@pytest.mark.parametrize("value", [2, 2.005])
def test_keywords(value):
    np.testing.assert_allclose(desired=value, actual=predict()[0, :1], rtol=1e-3)


def test_wrong():
    np.testing.assert_allclose(predict(), [[2, 1, 5]], rtol=1e-3)


def test_unasserted():
    np.allclose(predict(), [[2, 1, 4.01]])


def test_compares_with_itself():
    np.testing.assert_array_equal(predict(), predict())


def test_crash():
    os.abort()


def test_after_a_crash():
    np.testing.assert_array_equal(predict(), [[2, 1, 4]])


def test_hang():
    time.sleep(1000)


def one(): pass
def other(): pass


@pytest.mark.parametrize("thing", [one, other, lambda: 0, lambda: 1])
def test_object(thing):
    assert thing() != 1


def test_uses_what_is_not_installed():
    torch.nn.Linear(2, 3)


def test_class_of_what_is_not_installed():
    class Model(torch.nn.Module):
        pass


@pytest.mark.asyncio
async def test_coroutine():
    assert predict().shape == (1, 3)


def test_neural_network():
    predict(convert_to="neuralnetwork")


class TestOlder:
    def setup(self):
        self.value = 3

    def teardown(self):
        del self.value

    @pytest.mark.parametrize("given", (value for value in (3, 4)))
    def test_setup(self, given):
        assert self.value == given


class TestNewer(TestOlder):
    pass


@pytest.mark.xfail(reason="a known defect")
def test_known():
    assert not predict().any()


@pytest.mark.xfail(reason="a defect that is none here")
def test_known_that_passes():
    np.testing.assert_array_equal(predict(), [[2, 1, 4]])


@pytest.mark.xfail(reason="a defect that is none here", strict=True)
def test_known_strictly_that_passes():
    pass


@pytest.mark.skipif(True, reason="not for this one")
def test_skipped():
    predict()


def test_conversion_fails():
    ct.convert(object(), convert_to="mlprogram")


def test_conversion_is_expected_to_fail():
    pytest.xfail("a known gap")


@pytest.fixture
def broken_setup():
    raise ValueError("no setup")


def test_setup_fails(broken_setup):
    predict()


@pytest.fixture
def broken_teardown():
    yield
    raise ValueError("no teardown")


def test_skipped_teardown_fails(broken_teardown):
    pytest.skip("no need")


def test_teardown_fails(broken_teardown):
    np.testing.assert_array_equal(predict(), [[2, 1, 4]])


def test_runtime_slips(monkeypatch):
    from harness.runtimes.portable.stand_in import model

    monkeypatch.setattr(model.portable, "load", lambda *a, **k: {}["slip"])
    predict()


def test_random():
    assert False, f"{np.random.rand():.16f}".rstrip("0") + " drawn"
'''  # fmt: skip


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    root = tmp_path_factory.mktemp("suite")
    (root / "test_made_up.py").write_text(SUITE)
    (root / "test_broken.py").write_text("import no_such_library\n")
    (root / "test_needless.py").write_text("import pytest\npytest.skip('needs a phone', allow_module_level=True)\n")
    (root / "test_passed_over.py").write_text(
        "class TestIt:\n    def __init__(self): pass\n    def test_it(self): pass\n"
    )
    return Settings(root, seed=3, test_seconds=6.0)


@pytest.fixture(scope="module")
def collected(settings: Settings) -> dict[str, Any]:
    return collect([settings.root], settings)


@pytest.fixture(scope="module")
def cases(settings: Settings, collected: dict[str, Any]) -> Iterator[dict[str, Case]]:
    rows = list(run_tests(collected["ids"], 1, settings))
    assert sorted(row["id"] for row in rows) == sorted(collected["ids"])
    return {row["id"].removeprefix("test_made_up.py::"): Case(row) for row in rows}


def test_collection(collected: dict[str, Any]) -> None:
    names = list(collected["not_collected"])
    assert names[:2] == ["test_broken.py", "test_needless.py"]
    assert collected["not_collected"]["test_needless.py"] == {"outcome": "skipped", "reason": "needs a phone"}
    assert len(names) == 3
    assert "__init__" in names[2]
    assert collected["not_collected"]["test_broken.py"]["outcome"] == "failed"
    assert "no_such_library" in collected["not_collected"]["test_broken.py"]["reason"]
    objects = [test.partition("::")[2] for test in collected["ids"] if "test_object" in test]
    assert objects == [
        "test_object[one]", "test_object[other]", "test_object[<lambda>0]", "test_object[<lambda>1]",
    ]  # fmt: skip


# Of every test of the suite that is not judged, or did not pass: outcome and verdict.
BECAME = {
    "test_crash": ("crashed", "judged"),
    "test_hang": ("crashed", "judged"),
    "test_skipped": ("skipped", "skipped"),
    "test_uses_what_is_not_installed": ("absent", "library missing"),
    "test_class_of_what_is_not_installed": ("absent", "library missing"),
    "test_known": ("xfailed", "expected to fail"),
    "test_known_that_passes": ("xpassed", "expected to fail"),
    "test_conversion_is_expected_to_fail": ("xfailed", "expected to fail"),
    "test_known_strictly_that_passes": ("failed", "failed before predicting"),
    "test_conversion_fails": ("failed", "failed before predicting"),
    "test_setup_fails": ("failed", "failed before predicting"),
    "test_skipped_teardown_fails": ("failed", "failed before predicting"),
    "test_teardown_fails": ("failed", "judged"),
    "test_random": ("failed", "failed before predicting"),
    "test_object[<lambda>1]": ("failed", "failed before predicting"),
    "TestOlder::test_setup[4]": ("failed", "failed before predicting"),
    "TestNewer::test_setup[4]": ("failed", "failed before predicting"),
    # The portable runtime's: it does not execute a neural network; it raises what is no error of its own.
    "test_neural_network": ("failed", "judged"),
    "test_runtime_slips": ("failed", "judged"),
    "test_wrong": ("failed", "judged"),
    "test_keywords[2.005]": ("failed", "judged"),
    "test_coroutine": ("passed", "no numbers"),
    "test_compares_with_itself": ("passed", "no numbers"),
    "test_object[one]": ("passed", "no prediction"),
    "test_object[other]": ("passed", "no prediction"),
    "test_object[<lambda>0]": ("passed", "no prediction"),
    "TestOlder::test_setup[3]": ("passed", "no prediction"),
    "TestNewer::test_setup[3]": ("passed", "no prediction"),
}


def test_what_became_of_each(cases: dict[str, Case]) -> None:
    became = {name: (case.row["outcome"], case.verdict) for name, case in cases.items()}
    assert {name: became[name] for name in became if became[name] != ("passed", "judged")} == BECAME


def test_what_fails_before_it_predicts_is_a_failure(cases: dict[str, Case]) -> None:
    result = PartResult("made up", len(cases), {}, tuple(case.row for case in cases.values()))
    failed = {case.id.removeprefix("test_made_up.py::") for case in result.failures}
    before = {name for name, (_, verdict) in BECAME.items() if verdict == "failed before predicting"}
    assert before < failed
    assert not failed & {name for name, (outcome, _) in BECAME.items() if outcome in ("skipped", "absent", "xfailed")}
    assert sum(map(result.count, VERDICTS)) == len(cases)


@pytest.mark.parametrize(
    ("name", "answer", "passed"),
    [
        ("test_right[FLOAT16]", "portable", [True, True, True]),
        ("test_right[FLOAT16]", "zeros", [True, False, False]),
        ("test_right[FLOAT16]", "flipped", [True, False, False]),
        ("test_keywords[2]", "portable", [True, True, True]),
        ("test_keywords[2.005]", "portable", [False, True, False]),
        ("test_wrong", "portable", [False, False, False]),
        ("test_unasserted", "portable", [True, True, False]),
        ("test_after_a_crash", "portable", [True, True, True]),
        ("test_after_a_crash", "flipped", [False, False, False]),
    ],
)
def test_levels(cases: dict[str, Case], name: str, answer: Any, passed: list[bool]) -> None:
    assert [cases[name].passed(answer, level) for level in ("own", "loose", "tight")] == passed


def test_programs_are_noted(cases: dict[str, Case]) -> None:
    assert cases["test_right[FLOAT32]"].row["ops"] == ["add", "relu"]
    assert [cases[f"test_right[{name}]"].row["precision"] for name in ("FLOAT32", "FLOAT16")] == ["float32", "float16"]
    assert cases["test_right[FLOAT16]"].row["calls"] == 1


def test_reasons(cases: dict[str, Case]) -> None:
    assert "Mismatched elements: 1 / 3" in cases["test_wrong"].reason
    assert "ended with code" in cases["test_crash"].reason
    assert cases["test_hang"].reason == "no end after 6 s"
    assert cases["test_known"].row["reason"] == "expected to fail: a known defect"
    assert "torch.nn.Linear" in cases["test_uses_what_is_not_installed"].row["reason"]


def test_what_a_test_draws_depends_on_its_id_and_the_seed_alone(cases: dict[str, Case]) -> None:
    generator = np.random.RandomState(zlib.crc32(b"3 test_made_up.py::test_random"))
    assert cases["test_random"].row["reason"].split()[1] == f"{generator.rand():.16f}".rstrip("0")


def test_ids_that_are_unknown_are_told(settings: Settings) -> None:
    rows = list(run_tests(["test_made_up.py::test_gone[1]", "test_made_up.py::test_gone[2]"], 1, settings))
    assert [Case(row).verdict for row in rows] == ["failed before predicting"] * 2
    assert "test_gone" in rows[0]["reason"]


def test_a_suite_without_tests_is_told(tmp_path: Path) -> None:
    (tmp_path / "test_broken.py").write_text("import no_such_library\n")
    with pytest.raises(PredictionError, match=r"collected no test.*no_such_library"):
        collect([tmp_path], Settings(tmp_path, seed=3))


@pytest.mark.parametrize(
    ("test", "function"),
    [("a.py::B::c[d[0]-e::f]", "a.py::B::c"), ("a.py::c", "a.py::c"), ("a.py::c[x]#2", "a.py::c")],
)
def test_function_of(test: str, function: str) -> None:
    assert function_of(test) == function

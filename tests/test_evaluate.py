"""The pipeline judges what it converted, loses nothing, and says so where it cannot judge."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import plugins
from harness.artifact import Artifact
from harness.cache import ConversionCache
from harness.case import ModelCase, case_from_file, distinct_names
from harness.evaluate import evaluate
from harness.plan import Plan, cells, file_name
from harness.quiet import quiet_imports
from harness.record import Record
from harness.report.picture import draw_cell
from harness.runtimes.base import LoadedModel, Runtime
from harness.store import RunInfo, Store
from harness.tensors import Array
from harness.timing import Stability

with quiet_imports():
    import onnx
    import tensorflow as tf


def network(scale: float = 1.0, activation: str = "sigmoid") -> Any:
    import keras

    keras.utils.set_random_seed(3)
    image = keras.Input((16, 16, 3), batch_size=1, name="image")
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    x = keras.layers.Conv2D(3, 1, activation=activation)(x)
    return keras.Model(image, keras.layers.Rescaling(scale, name="result")(x))


def inputs() -> Mapping[str, Array]:
    return {"image": np.random.default_rng(2).random((1, 16, 16, 3), np.float32)}


CASE = ModelCase("small", build=network, inputs=inputs)


class Evaluation:
    """Runs plans over one cache and one folder of results."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []

    def __call__(self, *cases: ModelCase, draw: bool = False, **plan: Any) -> list[Record]:
        options = {"routes": ("native",), "precisions": ("float32",), "runtimes": ("portable",), "samples": 0} | plan
        with (
            Store(self.folder / "out").begin(RunInfo()) as run,
            ConversionCache(self.folder / "cache") as cache,
        ):
            return list(evaluate(Plan(cases, **options), run, cache, self._progress, draw_cell if draw else None))

    def _progress(self, what: str, cell: object) -> None:
        self.said.append(what)


@pytest.fixture
def run(tmp_path: Path) -> Evaluation:
    return Evaluation(tmp_path)


def summary(records: list[Record]) -> list[tuple[str, str, str]]:
    return [(record.model, record.status, record.stage) for record in records]


def test_a_case_that_builds_another_model_is_converted_anew(run: Evaluation) -> None:
    """Weights that are drawn or downloaded are in no file: the second model is not the first one's conversion."""
    scales = iter((1.0, 0.5, 0.5))
    case = ModelCase("drawn", build=lambda: network(next(scales)), inputs=inputs)
    first, second, again = (run(case)[0] for _ in range(3))
    assert [record.status for record in (first, second, again)] == ["passed"] * 3
    assert [record.convert_cached for record in (first, second, again)] == [False, False, True]
    assert first.model_hash != second.model_hash == again.model_hash


def test_a_file_that_no_list_names_counts(run: Evaluation, tmp_path: Path) -> None:
    weights = tmp_path / "scale.txt"
    case = ModelCase("listed", build=lambda: network(float(weights.read_text())), inputs=inputs)
    for scale in ("1.0", "0.25"):
        weights.write_text(scale)
        (record,) = run(case)
        assert (record.status, record.convert_cached) == ("passed", False)


def test_external_weights_of_a_model_file_count(run: Evaluation, tmp_path: Path) -> None:
    def write(value: float) -> Path:
        weights = onnx.numpy_helper.from_array(np.full((64, 64), value, np.float32), "w")
        x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, 64)) for name in "xy")
        graph = onnx.helper.make_graph([onnx.helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], [weights])
        path = tmp_path / "m.onnx"
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
        onnx.save(model, path, save_as_external_data=True, location="m.data", size_threshold=0)
        return path

    np.save(tmp_path / "x.npy", np.ones((1, 64), np.float32))
    for value in (1.0, 2.0):
        (tmp_path / "m.data").unlink(missing_ok=True)
        (record,) = run(case_from_file(write(value)), routes=("onnx",), inputs=(tmp_path / "x.npy",))
        assert (record.status, record.convert_cached) == ("passed", False)
    assert (tmp_path / "m.data").is_file()


def test_the_code_of_a_route_counts(run: Evaluation, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not run(CASE)[0].convert_cached
    assert run(CASE)[0].convert_cached
    monkeypatch.setattr("harness.conversions.code_hash", lambda kind: "of another day")
    assert not run(CASE)[0].convert_cached


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: (entry / "entry.json").write_text(
            (entry / "entry.json").read_text().replace('"image": "image"', '"image": "result"')
        ),
        lambda entry: next(entry.rglob("weight.bin")).write_bytes(b"of another model"),
        lambda entry: next(entry.rglob("weight.bin")).rename(entry / "model.mlpackage" / "weight.bin"),
        lambda entry: (entry / "entry.json").write_text("{}"),
    ],
    ids=["names in the entry", "weights", "a file moved", "no entry"],
)  # fmt: skip
def test_a_damaged_conversion_is_made_anew(run: Evaluation, damage: Callable[[Path], object]) -> None:
    run(CASE)
    (entry,) = (run.folder / "cache").glob("[0-9a-f]*")
    damage(entry)
    (record,) = run(CASE)
    assert (record.status, record.convert_cached) == ("passed", False)


class Noisy(tf.Module):  # type: ignore[misc]
    """Adds a draw of normal numbers to its input."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__()
        self.seed = seed

    @tf.function(input_signature=[tf.TensorSpec([1, 16, 16, 3], tf.float32, name="image")])  # type: ignore[untyped-decorator]
    def __call__(self, image: Any) -> Any:
        return tf.tanh(image + 0.1 * tf.random.normal(tf.shape(image), seed=self.seed))


@pytest.mark.parametrize("seed", [None, 3])
def test_a_reference_that_draws_cannot_judge(run: Evaluation, seed: int | None) -> None:
    records = run(ModelCase("noisy", build=lambda: Noisy(seed), inputs=inputs), CASE, routes=("native", "onnx"))
    for record in records[:2]:
        assert (record.status, record.stage) == ("error", "reference")
        assert "two answers for one input" in record.error
        assert "RandomStandardNormal" in record.error
    assert {record.status for record in records[2:]} == {"passed"}


def test_an_onnx_model_that_draws_cannot_judge(run: Evaluation, tmp_path: Path) -> None:
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, 64)) for name in "xy")
    nodes = [
        onnx.helper.make_node("RandomNormalLike", ["x"], ["noise"]),
        onnx.helper.make_node("Add", ["x", "noise"], ["y"]),
    ]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "g", [x], [y]), opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10
    )
    onnx.save(model, tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", np.ones((1, 64), np.float32))
    (record,) = run(case_from_file(tmp_path / "m.onnx"), routes=("onnx",), inputs=(tmp_path / "x.npy",))
    assert (record.status, record.stage) == ("error", "reference")
    assert "RandomNormalLike" in record.error


def test_state_that_lasts_is_no_chance(run: Evaluation, tmp_path: Path) -> None:
    """A counter in a .tflite file answers otherwise the second time, and as before when it is loaded again."""

    class Counting(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.sum = tf.Variable(tf.zeros((1, 8)))

        @tf.function(input_signature=[tf.TensorSpec([1, 8], tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def __call__(self, x: Any) -> Any:
            return self.sum.assign_add(x)

    module = Counting()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.__call__.get_concrete_function()], module)
    converter.experimental_enable_resource_variables = True
    (tmp_path / "m.tflite").write_bytes(converter.convert())
    np.save(tmp_path / "x.npy", np.ones((1, 8), np.float32))
    (record,) = run(case_from_file(tmp_path / "m.tflite"), routes=("tflite",), inputs=(tmp_path / "x.npy",))
    assert record.stage != "reference", record.error
    assert record.status == "passed", record.error


def raising() -> Any:
    raise ZeroDivisionError("of a user's own")


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_model_that_cannot_be_built_loses_nothing_else(run: Evaluation, position: int) -> None:
    cases = [CASE, replace(CASE, name="another")]
    cases.insert(position, ModelCase("broken", build=raising))
    records = run(*cases, precisions=("float32", "float16"))
    found = summary(records)
    assert len(found) == 6
    assert found.count(("broken", "error", "open")) == 2
    assert found.count(("small", "passed", "")) == found.count(("another", "passed", "")) == 2
    error = next(record.error for record in records if record.model == "broken")
    assert "build of model broken raised ZeroDivisionError" in error
    assert "of a user's own" in error
    assert f"{Path(__file__).name}, line" in error


BROKEN: dict[str, tuple[ModelCase, str]] = {
    "inputs raise": (replace(CASE, name="broken", inputs=raising), "inputs of model broken raised"),
    "inputs of another shape": (
        replace(CASE, name="broken", inputs=lambda: {"image": np.zeros((1, 8, 8, 3), np.float32)}), "wrong shape",
    ),
    "nothing to serve": (ModelCase("broken", build=lambda: object()), "cannot be served"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_whatever_fails_in_a_model_is_its_records(run: Evaluation, name: str) -> None:
    broken, said = BROKEN[name]
    records = run(broken, CASE)
    assert summary(records) == [("broken", "error", "open"), ("small", "passed", "")]
    assert said in records[0].error


def test_a_reference_that_raises_is_its_records(run: Evaluation, tmp_path: Path) -> None:
    """BatchNormalization(training=True) of a SavedModel assigns statistics, which freezing makes constants."""
    import keras

    image = keras.Input((16, 16, 3), batch_size=1, name="image")
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3, padding="same")(image), training=True)
    keras.Model(image, keras.layers.Conv2D(3, 1)(x)).export(tmp_path / "norm", verbose=False)
    records = run(case_from_file(tmp_path / "norm"), CASE)
    assert [record.model for record in records] == ["norm", "small"]
    assert records[1].status == "passed"
    assert records[0].status in ("error", "passed")  # passed where assignments are left out of the graph
    assert "Traceback" not in records[0].error


class Counted(LoadedModel):
    """Another runtime's model that counts its predictions and remembers their order."""

    def __init__(self, model: LoadedModel, name: str, calls: list[str]) -> None:
        self.model, self.name, self.calls = model, name, calls

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self.calls.append(self.name)
        return self.model.predict(inputs)

    def close(self) -> None:
        self.model.close()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The order in which models predict."""
    from harness.inputs import PreparedModel

    made: list[str] = []
    portable = plugins.runtime("portable")
    load, reference = type(portable).load, PreparedModel.reference

    def counted(self: Runtime, artifact: Artifact, compute_unit: str, precision: str) -> LoadedModel:
        name = f"{artifact.provenance['route']} {precision}"
        return Counted(load(self, artifact, compute_unit, precision), name, made)

    monkeypatch.setattr(type(portable), "load", counted)
    monkeypatch.setattr(PreparedModel, "reference", lambda self: Counted(reference(self), "reference", made))
    return made


def test_all_cells_of_a_model_are_timed_in_one_schedule(run: Evaluation, calls: list[str]) -> None:
    records = run(CASE, routes=("native", "onnx"), precisions=("float32", "float16"), samples=8,
                  warm_up=Stability(window=1, most=2))  # fmt: skip
    assert [record.status for record in records] == ["passed"] * 4
    names = {f"{record.route} {record.precision}" for record in records} | {"reference"}
    rounds = [calls[-5 * (index + 1) : len(calls) - 5 * index] for index in range(8)]
    assert all(set(calls_of_round) == names for calls_of_round in rounds)
    assert len({tuple(calls_of_round) for calls_of_round in rounds}) > 1  # drawn anew each round
    assert len({record.reference_samples for record in records}) == 1
    assert all(len(record.samples) == len(record.reference_samples) == 8 for record in records)
    # Two predictions to see that the reference gives one answer, two of warming up, eight that count.
    assert calls.count("reference") <= 2 + 2 * 8


def test_a_cell_that_fails_while_it_is_timed_leaves_the_others(
    run: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    portable = plugins.runtime("portable")
    load = type(portable).load

    def failing(self: Runtime, artifact: Artifact, compute_unit: str, precision: str) -> LoadedModel:
        model = load(self, artifact, compute_unit, precision)
        if precision == "float16":
            predict, left = model.predict, iter(range(3))

            def limited(given: Mapping[str, Array]) -> dict[str, Array]:
                if next(left, None) is None:
                    raise RuntimeError("out of patience")
                return predict(given)

            monkeypatch.setattr(model, "predict", limited, raising=False)
        return model

    monkeypatch.setattr(type(portable), "load", failing)
    records = run(CASE, precisions=("float32", "float16"), samples=6)
    found = {record.precision: record for record in records}
    assert found["float32"].status == "passed"
    assert len(found["float32"].samples) == 6
    assert (found["float16"].status, found["float16"].stage) == ("error", "predict")
    assert "out of patience" in found["float16"].error


def test_records_say_how_they_were_judged(run: Evaluation) -> None:
    (record,) = run(replace(CASE, build=lambda: network(255.0)))
    assert record.status == "passed"
    assert record.judged_as == "range"
    assert "values from" in record.judged_because
    assert record.tolerance == 1e-4
    assert record.deviation is not None
    assert record.max_abs_error == pytest.approx(record.deviation * 255, rel=1)
    assert (record.differing, record.elements) == (0, 16 * 16 * 3)
    assert "default" in record.tolerance_source


def test_arrays_that_were_cast_are_told(run: Evaluation, tmp_path: Path) -> None:
    for dtype, caution in (("float64", 1), ("int32", 1), ("float32", 0)):
        np.save(tmp_path / "image.npy", (inputs()["image"] * 10).astype(dtype))
        (record,) = run(CASE, inputs=(tmp_path / "image.npy",))
        assert record.status == "passed"
        assert len(record.cautions) == caution
        assert all(f"given as {dtype} and cast to float32" in text for text in record.cautions)


def test_files_of_one_stem_are_models_of_their_own(run: Evaluation, tmp_path: Path) -> None:
    paths = [tmp_path / "a" / "m.keras", tmp_path / "b" / "m.keras", tmp_path / "b" / "m.tflite"]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
    network().save(paths[0])
    network(0.5).save(paths[1])
    paths[2].write_bytes(tf.lite.TFLiteConverter.from_keras_model(network(0.25)).convert())
    np.save(tmp_path / "image.npy", inputs()["image"])
    cases = distinct_names(case_from_file(path) for path in (*paths, paths[0]))
    records = run(*cases, routes=("native", "tflite"), inputs=(tmp_path / "image.npy",), draw=True)
    assert {record.model for record in records} == {"a/m.keras", "b/m.keras", "m.tflite"}
    statuses = {(record.model, record.route): record.status for record in records}
    assert len(records) == len(statuses) == 6
    assert statuses.pop(("m.tflite", "native")) == "skipped"
    assert set(statuses.values()) == {"passed"}
    (folder,) = (run.folder / "out").iterdir()
    assert len({record.picture for record in records if record.picture}) == 5
    assert all((folder / record.picture).is_file() for record in records if record.picture)
    assert len({record.model_hash for record in records}) == 3


NAMES: list[tuple[list[str], list[str]]] = [
    (["m.onnx"], ["m"]),
    (["m.onnx", "m.onnx"], ["m"]),
    (["b/m.onnx", "a/m.onnx"], ["b/m.onnx", "a/m.onnx"]),
    (["m.onnx", "m.tflite", "n.onnx"], ["m.onnx", "m.tflite", "n"]),
    (["x/b/m.onnx", "y/b/m.onnx", "y/b/m.tflite"], ["x/b/m.onnx", "y/b/m.onnx", "m.tflite"]),
]


@pytest.mark.parametrize(("paths", "names"), NAMES)
def test_distinct_names(tmp_path: Path, paths: list[str], names: list[str]) -> None:
    cases = [ModelCase(Path(path).stem, source=tmp_path / path) for path in paths]
    assert [case.name for case in distinct_names(cases)] == names
    assert next(iter(distinct_names([ModelCase(names[0], build=network), *cases]))).name == names[0]


def test_files_of_cells_have_names_of_their_own() -> None:
    names = ["a/m", "a_m", "a m", "a-m", "a.m", "ä/m", "m@main", "x/../../etc"]
    made = [file_name(name) for name in names]
    assert len(set(made)) == len(names)
    assert all("/" not in name for name in made)


def test_the_plan_of_cells_knows_its_units() -> None:
    planned = cells(Plan((CASE,), ("native",), ("float32",), ("portable",)))
    assert [cell.key for cell in planned] == [("small", "native", "float32", "portable", "CPU")]
    assert json.dumps([cell.file_name for cell in planned]) == '["small-native-float32-portable-CPU"]'


def test_a_run_does_not_go_on_with_another_model(tmp_path: Path) -> None:
    """Cells of two models under one name would be one model's in every report."""
    scales = iter((1.0, 0.5))
    case = ModelCase("changing", build=lambda: network(next(scales)), inputs=inputs)
    plan = Plan((case,), routes=("native",), precisions=("float32", "float16"), runtimes=("portable",), samples=0)
    information = RunInfo(cells=tuple(cell.key for cell in cells(plan)))
    with ConversionCache(tmp_path / "cache") as cache:
        with Store(tmp_path / "out").begin(information) as begun:
            first = next(evaluate(plan, begun, cache, lambda what, cell: None))
        with Store(tmp_path / "out").resume() as resumed:
            rest = list(evaluate(plan, resumed, cache, lambda what, cell: None))
    assert first.status == "passed"
    assert [(record.status, record.stage) for record in rest] == [("error", "open")]
    assert "not the one that this run began with" in rest[0].error


def test_random_operators_are_no_reference_even_where_two_predictions_agree(run: Evaluation) -> None:
    class Rarely(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([1, 16, 16, 3], tf.float32, name="image")])  # type: ignore[untyped-decorator]
        def __call__(self, image: Any) -> Any:
            return tf.where(tf.random.uniform([]) < 1e-6, -image, image)

    (record,) = run(ModelCase("rarely", build=Rarely, inputs=inputs))
    assert (record.status, record.stage) == ("error", "reference")
    assert "draws random numbers (RandomUniform)" in record.error


def test_a_reference_that_is_not_finite_cannot_judge(run: Evaluation) -> None:
    class Logarithm(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([1, 16, 16, 3], tf.float32, name="image")])  # type: ignore[untyped-decorator]
        def __call__(self, image: Any) -> Any:
            return tf.math.log(image - 0.5)

    (record,) = run(ModelCase("logarithm", build=Logarithm, inputs=inputs))
    assert (record.status, record.stage) == ("error", "reference")
    assert "are not finite" in record.error


@pytest.mark.parametrize("leave", [SystemExit(0), SystemExit("bye")])
def test_a_builder_that_leaves_does_not_end_the_run(run: Evaluation, leave: SystemExit) -> None:
    def build() -> Any:
        raise leave

    records = run(ModelCase("leaving", build=build), CASE)
    assert summary(records) == [("leaving", "error", "open"), ("small", "passed", "")]


def test_a_bias_that_is_subtracted_converts(run: Evaluation, tmp_path: Path) -> None:
    """coremltools fuses it into the convolution by changing the constant in place, which a file's is not made for."""
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, 3, 8, 8)) for name in "xy")
    random = np.random.default_rng(0)
    constants = [
        onnx.numpy_helper.from_array(random.normal(size=shape).astype(np.float32), name)
        for name, shape in (("w", (3, 3, 3, 3)), ("b", (1, 3, 1, 1)))
    ]
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        onnx.helper.make_node("Sub", ["c", "b"], ["y"]),
    ]
    graph = onnx.helper.make_graph(nodes, "g", [x], [y], constants)
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10),
        tmp_path / "m.onnx",
    )
    np.save(tmp_path / "x.npy", random.random((1, 3, 8, 8), np.float32))
    (record,) = run(case_from_file(tmp_path / "m.onnx"), routes=("onnx",), inputs=(tmp_path / "x.npy",))
    assert record.status == "passed", record.error

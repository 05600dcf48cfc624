from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.errors import InputError, PackageError
from harness.quiet import quiet_imports
from harness.runtimes.portable import PortableModel, load_spec

with quiet_imports():
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb
    from coremltools.converters.mil.mil import get_new_symbol, types

from tests.runtimes.portable.conftest import load_program

H, W = 4, 6
PIXELS = np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)
RGB = Image.fromarray(PIXELS)
GREY = Image.fromarray(PIXELS[:, :, 0])
FLOATS = Image.fromarray(PIXELS[:, :, 0].astype(np.float32) / 8)
PLANES = PIXELS.transpose(2, 0, 1)[None].astype(np.float32)
COLORS = ct.colorlayout


def model_of(
    build: Any, *shape: Any, dtype: Any = types.fp32, target: Any = ct.target.iOS18, **options: Any
) -> PortableModel:
    program = mb.program(input_specs=[mb.TensorSpec(shape, dtype)], opset_version=target)(lambda x: build(x))
    if "outputs" in options:
        program.functions["main"].set_output_types(options.pop("outputs"))
    return load_program(program, target=target, **options)


def double(x: Any) -> Any:
    return mb.add(x=x, y=x, name="y")


# Images in ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("color", "image", "expected"),
    [
        (COLORS.RGB, RGB, PLANES),
        (COLORS.BGR, RGB, PLANES[:, ::-1]),
        (COLORS.GRAYSCALE, GREY, PLANES[:, :1]),
        (COLORS.GRAYSCALE_FLOAT16, FLOATS, PLANES[:, :1] / 8),
    ],
)
@pytest.mark.parametrize("numerics", ["float32", "float16"])
def test_image_in(color: Any, image: Image.Image, expected: np.ndarray, numerics: Any) -> None:
    dtype = types.fp16 if color == COLORS.GRAYSCALE_FLOAT16 else types.fp32
    inputs = [ct.ImageType("x", shape=expected.shape, color_layout=color)]
    model = model_of(double, *expected.shape, dtype=dtype, inputs=inputs, numerics=numerics)
    given = {"x": image}
    np.testing.assert_array_equal(model.predict(given)["y"], 2 * expected)
    assert given == {"x": image}


def test_scale_and_bias_of_an_image() -> None:
    inputs = [ct.ImageType("x", shape=(1, 3, H, W), scale=0.5, bias=[1.0, 2.0, 3.0], color_layout=COLORS.BGR)]
    model = model_of(double, 1, 3, H, W, inputs=inputs, precision="float16")
    expected = 2 * (PLANES[:, ::-1] / 2 + np.reshape([1, 2, 3], (1, 3, 1, 1)))
    np.testing.assert_allclose(model.predict({"x": RGB})["y"], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("color", "image", "message"),
    [
        (COLORS.RGB, GREY, "wrong mode; received L; supported: RGB"),
        (COLORS.RGB, RGB.convert("RGBA"), "wrong mode; received RGBA; supported: RGB"),
        (COLORS.GRAYSCALE, RGB, "wrong mode; received RGB; supported: L"),
        (COLORS.GRAYSCALE, FLOATS, "wrong mode; received F; supported: L"),
        (COLORS.RGB, RGB.resize((5, 7)), "wrong size; received 5x7; supported: 6x4"),
        (COLORS.RGB, PLANES, "is an image; received ndarray; supported: a PIL image, mode RGB"),
    ],
)
def test_images_that_do_not_fit(color: Any, image: Any, message: str) -> None:
    shape = (1, 1 if color == COLORS.GRAYSCALE else 3, H, W)
    model = model_of(double, *shape, inputs=[ct.ImageType("x", shape=shape, color_layout=color)])
    with pytest.raises(InputError, match=message):
        model.predict({"x": image})


@pytest.mark.parametrize(
    ("sizes", "fitting", "wrong", "supported"),
    [
        (ct.EnumeratedShapes([(1, 3, 4, 6), (1, 3, 8, 8)]), [(4, 6), (8, 8)], (4, 8), "6x4, 8x8"),
        (ct.Shape((1, 3, ct.RangeDim(2, 9), ct.RangeDim(3, 7))), [(2, 7), (9, 3)], (2, 8), "3x2 to 7x9"),
    ],
)  # fmt: skip
def test_flexible_images(sizes: Any, fitting: list[tuple[int, int]], wrong: tuple[int, int], supported: str) -> None:
    model = model_of(
        double,
        1,
        3,
        get_new_symbol(),
        get_new_symbol(),
        inputs=[ct.ImageType("x", shape=sizes)],
        target=ct.target.iOS17,
    )
    for height, width in fitting:
        image = RGB.resize((width, height))
        expected = 2 * np.asarray(image, np.float32).transpose(2, 0, 1)[None]
        np.testing.assert_array_equal(model.predict({"x": image})["y"], expected)
    with pytest.raises(InputError, match=f"wrong size; received {wrong[1]}x{wrong[0]}; supported: {supported}"):
        model.predict({"x": RGB.resize(wrong[::-1])})


# Images out ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("color", "channels", "mode", "order"),
    [
        (COLORS.RGB, 3, "RGBA", [0, 1, 2]),
        (COLORS.BGR, 3, "RGBA", [2, 1, 0]),
        (COLORS.GRAYSCALE, 1, "L", [0]),
    ],
)
def test_image_out(color: Any, channels: int, mode: str, order: list[int]) -> None:
    """Alpha is 255 (coremltools ``frontend/torch/test/test_torch_conversion_api.py``)."""
    planes = PLANES[:, :channels].copy()
    planes[0, 0, 0, :4] = [-7, 300, 9.4, 9.6]
    model = model_of(
        lambda x: mb.mul(x=x, y=1.0, name="y"), *planes.shape,
        outputs=[ct.ImageType("y", color_layout=color)],
    )  # fmt: skip
    image = model.predict({"x": planes})["y"]
    assert image.mode == mode
    assert image.size == (W, H)
    found = np.asarray(image).reshape(H, W, -1)
    if mode == "RGBA":
        assert (found[:, :, 3] == 255).all()
    expected = np.clip(np.rint(planes[0, order]), 0, 255).transpose(1, 2, 0)
    np.testing.assert_array_equal(found[:, :, :channels], expected)
    assert found[0, :4, order.index(0)].tolist() == [0, 255, 9, 10]


def test_float16_image_out() -> None:
    model = model_of(
        lambda x: mb.mul(x=x, y=np.float16(0.1), name="y"), 1, 1, H, W, dtype=types.fp16, numerics="float16",
        outputs=[ct.ImageType("y", color_layout=COLORS.GRAYSCALE_FLOAT16)],
    )  # fmt: skip
    image = model.predict({"x": PLANES[:, :1]})["y"]
    assert image.mode == "F"
    expected = (PLANES[0, 0].astype(np.float16) * np.float16(0.1)).astype(np.float32)
    np.testing.assert_array_equal(np.asarray(image), expected)


@pytest.mark.parametrize("color", [COLORS.RGB, COLORS.BGR])
def test_image_through_a_model(color: Any) -> None:
    model = model_of(
        lambda x: mb.sub(x=255.0, y=x, name="y"), 1, 3, H, W,
        inputs=[ct.ImageType("x", shape=(1, 3, H, W), color_layout=color)],
        outputs=[ct.ImageType("y", color_layout=color)],
    )  # fmt: skip
    np.testing.assert_array_equal(np.asarray(model.predict({"x": RGB})["y"])[:, :, :3], 255 - PIXELS)


# Arrays -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [np.float16, np.float32, np.float64, np.int32, np.int8, np.bool_, ">f4"])
@pytest.mark.parametrize(
    ("dtype", "returned"), [(types.fp16, np.float32), (types.fp32, np.float32), (types.int32, np.int32)]
)
def test_array_types(given: Any, dtype: Any, returned: Any) -> None:
    model = model_of(double, 2, 3, dtype=dtype, target=ct.target.iOS16)
    array = (np.arange(6).reshape(2, 3) % (2 if given is np.bool_ else 6)).astype(given)
    result = model.predict({"x": array})["y"]
    assert result.dtype == returned
    np.testing.assert_array_equal(result, 2 * array.astype(np.float64))


def test_bool_output() -> None:
    """Booleans leave a model as numbers."""
    model = model_of(lambda x: mb.cast(x=mb.greater(x=x, y=2.0), dtype="fp32", name="y"), 4)
    np.testing.assert_array_equal(model.predict({"x": [1, 2, 3, 4]})["y"], [0, 0, 1, 1])


def test_int8_features() -> None:
    """int8 inputs and outputs came with iOS26."""

    def build(x: Any) -> Any:
        return mb.cast(x=double(mb.cast(x=x, dtype="int32", name="wide")), dtype="int8", name="narrow")

    model = model_of(build, 3, dtype=types.int8, target=ct.target.iOS26)
    result = model.predict({"x": np.array([-60, 0, 63], np.int8)})["narrow"]
    assert result.dtype == np.int8
    np.testing.assert_array_equal(result, [-120, 0, 126])
    assert model.features.outputs[0].dtype == "int8"


def test_noncontiguous_arrays_and_lists() -> None:
    model = model_of(double, 2, 3)
    array = np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::2].T
    np.testing.assert_array_equal(model.predict({"x": array})["y"], 2 * array)
    np.testing.assert_array_equal(model.predict({"x": array.tolist()})["y"], 2 * array)


def test_what_is_returned_is_the_callers() -> None:
    model = model_of(lambda x: [mb.identity(x=np.float32([1, 2, 3]), name="y"), mb.mul(x=x, y=1.0, name="z")], 3)
    for _ in range(2):
        result = model.predict({"x": np.zeros(3)})["y"]
        np.testing.assert_array_equal(result, [1, 2, 3])
        result += 1


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, r"'x' .* is missing; received no inputs; supported: float32 \(2, 3\)"),
        ({"x": np.zeros((2, 3)), "z": 1}, "has no input 'z'; supported: x"),
        ({"x": np.zeros((3, 2))}, r"wrong shape; received \(3, 2\); supported: \(2, 3\)"),
        ({"x": np.array([["a", "b", "c"]] * 2)}, "wrong type"),
        ({"x": RGB}, "is an array, not an image"),
    ],
)
def test_inputs_that_do_not_fit(inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        model_of(double, 2, 3).predict(inputs)


@pytest.mark.parametrize(
    ("shape", "fitting", "wrong", "supported"),
    [
        (ct.EnumeratedShapes([(1, 3), (2, 3), (5, 4)]), [(2, 3), (5, 4)], (5, 3), r"\(1, 3\), \(2, 3\), \(5, 4\)"),
        (ct.Shape((ct.RangeDim(1, 5), ct.RangeDim(2, 4))), [(5, 2), (1, 4)], (6, 2), r"\(1, 2\) to \(5, 4\)"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("numerics", ["float32", "float16"])
def test_flexible_arrays(
    shape: Any, fitting: list[tuple[int, int]], wrong: tuple[int, int], supported: str, numerics: Any
) -> None:
    model = model_of(
        double, get_new_symbol(), get_new_symbol(), dtype=types.fp16, target=ct.target.iOS17, numerics=numerics,
        inputs=[ct.TensorType("x", shape=shape, dtype=np.float16)],
    )  # fmt: skip
    for good in fitting:
        x = np.arange(1, 1 + np.prod(good), dtype=np.float32).reshape(good)
        np.testing.assert_array_equal(model.predict({"x": x})["y"], 2 * x)
    with pytest.raises(InputError, match=f"wrong shape; received .*; supported: {supported}"):
        model.predict({"x": np.zeros(wrong)})


def test_no_upper_bound() -> None:
    """coremltools refuses to write such a package; FeatureTypes.proto allows it."""
    program = mb.program(input_specs=[mb.TensorSpec((get_new_symbol(), 3))], opset_version=ct.target.iOS17)(double)
    model = ct.convert(
        program, convert_to="mlprogram", minimum_deployment_target=ct.target.iOS17, skip_model_load=True,
        inputs=[ct.TensorType("x", (ct.RangeDim(2, 5), 3))],
    )  # fmt: skip
    spec = model.get_spec()
    spec.description.input[0].type.multiArrayType.shapeRange.sizeRanges[0].upperBound = -1
    loaded = load_spec(spec, Path(model.weights_dir), "float32")
    np.testing.assert_array_equal(loaded.predict({"x": np.ones((700, 3))})["y"], np.full((700, 3), 2))
    with pytest.raises(InputError, match=r"received \(1, 3\); supported: \(2, 3\) to \(\?, 3\)"):
        loaded.predict({"x": np.ones((1, 3))})


@pytest.mark.parametrize("value", [None, 2.5])
def test_optional_input(value: float | None) -> None:
    program = mb.program(
        input_specs=[mb.TensorSpec((2,)), mb.TensorSpec((2,))], opset_version=ct.target.iOS15
    )(lambda x, y: mb.add(x=x, y=y, name="z"))  # fmt: skip
    default = None if value is None else np.full(2, value, np.float32)
    model = ct.convert(
        program, convert_to="mlprogram", minimum_deployment_target=ct.target.iOS15, skip_model_load=True,
        compute_precision=ct.precision.FLOAT32,
        inputs=[ct.TensorType("x", (2,)), ct.TensorType("y", (2,), default_value=default)],
    )  # fmt: skip
    loaded = load_spec(model.get_spec(), Path(model.weights_dir), "float32")
    np.testing.assert_array_equal(loaded.predict({"x": [1, 2], "y": [5, 6]})["z"], [6, 8])
    if value is None:
        with pytest.raises(InputError, match=r"'y' .* is missing"):
            loaded.predict({"x": [1, 2]})
    else:
        np.testing.assert_array_equal(loaded.predict({"x": [1, 2]})["z"], [3.5, 4.5])


def test_description_and_program_that_disagree() -> None:
    program = mb.program(input_specs=[mb.TensorSpec((2,))], opset_version=ct.target.iOS15)(double)
    model = ct.convert(program, convert_to="mlprogram", skip_model_load=True)
    spec = model.get_spec()
    spec.description.output[0].name = "other"
    with pytest.raises(PackageError, match="does not return the model's output 'other'"):
        load_spec(spec, Path(model.weights_dir), "float32")
    spec.description.input[0].name = "nothing"
    with pytest.raises(PackageError, match="no tensor for the model's input 'nothing'"):
        load_spec(spec, Path(model.weights_dir), "float32")


@pytest.mark.parametrize("where", ["result", "input"])
def test_more_axes_than_core_ml_loads(where: str) -> None:
    program = mb.program(input_specs=[mb.TensorSpec((2,))], opset_version=ct.target.iOS15)(double)
    model = ct.convert(program, convert_to="mlprogram", skip_model_load=True)
    spec = model.get_spec()
    function = spec.mlProgram.functions["main"]
    operation = next(item for item in function.block_specializations["CoreML5"].operations if item.type != "const")
    tensor = (operation.outputs if where == "result" else function.inputs)[0].type.tensorType
    tensor.rank = 6
    for _ in range(5):
        tensor.dimensions.add().constant.size = 1
    with pytest.raises(PackageError, match=f"{where} of more axes than Core ML loads; received .* of 6 axes"):
        load_spec(spec, Path(model.weights_dir), "float32")

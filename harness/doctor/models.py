"""The tiny models that doctor loads, with their inputs and what they should answer."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.frontends.builder import mb
from harness.frontends.program import ProgramBuilder, write_program
from harness.quiet import quiet_conversion, quiet_imports
from harness.runtimes import portable
from harness.tensors import Array, TensorSpec

Floats = np.ndarray[tuple[int, ...], np.dtype[Any]]
SHAPE = (1, 3, 16, 16)
CHANNELS = 8
IMAGE = (6, 4)  # width, height


@dataclass(frozen=True)
class Models:
    """In one folder. ``reached`` is told each stage of a check before it begins."""

    folder: Path
    reached: Callable[[str], None] = lambda stage: None

    @property
    def array(self) -> Path:
        """x -> filtered, halved: a convolution with weights in a file, float16 inside, float32 outside."""
        return self.folder / "array.mlpackage"

    @property
    def half(self) -> Path:
        """The same with a float16 input and outputs."""
        return self.folder / "half.mlpackage"

    @property
    def image(self) -> Path:
        """picture -> color (RGB), gray (8 bits), fine (float16), each half as bright."""
        return self.folder / "image.mlpackage"

    @property
    def counter(self) -> Path:
        """x -> total: adds x to a state at each call. macOS 15."""
        return self.folder / "counter.mlpackage"

    @property
    def literals(self) -> Path:
        """x -> whole: rows rounded to steps of their own, whose vectors stand in the operation. macOS 14."""
        return self.folder / "literals.mlpackage"

    @property
    def damaged(self) -> Path:
        """``array`` with a file of weights that is empty."""
        return self.folder / "damaged.mlpackage"

    def build(self) -> None:
        """Write all of them; raises what coremltools raises."""
        with quiet_imports():
            import coremltools as ct
        with quiet_conversion():
            _array(ct, np.float32).save(str(self.array))
            _array(ct, np.float16).save(str(self.half))
            _image(ct).save(str(self.image))
            _counter(ct).save(str(self.counter))
        _literals(self.literals)
        shutil.copytree(self.array, self.damaged)
        next(self.damaged.rglob("weight.bin")).write_bytes(b"")

    def expected(self, numerics: str) -> dict[str, Array]:
        """What the portable runtime answers ``array`` for ``values()``."""
        return portable.load(self.array, numerics).predict({"x": values()})


def values() -> Floats:
    """The input of ``array``, -1 to 1."""
    return np.random.default_rng(0).uniform(-1, 1, SHAPE).astype(np.float32)


def weights() -> Floats:
    """Of its convolution."""
    return np.random.default_rng(1).uniform(-1, 1, (CHANNELS, SHAPE[1], 1, 1)).astype(np.float32)


def by_hand() -> dict[str, Array]:
    """What ``array`` should answer, in float64 and without any of its ops."""
    kernel = weights()[:, :, 0, 0].astype(np.float64)
    filtered = np.maximum(np.tensordot(kernel, values()[0].astype(np.float64), axes=1)[None], 0)
    return {"filtered": filtered, "halved": filtered / 2}


def picture() -> Any:
    """The input of ``image``: a PIL image whose pixels are all different."""
    from PIL import Image

    width, height = IMAGE
    levels = np.arange(width * height * 3, dtype=np.uint8).reshape(height, width, 3) * 2
    return Image.fromarray(levels)


def _array(ct: Any, dtype: type) -> Any:

    def program(x: Any) -> Any:
        filtered = mb.relu(x=mb.conv(x=x, weight=weights()), name="filtered")
        return filtered, mb.mul(x=filtered, y=0.5, name="halved")

    built = mb.program(input_specs=[mb.TensorSpec(SHAPE)], opset_version=ct.target.iOS16)(program)
    # Outputs of a MIL program are not among the arguments of convert.
    built.functions["main"].set_output_types([ct.TensorType(dtype=dtype) for _ in range(2)])
    return ct.convert(
        built,
        inputs=[ct.TensorType("x", SHAPE, dtype=dtype)],
        minimum_deployment_target=ct.target.iOS16,
        compute_precision=ct.precision.FLOAT16,
        skip_model_load=True,
    )


def _literals(path: Path) -> None:
    """As our frontends write it: operations without names, and a vector of more elements than coremltools leaves in
    the model."""
    builder = ProgramBuilder([TensorSpec("x", SHAPE)])
    rows = SHAPE[2]
    with builder.building() as given:
        scale = np.linspace(0.01, 0.02, rows).astype(np.float32)
        middle = np.arange(rows).astype(np.int8)
        steps = mb.quantize(input=given["x"], scale=scale, zero_point=middle, axis=2, output_dtype="int8")
        builder.finish({"whole": mb.dequantize(input=steps, scale=scale, zero_point=middle, axis=2)})
    write_program(builder, "float32", path, {}, "the check of literals", ())


def _image(ct: Any) -> Any:

    width, height = IMAGE

    def program(picture: Any) -> Any:
        color = mb.mul(x=picture, y=0.5, name="color")
        gray = mb.reduce_mean(x=color, axes=[1], keep_dims=True)
        return color, mb.identity(x=gray, name="gray"), mb.mul(x=gray, y=1.0 / 255, name="fine")

    layouts = ct.colorlayout
    kinds = (layouts.RGB, layouts.GRAYSCALE, layouts.GRAYSCALE_FLOAT16)
    specification = mb.TensorSpec((1, 3, height, width))
    built = mb.program(input_specs=[specification], opset_version=ct.target.iOS16)(program)
    built.functions["main"].set_output_types([ct.ImageType(color_layout=kind) for kind in kinds])
    return ct.convert(
        built,
        inputs=[ct.ImageType("picture", (1, 3, height, width), color_layout=layouts.RGB)],
        minimum_deployment_target=ct.target.iOS16,
        skip_model_load=True,
    )


def _counter(ct: Any) -> Any:
    from coremltools.converters.mil.mil import types

    def program(x: Any, sum: Any) -> Any:  # noqa: A002 (the state's name)
        added = mb.add(x=mb.read_state(input=sum), y=x)
        return mb.identity(x=mb.coreml_update_state(state=sum, value=added), name="total")

    specifications = [mb.TensorSpec((2,), dtype=types.fp16), mb.StateTensorSpec((2,), dtype=types.fp16)]
    built = mb.program(input_specs=specifications, opset_version=ct.target.iOS18)(program)
    return ct.convert(built, minimum_deployment_target=ct.target.iOS18, skip_model_load=True)

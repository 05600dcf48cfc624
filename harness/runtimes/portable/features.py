"""A model's features (Core ML's name for inputs and outputs): PIL images and arrays in, the same out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.errors import InputError
from harness.runtimes.portable.numerics import Numerics, stored
from harness.runtimes.portable.program import Function, StateType, TensorType, Value
from harness.tensors import Array, ImageSpec, TensorSpec, describe_shape

# FeatureTypes.proto, ImageFeatureType.ColorSpace.
_COLORS = {10: "GRAYSCALE", 20: "RGB", 30: "BGR", 40: "GRAYSCALE_FLOAT16"}
_PIL_MODES = {"RGB": "RGB", "BGR": "RGB", "GRAYSCALE": "L", "GRAYSCALE_FLOAT16": "F"}
_NUMPY_NAMES = {"fp16": "float16", "fp32": "float32", "bool": "bool"}


@dataclass(frozen=True)
class Features:
    """Inputs and outputs of one function, as the model's description and the program give them."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    states: tuple[Value, ...]
    shape_choices: dict[str, tuple[tuple[int, ...], ...]]
    shape_ranges: dict[str, tuple[tuple[int, int], ...]]

    def arrays(self, given: Mapping[str, Any], function: Function, numerics: Numerics, model: str) -> dict[str, Array]:
        """``given`` as the program wants it; raises InputError. The caller's mapping is not changed."""
        types = {value.name: value.type for value in function.inputs}
        known = {spec.name for spec in self.inputs}
        for name in given:
            if name not in known:
                raise InputError(f"model {model} has no input {name!r}", supported=sorted(known))
        arrays = {}
        for spec in self.inputs:
            if spec.name not in given:
                raise InputError(
                    f"input {spec.name!r} of model {model} is missing",
                    received=sorted(given) or "no inputs",
                    supported=f"{spec.dtype} {describe_shape(spec.shape)}",
                )
            array = self._array(spec, given[spec.name], model)
            arrays[spec.name] = stored(array, types[spec.name], numerics)
        return arrays

    def _array(self, spec: TensorSpec, value: Any, model: str) -> Array:
        where = f"input {spec.name!r} of model {model}"
        if spec.image is not None:
            return _array_from_image(spec.image, value, where)
        if hasattr(value, "mode") and hasattr(value, "convert"):
            raise InputError(f"{where} is an array, not an image", supported=f"{spec.dtype} {describe_shape(spec.shape)}")
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise InputError(f"{where} has the wrong type", received=array.dtype, supported=spec.dtype)
        if spec.shape == () and array.size == 1 or spec.shape == (1,) and array.shape == ():
            array = array.reshape(spec.shape)
        choices = self.shape_choices.get(spec.name)
        ranges = self.shape_ranges.get(spec.name)
        fits = spec.accepts(array.shape)
        if fits and choices:
            fits = array.shape in choices
        if fits and ranges:
            fits = all(low <= size <= high for size, (low, high) in zip(array.shape, ranges, strict=True))
        if not fits:
            supported = [describe_shape(choice) for choice in choices] if choices else describe_shape(spec.shape)
            if ranges and not choices:
                supported = "sizes " + ", ".join(f"{low}..{high}" for low, high in ranges)
            raise InputError(f"{where} has the wrong shape", received=describe_shape(array.shape), supported=supported)
        return array

    def results(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The program's outputs as ``MLModel.predict`` returns them; float16 arrives as float32."""
        results: dict[str, Any] = {}
        for spec in self.outputs:
            value = values[spec.name]
            results[spec.name] = _image_from_array(spec.image, value) if spec.image else value
        return results


def read_features(description: Any, function: Function) -> Features:
    """From a ``FunctionDescription`` or ``ModelDescription`` protobuf."""
    types = {value.name: value.type for value in function.inputs}
    choices: dict[str, tuple[tuple[int, ...], ...]] = {}
    ranges: dict[str, tuple[tuple[int, int], ...]] = {}
    inputs = []
    for feature in description.input:
        type_ = types.get(feature.name)
        if not isinstance(type_, TensorType):
            raise InputError(f"the program has no tensor for the model's input {feature.name!r}")
        inputs.append(_spec(feature, type_))
        array = feature.type.multiArrayType
        if array.enumeratedShapes.shapes:
            choices[feature.name] = tuple(tuple(shape.shape) for shape in array.enumeratedShapes.shapes)
        sizes = array.shapeRange.sizeRanges
        if len(sizes) == type_.rank and len(sizes):
            ranges[feature.name] = tuple(
                (int(size.lowerBound), int(size.upperBound) if size.upperBound >= 0 else 2**31) for size in sizes
            )
    outputs = tuple(_spec(feature, TensorType("fp32", ())) for feature in description.output)
    states = tuple(value for value in function.inputs if isinstance(value.type, StateType))
    return Features(tuple(inputs), outputs, states, choices, ranges)


def _spec(feature: Any, type_: TensorType) -> TensorSpec:
    if feature.type.WhichOneof("Type") == "imageType":
        image = feature.type.imageType
        color = _COLORS.get(image.colorSpace, "RGB")
        return TensorSpec(feature.name, type_.shape, "uint8", "NCHW", ImageSpec(color, image.height, image.width))
    return TensorSpec(feature.name, type_.shape, _NUMPY_NAMES.get(type_.dtype, type_.dtype))


def _array_from_image(spec: ImageSpec, value: Any, where: str) -> Array:
    mode = _PIL_MODES[spec.color]
    if not hasattr(value, "mode"):
        raise InputError(f"{where} is an image", received=type(value).__name__, supported=f"a PIL image, mode {mode}")
    if value.mode != mode:
        raise InputError(f"{where} has the wrong mode", received=value.mode, supported=mode)
    if spec.width and spec.height and value.size != (spec.width, spec.height):
        raise InputError(
            f"{where} has the wrong size",
            received=f"{value.size[0]}x{value.size[1]}",
            supported=f"{spec.width}x{spec.height}",
            remedy="Resize the image",
        )
    pixels = np.asarray(value, dtype=np.float32)
    if pixels.ndim == 2:
        return pixels[None, None]
    if spec.color == "BGR":
        pixels = pixels[:, :, ::-1]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def _image_from_array(spec: ImageSpec, value: Array) -> Any:
    from PIL import Image

    planes = np.asarray(value, np.float32).reshape(value.shape[-3:])
    if spec.color == "GRAYSCALE_FLOAT16":
        return Image.fromarray(planes[0])
    pixels = np.clip(np.rint(planes), 0, 255).astype(np.uint8)
    if spec.color == "GRAYSCALE":
        return Image.fromarray(pixels[0])
    if spec.color == "BGR":
        pixels = pixels[::-1]
    return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))

"""A model's features (Core ML's name for inputs and outputs): PIL images and arrays in, the same out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from harness.errors import InputError, PackageError
from harness.runtimes.portable.numerics import Numerics, stored
from harness.runtimes.portable.program import Function, StateType, TensorType, Type, Value
from harness.tensors import Array, ImageSpec, TensorSpec, describe_shape

# FeatureTypes.proto: ImageFeatureType.ColorSpace, ArrayFeatureType.ArrayDataType.
_COLORS = {10: "GRAYSCALE", 20: "RGB", 30: "BGR", 40: "GRAYSCALE_FLOAT16"}
_INT8 = 131080

_PIL_MODES = {"RGB": "RGB", "BGR": "RGB", "GRAYSCALE": "L", "GRAYSCALE_FLOAT16": "F"}
_NUMPY_NAMES = {"fp16": "float16", "fp32": "float32", "fp64": "float64", "string": "str"}

# An upper bound below zero means none (FeatureTypes.proto, SizeRange).
_UNBOUNDED = 2**31 - 1

Shape = tuple[int, ...]
Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Features:
    """Inputs and outputs of one function, as the model's description and the program give them.

    ``shape_choices`` and ``shape_ranges`` hold what flexible inputs accept, ``defaults`` the value
    that fills an optional input. The dtype of an output is the one in which it is returned.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    states: tuple[Value, ...]
    shape_choices: dict[str, tuple[Shape, ...]]
    shape_ranges: dict[str, Ranges]
    defaults: dict[str, Array]

    def arrays(self, given: Mapping[str, Any], function: Function, numerics: Numerics, model: str) -> dict[str, Array]:
        """``given`` as the program wants it; raises InputError. The caller's mapping is not changed."""
        types = {value.name: value.type for value in function.inputs}
        known = {spec.name for spec in self.inputs}
        for name in given:
            if name not in known:
                raise InputError(f"model {model} has no input {name!r}", supported=sorted(known))
        arrays = {}
        for spec in self.inputs:
            if spec.name not in given and spec.name not in self.defaults:
                raise InputError(
                    f"input {spec.name!r} of model {model} is missing",
                    received=sorted(given) or "no inputs",
                    supported=f"{spec.dtype} {describe_shape(spec.shape)}",
                )
            value = given[spec.name] if spec.name in given else self.defaults[spec.name]
            where = f"input {spec.name!r} of model {model}"
            array = self._array(spec, value, where) if spec.image is None else self._pixels(spec, value, where)
            arrays[spec.name] = stored(array, types[spec.name], numerics)
        return arrays

    def _array(self, spec: TensorSpec, value: Any, where: str) -> Array:
        if hasattr(value, "mode") and hasattr(value, "convert"):
            raise InputError(
                f"{where} is an array, not an image", supported=f"{spec.dtype} {describe_shape(spec.shape)}"
            )
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise InputError(f"{where} has the wrong type", received=array.dtype, supported=spec.dtype)
        # Core ML has no scalars: a vector of one element stands for one, and the other way round.
        if (spec.shape == () and array.shape == (1,)) or (spec.shape == (1,) and array.shape == ()):
            array = array.reshape([1] * len(spec.shape))
        if not self._fits(spec, array.shape):
            supported = self._supported(spec, describe_shape)
            raise InputError(f"{where} has the wrong shape", received=describe_shape(array.shape), supported=supported)
        return array

    def _pixels(self, spec: TensorSpec, value: Any, where: str) -> Array:
        """A PIL image as the program's tensor, values 0 to 255 (or as they are, mode F)."""
        assert spec.image is not None
        mode = _PIL_MODES[spec.image.color]
        if not hasattr(value, "mode"):
            raise InputError(
                f"{where} is an image", received=type(value).__name__, supported=f"a PIL image, mode {mode}"
            )
        if value.mode != mode:
            raise InputError(f"{where} has the wrong mode", received=value.mode, supported=mode)
        pixels = np.asarray(value, dtype=np.float32)
        if pixels.ndim == 2:
            pixels = pixels[:, :, None]
        elif spec.image.color == "BGR":
            pixels = pixels[:, :, ::-1]
        planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
        array = planes.reshape((1,) * (len(spec.shape) - 3) + planes.shape)
        if not self._fits(spec, array.shape):
            raise InputError(
                f"{where} has the wrong size",
                received=_describe_size(array.shape),
                supported=self._supported(spec, _describe_size),
                remedy="Resize the image",
            )
        return array

    def _fits(self, spec: TensorSpec, shape: Shape) -> bool:
        if not spec.accepts(shape):
            return False
        if spec.name in self.shape_choices:
            return shape in self.shape_choices[spec.name]
        ranges = self.shape_ranges.get(spec.name)
        return ranges is None or all(low <= size <= high for size, (low, high) in zip(shape, ranges, strict=True))

    def _supported(self, spec: TensorSpec, describe: Callable[[tuple[int | None, ...]], str]) -> list[str]:
        if spec.name in self.shape_choices:
            return [describe(choice) for choice in self.shape_choices[spec.name]]
        ranges = self.shape_ranges.get(spec.name)
        if ranges is None:
            return [describe(spec.shape)]
        low, high = zip(*ranges, strict=True)
        return [f"{describe(low)} to {describe(tuple(None if size == _UNBOUNDED else size for size in high))}"]

    def results(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The program's outputs as ``MLModel.predict`` returns them: float16 as float32, colour images as
        RGBA, a classifier's label and dictionary as Python's."""
        results: dict[str, Any] = {}
        for spec in self.outputs:
            value = values[spec.name]
            if spec.image is not None:
                results[spec.name] = _image_from_array(spec.image, value)
            else:
                results[spec.name] = value.astype(np.int8) if spec.dtype == "int8" else value
        return results


def read_features(description: Any, function: Function) -> Features:
    """From a ``FunctionDescription`` or ``ModelDescription`` protobuf; PackageError where it and the
    program disagree."""
    types = {value.name: value.type for value in function.inputs}
    choices: dict[str, tuple[Shape, ...]] = {}
    ranges: dict[str, Ranges] = {}
    defaults: dict[str, Array] = {}
    inputs = []
    for feature in description.input:
        type_ = types.get(feature.name)
        if not isinstance(type_, TensorType):
            raise PackageError(f"the program has no tensor for the model's input {feature.name!r}")
        inputs.append(_spec(feature, type_))
        is_image = feature.type.WhichOneof("Type") == "imageType"
        found = _image_sizes(feature.type.imageType, type_) if is_image else _array_sizes(feature.type.multiArrayType)
        if found.choices:
            choices[feature.name] = found.choices
        if len(found.ranges) == type_.rank and found.ranges:
            ranges[feature.name] = found.ranges
        if feature.type.isOptional and not is_image:
            defaults[feature.name] = _default(feature.type.multiArrayType)
    made = types | {value.name: value.type for operation in function.block.operations for value in operation.outputs}
    outputs = []
    for feature in description.output:
        if feature.name not in function.block.outputs:
            raise PackageError(f"the program does not return the model's output {feature.name!r}")
        outputs.append(_output_spec(feature, made[feature.name]))
    states = tuple(value for value in function.inputs if isinstance(value.type, StateType))
    return Features(tuple(inputs), tuple(outputs), states, choices, ranges, defaults)


@dataclass(frozen=True)
class _Sizes:
    choices: tuple[Shape, ...] = ()
    ranges: Ranges = ()


def _array_sizes(array: Any) -> _Sizes:
    return _Sizes(
        tuple(tuple(int(size) for size in shape.shape) for shape in array.enumeratedShapes.shapes),
        tuple(_range(size) for size in array.shapeRange.sizeRanges),
    )


def _image_sizes(image: Any, type_: TensorType) -> _Sizes:
    """In the shape of the tensor that takes the image, whose last axes are height and width."""
    kind = image.WhichOneof("SizeFlexibility")
    before = tuple(size or 1 for size in type_.shape[:-2])
    if kind == "enumeratedSizes":
        return _Sizes(
            choices=tuple((*before, int(size.height), int(size.width)) for size in image.enumeratedSizes.sizes)
        )
    if kind == "imageSizeRange":
        fixed = tuple((size, size) for size in before)
        limits = image.imageSizeRange
        return _Sizes(ranges=(*fixed, _range(limits.heightRange), _range(limits.widthRange)))
    return _Sizes()


def _range(size: Any) -> tuple[int, int]:
    return int(size.lowerBound), int(size.upperBound) if size.upperBound >= 0 else _UNBOUNDED


def _default(array: Any) -> Array:
    """What fills an optional input in its default shape; zero unless the model says otherwise."""
    kind = array.WhichOneof("defaultOptionalValue")
    return np.full(tuple(array.shape), getattr(array, kind) if kind else 0)


def _spec(feature: Any, type_: TensorType) -> TensorSpec:
    if feature.type.WhichOneof("Type") == "imageType":
        image = feature.type.imageType
        if image.colorSpace not in _COLORS:
            raise PackageError(
                f"image {feature.name!r} has an unknown colour space",
                received=image.colorSpace,
                supported=_COLORS.values(),
            )
        color = _COLORS[image.colorSpace]
        dtype = "float32" if color == "GRAYSCALE_FLOAT16" else "uint8"
        layout = "NCHW"[4 - type_.rank :]
        return TensorSpec(feature.name, type_.shape, dtype, layout, ImageSpec(color, image.height, image.width))
    return TensorSpec(feature.name, type_.shape, _NUMPY_NAMES.get(type_.dtype, type_.dtype))


def _output_spec(feature: Any, type_: Type) -> TensorSpec:
    if not isinstance(type_, TensorType):
        return TensorSpec(feature.name, (), "object")
    spec = _spec(feature, type_)
    if spec.image is not None or type_.dtype in ("string", "int64"):
        return spec
    is_int8 = feature.type.multiArrayType.dataType == _INT8
    return replace(spec, dtype="int8" if is_int8 else type_.storage.name)


def _describe_size(shape: tuple[int | None, ...]) -> str:
    """``width x height`` of a tensor of an image."""
    height, width = ("?" if size is None else size for size in shape[-2:])
    return f"{width}x{height}"


def _image_from_array(spec: ImageSpec, value: Array) -> Any:
    """A PIL image, mode RGBA, L or F; values outside of 0 to 255 are clipped."""
    from PIL import Image

    planes = np.asarray(value, np.float32).reshape(value.shape[-3:])
    if spec.color == "GRAYSCALE_FLOAT16":
        return Image.fromarray(planes[0])
    pixels = np.clip(np.rint(planes), 0, 255).astype(np.uint8)
    if spec.color == "GRAYSCALE":
        return Image.fromarray(pixels[0])
    if spec.color == "BGR":
        pixels = pixels[::-1]
    opaque = np.full((1, *pixels.shape[1:]), 255, np.uint8)
    return Image.fromarray(np.ascontiguousarray(np.concatenate([pixels, opaque]).transpose(1, 2, 0)))

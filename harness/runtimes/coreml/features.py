"""Inputs as Core ML takes them without harm, and outputs as it really gives them, made into arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import InputError, PackageError
from harness.quiet import quiet_imports
from harness.tensors import Array, ImageSpec, TensorSpec, describe_shape

# FeatureTypes.proto: ImageFeatureType.ColorSpace and ArrayFeatureType.ArrayDataType.
_COLORS = {10: "GRAYSCALE", 20: "RGB", 30: "BGR", 40: "GRAYSCALE_FLOAT16"}
_DTYPES = {65552: "float16", 65568: "float32", 65600: "float64", 131104: "int32", 131080: "int8"}
_MODES = {"RGB": "RGB", "BGR": "RGB", "GRAYSCALE": "L", "GRAYSCALE_FLOAT16": "F"}

# In which type the native module takes, and gives, an array that the model declares otherwise.
_PASSED = {"float16": "float32", "float32": "float32", "float64": "float64", "int32": "int32", "int8": "int32"}
_GIVEN = {**_PASSED, "int8": "int8"}

# Core ML releases the arrays that it was given on a queue of its own, a second later and without the interpreter's
# lock (coremltools #2827): as long as a reference is here, that is never the last one.
_kept_alive: list[Any] = []


@dataclass(frozen=True)
class Description:
    """What a model's specification declares of its default function."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    is_stateful: bool = False


def read_description(package: Path) -> Description:
    """Of a ``.mlpackage`` or ``.mlmodel``. Raises PackageError."""
    with quiet_imports():
        from coremltools.models.utils import load_spec
    try:
        declared = load_spec(str(package)).description
    except Exception as error:  # protobuf's and coremltools' errors have no common class
        raise PackageError(f"the specification of {package.name} cannot be read", received=error) from error
    if declared.functions:
        named = {function.name: function for function in declared.functions}
        declared = named.get(declared.defaultFunctionName) or declared.functions[0]
    inputs, outputs = (tuple(_spec(feature) for feature in kind) for kind in (declared.input, declared.output))
    return Description(inputs, outputs, is_stateful=bool(declared.state))


def _spec(feature: Any) -> TensorSpec:
    kind = feature.type.WhichOneof("Type")
    if kind == "imageType":
        image = feature.type.imageType
        color = _COLORS.get(image.colorSpace, str(image.colorSpace))
        dtype = "float32" if color == "GRAYSCALE_FLOAT16" else "uint8"
        channels = 3 if _MODES.get(color) == "RGB" else 1
        shape = (1, channels, int(image.height), int(image.width))
        return TensorSpec(feature.name, shape, dtype, "NCHW", ImageSpec(color, image.height, image.width))
    if kind == "multiArrayType":
        array = feature.type.multiArrayType
        return TensorSpec(feature.name, tuple(array.shape), _DTYPES.get(array.dataType, "float32"))
    return TensorSpec(feature.name, (), "object")  # a label, a dictionary or a sequence


def passed_inputs(description: Description, inputs: Mapping[str, Array]) -> dict[str, Any]:
    """A new dictionary for ``predict``, which may change it. Raises InputError.

    Arrays are copies of float32, float64 or int32, writable, of native byte order and C-contiguous, since they are
    wrapped as they are; images are PIL images of the declared mode. All are kept alive until the process ends.
    """
    declared = {spec.name: spec for spec in description.inputs}
    passed = {}
    for name, value in inputs.items():
        if name not in declared:
            raise InputError(f"the package has no input {name!r}", supported=sorted(declared))
        spec = declared[name]
        passed[name] = _array(spec, np.asarray(value)) if spec.image is None else _image(spec, spec.image, value)
    _kept_alive.extend(passed.values())
    return passed


def _array(spec: TensorSpec, value: Array) -> Array:
    dtype = np.dtype(_PASSED.get(spec.dtype, "float32"))
    if value.dtype.kind not in "biuf":
        raise InputError(f"input {spec.name!r} has the wrong type", received=value.dtype, supported=spec.dtype)
    if dtype.kind == "i" and value.dtype.kind == "f":
        raise InputError(f"input {spec.name!r} takes whole numbers", received=value.dtype, supported=spec.dtype)
    if dtype.kind == "i" and value.size:
        limits = np.iinfo(dtype)
        if value.max() > limits.max or value.min() < limits.min:
            raise InputError(
                f"input {spec.name!r} has values that do not fit",
                received=f"{value.min()} to {value.max()}",
                supported=f"{limits.min} to {limits.max}",
            )
    # Core ML has no scalars.
    return np.array(value.reshape(1) if value.ndim == 0 else value, dtype=dtype, order="C", copy=True)


def _image(spec: TensorSpec, image: ImageSpec, value: Any) -> Any:
    """A PIL image of an array of pixels (channels last or first, a batch of one or none), 0 to 255 in whole numbers."""
    from PIL import Image

    if image.color not in _MODES:
        raise InputError(f"image {spec.name!r} has an unknown colour space", received=image.color, supported=_MODES)
    mode = _MODES[image.color]
    pixels = np.asarray(value)
    channels = 3 if mode == "RGB" else 1
    planes = pixels.reshape(pixels.shape[1:]) if pixels.ndim == 4 and pixels.shape[0] == 1 else pixels
    if planes.ndim == 2 and channels == 1:
        planes = planes[..., None]
    if planes.ndim == 3 and planes.shape[-1] != channels and planes.shape[0] == channels:
        planes = planes.transpose(1, 2, 0)
    if planes.ndim != 3 or planes.shape[-1] != channels:
        raise InputError(
            f"image {spec.name!r} has the wrong shape",
            received=describe_shape(pixels.shape),
            supported=f"one image of {channels} channels, first or last",
        )
    if mode == "F":
        return Image.fromarray(np.ascontiguousarray(planes[..., 0], np.float32))
    whole = np.rint(planes)
    if not np.array_equal(whole, planes) or (planes.size and (planes.min() < 0 or planes.max() > 255)):
        raise InputError(
            f"image {spec.name!r} is of 8 bits a channel",
            received=f"{planes.dtype} from {planes.min():g} to {planes.max():g}",
            supported="whole numbers from 0 to 255",
        )
    eight = np.ascontiguousarray(whole.astype(np.uint8))
    return Image.fromarray(eight if mode == "RGB" else eight[..., 0])


def received_outputs(description: Description, outputs: Mapping[str, Any]) -> tuple[dict[str, Array], list[str]]:
    """Arrays in the declared order, and remarks: what arrived otherwise than declared.

    Images are (height, width, 3) or (height, width), without alpha; a classifier's dictionary is its values, by
    sorted keys. An output that is missing is left out.
    """
    declared = {spec.name: spec for spec in description.outputs}
    there = ", ".join(map(repr, outputs)) or "none"
    remarks = [f"output {name!r} did not arrive; there are {there}" for name in declared if name not in outputs]
    arrived = [name for name in outputs if name in declared]
    if arrived != [name for name in declared if name in outputs]:
        remarks.append(f"outputs arrive in the order {', '.join(arrived)}; declared: {', '.join(declared)}")
    arrays = {}
    for name in [*(name for name in declared if name in outputs), *(name for name in outputs if name not in declared)]:
        arrays[name], remark = _received(declared.get(name), outputs[name])
        if name not in declared:
            remark = "is not declared"
        if remark:
            remarks.append(f"output {name!r} {remark}")
    return arrays, remarks


def _received(spec: TensorSpec | None, value: Any) -> tuple[Array, str]:
    if hasattr(value, "getbands"):
        return _pixels(spec, value)
    if isinstance(value, Mapping):
        return np.array([value[key] for key in sorted(value)]), ""
    array = np.asarray(value)
    if spec is None or spec.dtype not in _GIVEN or array.dtype == _GIVEN[spec.dtype]:
        return array, ""
    expected = _GIVEN[spec.dtype]
    remark = f"arrived as {array.dtype}, where {spec.dtype} is declared and {expected} was expected"
    return array.astype(expected), remark


def _pixels(spec: TensorSpec | None, image: Any) -> tuple[Array, str]:
    mode = None if spec is None or spec.image is None else _MODES.get(spec.image.color)
    if mode is None:
        return np.asarray(image), f"arrived as an image of mode {image.mode}"
    remark = ""
    if image.mode == "RGBA":
        alpha = np.asarray(image)[..., 3]
        if mode != "RGB":
            remark = f"arrived as an image of mode RGBA, where {mode} was expected"
        elif alpha.size and alpha.min() < 255:
            remark = f"has an alpha channel that is not opaque: {alpha.min()} to {alpha.max()}"
    elif image.mode != mode:
        remark = f"arrived as an image of mode {image.mode}, where {mode} was expected"
    if mode == "L" and image.mode == "RGBA":
        return np.asarray(image)[..., 0].copy(), remark  # alpha and the other channels say nothing more
    return np.asarray(image if image.mode == mode else image.convert(mode)), remark


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Arrays by any name, in order."""
    np.savez(path, *arrays.values(), names=np.array(list(arrays), dtype=np.str_))


def read_arrays(path: Path) -> dict[str, Array]:
    """What ``write_arrays`` wrote. Raises OSError, ValueError or KeyError."""
    with np.load(path, allow_pickle=False) as stored:
        names = [str(name) for name in stored["names"]]
        return {name: stored[f"arr_{index}"] for index, name in enumerate(names)}

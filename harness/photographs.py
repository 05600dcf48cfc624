"""Real photographs as model inputs: those that ship inside scikit-image's wheel, and a user's own files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from harness.errors import InputError, UnknownNameError
from harness.tensors import TensorSpec, describe_shape

# Colour photographs in the wheel itself, by the name of their loader in skimage.data; no download.
COLOR_PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "hubble_deep_field", "immunohistochemistry", "retina", "rocket")
GRAYSCALE_PHOTOGRAPHS = ("brick", "camera", "coins", "grass", "gravel", "moon")

SUFFIXES = (".png", ".jpg", ".jpeg")

Photograph = NDArray[np.float32]

_COLORS = {1: "grayscale", 3: "RGB"}
_COLOR_OF_MODE = {"L": "grayscale", "I;16": "grayscale", "RGB": "RGB"}


def photograph(
    name: str, size: tuple[int, int] | None = None, *, corner: tuple[int, int] | None = None, scale: float = 1.0
) -> Photograph:
    """A photograph of scikit-image's as (1, height, width, channels) in [0, 1].

    It is resized by ``scale`` (Lanczos), then cropped to ``size`` (height, width) with its top left at
    ``corner`` (row, column), by default about the centre. Raises UnknownNameError, and InputError
    where the crop does not fit.
    """
    from skimage import data

    if name not in COLOR_PHOTOGRAPHS + GRAYSCALE_PHOTOGRAPHS:
        raise UnknownNameError(f"there is no photograph {name!r}", supported=COLOR_PHOTOGRAPHS + GRAYSCALE_PHOTOGRAPHS)
    image = Image.fromarray(getattr(data, name)())
    if scale != 1.0:
        image = image.resize(
            (round(image.width * scale), round(image.height * scale)), resample=Image.Resampling.LANCZOS
        )
    pixels = _as_float(image)
    return crop(pixels, size, corner) if size else pixels


def crop(pixels: Photograph, size: tuple[int, int], corner: tuple[int, int] | None = None) -> Photograph:
    """``size`` (height, width) out of (batch, height, width, channels), by default about the centre."""
    height, width = pixels.shape[1:3]
    top, left = corner if corner is not None else ((height - size[0]) // 2, (width - size[1]) // 2)
    if top < 0 or left < 0 or top + size[0] > height or left + size[1] > width:
        raise InputError(
            f"a crop of {size[0]}x{size[1]} at row {top}, column {left} is not inside the photograph",
            received=f"{height}x{width}",
            remedy="Choose a smaller crop",
        )
    return np.ascontiguousarray(pixels[:, top : top + size[0], left : left + size[1]])


def read_photograph(path: Path, spec: TensorSpec, *, multiple: int = 1) -> NDArray[np.generic]:
    """A PNG or JPEG file as the value of ``spec``, which is an image of 1 or 3 channels.

    Floating-point inputs get [0, 1], uint8 and int32 inputs get [0, 255]. Where height or width is flexible the size
    is the photograph's own, cropped about the centre to a multiple of ``multiple``; where it is fixed the photograph
    has to have it: nothing is resized behind the user's back. An alpha channel is dropped where it is opaque
    everywhere and refused elsewhere, since what is behind it is unknown. Raises InputError.
    """
    layout = image_layout(spec)
    channels = spec.shape[layout.index("C")]
    image = _open(path)
    wanted, received = _COLORS[channels or 3], _COLOR_OF_MODE[image.mode]
    if received != wanted:
        raise InputError(
            f"photograph {path} does not fit input {spec.name!r}",
            received=received,
            supported=f"{wanted}, since the shape is {describe_shape(spec.shape)}",
            remedy="Convert the photograph",
        )
    pixels = _as_float(image)
    pixels = crop(pixels, _size_for(path, spec, layout, pixels.shape[1:3], multiple))
    if np.issubdtype(np.dtype(spec.dtype), np.integer):
        pixels = np.rint(pixels * 255)
    if layout == "NCHW":
        pixels = pixels.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(pixels.astype(spec.dtype))


def image_layout(spec: TensorSpec) -> str:
    """``NHWC`` or ``NCHW``. Raises InputError where ``spec`` is not one image of 1 or 3 channels."""
    shape = spec.shape
    if len(shape) == 4 and shape[0] in (None, 1):
        layouts = [spec.layout] if spec.layout else ["NHWC", "NCHW"]
        for layout in layouts:
            if shape[layout.index("C")] in _COLORS:
                return layout
        if shape[3] is None and layouts[0] == "NHWC":
            return "NHWC"
    raise InputError(
        f"input {spec.name!r} cannot be filled with a photograph",
        received=describe_shape(shape),
        supported="one image of 1 or 3 channels, (1, height, width, channels)",
        remedy="Give the input as an array",
    )


def _size_for(path: Path, spec: TensorSpec, layout: str, photo: tuple[int, ...], multiple: int) -> tuple[int, int]:
    """The height and width to crop a photograph to."""
    fixed = tuple(spec.shape[layout.index(axis)] for axis in "HW")
    if any(size is not None and size != own for size, own in zip(fixed, photo, strict=True)):
        raise InputError(
            f"photograph {path} has the wrong size for input {spec.name!r}",
            received=f"{photo[0]}x{photo[1]} (height x width)",
            supported="x".join("any" if size is None else str(size) for size in fixed),
            remedy="Crop or resize the photograph",
        )
    height, width = (
        own // multiple * multiple if size is None else own for size, own in zip(fixed, photo, strict=True)
    )
    if height == 0 or width == 0:
        raise InputError(
            f"photograph {path} is too small for input {spec.name!r}",
            received=f"{photo[0]}x{photo[1]} (height x width)",
            supported=f"multiples of {multiple}",
            remedy="Give a larger photograph",
        )
    return height, width


def _open(path: Path) -> Image.Image:
    """The file decoded, upright, as RGB or grayscale of 8 bits a channel, or of 16 for grayscale (mode I;16)."""
    if not path.is_file():
        raise InputError(f"there is no photograph at {path}", remedy="Check the path")
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as file:
            image = ImageOps.exif_transpose(file)
            image.load()
    except UnidentifiedImageError as error:
        raise InputError(f"{path} is not a photograph", supported=SUFFIXES, remedy="Convert it") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"photograph {path} is too large", received=str(error), remedy="Give a smaller one") from error
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow's decoders raise for damaged files
        raise InputError(f"photograph {path} is damaged", received=str(error), remedy="Save it anew") from error
    return _without_alpha(path, image)


def _without_alpha(path: Path, image: Image.Image) -> Image.Image:
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    elif "transparency" in image.info and image.mode in ("L", "RGB"):
        image = image.convert("LA" if image.mode == "L" else "RGBA")
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("RGBA", "LA"):
        lowest, _ = image.getchannel("A").getextrema()
        if lowest != 255:
            raise InputError(
                f"photograph {path} is transparent in places",
                received=f"mode {image.mode}",
                supported="RGB or grayscale, with an opaque alpha channel or none",
                remedy="Flatten it onto a background",
            )
        return image.convert("RGB" if image.mode == "RGBA" else "L")
    if image.mode not in _COLOR_OF_MODE:
        raise InputError(
            f"photograph {path} has an unknown mode",
            received=image.mode,
            supported="RGB or grayscale",
            remedy="Convert it to RGB",
        )
    return image


def _as_float(image: Image.Image) -> Photograph:
    largest = 65535 if image.mode == "I;16" else 255
    pixels = np.asarray(image, dtype=np.float32) / np.float32(largest)
    return pixels[None, :, :, None] if pixels.ndim == 2 else pixels[None]

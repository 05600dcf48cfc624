from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.errors import InputError, UnknownNameError
from harness.photographs import (
    COLOR_PHOTOGRAPHS,
    GRAYSCALE_PHOTOGRAPHS,
    crop,
    image_layout,
    photograph,
    read_photograph,
)
from harness.tensors import TensorSpec

RGB = TensorSpec("image", (1, None, None, 3), "float32", "NHWC")
GRAYSCALE = TensorSpec("image", (1, None, None, 1), "float32", "NHWC")


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (13, 17, 3), np.uint8)


def save(image: Image.Image, folder: Path, name: str = "photo.png", **options: object) -> Path:
    image.save(folder / name, **options)
    return folder / name


@pytest.mark.parametrize(
    ("name", "channels"), [*((n, 3) for n in COLOR_PHOTOGRAPHS), *((n, 1) for n in GRAYSCALE_PHOTOGRAPHS)]
)
def test_photographs_of_the_wheel(name: str, channels: int) -> None:
    pixels = photograph(name)
    assert pixels.dtype == np.float32
    assert pixels.shape[0] == 1
    assert pixels.shape[3] == channels
    assert min(pixels.shape[1:3]) >= 300
    assert 0 <= pixels.min() < 0.4 < pixels.max() <= 1
    assert pixels.std() > 0.03


def test_no_such_photograph() -> None:
    with pytest.raises(UnknownNameError, match=r"'nobody'.*astronaut"):
        photograph("nobody")


def test_crop_by_corner_and_about_the_centre() -> None:
    whole = photograph("astronaut")
    np.testing.assert_array_equal(photograph("astronaut", (100, 50), corner=(7, 9)), whole[:, 7:107, 9:59])
    np.testing.assert_array_equal(photograph("astronaut", (100, 50)), whole[:, 206:306, 231:281])


def test_crop_outside() -> None:
    with pytest.raises(InputError, match=r"600x10.*512x512"):
        photograph("astronaut", (600, 10))
    with pytest.raises(InputError, match="row 500"):
        crop(photograph("astronaut"), (100, 100), (500, 0))


def test_scale_keeps_the_picture() -> None:
    half = photograph("astronaut", scale=0.5)
    assert half.shape == (1, 256, 256, 3)
    means = photograph("astronaut").reshape(256, 2, 256, 2, 3).mean((1, 3))
    assert np.abs(half[0] - means).mean() < 0.02


def test_rgb_png(tmp_path: Path, pixels: np.ndarray) -> None:
    value = read_photograph(save(Image.fromarray(pixels), tmp_path), RGB)
    assert value.dtype == np.float32
    np.testing.assert_array_equal(value[0], pixels / np.float32(255))


def test_jpeg(tmp_path: Path) -> None:
    value = read_photograph(save(Image.new("RGB", (16, 8), (200, 100, 50)), tmp_path, "photo.jpg", quality=95), RGB)
    assert value.shape == (1, 8, 16, 3)
    np.testing.assert_allclose(value[0, 4, 8], np.array([200, 100, 50]) / 255, atol=0.02)


@pytest.mark.parametrize(
    ("mode", "spec"), [("L", GRAYSCALE), ("RGBA", RGB), ("LA", GRAYSCALE), ("P", RGB), ("1", GRAYSCALE)]
)
def test_modes_that_fit(tmp_path: Path, pixels: np.ndarray, mode: str, spec: TensorSpec) -> None:
    image = Image.fromarray(pixels).convert(mode)
    expected = np.asarray(image.convert("RGB" if spec is RGB else "L"), np.float32).reshape(13, 17, -1) / 255
    np.testing.assert_allclose(read_photograph(save(image, tmp_path), spec)[0], expected, atol=1e-7)


def test_sixteen_bits_are_kept(tmp_path: Path) -> None:
    values = np.array([[0, 1, 257], [32768, 65534, 65535]], np.uint16)
    value = read_photograph(save(Image.fromarray(values), tmp_path), GRAYSCALE)
    np.testing.assert_allclose(value[0, ..., 0], values / 65535, atol=1e-7)


def test_camera_orientation_is_applied(tmp_path: Path, pixels: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter clockwise
    value = read_photograph(save(Image.fromarray(pixels), tmp_path, exif=exif), RGB)
    np.testing.assert_array_equal(value[0], np.rot90(pixels, -1) / np.float32(255))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (TensorSpec("i", (1, 13, 17, 3), "uint8", "NHWC"), lambda p: p[None]),
        (TensorSpec("i", (None, 3, None, None), "int32", "NCHW"), lambda p: p.transpose(2, 0, 1)[None]),
        (TensorSpec("i", (1, 3, 13, 17), "float32"), lambda p: p.transpose(2, 0, 1)[None] / np.float32(255)),
    ],
)
def test_types_and_layouts(tmp_path: Path, pixels: np.ndarray, spec: TensorSpec, expected) -> None:
    value = read_photograph(save(Image.fromarray(pixels), tmp_path), spec)
    assert value.dtype == spec.dtype
    assert value.flags.c_contiguous
    np.testing.assert_array_equal(value, expected(pixels))


def test_flexible_size_is_cropped_to_the_multiple(tmp_path: Path, pixels: np.ndarray) -> None:
    value = read_photograph(save(Image.fromarray(pixels), tmp_path), RGB, multiple=8)
    np.testing.assert_array_equal(value[0], pixels[2:10, 0:16] / np.float32(255))


def test_one_flexible_side(tmp_path: Path, pixels: np.ndarray) -> None:
    spec = TensorSpec("image", (1, 13, None, 3), "float32", "NHWC")
    assert read_photograph(save(Image.fromarray(pixels), tmp_path), spec, multiple=4).shape == (1, 13, 16, 3)


def transparent() -> Image.Image:
    image = Image.new("RGBA", (8, 8), (10, 20, 30, 255))
    image.putpixel((3, 3), (10, 20, 30, 254))
    return image


@pytest.mark.parametrize(
    ("image", "spec", "message"),
    [
        (Image.new("L", (8, 8)), RGB, "received grayscale; supported: RGB"),
        (Image.new("RGB", (8, 8)), GRAYSCALE, "received RGB; supported: grayscale"),
        (transparent(), RGB, "transparent.*Flatten"),
        (Image.new("RGB", (9, 8)), TensorSpec("image", (1, 8, 8, 3)), "received 8x9 .*supported: 8x8"),
        (Image.new("RGB", (9, 8)), TensorSpec("image", (1, None, 8, 3)), "supported: anyx8"),
        (Image.new("RGB", (8, 8)), TensorSpec("vector", (1, 10)), "cannot be filled"),
        (Image.new("RGB", (8, 8)), TensorSpec("batch", (4, 8, 8, 3)), "cannot be filled"),
        (Image.new("RGB", (8, 8)), TensorSpec("features", (1, 8, 8, 64)), "cannot be filled"),
    ],
)
def test_photographs_that_do_not_fit(tmp_path: Path, image: Image.Image, spec: TensorSpec, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_photograph(save(image, tmp_path), spec)


def test_too_small_for_the_multiple(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"too small.*multiples of 16"):
        read_photograph(save(Image.new("RGB", (40, 15)), tmp_path), RGB, multiple=16)


def test_cmyk_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="received CMYK"):
        read_photograph(save(Image.new("CMYK", (8, 8)), tmp_path, "photo.jpg"), RGB)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a photograph"),
        (b"GIF89a" + bytes(40), "not a photograph"),
        ("half", "damaged"),
        ("flipped", "damaged"),
    ],
)
def test_files_that_are_no_photographs(tmp_path: Path, pixels: np.ndarray, content: bytes | str, message: str) -> None:
    path = save(Image.fromarray(pixels), tmp_path)
    whole = path.read_bytes()
    if content == "half":
        content = whole[: len(whole) // 2]
    elif content == "flipped":
        content = whole[:100] + bytes(byte ^ 0xFF for byte in whole[100:160]) + whole[160:]
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_photograph(path, RGB)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no photograph at"):
        read_photograph(tmp_path / "absent.png", RGB)
    with pytest.raises(InputError, match="no photograph at"):
        read_photograph(tmp_path, RGB)


@pytest.mark.parametrize(
    ("shape", "layout"),
    [((1, 8, 8, 3), "NHWC"), ((None, None, None, None), "NHWC"), ((1, 3, 8, 8), "NCHW"), ((1, 1, 8, 1), "NHWC")],
)
def test_layout(shape: tuple[int | None, ...], layout: str) -> None:
    assert image_layout(TensorSpec("image", shape)) == layout

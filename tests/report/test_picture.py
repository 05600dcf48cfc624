from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageDraw

from harness.errors import StoreError
from harness.report.picture import comparison_picture, draw_cell

MAGENTA = (255, 0, 255)


@pytest.fixture
def labels(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text drawn, in order."""
    drawn: list[str] = []
    text = ImageDraw.ImageDraw.text

    def recording(self: ImageDraw.ImageDraw, where: tuple[int, int], words: str, *rest: object) -> None:
        drawn.append(words)
        text(self, where, words, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", recording)
    return drawn


def image(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape).astype(np.float32)


def panels(path: Path, size: tuple[int, int] = (256, 256), count: int = 4, lines: int = 2) -> list[np.ndarray]:
    """The panels of a picture whose panels all have ``size`` (width, height)."""
    picture = Image.open(path)
    assert picture.mode == "RGB"
    width, height = size
    top = 12 + lines * 20
    assert picture.size == (count * width + (count + 1) * 12, top + height + 12)
    lefts = [12 + number * (width + 12) for number in range(count)]
    return [np.asarray(picture.crop((left, top, left + width, top + height))) for left in lefts]


def test_four_panels_show_the_values(tmp_path: Path, labels: list[str]) -> None:
    source, reference = image(1, 256, 256, 3), image(1, 256, 256, 3, seed=1)
    candidate = reference.copy()
    candidate[0, 10, 20, 1] += 0.002
    candidate[0, 30, 40, 2] -= 0.001
    assert comparison_picture(tmp_path / "p.png", source, reference, candidate)
    shown = panels(tmp_path / "p.png")
    for panel, array in zip(shown, (source, reference, candidate), strict=False):
        np.testing.assert_allclose(panel, np.clip(array[0], 0, 1) * 255, atol=0.51)
    expected = np.zeros((256, 256, 3))
    expected[10, 20], expected[30, 40] = 255, 128  # times 500: 0.002 is white
    np.testing.assert_allclose(shown[3], expected, atol=1)
    assert labels == [
        "input", "256 x 256, black 0, white 1",
        "reference output", "256 x 256, black 0, white 1",
        "conversion's output", "256 x 256, black 0, white 1",
        "difference x 500", "max error 0.002, black 0, white 0.002",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("reference", "runtime", "titles"),
    [
        ("tensorflow", "portable", {"TensorFlow output", "portable runtime output"}),
        ("onnxruntime", "coreml", {"ONNX Runtime output", "Core ML output"}),
        ("tflite", "theirs", {"TensorFlow Lite output", "theirs output"}),
    ],
)
def test_a_cell_says_which_runtime_made_what(
    tmp_path: Path, labels: list[str], reference: str, runtime: str, titles: set[str]
) -> None:
    pixels = image(1, 32, 32, 3)
    assert draw_cell(tmp_path / "p.png", pixels, pixels, pixels, reference, runtime, "onnx float16, CPU")
    assert titles < set(labels)
    assert "onnx float16, CPU" in labels
    assert ("Core ML output" in labels) == (runtime == "coreml")


@pytest.mark.parametrize(
    ("error", "title"),
    [(0.9, "difference x 1"), (0.3, "difference x 2"), (1e-5, "difference x 100,000"), (3e-6, "difference x 200,000"),
     (2.5, "difference x 0.2"), (0.0, "no difference")],
)  # fmt: skip
def test_the_factor_is_round_and_stated(tmp_path: Path, labels: list[str], error: float, title: str) -> None:
    reference = np.zeros((32, 32, 1), np.float64)
    candidate = reference.copy()
    candidate[3, 3] = error
    assert comparison_picture(tmp_path / "p.png", reference, reference, candidate)
    assert title in labels
    assert any(words.startswith(f"max error {error:.3g},") for words in labels)


@pytest.mark.parametrize(
    ("scale", "offset", "dtype", "words"),
    [
        (1, 0, np.float32, "black 0, white 1"),
        (1.05, -0.02, np.float32, "black 0, white 1"),
        (2, -1, np.float32, "black -1, white 1"),
        (255, 0, np.float32, "black 0, white 255"),
        (0.4, 0, np.float16, "black 0, white 1"),
        (20, 0, np.uint8, "black 0, white 255"),
        (1000, -500, np.float32, "black -500, white 500"),
    ],
)
def test_the_values_of_black_and_white_are_stated(
    tmp_path: Path, labels: list[str], scale: float, offset: float, dtype: type, words: str
) -> None:
    ramp = np.linspace(0, 1, 64 * 64).reshape(1, 64, 64, 1) * scale + offset
    values = ramp.astype(dtype)
    assert comparison_picture(tmp_path / "p.png", values, values, values)
    assert labels[1] == labels[3] == f"64 x 64, {words}"


def test_super_resolution_shows_what_it_was_given_as_large(tmp_path: Path, labels: list[str]) -> None:
    source, output = image(1, 64, 64, 1), image(1, 256, 256, 1)
    assert comparison_picture(tmp_path / "p.png", source, output, output)
    shown = panels(tmp_path / "p.png")
    np.testing.assert_allclose(shown[0][::4, ::4, 0], source[0, :, :, 0] * 255, atol=0.51)
    np.testing.assert_array_equal(shown[0][..., 0], shown[0][..., 2])  # grey
    assert "64 x 64, black 0, white 1" in labels
    assert "256 x 256, black 0, white 1" in labels


def test_layouts(tmp_path: Path) -> None:
    array = image(1, 256, 256, 3)
    comparison_picture(tmp_path / "last.png", array, array, array * 0.5)
    first = array.transpose(0, 3, 1, 2)
    comparison_picture(tmp_path / "first.png", first, first, first * 0.5, layout="NCHW", input_layout="NCHW")
    grey = array[0, :, :, 0]
    comparison_picture(tmp_path / "grey.png", grey, grey, grey, layout="HW", input_layout="HW")
    same = ImageChops.difference(Image.open(tmp_path / "last.png"), Image.open(tmp_path / "first.png"))
    assert same.getbbox() is None
    np.testing.assert_allclose(panels(tmp_path / "grey.png")[0][..., 1], grey * 255, atol=0.51)


def test_values_that_are_not_finite_are_magenta_and_counted(tmp_path: Path, labels: list[str]) -> None:
    reference = image(1, 256, 256, 3)
    candidate = reference.copy()
    candidate[0, 5, 6, 0], candidate[0, 7, 8, :] = np.nan, np.inf
    assert comparison_picture(tmp_path / "p.png", reference, reference, candidate, candidate_subtitle="native float16")
    shown = panels(tmp_path / "p.png", lines=4)
    for panel in shown[2:]:
        assert tuple(panel[5, 6]) == tuple(panel[7, 8]) == MAGENTA
        assert np.count_nonzero((panel == MAGENTA).all(axis=2)) == 2
    assert "4 values are not finite (magenta)" in labels
    assert "2 values are not finite (magenta)" in labels  # of pixels of the difference
    assert "native float16" in labels


def test_a_large_picture_keeps_the_worst_pixel(tmp_path: Path) -> None:
    reference = np.full((1, 801, 600, 3), 0.5, np.float32)
    candidate = reference.copy()
    candidate[0, 711, 77] += 0.01
    assert comparison_picture(tmp_path / "p.png", reference, reference, candidate)
    shown = panels(tmp_path / "p.png", size=(300, 401))
    assert shown[3].max() == 255
    assert tuple(np.argwhere(shown[3][..., 0] == 255)[0]) == (711 // 2, 77 // 2)


def test_an_input_that_is_no_image_is_left_out(tmp_path: Path) -> None:
    output = image(1, 256, 256, 3)
    assert comparison_picture(tmp_path / "p.png", image(1, 100), output, output)
    assert len(panels(tmp_path / "p.png", count=3)) == 3


@pytest.mark.parametrize(
    ("reference", "candidate"),
    [
        (image(1, 10), image(1, 10)),
        (image(1, 32, 32, 64), image(1, 32, 32, 64)),
        (image(1, 32, 32, 2), image(1, 32, 32, 2)),
        (image(1, 32, 32, 3), image(1, 32, 16, 3)),
        (image(1, 0, 32, 3), image(1, 0, 32, 3)),
        (image(1, 32, 32, 3).astype(np.complex64), image(1, 32, 32, 3)),
    ],
)
def test_what_is_no_image_has_no_picture(tmp_path: Path, reference: np.ndarray, candidate: np.ndarray) -> None:
    assert not comparison_picture(tmp_path / "p.png", image(1, 32, 32, 3), reference, candidate)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("values", [np.nan, 0.0, 7.0, 1e-320])
def test_constant_images_have_a_picture_too(tmp_path: Path, values: float) -> None:
    array = np.full((1, 16, 16, 3), values)
    assert comparison_picture(tmp_path / "p.png", array, array, np.zeros_like(array))


def test_a_picture_that_cannot_be_written(tmp_path: Path) -> None:
    array = image(1, 16, 16, 3)
    with pytest.raises(StoreError, match=r"p\.png could not be written: No such file"):
        comparison_picture(tmp_path / "missing" / "p.png", array, array, array)

"""One picture a cell: input, the reference's output, the conversion's output, and the difference of the two."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from harness import metrics
from harness.errors import StoreError
from harness.report.names import runtime_name
from harness.tensors import Array

Pixels = np.ndarray[tuple[int, ...], np.dtype[np.float64]]  # (height, width, 1 or 3)
Bytes = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]  # (height, width, 3)

SMALLEST_PANEL, LARGEST_PANEL = 256, 640  # pixels of the longer side
MARGIN, LINE = 12, 20
BACKGROUND, INK, FAINT = (255, 255, 255), (25, 25, 25), (95, 95, 95)
NOT_FINITE = (255, 0, 255)
LARGEST_FACTOR = 1e12


@dataclass(frozen=True)
class _Panel:
    image: Image.Image
    title: str
    details: tuple[str, ...]


def comparison_picture(
    path: Path,
    image: Array,
    reference: Array,
    candidate: Array,
    *,
    layout: str | None = None,
    input_layout: str | None = None,
    reference_title: str = "reference output",
    candidate_title: str = "conversion's output",
    candidate_subtitle: str = "",
) -> bool:
    """Write a PNG of four labelled panels; False, and no file, where the outputs are not images of one shape.

    ``image`` is the model's input, ``reference`` and ``candidate`` its outputs; of a batch the first is
    shown. Titles say which runtime made which output. Layouts are as in
    ``metrics.image_layout``. Nothing is normalised in silence: each label states the values shown as black
    and white, and that of the difference its factor. Values that are not finite are magenta. Raises
    StoreError where the file cannot be written.
    """
    first, second, source = _pixels(reference, layout), _pixels(candidate, layout), _pixels(image, input_layout)
    if first is None or second is None or reference.shape != candidate.shape:
        return False
    shown = _shown_range(first, reference.dtype)
    panels = [
        _panel(first, shown, reference_title),
        _panel(second, shown, candidate_title, candidate_subtitle),
        _difference_panel(first, second, shown),
    ]
    if source is not None:
        panels.insert(0, _panel(source, _shown_range(source, image.dtype), "input"))
    try:
        _compose(panels).save(path, optimize=True)
    except OSError as error:
        raise StoreError(
            f"the picture {path} could not be written: {error.strerror or error}",
            remedy="Free space there, or choose another folder with --out",
        ) from error
    return True


def draw_cell(
    path: Path, image: Array, reference: Array, candidate: Array, reference_name: str, runtime: str, what: str
) -> bool:
    """The picture of a cell: the names are those of the two runtimes, and ``what`` says of which conversion it is."""
    return comparison_picture(
        path, image, reference, candidate, reference_title=f"{runtime_name(reference_name)} output",
        candidate_title=f"{runtime_name(runtime)} output", candidate_subtitle=what,
    )  # fmt: skip


def _pixels(array: Array, layout: str | None) -> Pixels | None:
    """The first image of an array, grey or RGB; transparency is left out. None where it holds none."""
    axes = metrics.image_layout(array.shape, layout)
    if axes is None or array.size == 0 or array.dtype.kind not in "biuf" or not set(axes) <= set("NHWC"):
        return None
    if "N" in axes:
        array = np.take(array, 0, axis=axes.index("N"))
        axes = axes.replace("N", "")
    if "C" not in axes:
        array, axes = array[..., np.newaxis], axes + "C"
    pixels = array.transpose([axes.index(letter) for letter in "HWC"]).astype(np.float64)
    channels = {1: 1, 3: 3, 4: 3}.get(pixels.shape[2])
    return None if channels is None else pixels[..., :channels]


def _shown_range(pixels: Pixels, dtype: np.dtype[np.generic]) -> tuple[float, float]:
    """Values shown as black and white: 0 to 255 for bytes; for other numbers the narrowest of 0 to 1,
    -1 to 1 and 0 to 255 that holds nearly all of them (networks overshoot a little), else their own range.
    """
    if dtype == np.uint8:
        return 0.0, 255.0
    finite = pixels[np.isfinite(pixels)]
    if finite.size == 0:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(finite, (1, 99)))
    for black, white in ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)):
        slack = 0.05 * (white - black)
        if black - slack <= low and high <= white + slack:
            return black, white
    return float(finite.min()), float(finite.max())


def _panel(pixels: Pixels, shown: tuple[float, float], title: str, subtitle: str = "") -> _Panel:
    height, width = pixels.shape[:2]
    sizes = f"{width} x {height}, black {shown[0]:.4g}, white {shown[1]:.4g}"
    details = (sizes, subtitle, _non_finite(pixels))
    return _Panel(_sized(_to_bytes(pixels, shown), maximum=False), title, tuple(filter(None, details)))


def _difference_panel(first: Pixels, second: Pixels, shown: tuple[float, float]) -> _Panel:
    """The greatest absolute difference over the channels, amplified by 1, 2 or 5 times a power of ten."""
    difference = np.max(np.abs(second - first), axis=2, keepdims=True)
    finite = difference[np.isfinite(difference)]
    greatest = float(finite.max()) if finite.size else 0.0
    span = shown[1] - shown[0]
    if greatest == 0:
        title, factor = "no difference", 1.0
    else:
        factor = _round_factor(min(span / greatest, LARGEST_FACTOR)) if span > 0 else 1.0
        title = f"difference x {factor:,.10g}"
    details = (f"max error {greatest:.3g}, black 0, white {span / factor:.3g}", _non_finite(difference))
    white = (0.0, span / factor)
    return _Panel(_sized(_to_bytes(difference, white), maximum=True), title, tuple(filter(None, details)))


def _round_factor(ratio: float) -> float:
    """The greatest of 1, 2 or 5 times a power of ten that is not above ``ratio``."""
    power = 10.0 ** math.floor(math.log10(ratio))
    return next(step * power for step in (5.0, 2.0, 1.0, 0.5) if step * power <= ratio * (1 + 1e-9))


def _non_finite(pixels: Pixels) -> str:
    count = int(np.count_nonzero(~np.isfinite(pixels)))
    return f"{count} values are not finite (magenta)" if count else ""


def _to_bytes(pixels: Pixels, shown: tuple[float, float]) -> Bytes:
    """8-bit RGB, clipped to the range shown."""
    black, white = shown
    finite = np.isfinite(pixels)
    scaled = np.where(finite, pixels, black) - black
    scaled = np.clip(scaled / (white - black) if white > black else scaled * 0, 0, 1)
    colors = np.repeat(np.rint(scaled * 255).astype(np.uint8), 3 // pixels.shape[2], axis=2)
    colors[~finite.all(axis=2)] = NOT_FINITE
    return colors


def _sized(colors: Bytes, maximum: bool) -> Image.Image:
    """Large enough to be seen, and no larger than a page; ``maximum`` keeps each block's greatest value."""
    height, width = colors.shape[:2]
    longer = max(height, width)
    if longer > LARGEST_PANEL:
        step = math.ceil(longer / LARGEST_PANEL)
        if maximum:
            padded = np.pad(colors, ((0, -height % step), (0, -width % step), (0, 0)))
            blocks = padded.reshape(padded.shape[0] // step, step, padded.shape[1] // step, step, 3)
            return Image.fromarray(blocks.max(axis=(1, 3)))
        return Image.fromarray(colors).reduce(step)
    image = Image.fromarray(colors)
    if longer < SMALLEST_PANEL:
        scale = math.ceil(SMALLEST_PANEL / longer)
        return image.resize((width * scale, height * scale), Image.Resampling.NEAREST)
    return image


def _compose(panels: list[_Panel]) -> Image.Image:
    """Panels side by side, of one height, each with its label above it."""
    title_font, font = ImageFont.load_default(size=15), ImageFont.load_default(size=12)
    height = max(panel.image.height for panel in panels)
    images = [_as_high(panel.image, height) for panel in panels]
    ruler = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    widths = [
        max(
            image.width,
            math.ceil(ruler.textlength(panel.title, title_font)),
            *(math.ceil(ruler.textlength(line, font)) for line in panel.details),
        )
        for panel, image in zip(panels, images, strict=True)
    ]
    lines = 1 + max(len(panel.details) for panel in panels)
    top = MARGIN + lines * LINE
    canvas = Image.new("RGB", (sum(widths) + MARGIN * (len(panels) + 1), top + height + MARGIN), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    left = MARGIN
    for panel, image, width in zip(panels, images, widths, strict=True):
        draw.text((left, MARGIN), panel.title, INK, title_font)
        for number, line in enumerate(panel.details, 1):
            draw.text((left, MARGIN + number * LINE), line, FAINT, font)
        canvas.paste(image, (left, top))
        left += width + MARGIN
    return canvas


def _as_high(image: Image.Image, height: int) -> Image.Image:
    """Enlarged to a height, pixels staying squares: what super-resolution was given beside what it made."""
    if image.height == height:
        return image
    return image.resize((round(image.width * height / image.height), height), Image.Resampling.NEAREST)

"""How far one output is from another: one metric, one pure function, and the judgement over all outputs.

Every metric takes a reference and a candidate of the same shape, computes in float64, and is None where
it is undefined: for empty arrays, for values that are not finite, and where its own docstring says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from harness.errors import InputError
from harness.judging import Judgement, judge
from harness.tensors import Array, TensorSpec, describe_shape
from harness.tolerance import Tolerance

Float64Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

# Side of the Gaussian window of SSIM (Wang et al. 2004, section III-C): sigma 1.5, 11 x 11.
SSIM_WINDOW = 11
# Most channels that an image has: grey, grey and alpha or optical flow, RGB, RGBA.
IMAGE_CHANNELS = 4


def max_absolute_error(reference: Array, candidate: Array) -> float | None:
    """``max |candidate - reference|``."""
    pair = _finite_pair(reference, candidate)
    return None if pair is None else float(np.max(np.abs(pair[1] - pair[0])))


def mean_absolute_error(reference: Array, candidate: Array) -> float | None:
    """``mean |candidate - reference|``."""
    pair = _finite_pair(reference, candidate)
    return None if pair is None else float(np.mean(np.abs(pair[1] - pair[0])))


def relative_error(reference: Array, candidate: Array) -> float | None:
    """``||candidate - reference|| / ||reference||`` in the 2-norm, as in Golub and Van Loan, Matrix
    Computations, 4th edition, section 2.2.3. Undefined where the reference is all zeros.
    """
    pair = _finite_pair(reference, candidate)
    if pair is None:
        return None
    reference64, candidate64 = _scaled(pair)
    norm = np.linalg.norm(reference64)
    return float(np.linalg.norm(candidate64 - reference64) / norm) if norm else None


def cosine_similarity(reference: Array, candidate: Array) -> float | None:
    """Cosine of the angle between the flattened arrays, -1 to 1. Undefined where either is all zeros."""
    pair = _finite_pair(reference, candidate)
    if pair is None:
        return None
    # Each is scaled by itself: the angle does not depend on lengths, which may differ without bound.
    reference64, candidate64 = (_scaled((array,))[0].ravel() for array in pair)
    norms = np.linalg.norm(reference64) * np.linalg.norm(candidate64)
    return float(np.clip(reference64 @ candidate64 / norms, -1.0, 1.0)) if norms else None


def psnr(reference: Array, candidate: Array, data_range: float | None = None) -> float | None:
    """Peak signal-to-noise ratio in decibels, ``10 log10(data_range^2 / mean squared error)``; infinite
    for equal arrays. ``data_range`` is ``data_range(reference)`` unless given; undefined where it is 0.
    """
    pair = _finite_pair(reference, candidate)
    peak = _range_of(reference) if data_range is None else data_range
    if pair is None or peak is None or peak <= 0:
        return None
    if np.array_equal(*pair):
        return float("inf")
    from skimage.metrics import peak_signal_noise_ratio

    # Scaled to a peak of 1 first, so that no square overflows or vanishes.
    return float(peak_signal_noise_ratio(pair[0] / peak, pair[1] / peak, data_range=1.0))


def ssim(
    reference: Array, candidate: Array, layout: str | None = None, data_range: float | None = None
) -> float | None:
    """Structural similarity as in Wang et al. 2004 (Gaussian window of 11, sigma 1.5, K1 0.01, K2 0.03),
    the mean over pixels, channels and the batch.

    The axes of the image are those that ``image_layout`` finds. Undefined where it finds none, where an
    image is smaller than the window, and where ``data_range`` (``data_range(reference)`` unless given) is 0.
    """
    pair = _finite_pair(reference, candidate)
    peak = _range_of(reference) if data_range is None else data_range
    axes = image_layout(reference.shape, layout)
    if pair is None or peak is None or peak <= 0 or axes is None:
        return None
    first, second = (_as_images(array / peak, axes) for array in pair)
    if min(first.shape[1:-1]) < SSIM_WINDOW:
        return None
    from skimage.metrics import structural_similarity

    values = [
        structural_similarity(
            *images, data_range=1.0, channel_axis=-1,
            gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        )
        for images in zip(first, second, strict=True)
    ]  # fmt: skip
    return float(np.mean(values))


def data_range(reference: Array, spec: TensorSpec | None = None) -> float | None:
    """The distance from the least to the greatest value that counts as the peak of PSNR and SSIM.

    255 for 8-bit images (by type, or by an image ``spec`` of 8 bits a channel); else the range that the
    reference itself spans, which never flatters: a nominal range is wider. None where it is not finite.
    """
    if reference.dtype == np.uint8 or (spec is not None and _is_8_bit(spec)):
        return 255.0
    if reference.size == 0 or not np.all(np.isfinite(reference)):
        return None
    return float(np.max(reference.astype(np.float64)) - np.min(reference.astype(np.float64)))


_range_of = data_range  # the metrics' parameter hides the function


def image_layout(shape: tuple[int, ...], layout: str | None = None) -> str | None:
    """One letter an axis where an array of ``shape`` holds images, or None.

    A stated ``layout`` is believed if it has as many letters as axes and an H and a W. Without one, three
    axes are HWC and four are NHWC (TensorFlow's order) or else NCHW, if C is at most 4.
    """
    if layout is not None:
        return layout if len(layout) == len(shape) and {"H", "W"} <= set(layout) else None
    for candidate in {3: ("HWC", "CHW"), 4: ("NHWC", "NCHW")}.get(len(shape), ()):
        if 1 <= shape[candidate.index("C")] <= IMAGE_CHANNELS:
            return candidate
    return None


def _is_8_bit(spec: TensorSpec) -> bool:
    return spec.image is not None and spec.image.color in ("RGB", "BGR", "GRAYSCALE")


def _as_images(array: Float64Array, layout: str) -> Float64Array:
    """Axes in the order batch, spatial axes, channels; a missing batch or channel axis has size 1."""
    spatial = [axis for axis, letter in enumerate(layout) if letter not in "NC"]
    for letter in "NC":
        if letter not in layout:
            array, layout = array[..., np.newaxis], layout + letter
    return array.transpose(layout.index("N"), *spatial, layout.index("C"))


def _finite_pair(reference: Array, candidate: Array) -> tuple[Float64Array, Float64Array] | None:
    if reference.shape != candidate.shape:
        raise InputError(
            "a metric needs two arrays of one shape",
            received=f"{describe_shape(reference.shape)} and {describe_shape(candidate.shape)}",
        )
    for array in (reference, candidate):
        if not _is_numeric(array):
            raise InputError("a metric needs real numbers", received=array.dtype)
    pair = reference.astype(np.float64), candidate.astype(np.float64)
    if pair[0].size == 0 or not all(np.all(np.isfinite(array)) for array in pair):
        return None
    return pair


def _is_numeric(array: Array) -> bool:
    """Whether values are real numbers; ``V`` is the kind of ml_dtypes' bfloat16 and float8."""
    return array.dtype.kind in "biuf" or (array.dtype.kind == "V" and array.dtype.names is None)


def _scaled(arrays: tuple[Float64Array, ...]) -> tuple[Float64Array, ...]:
    """All divided by the greatest magnitude in any, so that squares neither overflow nor vanish."""
    greatest = max(float(np.max(np.abs(array))) for array in arrays)
    return tuple(array / greatest for array in arrays) if greatest else arrays


@dataclass(frozen=True)
class OutputComparison:
    """One output, judged. Metrics are named as in Record; ``reason`` says why it failed, empty if it passed.

    ``judgement`` is None where the output could not be compared.
    """

    name: str
    reason: str = ""
    judgement: Judgement | None = None
    max_abs_error: float | None = None
    mean_abs_error: float | None = None
    relative_error: float | None = None
    cosine: float | None = None
    psnr: float | None = None
    ssim: float | None = None

    @property
    def passed(self) -> bool:
        """Whether it is within tolerance."""
        return not self.reason

    @property
    def excess(self) -> float:
        """The deviation as a multiple of its bound; infinite where it could not be compared."""
        if self.judgement is None:
            return np.inf
        deviation, bound = self.judgement.deviation, self.judgement.bound
        return deviation / bound if bound else np.inf if deviation else 0.0


@dataclass(frozen=True)
class Comparison:
    """Every output of the reference, judged.

    ``unjudged`` names outputs of the candidate that the reference does not have.
    """

    outputs: tuple[OutputComparison, ...]
    unjudged: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every output is within tolerance."""
        return all(output.passed for output in self.outputs)

    @property
    def worst(self) -> OutputComparison:
        """The output that failed, or could not be compared, and of several the one farthest beyond its bound."""
        return max(self.outputs, key=lambda output: (not output.passed, output.excess))

    @property
    def reason(self) -> str:
        """Why it failed, output by output; empty if it passed."""
        return "; ".join(output.reason for output in self.outputs if output.reason)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What could not be told, output by output."""
        return tuple(
            f"output {output.name!r}: {remark}"
            for output in self.outputs
            if output.judgement is not None
            for remark in output.judgement.remarks
        )


def compare(
    reference: Mapping[str, Array],
    candidate: Mapping[str, Array],
    tolerance: float | Tolerance,
    specs: Mapping[str, TensorSpec] | None = None,
    precision: str = "float32",
    *,
    only_judged: bool = False,
) -> Comparison:
    """Judge ``candidate`` against ``reference``, both by the reference's output names.

    ``tolerance`` is a case's, of which ``precision`` is taken, or a number: the greatest absolute error, inclusively.
    ``specs`` (by the same names) give layouts and image types; ``only_judged`` leaves out all metrics but the greatest
    absolute error. An output that is missing, empty, of another shape or
    not finite fails whatever the tolerance, also where the reference is not finite itself. Raises InputError for a
    tolerance that is no bound and for a reference without outputs.
    """
    if not isinstance(tolerance, Tolerance):
        tolerance = Tolerance({precision: tolerance}, "given as a number")
    if not reference:
        raise InputError("the reference has no outputs, so that nothing can be compared")
    specs = specs or {}
    outputs = tuple(
        _compare_output(
            name,
            np.asarray(array),
            candidate.get(name),
            tolerance.of_output(name),
            specs.get(name),
            precision,
            only_judged,
        )
        for name, array in reference.items()
    )
    return Comparison(outputs, tuple(name for name in candidate if name not in reference))


def absolute_bounds(reference: Mapping[str, Array], tolerance: Tolerance, precision: str) -> dict[str, float | None]:
    """The greatest absolute error that passes, by output; None of labels, and where nothing can be compared."""
    bounds: dict[str, float | None] = {}
    for name, array in reference.items():
        bounds[name] = None
        if not _obstacle(array, array):
            judged = judge(array, array, tolerance.of_output(name), precision, name=name)
            bounds[name] = judged.absolute_bound
    return bounds


def _compare_output(
    name: str,
    reference: Array,
    candidate: Array | None,
    tolerance: Tolerance,
    spec: TensorSpec | None,
    precision: str,
    only_judged: bool,
) -> OutputComparison:
    if candidate is None:
        return OutputComparison(name, f"output {name!r} is missing")
    candidate = np.asarray(candidate)
    obstacle = _obstacle(reference, candidate)
    if obstacle:
        return OutputComparison(name, f"output {name!r} {obstacle}")
    layout = spec.layout if spec else None
    judged = judge(reference, candidate, tolerance.of_output(name), precision, name=name, layout=layout)
    reason = f"output {name!r} {judged.reason}" if judged.reason else ""
    compared = OutputComparison(name, reason, judged, max_absolute_error(reference, candidate))
    if only_judged:
        return compared
    peak = data_range(reference, spec)
    return replace(
        compared,
        mean_abs_error=mean_absolute_error(reference, candidate),
        relative_error=relative_error(reference, candidate),
        cosine=cosine_similarity(reference, candidate),
        psnr=psnr(reference, candidate, peak),
        ssim=ssim(reference, candidate, layout, peak),
    )


def _obstacle(reference: Array, candidate: Array) -> str:
    """Why two outputs cannot be compared, or nothing."""
    if candidate.shape != reference.shape:
        return f"has shape {describe_shape(candidate.shape)}, the reference's is {describe_shape(reference.shape)}"
    for owner, array in (("its values", candidate), ("the reference's values", reference)):
        if not _is_numeric(array):
            return f"cannot be compared: {owner} are of type {array.dtype}, not real numbers"
    if reference.size == 0:
        return "is empty, so that nothing was compared"
    wrong = _count_non_finite(reference)
    if wrong:
        also = _count_non_finite(candidate)
        return f"cannot be judged: {wrong} of {reference.size} values of the reference are not finite" + (
            f", and {also} of its own" if also else ""
        )
    wrong = _count_non_finite(candidate)
    return f"has {wrong} of {candidate.size} values that are not finite" if wrong else ""


def _count_non_finite(array: Array) -> int:
    return int(np.count_nonzero(~np.isfinite(array.astype(np.float64))))

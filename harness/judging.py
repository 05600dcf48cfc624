"""Whether one output is near enough to the reference's: what kind of values it holds, its error, and its bound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from harness.likeness import mistaken_for
from harness.tensors import Array
from harness.tolerance import Kind, Tolerance

Float64Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

# The share of the greatest magnitude below which a difference says nothing, as numbers of a precision are no finer
# where sums are reordered: 128 half units in the last place of float32's 24 bits, 2 of float16's 11 bits.
RESOLUTION = {"float32": 2.0**-17, "float16": 2.0**-10}
# Integers of so few different values that do not change gradually are labels; a wide type holds labels beyond it too.
FEW_VALUES = 32
# Neighbours that differ by less than this share of what unrelated elements differ by change gradually.
GRADUAL = 0.5
# Below so many elements not a single label may differ.
SINGLE_LABEL_FROM = 100
# A label of at least so many elements must keep half of them.
COUNTED_LABEL = 10
# A window of labels in which more than half differ was computed wrongly: near ties are scattered, or lie along edges.
WINDOW = 5
# Slices along an axis of at most so many are looked at one by one.
SLICES = 256
# Rounding of a precision beside the greatest value of an output: an error beyond it is none.
NOISE = {"float32": 64 * 2.0**-24, "float16": 64 * 2.0**-11}
_LOST = 0.5
_FEW_LABELS = 4


@dataclass(frozen=True)
class Judgement:
    """One output beside the reference's.

    ``deviation`` and ``bound`` are in the unit of ``kind`` (see tolerance.Kind), ``scale`` is one such unit in the
    output's own. ``because`` says why it is of that kind. ``differing`` of ``elements`` are beyond what may pass for
    equal: the bound of floats, a whole step, another label. ``reason`` says why it failed, empty if it passed;
    ``remarks`` say what could not be told.
    """

    kind: Kind
    because: str
    deviation: float
    bound: float
    scale: float
    differing: int
    elements: int
    reason: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def absolute_bound(self) -> float | None:
        """The bound in the output's own unit; None of labels, whose distance means nothing."""
        return None if self.kind == "labels" else self.bound * self.scale


def judge(
    reference: Array,
    candidate: Array,
    tolerance: Tolerance,
    precision: str,
    *,
    name: str = "",
    layout: str | None = None,
) -> Judgement:
    """Compare two arrays of one shape, not empty, of finite real numbers.

    A type of another kind than the reference's fails: numbers for labels or whole numbers for reals. Outputs that are
    nearer to a known mistake than to the reference (turned, shifted by an element, channels swapped, another sign)
    fail too, however small the error.
    """
    kind, because = kind_of(reference)
    if tolerance.absolute is not None:
        kind, because = "absolute", "the case gives an absolute tolerance"
    if name in tolerance.kinds:
        kind, because = tolerance.kinds[name], "the case says so"
    pair = reference.astype(np.float64), candidate.astype(np.float64)
    judged = _JUDGES[kind](*pair, tolerance, precision)
    judged = replace(judged, kind=kind, because=f"{because}; {judged.because}" if judged.because else because)
    if obstacle := _wrong_type(reference, candidate):
        return replace(judged, reason=obstacle)
    if not judged.reason and judged.deviation > judged.bound:
        judged = replace(judged, reason=_beyond(judged))
    if kind == "absolute" and not judged.reason:  # a bound that was asked for stands
        return judged
    if likeness := _likeness(judged, *pair, precision, layout):
        reason = f"{judged.reason}: it is nearer to {likeness}" if judged.reason else f"is nearer to {likeness}"
        return replace(judged, reason=reason)
    return judged


def _likeness(
    judged: Judgement, reference: Float64Array, candidate: Float64Array, precision: str, layout: str | None
) -> str:
    """What the candidate was mistaken for; nothing where rounding explains all of the distance."""
    by_count = judged.kind == "labels"
    if not judged.deviation or (judged.kind == "steps" and judged.deviation <= 1):  # edges of steps move by rounding
        return ""
    if by_count:
        return mistaken_for(reference, candidate, layout, by_count=True, noise=_FEW_LABELS / judged.elements)
    # Scaled, so that no square overflows or vanishes.
    greatest = float(max(np.max(np.abs(reference)), np.max(np.abs(candidate))))
    noise = RESOLUTION.get(precision, 0.0) * float(np.max(np.abs(reference))) / greatest
    return mistaken_for(reference / greatest, candidate / greatest, layout, by_count=False, noise=noise)


def kind_of(reference: Array) -> tuple[Kind, str]:
    """What kind of values an output holds, and why: told from the type and the values of the reference's.

    Integers are quantities where neighbours change gradually, or where a narrow type has many values; else labels.
    Floats are labels only where they are whole numbers of few values that do not change gradually: a mask, one-hot.
    """
    if reference.dtype.kind == "b":
        return "labels", "truth values"
    whole = reference.dtype.kind in "iu"
    numbers = reference if whole else reference.astype(np.float64)
    if not whole and (reference.size < SINGLE_LABEL_FROM or not bool(np.all(numbers == np.rint(numbers)))):
        return "range", str(reference.dtype)
    values = np.unique(numbers)
    counted = f"{len(values)} different value{'' if len(values) == 1 else 's'}"
    about = f"{reference.dtype} of {counted}"
    if not whole:
        few = 2 <= len(values) <= FEW_VALUES and not _is_gradual(reference)
        return ("labels", f"{about}, all whole numbers") if few else ("range", str(reference.dtype))
    narrow = reference.dtype.itemsize <= 2
    if narrow and len(values) > FEW_VALUES:
        return "steps", about
    if _is_gradual(reference):
        return "steps", f"{about} that change gradually"
    if narrow and len(values) == 1:
        return "steps", about
    return "labels", f"{about} that do not change gradually"


def _is_gradual(array: Array) -> bool:
    """Whether neighbours, where they differ, differ by far less than unrelated elements, as in a photograph."""
    values = array.astype(np.float64)
    axes = _plane(array.shape) or tuple(axis for axis, size in enumerate(array.shape) if size > 1)
    steps = [np.abs(np.diff(values, axis=axis)).ravel() for axis in axes]
    near = np.concatenate([*steps, np.zeros(0)])
    near = near[near > 0]
    shuffled = np.random.default_rng(0).permutation(values.ravel())
    apart = np.abs(np.diff(shuffled))
    apart = apart[apart > 0]
    return bool(near.size and apart.size and float(np.median(near)) < GRADUAL * float(np.median(apart)))


def _plane(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The two longest axes, where both are long enough for windows."""
    longest = sorted(sorted(range(len(shape)), key=lambda axis: -shape[axis])[:2])
    return tuple(longest) if len(longest) == 2 and min(shape[axis] for axis in longest) >= 2 * WINDOW else ()


def _wrong_type(reference: Array, candidate: Array) -> str:
    """Core ML has no 8-bit, 16-bit or 64-bit integers and no truth values, so that such outputs come in other types."""
    if reference.dtype.kind in "biu":
        if candidate.dtype.kind in "biu" or bool(np.all(candidate == np.rint(candidate))):
            return ""
        return f"is {candidate.dtype} with fractions, the reference's is {reference.dtype}"
    if candidate.dtype.kind not in "biu":
        return ""
    return f"is {candidate.dtype}, the reference's is {reference.dtype}"


def _beyond(judged: Judgement) -> str:
    if judged.kind == "labels":
        share = f"{judged.differing} of {judged.elements} elements ({judged.deviation:.2%})"
        return f"differs in {share}, beyond {judged.bound:.2%}"
    if judged.kind == "steps":
        count = f"{judged.differing} of {judged.elements} elements differ"
        return f"is {judged.deviation:.4g} steps off, beyond {judged.bound:.4g}; {count}"
    off = judged.deviation * judged.scale
    if judged.kind == "absolute":
        return f"is {off:.4g} off, beyond {judged.bound:.4g}"
    return f"is {off:.4g} off, {judged.deviation:.2g} of the range, beyond {judged.bound:.2g}"


def _by_absolute(reference: Float64Array, candidate: Float64Array, tolerance: Tolerance, precision: str) -> Judgement:
    error = np.abs(candidate - reference)
    bound = tolerance.bound("absolute", precision)
    assert bound is not None
    beyond = int(np.count_nonzero(error > bound))
    return Judgement("absolute", "", float(error.max()), bound, 1.0, beyond, error.size)


def _by_range(reference: Float64Array, candidate: Float64Array, tolerance: Tolerance, precision: str) -> Judgement:
    share = tolerance.bound("range", precision)
    assert share is not None
    low, high = float(reference.min()), float(reference.max())
    span, greatest = high - low, max(abs(low), abs(high))
    resolution = RESOLUTION.get(precision, 0.0)
    remarks: tuple[str, ...] = ()
    if greatest == 0:
        scale, share, because = 1.0, resolution, "the reference is zero everywhere, so that nothing has a scale"
        remarks = ("the reference is zero everywhere: only zeros can be told from what is not",)
    elif span <= resolution * greatest / 2:
        scale, because = greatest, f"the reference is {low:.4g} everywhere: relative to that"
        if span and reference.size > 1:
            remarks = (f"it varies by {span:.2g} about {low:.4g}, which {precision} does not tell apart",)
    else:
        scale, because = span, f"values from {low:.4g} to {high:.4g}"
        if resolution * greatest > 0.1 * span:
            fine = resolution * greatest
            remarks = (f"it varies by {span:.2g} and {precision} tells {fine:.2g} apart there: details are not judged",)
    bound = max(share, resolution * greatest / scale)
    error = np.abs(candidate - reference)
    beyond = int(np.count_nonzero(error > bound * scale))
    judged = Judgement("range", because, float(error.max()) / scale, bound, scale, beyond, error.size, "", remarks)
    return _with_parts(judged, reference, candidate, precision, greatest)


def _with_parts(
    judged: Judgement, reference: Float64Array, candidate: Float64Array, precision: str, greatest: float
) -> Judgement:
    """Fails where a part whose own range is within the bound (scores beside coordinates) has nothing of the reference.

    Where the rounding of large values beside it may explain that, it is a remark.
    """
    if judged.deviation > judged.bound:
        return judged
    remarks = list(judged.remarks)
    for part, first, second in _parts(reference, candidate):
        span = float(np.ptp(first))
        if not 0 < span <= judged.bound * judged.scale:
            continue
        off = second - first
        # Scaled, so that no square overflows or vanishes.
        if float(np.sqrt(np.mean(np.square(off / span)))) <= _LOST * float(np.std(first / span)):
            continue
        error = float(np.max(np.abs(off)))
        noise = NOISE.get(precision, 0.0) * greatest
        said = f"{part} spans {span:.2g} and is {error:.2g} off, as if it were not computed"
        if error > noise:
            return replace(judged, reason=f"is within tolerance only beside values of {greatest:.3g}: {said}")
        remarks.append(f"{said}; beside values of {greatest:.3g}, {precision} cannot tell")
        if len(remarks) > 3:  # one of many is enough
            break
    return replace(judged, remarks=tuple(remarks))


def _parts(reference: Float64Array, candidate: Float64Array) -> list[tuple[str, Float64Array, Float64Array]]:
    """The central 98 % of all values, and slices along the second and the last axis, which hold channels."""
    parts = []
    if reference.size >= SINGLE_LABEL_FROM:
        low, high = np.percentile(reference, (1, 99))
        chosen = (reference >= low) & (reference <= high)
        parts.append(("98 % of it", reference[chosen], candidate[chosen]))
    for axis in sorted({1, reference.ndim - 1} & set(range(1, reference.ndim))):
        count = reference.shape[axis]
        if 1 < count <= SLICES and reference.size // count >= 8:
            for index in range(count):
                of_axis = np.take(reference, index, axis), np.take(candidate, index, axis)
                parts.append((f"element {index} along axis {axis}", *of_axis))
    return parts


def _by_steps(reference: Float64Array, candidate: Float64Array, tolerance: Tolerance, precision: str) -> Judgement:
    bound = tolerance.bound("steps", precision)
    span = float(np.ptp(reference))
    if bound is None:
        share = tolerance.bound("range", precision)
        assert share is not None
        bound = float(max(1, round(share * span)))
    error = np.abs(candidate - reference)
    differing = int(np.count_nonzero(error >= 0.5))
    because = f"from {reference.min():.6g} to {reference.max():.6g}"
    return Judgement("steps", because, float(error.max()), bound, 1.0, differing, error.size)


def _by_labels(reference: Float64Array, candidate: Float64Array, tolerance: Tolerance, precision: str) -> Judgement:
    bound = tolerance.bound("labels", precision)
    assert bound is not None
    # A mask of floats need not be exact; what is nearer to no label than this has another.
    differs = np.abs(candidate - reference) > (tolerance.bound("range", precision) or 0.0)
    count, elements = int(np.count_nonzero(differs)), differs.size
    bound = 0.0 if not bound or elements < SINGLE_LABEL_FROM else max(bound, 1 / elements)
    judged = Judgement("labels", "", count / elements, bound, 1.0, count, elements)
    if count > bound * elements:
        return judged
    return replace(judged, reason=_crowded(differs) or _lost_label(reference, differs))


def _crowded(differs: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> str:
    axes = _plane(differs.shape)
    if not axes:
        return ""
    from scipy.ndimage import uniform_filter

    size = [WINDOW if axis in axes else 1 for axis in range(differs.ndim)]
    share = uniform_filter(differs.astype(np.float32), size=size, mode="constant")
    at = np.unravel_index(int(np.argmax(share)), share.shape)
    if share[at] <= 0.5:
        return ""
    where = ", ".join(str(int(at[axis])) for axis in axes)
    return f"differs in {share[at]:.0%} of the elements about ({where}), which no near tie explains"


def _lost_label(reference: Float64Array, differs: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> str:
    labels, inverse, counts = np.unique(reference, return_inverse=True, return_counts=True)
    lost = np.bincount(inverse.ravel()[differs.ravel()], minlength=len(labels))
    worst = int(np.argmax(np.where(counts >= COUNTED_LABEL, lost / counts, 0)))
    if counts[worst] < COUNTED_LABEL or lost[worst] <= 0.5 * counts[worst]:
        return ""
    return f"has lost {lost[worst]} of {counts[worst]} elements of the label {labels[worst]:.6g}"


_JUDGES: dict[Kind, Callable[[Float64Array, Float64Array, Tolerance, str], Judgement]] = {
    "range": _by_range, "steps": _by_steps, "labels": _by_labels, "absolute": _by_absolute,
}  # fmt: skip

"""Whether one output is near enough to the reference's: what kind of values it holds, its error, and its bound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from harness.likeness import longest_axes, mistaken_for
from harness.tensors import Array
from harness.tolerance import Kind, Tolerance

Float64Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Booleans = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]

# The share of the greatest magnitude below which a difference says nothing, as numbers of a precision are no finer
# where sums are reordered: 128 half units in the last place of float32's 24 bits, 2 of float16's 11 bits.
RESOLUTION = {"float32": 2.0**-17, "float16": 2.0**-10}
# Integers of so few different values that do not change gradually are labels; a wide type holds labels beyond it too.
FEW_VALUES = 32
# Neighbours that differ by less than this share of what unrelated elements differ by change gradually.
GRADUAL = 0.5
# Labels lie in patches: at least this share of neighbours are equal, where there are more values than a few.
PATCHES = 0.5
# Neighbours of so many different values that mostly differ by less than a sixteenth of their count are steps.
ORDERED_FROM = 8
# Below so many elements not a single label may differ.
SINGLE_LABEL_FROM = 100
# A label of at least so many elements must keep half of them, and what it loses or gains is bounded by its own size:
# by so many times the share of all elements that may differ.
COUNTED_LABEL = 10
LABEL_SHARE = 20
# A window of labels in which more than half differ was computed wrongly: near ties are scattered, or lie along edges.
WINDOW = 5
# Rounding of whole numbers leans to neither side: the mean of their errors is at most this share of the bound.
LEANING = 0.4
# From this share of steps on, a shift is looked for also where no element is more than a step off.
MANY_STEPS = 0.05
# Slices along an axis of at most so many are looked at one by one, if they span less than a tenth of the whole.
SLICES = 1024
SMALL_PART = 0.1
# Rounding of the greatest value of an output, which may reach the values beside it; and the share of a part's own
# standard deviation that its error may be, beyond that.
NOISE = {"float32": 64 * 2.0**-24, "float16": 2.0**-11}
LOST = {"float32": 0.05, "float16": 0.5}
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
    if name in tolerance.kinds:
        kind, because = tolerance.kinds[name], "the case says so"
    elif tolerance.absolute is not None:
        kind, because = "absolute", "the case gives an absolute tolerance"
    else:
        kind, because = kind_of(reference)
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
    if not judged.deviation:
        return ""
    if judged.kind == "steps" and judged.deviation <= 1 and judged.differing < MANY_STEPS * judged.elements:
        return ""  # edges of steps move by rounding
    if by_count:
        return mistaken_for(reference, candidate, layout, by_count=True, noise=_FEW_LABELS / judged.elements)
    # Scaled, so that no square overflows or vanishes.
    greatest = float(max(np.max(np.abs(reference)), np.max(np.abs(candidate))))
    noise = RESOLUTION.get(precision, 0.0) * float(np.max(np.abs(reference))) / greatest
    return mistaken_for(reference / greatest, candidate / greatest, layout, by_count=False, noise=noise)


def kind_of(reference: Array) -> tuple[Kind, str]:
    """What kind of values an output holds, and why: told from the type and the values of the reference's.

    Integers are quantities where neighbours change gradually, or where a narrow type has many values that lie in no
    patches; else labels. Floats are labels only where they are whole numbers of a few values, or in patches, that do
    not change gradually: a mask, one-hot.
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
    gradual, patches = _neighbours(numbers)
    if not whole:
        labels = not gradual and len(values) > 1 and (len(values) <= FEW_VALUES or patches)
        return ("labels", f"{about}, all whole numbers, in patches") if labels else ("range", str(reference.dtype))
    if gradual:
        return "steps", f"{about} that change gradually"
    if reference.dtype.itemsize > 2 or len(values) == 1:
        return "labels", f"{about} that do not change gradually" if len(values) > 1 else about
    if len(values) <= FEW_VALUES and reference.size >= SINGLE_LABEL_FROM:
        return "labels", f"{about} that do not change gradually"
    return ("labels", f"{about} in patches") if patches else ("steps", about)


def _neighbours(array: Array) -> tuple[bool, bool]:
    """Whether neighbours, where they differ, differ by far less than unrelated elements, as in a photograph; and
    whether most of them are equal, as in a map of labels. Too few elements tell neither."""
    if array.size < SINGLE_LABEL_FROM:
        return False, False
    values = array.astype(np.float64)
    axes = _plane(array.shape) or tuple(axis for axis, size in enumerate(array.shape) if size > 1)
    near = np.concatenate([*(np.abs(np.diff(values, axis=axis)).ravel() for axis in axes), np.zeros(0)])
    patches = bool(near.size and np.mean(near == 0) > PATCHES)
    near = near[near > 0]
    shuffled = np.random.default_rng(0).permutation(values.ravel())
    apart = np.abs(np.diff(shuffled))
    apart = apart[apart > 0]
    gradual = near.size and apart.size and float(np.median(near)) < GRADUAL * float(np.median(apart))
    # A flat photograph has hardly more than noise to differ by; labels next to each other are any two.
    count = len(np.unique(values))
    by_little = count >= ORDERED_FROM and float(np.mean(near <= max(1, count / 16))) > PATCHES
    return bool(gradual or by_little), patches


def _plane(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The two longest axes, where both are long enough for windows."""
    longest = longest_axes(shape)
    return longest if longest and min(shape[axis] for axis in longest) >= 2 * WINDOW else ()


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
        allowed = f"beyond {judged.bound:.2%}" if judged.bound else "where none may differ"
        return f"differs in {share}, {allowed}"
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
        remarks = ("the reference is zero everywhere for this input, which tells little: try another input",)
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
    noise, lost = NOISE.get(precision, 0.0) * greatest, LOST.get(precision, 0.5)
    for part, first, second in _parts(reference, candidate):
        off, span = second - first, float(np.ptp(first))
        # Scaled, so that no square overflows or vanishes.
        if float(np.sqrt(np.mean(np.square(off / span)))) <= lost * float(np.std(first / span)):
            continue
        error = float(np.max(np.abs(off)))
        said = f"{part} spans {span:.2g} and is {error:.2g} off"
        if error > noise:
            return replace(judged, reason=f"is within tolerance only beside values of {greatest:.3g}: {said}")
        if span <= judged.bound * judged.scale and not judged.remarks:
            told = f"{said}: beside values of {greatest:.3g}, {precision} cannot tell whether it was computed"
            judged = replace(judged, remarks=(told,))
    return judged


def _parts(reference: Float64Array, candidate: Float64Array) -> Iterator[tuple[str, Float64Array, Float64Array]]:
    """Parts that span less than a tenth of the whole: the central 98 % of all values, and slices along the second and
    the last axis, which hold channels."""
    small = SMALL_PART * float(np.ptp(reference))
    if reference.size >= SINGLE_LABEL_FROM:
        low, high = np.percentile(reference, (1, 99))
        if 0 < high - low <= small:
            chosen = (reference >= low) & (reference <= high)
            yield "98 % of it", reference[chosen], candidate[chosen]
    for axis in sorted({1, reference.ndim - 1} & set(range(1, reference.ndim))):
        count = reference.shape[axis]
        if not (1 < count <= SLICES and reference.size // count >= 8):
            continue
        others = tuple(other for other in range(reference.ndim) if other != axis)
        spans = reference.max(axis=others) - reference.min(axis=others)
        for index in np.flatnonzero((spans > 0) & (spans <= small)):
            of_axis = np.take(reference, index, axis), np.take(candidate, index, axis)
            yield f"element {index} along axis {axis}", *of_axis


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
    judged = Judgement("steps", because, float(error.max()), bound, 1.0, differing, error.size)
    leaning = float(np.mean(candidate - reference))
    if judged.deviation > bound or tolerance.steps is not None or abs(leaning) <= LEANING * bound:
        return judged
    reason = (
        f"is {abs(leaning):.2g} steps too {'high' if leaning > 0 else 'low'} on average, which no rounding explains"
    )
    return replace(judged, reason=reason)


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
    reason = _crowded(differs) or _in_a_line(reference, candidate, differs)
    return _by_label(replace(judged, reason=reason), reference, candidate, differs)


def _crowded(differs: Booleans) -> str:
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


def _in_a_line(reference: Float64Array, candidate: Float64Array, differs: Booleans) -> str:
    """A row or column of which more than half differs, apart from edges of labels that have moved by an element."""
    axes = _plane(differs.shape) or tuple(axis for axis, size in enumerate(differs.shape) if size > 2 * WINDOW)
    unexplained = differs.copy()
    for axis in axes:
        for shift in (1, -1):
            unexplained &= np.roll(reference, shift, axis) != candidate
    for axis in axes if len(axes) > 1 else ():
        others = tuple(other for other in range(differs.ndim) if other != axis)
        share = unexplained.mean(axis=others)
        worst = int(np.argmax(share))
        if share[worst] > 0.5:
            return f"differs in {share[worst]:.0%} of line {worst} along axis {axis}, which no near tie explains"
    return ""


def _by_label(judged: Judgement, reference: Float64Array, candidate: Float64Array, differs: Booleans) -> Judgement:
    """Fails where a label has lost or gained more elements than its own size allows; says which are gone."""
    labels, inverse, counts = np.unique(reference, return_inverse=True, return_counts=True)
    lost = np.bincount(inverse.ravel()[differs.ravel()], minlength=len(labels))
    into = np.searchsorted(labels, np.rint(candidate[differs]))
    known = (into < len(labels)) & (labels[np.minimum(into, len(labels) - 1)] == np.rint(candidate[differs]))
    gained = np.bincount(into[known], minlength=len(labels))
    share = min(0.5, LABEL_SHARE * judged.bound)
    beyond = (counts >= COUNTED_LABEL) & (
        (lost > 0.5 * counts) | (np.maximum(lost, gained) > np.maximum(COUNTED_LABEL, share * counts))
    )
    if not judged.reason and beyond.any():
        worst = int(np.argmax(np.where(beyond, np.maximum(lost, gained) / counts, 0)))
        moved = f"{lost[worst]} lost and {gained[worst]} gained"
        reason = f"has another label {labels[worst]:.6g}: of {counts[worst]} elements {moved}"
        return replace(judged, reason=reason)
    gone = np.flatnonzero((lost == counts) & (counts < COUNTED_LABEL))
    if not gone.size:
        return judged
    size = int(counts[gone[0]])
    said = f"label {labels[gone[0]]:.6g} is gone ({size} element{'' if size == 1 else 's'})"
    return replace(judged, remarks=(*judged.remarks, said + (f", and {gone.size - 1} more" if gone.size > 1 else "")))


_JUDGES: dict[Kind, Callable[[Float64Array, Float64Array, Tolerance, str], Judgement]] = {
    "range": _by_range, "steps": _by_steps, "labels": _by_labels, "absolute": _by_absolute,
}  # fmt: skip

"""Known mistakes of conversions: whether an output is nearer to the reference changed in one way than to itself."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

Float64Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
# What a mistake is called, the reference as it is, the reference with the mistake, and the candidate beside them.
Change = tuple[str, Float64Array, Float64Array, Float64Array]

# Nearer means at most this share of the distance to the reference itself: rounding never comes so near by chance.
NEARER = 0.5
# Of larger outputs the part about the greatest error is looked at.
LARGEST = 1 << 20
_MOST_CHANNELS = 4
_SHIFTED = "the reference shifted by"


def mistaken_for(
    reference: Float64Array, candidate: Float64Array, layout: str | None, *, by_count: bool, noise: float
) -> str:
    """What the candidate is nearer to than to the reference, or nothing.

    ``layout`` is one letter an axis (``NHWC``); without one, the two longest axes are height and width, and an axis of
    2 to 4 elements holds channels. ``by_count`` counts elements that differ, else a distance is the root of the mean
    square. Distances up to ``noise`` tell nothing.
    """
    plane, channels = axes_of(reference.shape, layout)
    part = _about_the_error(reference, candidate, plane)
    reference, candidate = reference[part], candidate[part]
    nearest, name = NEARER, ""
    for change, itself, changed, compared in _changes(reference, candidate, plane, channels, by_count):
        own = _distance(itself, compared, by_count)
        if not by_count:  # what a constant error explains as well was not shifted
            own = min(own, float(np.std(compared - itself))) if change.startswith(_SHIFTED) else own
        if own > noise and (nearness := _distance(changed, compared, by_count) / own) <= nearest:
            nearest, name = nearness, change
    return name


def axes_of(shape: tuple[int, ...], layout: str | None) -> tuple[tuple[int, ...], int | None]:
    """Which axes are height and width, in their order, and which holds channels; none where that cannot be told."""
    if layout is not None and len(layout) == len(shape) and {"H", "W"} <= set(layout):
        plane = tuple(sorted((layout.index("H"), layout.index("W"))))
        channels = layout.index("C") if "C" in layout else None
    else:
        plane = longest_axes(shape)
        small = [axis for axis, size in enumerate(shape) if axis not in plane and 2 <= size <= _MOST_CHANNELS]
        channels = small[-1] if small else None
    if plane and min(shape[axis] for axis in plane) < 4:
        plane = ()
    if channels is not None and not 2 <= shape[channels] <= _MOST_CHANNELS:
        channels = None
    return plane, channels


def longest_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The two longest axes in their order, which are taken for height and width; none of fewer than two."""
    longest = sorted(range(len(shape)), key=lambda axis: -shape[axis])[:2]
    return tuple(sorted(longest)) if len(longest) == 2 else ()


def _about_the_error(reference: Float64Array, candidate: Float64Array, plane: tuple[int, ...]) -> tuple[slice, ...]:
    chosen = [slice(None)] * reference.ndim
    share = (LARGEST / reference.size) ** 0.5 if reference.size else 1.0
    if share >= 1 or not plane:
        return tuple(chosen)
    at = np.unravel_index(int(np.argmax(np.abs(candidate - reference))), reference.shape)
    for axis in plane:
        size = reference.shape[axis]
        kept = min(size, max(8, int(size * share)))
        start = min(max(0, int(at[axis]) - kept // 2), size - kept)
        chosen[axis] = slice(start, start + kept)
    return tuple(chosen)


def _distance(first: Float64Array, second: Float64Array, by_count: bool) -> float:
    if by_count:
        return float(np.mean(np.abs(first - second) >= 0.5))
    return float(np.sqrt(np.mean(np.square(first - second))))


def _changes(
    reference: Float64Array, candidate: Float64Array, plane: tuple[int, ...], channels: int | None, is_label: bool
) -> Iterator[Change]:
    def whole(name: str, changed: Float64Array) -> Change:
        return name, reference, changed, candidate

    if is_label:
        yield whole("the reference with every label one higher", reference + 1)
        yield whole("the reference with every label one lower", reference - 1)
    else:
        yield whole("the reference with the other sign", -reference)
        yield whole("the reference turned to its negative", reference.min() + reference.max() - reference)
    if channels is not None:
        count = reference.shape[channels]
        for order in itertools.permutations(range(count)):
            if order != tuple(range(count)):
                said = ", ".join(map(str, order))
                name = f"the reference with its channels in the order {said}"
                yield whole(name, np.take(reference, order, channels))
        moved = np.moveaxis(reference, channels, 0).reshape(reference.shape)
        yield whole("the reference's elements in another layout", moved)
    if len(plane) == 2:
        yield from _moved(reference, candidate, plane)
        for axis in plane:
            yield whole(f"the reference mirrored along axis {axis}", np.flip(reference, axis))
        if reference.shape[plane[0]] == reference.shape[plane[1]]:
            yield whole("the reference with rows and columns swapped", np.swapaxes(reference, *plane))


def _moved(reference: Float64Array, candidate: Float64Array, plane: tuple[int, ...]) -> Iterator[Change]:
    """The reference shifted by an element along either axis or both; what is shifted in is left out."""
    for shifts in itertools.product((0, 1, -1), repeat=2):
        if shifts == (0, 0):
            continue
        to, source = [slice(None)] * reference.ndim, [slice(None)] * reference.ndim
        for axis, shift in zip(plane, shifts, strict=True):
            if shift:
                to[axis] = slice(1, None) if shift > 0 else slice(None, -1)
                source[axis] = slice(None, -1) if shift > 0 else slice(1, None)
        said = " and ".join(f"{shift:+d} along axis {axis}" for axis, shift in zip(plane, shifts, strict=True) if shift)
        at, of = tuple(to), tuple(source)
        yield f"{_SHIFTED} {said}", reference[at], reference[of], candidate[at]

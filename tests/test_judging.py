"""A battery: conversions made wrong on purpose all fail, honest ones all pass, over what outputs may hold."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from harness.errors import InputError
from harness.judging import kind_of
from harness.metrics import Comparison, compare
from harness.photographs import COLOR_PHOTOGRAPHS, GRAYSCALE_PHOTOGRAPHS, photograph
from harness.tensors import TensorSpec
from harness.tolerance import DEFAULT_TOLERANCE, Tolerance
from harness.tolerance import KINDS as KINDS_OF_TOLERANCE

Array = np.ndarray
SIZE = 64


@cache
def image(scale: float = 1.0, low: float = 0.0) -> Array:
    """A photograph, (1, 64, 64, 3), from ``low`` on, ``scale`` wide."""
    return (low + scale * photograph("coffee", (SIZE, SIZE))).astype(np.float32)


@cache
def scores(classes: int = 5) -> Array:
    """Smooth scores of classes, as a segmentation network makes them before argmax."""
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(4).normal(size=(1, SIZE, SIZE, classes))
    smooth = gaussian_filter(noise, (0, 4, 4, 0))
    return (smooth / smooth.std()).astype(np.float32)


def as_bytes(values: Array) -> Array:
    return np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)


def sparse_mask() -> Array:
    mask = np.zeros((1, SIZE, SIZE, 1), np.uint8)
    mask[0, 20:24, 30:34] = 1  # 0.4 % of it
    return mask


# What a model may put out: the reference's own output by name.
FLOATS: dict[str, Callable[[], Array]] = {
    "floats of 0 to 1": image,
    "floats of 0 to 255": lambda: image(255),
    "floats of 0 to 65504": lambda: image(65504),
    "floats of -1 to 1": lambda: image(2, -1),
    "floats of 1e-9": lambda: image(1e-9),
    "probabilities of 0 to 0.001": lambda: image(1e-3),
    "scores": scores,
}
BYTES: dict[str, Callable[[], Array]] = {"uint8": lambda: as_bytes(image())}
LABELS: dict[str, Callable[[], Array]] = {
    "int64 labels": lambda: scores().argmax(-1),
    "uint8 labels": lambda: scores().argmax(-1).astype(np.uint8),
    "a sparse mask": sparse_mask,
    "truth values": lambda: scores()[..., :1] > 0,
    "a one-hot mask of floats": lambda: np.eye(5, dtype=np.float32)[scores().argmax(-1)],
    "colours of labels": lambda: np.array([[9, 200, 3], [70, 4, 250], [0, 0, 0], [255, 9, 80], [5, 90, 60]], np.uint8)[
        scores().argmax(-1)
    ],
}


def put(array: Array, at: tuple[int | slice, ...], value: object) -> Array:
    changed = array.copy()
    changed[at] = value
    return changed


def like(array: Array, values: Array) -> Array:
    return values.astype(array.dtype)


TILE = (slice(None), slice(24, 32), slice(32, 40))

WRONG_ANY: dict[str, Callable[[Array], Array]] = {
    "zeros": np.zeros_like,
    "shifted along rows": lambda x: np.roll(x, 1, axis=1),
    "shifted along columns": lambda x: np.roll(x, -1, axis=2),
    "mirrored": lambda x: np.flip(x, 2),
    "rows and columns swapped": lambda x: np.swapaxes(x, 1, 2),
    "another tile": lambda x: put(x, TILE, x[:, 2:10, 4:12]),
    "constant": lambda x: np.full_like(x, x.ravel()[0]),
}
WRONG_FLOAT: dict[str, Callable[[Array], Array]] = {
    "sign": lambda x: -x,
    "channels swapped": lambda x: x[..., ::-1],
    "another layout": lambda x: np.moveaxis(x, -1, 1).reshape(x.shape),
    "one tile of zeros": lambda x: put(x, TILE, 0),
    "NaN in one element": lambda x: put(x, (0, 5, 6, 1), np.nan),
    "infinite in one element": lambda x: put(x, (0, 5, 6, 1), np.inf),
    "range cut off at 90 %": lambda x: np.clip(x, x.min(), x.min() + 0.9 * np.ptp(x)),
    "a weight off by a tenth": lambda x: np.concatenate([x[..., :1] * 1.1, x[..., 1:]], -1),
    "no bias": lambda x: x - like(x, 0.05 * np.ptp(x) * np.ones(1)),
    "scaled to bytes": lambda x: x * 255,
    "whole numbers": lambda x: np.rint(x).astype(np.int32),
    "another shape": lambda x: x[:, 1:],
}
WRONG_BYTES: dict[str, Callable[[Array], Array]] = {
    "sign": lambda x: 255 - x,
    "channels swapped": lambda x: x[..., ::-1],
    "one tile of zeros": lambda x: put(x, TILE, 0),
    "of 0 to 1": lambda x: x / np.float32(255),
    "fractions": lambda x: x + np.float32(0.4),
    "as signed bytes": lambda x: x.astype(np.int8).astype(np.int32),
    "range cut off at 230": lambda x: np.minimum(x, 230),
    "ten too bright": lambda x: x.astype(np.int32) + 10,
}
WRONG_LABELS: dict[str, Callable[[Array], Array]] = {
    "every label one higher": lambda x: x.astype(np.int32) + 1,
    "halves": lambda x: x * np.float32(0.5),
    "NaN in one element": lambda x: put(x.astype(np.float32), (0, 5, 6), np.nan),
}

CASES = [
    pytest.param(reference, wrong, precision, id=f"{name}, {mistake}, {precision}")
    for outputs, mistakes in (
        (FLOATS, WRONG_ANY | WRONG_FLOAT), (BYTES, WRONG_ANY | WRONG_BYTES), (LABELS, WRONG_ANY | WRONG_LABELS),
    )
    for name, reference in outputs.items()
    for mistake, wrong in mistakes.items()
    for precision in ("float32", "float16")
]  # fmt: skip


def judged(reference: Array, candidate: Array, precision: str, tolerance: Tolerance = DEFAULT_TOLERANCE) -> Comparison:
    return compare({"y": reference}, {"y": candidate}, tolerance, {"y": TensorSpec("y", reference.shape)}, precision)


@pytest.mark.parametrize(("reference", "wrong", "precision"), CASES)
def test_a_wrong_conversion_fails(
    reference: Callable[[], Array], wrong: Callable[[Array], Array], precision: str
) -> None:
    expected = reference()
    candidate = wrong(expected)
    if candidate.shape == expected.shape and np.array_equal(candidate, expected):
        pytest.skip("this mistake does not change this output")
    result = judged(expected, candidate, precision)
    assert not result.passed
    assert result.reason.startswith("output 'y' ")


def rounded(values: Array, precision: str, seed: int = 0) -> Array:
    """``values`` as an honest conversion computes them: sums reordered, or every result rounded to float16 as well."""
    random = np.random.default_rng(seed)
    if precision == "float32":
        return (values * (1 + random.normal(0, 3e-7, values.shape)) + random.normal(0, 1e-6, values.shape)
                * np.ptp(values)).astype(np.float32)  # fmt: skip
    noisy = values + random.normal(0, 4e-4, values.shape) * np.ptp(values)
    # Beyond 65504 there is infinity; conversions clip there, as the reference's own values end there.
    return np.clip(noisy, -65504, 65504).astype(np.float16).astype(np.float32)


HONEST: dict[str, tuple[Callable[[], Array], Callable[[str, int], Array]]] = {
    **{
        name: (make, lambda precision, seed, make=make: rounded(make(), precision, seed))
        for name, make in FLOATS.items()
        if name != "floats of 1e-9"  # float16 cannot hold them: its zeros must fail
    },
    "uint8": (BYTES["uint8"], lambda precision, seed: as_bytes(rounded(image(), precision, seed))),
    "uint8 as int32": (
        BYTES["uint8"],
        lambda precision, seed: as_bytes(rounded(image(), precision, seed)).astype(np.int32),
    ),
    "uint8 as floats": (
        BYTES["uint8"],
        lambda precision, seed: as_bytes(rounded(image(), precision, seed)).astype(np.float32),
    ),
    "a dark image": (
        lambda: as_bytes(image(0.05)),
        lambda precision, seed: as_bytes(rounded(image(0.05), precision, seed)),
    ),
    "int64 labels": (
        LABELS["int64 labels"],
        lambda precision, seed: rounded(scores(), precision, seed).argmax(-1).astype(np.int32),
    ),
    "uint8 labels": (
        LABELS["uint8 labels"],
        lambda precision, seed: rounded(scores(), precision, seed).argmax(-1).astype(np.int32),
    ),
    "truth values": (
        LABELS["truth values"],
        lambda precision, seed: rounded(scores(), precision, seed)[..., :1] > 0,
    ),
    "a one-hot mask of floats": (
        LABELS["a one-hot mask of floats"],
        lambda precision, seed: np.eye(5, dtype=np.float32)[rounded(scores(), precision, seed).argmax(-1)],
    ),
    "sums of one": (
        lambda: (1 + np.random.default_rng(0).normal(0, 1e-7, (1, SIZE, SIZE, 1))).astype(np.float32),
        lambda precision, seed: rounded(np.ones((1, SIZE, SIZE, 1)), precision, seed),
    ),
    "one number": (lambda: np.array([[3.25]], np.float32), lambda precision, seed: np.array([[3.2501]], np.float32)),
    "temperatures": (lambda: image(20, 280), lambda precision, seed: rounded(image(20, 280), precision, seed)),
}


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("name", HONEST)
def test_an_honest_conversion_passes(name: str, precision: str) -> None:
    if (name, precision) == ("one number", "float32"):
        pytest.skip("beyond float32")
    reference, convert = HONEST[name]
    for seed in range(5):
        result = judged(reference(), convert(precision, seed), precision)
        assert result.passed, result.reason


def test_the_battery_is_as_large_as_it_says() -> None:
    assert len(CASES) >= 2 * 40
    assert 2 * len(HONEST) * 5 >= 2 * 40


KINDS: list[tuple[str, Callable[[], Array], str]] = [
    ("a photograph of bytes", BYTES["uint8"], "steps"),
    ("a dark photograph of bytes", lambda: as_bytes(image(0.05)), "steps"),
    *(
        (f"{name}, {dtype}, {size}", lambda name=name, dtype=dtype, size=size: as_bytes(photograph(name, (size, size)))
         .astype(dtype), "steps")
        for name in (*COLOR_PHOTOGRAPHS, *GRAYSCALE_PHOTOGRAPHS)
        for dtype in ("uint8", "int32")
        for size in (64, 128, 192)
    ),
    ("a photograph of int32", lambda: as_bytes(image()).astype(np.int32), "steps"),
    ("noise of bytes", lambda: np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3)).astype(np.uint8), "steps"),
    ("bins of depth", lambda: (np.mgrid[0:64, 0:64][0] // 4)[None].astype(np.int64), "steps"),
    ("indices of noise", lambda: np.random.default_rng(0).integers(0, 1000, (1, 32, 32)), "labels"),
    ("a class", lambda: np.array([7]), "labels"),
    ("a class of bytes", lambda: np.array([7], np.uint8), "labels"),
    ("ten logits of bytes", lambda: np.arange(10, dtype=np.uint8)[None] * 9, "steps"),
    ("ids of tokens", lambda: np.array([[3, 990, 17, 17, 400]]), "labels"),
    ("an empty mask of bytes", lambda: np.zeros((1, 64, 64, 1), np.uint8), "labels"),
    ("many classes in bytes", lambda: scores(150).argmax(-1).astype(np.uint8), "labels"),
    ("many classes in floats", lambda: scores(150).argmax(-1).astype(np.float32), "labels"),
    ("relu, which may be whole by chance", lambda: np.zeros((1, 16, 16, 3), np.float32), "range"),
    ("bytes as floats", lambda: as_bytes(image()).astype(np.float32), "range"),
    *((name, make, "range") for name, make in FLOATS.items()),
    *((name, make, "labels") for name, make in LABELS.items()),
]  # fmt: skip


@pytest.mark.parametrize(("make", "kind"), [item[1:] for item in KINDS], ids=[item[0] for item in KINDS])
def test_the_kind_is_told_from_type_and_values(make: Callable[[], Array], kind: str) -> None:
    found, because = kind_of(make())
    assert found == kind
    assert because


# The figures that were false: what was said before, and what the output is.
FALSE_FAILURES = {
    "0.23 off in an image of 0 to 255": (image(255), image(255) + np.float32(0.23), "float16"),
    "float32 at 7e-7 of the range": (image(255), image(255) + np.float32(1.8e-4), "float32"),
    "one step of uint8": (as_bytes(image()), as_bytes(image()) ^ 1, "float32"),
    "197 between two colours of labels": (
        LABELS["colours of labels"](), put(LABELS["colours of labels"](), (0, 3, 4), [0, 0, 0]), "float16",
    ),
}  # fmt: skip
FALSE_PASSES = {
    "1e-9 with a relative error of 68": (image(1e-9), image(68e-9), "float32"),
    "a probability of 0.001 that is 8.4 % off": (image(1e-3), image(1e-3) * np.float32(1.084), "float16"),
    "zeros for a probability of 0.001": (image(1e-3), np.zeros_like(image()), "float16"),
}


@pytest.mark.parametrize("name", FALSE_FAILURES)
def test_what_failed_for_want_of_a_scale_passes(name: str) -> None:
    reference, candidate, precision = FALSE_FAILURES[name]
    assert not compare({"y": reference}, {"y": candidate}, {"float32": 1e-4, "float16": 1e-2}[precision]).passed
    assert judged(reference, candidate, precision).passed


@pytest.mark.parametrize("name", FALSE_PASSES)
def test_what_passed_for_want_of_a_scale_fails(name: str) -> None:
    reference, candidate, precision = FALSE_PASSES[name]
    assert compare({"y": reference}, {"y": candidate}, {"float32": 1e-4, "float16": 1e-2}[precision]).passed
    assert not judged(reference, candidate, precision).passed


def disc(radius: float, size: int = 256) -> Array:
    rows, columns = np.mgrid[0:size, 0:size] - size / 2
    return (rows**2 + columns**2 <= radius**2)[None].astype(np.int64)


def large_labels(size: int = 1200) -> Array:
    return np.kron(np.random.default_rng(1).integers(0, 6, (size // 60, size // 60)), np.ones((60, 60), int))[None]


def objects_at_the_top() -> Array:
    mask = np.zeros((1, 2048, 1024), np.int64)
    for index in range(20):
        mask[0, 100:120, 40 * index : 40 * index + 20] = 1
    return mask


# What attacks made the first version pass, each in float32.
FOUND: dict[str, tuple[Callable[[], Array], Callable[[Array], Array]]] = {
    "an empty mask filled": (lambda: np.zeros((1, 64, 64), np.uint8), lambda x: x + 1),
    "another class of bytes": (lambda: np.array([3], np.uint8), lambda x: x + 1),
    "every one of 150 labels one higher": (lambda: scores(150).argmax(-1).astype(np.uint8), lambda x: x + 1),
    "ids one higher": (lambda: np.arange(128)[None], lambda x: x + 1),
    "bins of depth shifted": (
        lambda: (np.mgrid[0:64, 0:64][0] // 4)[None].astype(np.uint8),
        lambda x: np.roll(x, 1, 1),
    ),
    "a photograph one step brighter": (BYTES["uint8"], lambda x: np.minimum(x.astype(np.int32) + 1, 255)),
    "rounded down": (BYTES["uint8"], lambda x: np.maximum(x.astype(np.int32) - 1, 0)),
    "the last column zero": (large_labels, lambda x: put(x, (0, slice(None), -1), 7)),
    "a row of another label": (large_labels, lambda x: put(x, (0, 400), 7)),
    "an object grown by an element": (lambda: disc(20), lambda x: disc(21)),
    "objects shifted far from the middle": (objects_at_the_top, lambda x: np.roll(x, 1, 2)),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_passed_under_attack_fails(name: str) -> None:
    make, wrong = FOUND[name]
    reference = make()
    assert not judged(reference, wrong(reference), "float32").passed


def test_one_label_at_a_near_tie_may_differ() -> None:
    """Of 150 classes in a narrow type, and in floats: the type does not make them quantities."""
    for dtype in (np.uint8, np.int16, np.int32, np.float32):
        reference = scores(150).argmax(-1).astype(dtype)
        assert judged(reference, put(reference, (0, 9, 9), 140), "float32").passed, dtype


def test_a_constant_error_within_the_bound_is_no_shift() -> None:
    ramp = np.broadcast_to(np.linspace(0, 1, 512, dtype=np.float32), (1, 512, 512)).copy()
    assert judged(ramp, ramp + np.float32(1 / 512), "float16").passed


def test_a_label_that_is_gone_is_told() -> None:
    mask = np.zeros((1, 64, 64), np.int64)
    mask[0, 30, 30] = 1
    result = judged(mask, np.zeros_like(mask), "float32")
    assert result.passed
    assert "label 1 is gone (1 element)" in result.remarks[0]


def test_labels_that_differ_are_counted() -> None:
    reference = LABELS["int64 labels"]()
    candidate = put(reference, (0, slice(None), slice(0, 4)), 99)
    result = judged(reference, candidate, "float16")
    assert "differs in 256 of 4096 elements (6.25%)" in result.reason


def test_a_mistake_is_named() -> None:
    rows, columns = np.mgrid[0:256, 0:256] / 60
    smooth = np.stack([0.3 * np.sin(rows) * np.cos(columns + c / 9) for c in range(3)], -1)[None].astype(np.float32)
    shifted = put(smooth, (0, slice(1, None)), smooth[0, :-1])
    assert np.abs(shifted - smooth).max() < 1e-2 * np.ptp(smooth)  # within the bound of float16
    result = judged(smooth, shifted, "float16")
    assert "nearer to the reference shifted by +1 along axis 1" in result.reason
    assert "channels in the order 2, 1, 0" in judged(image(), image()[..., ::-1], "float32").reason


def test_scores_beside_coordinates() -> None:
    """A tensor of boxes in pixels and scores in [0, 1]: wrong scores are far within the range of the coordinates."""
    random = np.random.default_rng(0)
    boxes = [random.uniform(0, 640, (1, 4, 400)), random.uniform(0, 0.9, (1, 6, 400)) ** 4]
    reference = np.concatenate(boxes, 1).astype(np.float32)
    wrong = {
        "zeros": put(reference, (0, slice(4, None)), 0),
        "other classes": put(reference, (0, slice(4, None)), np.roll(reference[0, 4:], 1, axis=0)),
        "too high": put(reference, (0, slice(4, None)), reference[0, 4:] + 0.06),
    }
    for name, candidate in wrong.items():
        assert not judged(reference, candidate, "float32").passed, name
    assert "along axis 1" in judged(reference, wrong["too high"], "float32").reason
    for name in ("zeros", "other classes"):
        assert "along axis 1" in judged(reference, wrong[name], "float16").reason, name
    rounded_by_float16 = reference.astype(np.float16).astype(np.float32)
    assert judged(reference, rounded_by_float16, "float16").passed
    faint = put(reference, (0, slice(4, None)), reference[0, 4:] * 0.1)
    told = judged(faint, put(faint, (0, slice(4, None)), 0), "float16")
    assert told.passed
    assert "float16 cannot tell" in told.remarks[0]
    honest = judged(reference, reference * np.float32(1 + 1e-6), "float32")
    assert honest.passed
    assert not honest.remarks


@pytest.mark.parametrize(
    ("reference", "candidate", "precision", "passes", "remark"),
    [
        (np.zeros((1, 8)), np.zeros((1, 8)), "float32", True, "zero everywhere"),
        (np.zeros((1, 8)), np.full((1, 8), 0.5), "float16", False, ""),
        (np.full((1, 8), 2.0), np.full((1, 8), 2.0001), "float32", True, ""),
        (np.full((1, 8), 2.0), np.full((1, 8), 2.1), "float16", False, ""),
        (image(0.01, 1000), image(0.01, 1000) + 0.25, "float16", True, "does not tell apart"),
        (image(2, 1000), image(2, 1000) + 0.25, "float16", True, "details are not judged"),
    ],
)
def test_what_has_no_range_to_go_by(
    reference: Array, candidate: Array, precision: str, passes: bool, remark: str
) -> None:
    result = judged(reference.astype(np.float32), candidate.astype(np.float32), precision)
    assert result.passed == passes
    assert remark in "; ".join(result.remarks)


def test_a_case_overrides_what_is_told() -> None:
    labels, changed = LABELS["int64 labels"](), put(LABELS["int64 labels"](), (0, 3, 4), 4)
    assert judged(labels, changed, "float32").passed
    assert not judged(labels, changed, "float32", Tolerance(kinds={"y": "steps"})).passed
    assert not judged(labels, changed, "float32", Tolerance(differing={"float32": 0.0}, outputs={})).passed
    strict = Tolerance(outputs={"y": Tolerance({"float32": 0.0}, "this output is exact")})
    result = judged(labels, changed, "float32", strict)
    assert not result.passed
    assert result.outputs[0].judgement is not None
    assert result.outputs[0].judgement.kind == "absolute"


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Tolerance({"float32": -1.0}, ""),
        lambda: Tolerance(relative={"float32": np.nan}),
        lambda: Tolerance(kinds={"y": "colours"}),  # type: ignore[dict-item]
        lambda: Tolerance(kinds={"y": "absolute"}),
    ],
)
def test_a_tolerance_that_is_none(wrong: Callable[[], Tolerance]) -> None:
    with pytest.raises(InputError):
        wrong()


def test_the_example_in_the_docs_is_a_case() -> None:
    text = (Path(__file__).parents[1] / "docs" / "verdicts.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, object] = {"build": lambda: None}
    exec(code, names)
    tolerance = names["CASE"].tolerance  # type: ignore[attr-defined]
    assert tolerance.bound("labels", "float16") == 5e-3
    assert tolerance.of_output("score").bound("absolute", "float32") == 1e-6
    for kind in KINDS_OF_TOLERANCE:
        assert f"| `{kind}` |" in text

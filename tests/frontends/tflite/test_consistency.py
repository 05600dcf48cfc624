"""Operators whose parts do not go together are errors of the model, by name, and never our own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.errors import ConversionError
from harness.frontends.tflite.convert import convert_tflite
from harness.frontends.tflite.reader import parse_graph
from tests.frontends.tflite.building import Tensor, constant, one_operator
from tests.frontends.tflite.tables import weights

IMAGE = Tensor((1, 6, 6, 2))
CONV = {"strideW": 1, "strideH": 1, "dilationWFactor": 1, "dilationHFactor": 1}
SLICE = {"beginMask": 0, "endMask": 0, "ellipsisMask": 0, "newAxisMask": 0, "shrinkAxisMask": 0}
ROW = Tensor((4,))


def integers(*values: Any) -> Tensor:
    return constant(values, "int32")


CASES: list[tuple[str, list[Tensor], dict[str, Any], str]] = [
    ("CONV_2D", [IMAGE, constant(weights(3, 3, 2)), constant(weights(3))], CONV, "has 3 axes"),
    ("CONV_2D", [ROW, constant(weights(3, 3, 3, 2)), constant(weights(3))], CONV, "has 1 axes"),
    ("TRANSPOSE_CONV", [integers(1, 6, 6), constant(weights(2, 3, 3, 2)), IMAGE], {"strideW": 1, "strideH": 1},
     "the output's shape"),
    ("TRANSPOSE_CONV", [integers(1, 6, 6, 2), constant(weights(2, 3, 3)), IMAGE], {"strideW": 1, "strideH": 1},
     "has 3 axes"),
    ("MAX_POOL_2D", [ROW], {"strideW": 1, "strideH": 1, "filterWidth": 2, "filterHeight": 2}, "has 1 axes"),
    ("RESIZE_NEAREST_NEIGHBOR", [IMAGE, integers(3)], {}, "size has 1 numbers"),
    ("STRIDED_SLICE", [ROW, integers(0), integers(2), integers(0)], SLICE, "a step of 0"),
    ("STRIDED_SLICE", [ROW, integers(0, 0), integers(2, 2), integers(1, 1)], SLICE, "names more axes"),
    ("PACK", [ROW, ROW], {"axis": 7, "valuesCount": 2}, "no such axis"),
    ("MIRROR_PAD", [ROW, integers([0, 2**30])], {"mode": 0}, "wider than any tensor"),
    ("PAD", [IMAGE, integers([0, 1])], {}, "no pair for each axis"),
    ("SELECT", [Tensor((3,), "bool"), Tensor((4, 5)), Tensor((4, 5))], {}, "do not go together"),
    ("BROADCAST_ARGS", [constant(3, "int32"), Tensor((2,), "int32")], {}, "a shape has 0 axes"),
    ("UNSORTED_SEGMENT_MIN", [ROW, integers(0, 1, 0, 1), integers(-3)], {}, "-3 segments"),
]  # fmt: skip


@pytest.mark.parametrize(("operator", "inputs", "options", "words"), CASES, ids=[case[0] for case in CASES])
def test_what_does_not_go_together(
    operator: str, inputs: list[Tensor], options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    content = one_operator(operator, inputs, [Tensor((1, 6, 6, 2))], options)
    with pytest.raises(ConversionError) as caught:
        convert_tflite(parse_graph(content, "model"), "float32", tmp_path / "a.mlpackage")
    assert f"{operator}-1 operator 0" in str(caught.value)
    assert words in str(caught.value)

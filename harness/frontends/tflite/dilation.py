"""Dilated convolutions that TensorFlow wrote as convolutions of every n-th place: a batch is made of the places, is
convolved and put together again. They are one convolution.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from harness.frontends.dispatch import Array
from harness.frontends.tflite.graph import Operator, Subgraph

_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")


def with_dilations(subgraph: Subgraph) -> Subgraph:
    """SPACE_TO_BATCH_ND, a convolution and BATCH_TO_SPACE_ND as one dilated convolution, where they amount to SAME or
    VALID padding and nothing else reads what is between."""
    if not any(operator.name == "BATCH_TO_SPACE_ND" for operator in subgraph.operators):
        return subgraph
    readers = Counter(index for operator in subgraph.operators for index in operator.inputs)
    readers.update(subgraph.outputs)
    writers = {index: operator for operator in subgraph.operators for index in operator.outputs}
    changed: dict[int, Operator | None] = {}
    for last in subgraph.operators:
        middle = _only_writer(last, "BATCH_TO_SPACE_ND", writers, readers)
        if middle is None or middle.name not in _CONVOLUTIONS:
            continue
        first = _only_writer(middle, middle.name, writers, readers)
        if first is None or first.name != "SPACE_TO_BATCH_ND":
            continue
        dilated = _dilated(subgraph, first, middle, last)
        if dilated is not None:
            changed |= {first.index: None, middle.index: None, last.index: dilated}
    operators = (changed.get(operator.index, operator) for operator in subgraph.operators)
    return replace(subgraph, operators=tuple(operator for operator in operators if operator is not None))


def _only_writer(
    operator: Operator, name: str, writers: Mapping[int, Operator], readers: Mapping[int, int]
) -> Operator | None:
    """What computes an operator's data for it alone."""
    data = operator.inputs[0] if operator.inputs else -1
    return writers.get(data) if operator.name == name and readers[data] == 1 else None


def _dilated(subgraph: Subgraph, first: Operator, middle: Operator, last: Operator) -> Operator | None:
    options = middle.options
    if options["padding"] != "VALID":
        return None
    if any(options[name] != 1 for name in ("stride_h", "stride_w", "dilation_h_factor", "dilation_w_factor")):
        return None
    vectors = [_vector(subgraph, index) for index in (*first.inputs[1:3], *last.inputs[1:3])]
    if any(vector is None for vector in vectors):
        return None
    block, paddings, end_block, crops = (np.asarray(vector) for vector in vectors)
    if block.shape != (2,) or (block < 1).any() or not np.array_equal(block, end_block):
        return None
    amounts = (paddings - crops).reshape(2, 2)
    # At stride 1, what SAME pads does not depend on the size.
    total = (np.array(subgraph.tensors[middle.inputs[1]].shape[1:3]) - 1) * block
    if np.array_equal(amounts, np.stack([total // 2, total - total // 2], 1)):
        padding = "SAME"
    elif not amounts.any():
        padding = "VALID"
    else:
        return None
    dilations = {"dilation_h_factor": int(block[0]), "dilation_w_factor": int(block[1])}
    return replace(
        middle,
        inputs=(first.inputs[0], *middle.inputs[1:]),
        outputs=last.outputs,
        options={**options, **dilations, "padding": padding},
    )


def _vector(subgraph: Subgraph, index: int) -> Array | None:
    tensor = subgraph.tensors[index]
    return tensor.array() if tensor.is_constant and tensor.dtype in ("int32", "int64") else None

"""Parts of a model that do not fit each other, as a table: a file damaged in one place, and what is said of which."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.errors import ModelFileError
from harness.frontends.tflite.graph import Operator, Subgraph, TensorInfo
from harness.frontends.tflite.reader import parse_graph
from harness.frontends.tflite.verify import check_calls
from harness.quiet import quiet_imports
from tests.frontends.tflite.building import Tensor, constant, one_operator, parts_of, put, written

with quiet_imports():
    from tensorflow.lite.python import schema_py_generated as generated

Change = Callable[[Any], None]
OPERATOR = "subgraphs.0.operators.0"


def dense() -> Any:
    """A dense layer, with a signature."""
    weight = np.arange(12, dtype=np.float32).reshape(4, 3)
    parts = parts_of(one_operator("FULLY_CONNECTED", [Tensor((1, 3)), constant(weight)], [Tensor((1, 4))]))
    parts.signatureDefs = [signature("serving", {"x": 0}, {"y": 2})]
    return parts


def signature(name: str, inputs: dict[str, int], outputs: dict[str, int]) -> Any:
    made = generated.SignatureDefT()
    made.signatureKey, made.subgraphIndex = name, 0
    made.inputs, made.outputs = ([_named(*pair) for pair in names.items()] for names in (inputs, outputs))
    return made


def _named(name: str, tensor: int) -> Any:
    made = generated.TensorMapT()
    made.name, made.tensorIndex = name, tensor
    return made


def choice() -> Any:
    """``RELU(x) if condition else TANH(x)``: three subgraphs."""
    parts = parts_of(
        one_operator(
            "IF", [Tensor((), "bool"), Tensor((2, 3))], [Tensor((2, 3))],
            {"then_subgraph_index": 1, "else_subgraph_index": 2},
        )
    )  # fmt: skip
    for name in ("RELU", "TANH"):
        branch = parts_of(one_operator(name, [Tensor((2, 3))], [Tensor((2, 3))]))
        branch.subgraphs[0].operators[0].opcodeIndex = len(parts.operatorCodes)
        branch.subgraphs[0].name = name.lower()
        parts.operatorCodes += branch.operatorCodes
        parts.subgraphs += branch.subgraphs
    return parts


def calls(name: str, inputs: int, outputs: int, options: dict[str, Any]) -> Callable[[], Any]:
    """``choice`` with another operator in its place."""

    def model() -> Any:
        parts = choice()
        made = parts_of(one_operator(name, [Tensor((2, 3))] * inputs, [Tensor((2, 3))] * outputs, options))
        parts.subgraphs[0] = made.subgraphs[0]
        parts.operatorCodes[0] = made.operatorCodes[0]
        return parts

    return model


def texts() -> Any:
    """A constant of two texts, "ab" and "c"."""
    parts = dense()
    content = np.array([2, 16, 18, 19], "<u4").tobytes() + b"abc"
    buffer, tensor = generated.BufferT(), generated.TensorT()
    buffer.data = np.frombuffer(content, np.uint8)
    tensor.name, tensor.shape, tensor.type, tensor.buffer = "words", [2], generated.TensorType.STRING, 3
    while len(parts.buffers) < 3:
        parts.buffers.append(generated.BufferT())
    parts.buffers.append(buffer)
    parts.subgraphs[0].tensors.append(tensor)
    return parts


def words(*numbers: int) -> Change:
    """What the constant of texts begins with."""
    return put("buffers.3.data", np.frombuffer(np.array(numbers, "<u4").tobytes() + b"abc", np.uint8))


def sparse() -> Any:
    """The weight in blocks of two rows, of which each has all of its columns."""
    parts = dense()
    made = generated.SparsityParametersT()
    made.traversalOrder, made.blockMap = [0, 1, 2], [0]
    made.dimMetadata = [generated.DimensionMetadataT() for _ in range(3)]
    rows, columns, block = made.dimMetadata
    rows.format, rows.denseSize = generated.DimensionType.DENSE, 2
    columns.format = generated.DimensionType.SPARSE_CSR
    for field, values in (("arraySegments", [0, 3, 6]), ("arrayIndices", [0, 1, 2] * 2)):
        vector = generated.Int32VectorT()
        vector.values = values
        setattr(columns, field, vector)
        setattr(columns, f"{field}Type", generated.SparseIndexVector.Int32Vector)
    block.format, block.denseSize = generated.DimensionType.DENSE, 2
    parts.subgraphs[0].tensors[1].sparsity = made
    return parts


def backwards(parts: Any) -> None:
    """A cycle: the operator reads what it writes."""
    parts.subgraphs[0].operators[0].inputs = [2, 1]


def twice(parts: Any) -> None:
    parts.subgraphs[0].operators *= 2


def calls_itself(parts: Any) -> None:
    """What is called holds the operator that calls it."""
    parts.subgraphs[1].operators = parts.subgraphs[0].operators


def unchanged(parts: Any) -> None:
    """The model does not fit as it is made."""


def another_signature(parts: Any) -> None:
    parts.signatureDefs *= 2


LOOP = {"cond_subgraph_index": 1, "body_subgraph_index": 2}
SPARSITY = "subgraphs.0.tensors.1.sparsity"
COLUMNS = f"{SPARSITY}.dimMetadata.1"
SIGNATURE = "signatureDefs.0"
WEIGHT = r"tensor 1.*"
# A sound model, its damage, and what the error says after "model.tflite is damaged: ".
DAMAGED: dict[str, tuple[Callable[[], Any], Change, str]] = {
    "a cycle": (dense, backwards, "subgraph 0.*operator 0 FULLY_CONNECTED reads tensor 2 before anything writes it"),
    "an output twice": (dense, twice, "operator 1 FULLY_CONNECTED writes tensor 2, which is defined already"),
    "an input that is a constant": (dense, put("subgraphs.0.inputs", [0, 1]), "tensor 1 is a constant and an input"),
    "an output of nothing": (dense, put("subgraphs.0.operators", []), "subgraph 0.* returns tensor 2, which nothing"),
    "a branch that is not there": (choice, put(f"{OPERATOR}.builtinOptions.thenSubgraphIndex", 3),
                                   "operator 0 IF calls a subgraph that there is not.*3.*0 to 2"),
    "a branch before the first": (choice, put(f"{OPERATOR}.builtinOptions.elseSubgraphIndex", -1),
                                  "operator 0 IF calls a subgraph that there is not.*-1"),
    "a branch that takes more": (choice, put("subgraphs.1.inputs", [0, 0]), "does not fit subgraph 'relu'.*2 inputs"),
    "a branch that returns nothing": (choice, put("subgraphs.2.outputs", []),
                                      "does not fit subgraph 'tanh'.*0 outputs"),
    "a subgraph that calls itself": (calls("CALL", 1, 1, {"subgraph": 1}), calls_itself,
                                     "the model has subgraphs that call themselves"),
    "a loop that forgets a value": (calls("WHILE", 2, 1, LOOP), unchanged,
                                    "operator 0 WHILE does not return what it takes.*2 inputs, 1 outputs"),
    "a loop whose condition takes less": (calls("WHILE", 2, 2, LOOP), unchanged,
                                          "operator 0 WHILE does not fit subgraph 'relu'"),
    "an initialisation that takes values": (calls("CALL_ONCE", 0, 0, {"init_subgraph_index": 1}), unchanged,
                                            "operator 0 CALL_ONCE does not fit"),
    "a call that gives more": (calls("CALL", 2, 1, {"subgraph": 1}), unchanged,
                               "operator 0 CALL does not fit subgraph 'relu'"),
    "a signature without a name": (dense, put(f"{SIGNATURE}.signatureKey", ""), "signature '' has no name of its own"),
    "two signatures of one name": (dense, another_signature, "signature 'serving' has no name of its own"),
    "a signature without an input": (dense, put(f"{SIGNATURE}.inputs", []),
                                     "signature 'serving' does not name the inputs"),
    "a signature of an inner value": (dense, put(f"{SIGNATURE}.outputs.0.tensorIndex", 1),
                                      "signature 'serving' names outputs that its subgraph does not return"),
    "an output without a name": (dense, put(f"{SIGNATURE}.outputs.0.name", ""), "names that are missing or alike"),
    "too few levels": (sparse, put(f"{SPARSITY}.traversalOrder", [0, 1]), WEIGHT + "wrong number of levels"),
    "an order of no dimensions": (sparse, put(f"{SPARSITY}.traversalOrder", [0, 0, 2]), WEIGHT + "order that is none"),
    "a block of another dimension": (sparse, put(f"{SPARSITY}.blockMap", [2]), WEIGHT + "does not divide"),
    "a block that does not divide": (sparse, put(f"{SPARSITY}.dimMetadata.2.denseSize", 3), WEIGHT + "does not divide"),
    "a wrong size": (sparse, put(f"{SPARSITY}.dimMetadata.0.denseSize", 3), "sparse dimension 0 has a wrong size"),
    "too few segments": (sparse, put(f"{COLUMNS}.arraySegments.values", [0, 6]),
                         "sparse dimension 1 has a wrong number of segments"),
    "segments out of order": (sparse, put(f"{COLUMNS}.arraySegments.values", [0, 7, 6]), "segments that are not in"),
    "indices out of range": (sparse, put(f"{COLUMNS}.arrayIndices.values", [0, 1, 3] * 2), "indices that are out of"),
    "a count beyond the constant": (texts, words(9, 16, 18, 19), "wrong number of texts.*9"),
    "texts that do not begin after their offsets": (texts, words(2, 12, 18, 19), "texts that lie outside"),
    "texts out of order": (texts, words(2, 16, 20, 19), "texts that lie outside"),
    "texts beyond the end": (texts, words(2, 16, 18, 30), "texts that lie outside"),
}  # fmt: skip


@pytest.mark.parametrize("model", [dense, choice, sparse, texts], ids=lambda model: model.__name__)
def test_what_is_damaged_below_is_sound(model: Callable[[], Any]) -> None:
    graph = parse_graph(written(model()), "model.tflite")
    assert graph.subgraphs[0].operators


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_told(name: str) -> None:
    model, change, message = DAMAGED[name]
    parts = model()
    change(parts)
    with pytest.raises(ModelFileError, match=rf"^model\.tflite is damaged: .*{message}"):
        parse_graph(written(parts), "model.tflite")


def test_two_blocks_of_one_dimension() -> None:
    parts = sparse()
    made = parts.subgraphs[0].tensors[1].sparsity
    made.traversalOrder, made.blockMap = [0, 1, 2, 3], [0, 0]
    made.dimMetadata.append(made.dimMetadata[2])
    with pytest.raises(ModelFileError, match=r"tensor 1.*a dimension in two blocks"):
        parse_graph(written(parts), "model.tflite")


def test_sparse_beyond_reason() -> None:
    """One element of many millions."""
    parts = sparse()
    tensor = parts.subgraphs[0].tensors[1]
    tensor.shape, tensor.shapeSignature = [4, 2**26], None
    rows, columns = tensor.sparsity.dimMetadata[:2]
    assert rows.denseSize == 2
    columns.arraySegments.values, columns.arrayIndices.values = [0, 1, 1], [5]
    with pytest.raises(ModelFileError, match=r"tensor 1.*sparse beyond reason"):
        parse_graph(written(parts), "model.tflite")


def levels(count: int) -> list[Subgraph]:
    """Subgraphs that call the next one twice, and a last one."""
    value = (TensorInfo(0, "x", (1,), (1,), "float32"),)
    found = []
    for index in range(count):
        twice = (Operator(place, "CALL", 1, (0,), (0,), {"subgraph": index + 1}) for place in range(2))
        found.append(Subgraph(f"level {index}", value, (0,), (0,), tuple(twice)))
    return [*found, Subgraph("last", value, (0,), (0,), ())]


def test_calls_that_multiply() -> None:
    check_calls(levels(10), "model.tflite")
    with pytest.raises(ModelFileError, match="amounts to more than 1000000 operators"):
        check_calls(levels(20), "model.tflite")

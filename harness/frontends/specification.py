"""The protobuf of an ML Program, in fewer bytes than coremltools' own writer takes.

Constants of few elements are written into the operation that reads them (``Argument.Binding.value`` of MIL.proto)
instead of as operations of their own, and vectors into the model instead of the weight file, whose blobs take 64 bytes
of metadata each and begin at multiples of 64. Core ML reads both: coremltools writes the labels of classifiers so,
other writers (WebNN in Chromium, go-coreml) what they can, and neither do they name operations besides their results,
constants excepted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator
from typing import Any

import numpy as np

# Bytes of a constant that is not written to the weight file.
_LARGEST_LITERAL = 1024
# Their arguments are values of blocks.
_CONTROL_FLOW = frozenset({"cond", "while_loop"})


def specification_of(program: Any, weights_folder: str, version: int) -> Any:
    """``Model`` protobuf of a finished program; its weight file is written to the folder."""
    from coremltools.converters.mil.backend.mil import load as backend

    class Exporter(backend.MILProtoExporter):  # type: ignore[misc]
        def get_milproto_value(self, var: Any) -> Any:
            if _is_literal(var):
                return backend.create_immediate_value(var)
            return super().get_milproto_value(var)

    proto = Exporter(program, weights_folder, version).export()
    for function in proto.functions.values():
        for block in function.block_specializations.values():
            _bind_constants(block)
            for operation in all_operations(block):
                _drop_name(operation)
    finished = backend.CoreMLProtoExporter(
        program, proto, None, None, classifier_config=None,
        convert_to="mlprogram", convert_from="milinternal", specification_version=version,
    )  # fmt: skip
    return finished.export(version)


def _is_literal(variable: Any) -> bool:
    """Whether coremltools would write it to the weight file for no gain. Elements of compressed weights stay there."""
    value = variable.val
    if not isinstance(value, np.ndarray) or value.nbytes > _LARGEST_LITERAL:
        return False
    if value.dtype not in (np.dtype(np.float32), np.dtype(np.float16), np.dtype(np.int8), np.dtype(np.uint8)):
        return False
    elements = ("quantized_data", "source_val", "nonzero_data", "mask", "indices", "data")
    return not any(
        operation.op_type.startswith("constexpr_") and variable is operation.inputs.get(name)
        for operation in variable.child_ops for name in elements
    )  # fmt: skip


def _bind_constants(block: Any) -> None:
    """Write constants into the operations that read them, where that takes fewer bytes."""
    operations = list(all_operations(block))
    uses: Counter[str] = Counter()
    kept: set[str] = set(block.outputs)
    defined: Counter[str] = Counter(output.name for operation in operations for output in operation.outputs)
    for operation in operations:
        kept.update(name for inner in operation.blocks for name in inner.outputs)
        for argument in operation.inputs.values():
            names = [binding.name for binding in argument.arguments if binding.WhichOneof("binding") == "name"]
            uses.update(names)
            if operation.type in _CONTROL_FLOW or len(argument.arguments) > 1:
                kept.update(names)
    literals: dict[str, Any] = {}
    for operation in operations:
        if operation.type != "const" or operation.attributes["val"].WhichOneof("value") != "immediateValue":
            continue
        name, value = operation.outputs[0].name, operation.attributes["val"]
        if name in kept or defined[name] > 1:
            continue
        if uses[name] * (value.ByteSize() - len(name)) < operation.ByteSize():
            literals[name] = value
    for operation in operations:
        for argument in operation.inputs.values():
            for binding in argument.arguments:
                if binding.WhichOneof("binding") == "name" and binding.name in literals:
                    binding.value.CopyFrom(literals[binding.name])
    _remove_constants(block, literals)


def _remove_constants(block: Any, names: Container[str]) -> None:
    for operation in block.operations:
        for inner in operation.blocks:
            _remove_constants(inner, names)
    left = [each for each in block.operations if each.type != "const" or each.outputs[0].name not in names]
    del block.operations[:]
    block.operations.extend(left)


def _drop_name(operation: Any) -> None:
    """An operation is called as its result is; constants keep their names, by which tools address weights."""
    is_constant = operation.type == "const" or operation.type.startswith("constexpr_")
    if not is_constant and len(operation.outputs) == 1 and "name" in operation.attributes:
        name = operation.attributes["name"].immediateValue.tensor.strings.values
        if list(name) == [operation.outputs[0].name]:
            del operation.attributes["name"]


def all_operations(block: Any) -> Iterator[Any]:
    """Those of a block and of the blocks inside it, in a program of MIL or in its protobuf."""
    for operation in block.operations:
        yield operation
        for inner in operation.blocks:
            yield from all_operations(inner)

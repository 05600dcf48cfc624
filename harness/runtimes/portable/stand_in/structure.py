"""A model's structure as coremltools' dataclasses. Operations carry what a compute plan is estimated from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# Where Core ML has another word than the specification: coremltools' test/api/test_api_examples.py.
_LAYER_TYPES = {"add": "elementwise"}


@dataclass(frozen=True, eq=False)
class OperationProxy:
    """What stands behind an operation or layer of the structure. ``elements``: of its outputs, unknown sizes as 1;
    ``function`` names the one that it is in."""

    kind: str
    function: str
    dtypes: frozenset[int]
    elements: int


def model_structure(model: Any) -> Any:
    """coremltools' ``MLModelStructure`` of a model's specification."""
    from coremltools.models import compute_plan

    kind = model.WhichOneof("Type")
    program = network = pipeline = None
    if kind == "mlProgram":
        functions = {name: _function(name, function) for name, function in model.mlProgram.functions.items()}
        program = compute_plan.MLModelStructureProgram(functions)
    elif kind in ("neuralNetwork", "neuralNetworkClassifier", "neuralNetworkRegressor"):
        layers = [_layer(layer) for layer in getattr(model, kind).layers]
        network = compute_plan.MLModelStructureNeuralNetwork(layers)
    elif kind in ("pipeline", "pipelineClassifier", "pipelineRegressor"):
        content = model.pipeline if kind == "pipeline" else getattr(model, kind).pipeline
        names = list(content.names) or [f"model{index}" for index in range(len(content.models))]
        members = [(name, model_structure(member)) for name, member in zip(names, content.models, strict=True)]
        pipeline = compute_plan.MLModelStructurePipeline(members)
    return compute_plan.MLModelStructure(neuralnetwork=network, program=program, pipeline=pipeline)


def operation_proxies(structure: Any) -> Iterator[OperationProxy]:
    """Of every operation of an ML Program, those of inner blocks too; none of other kinds."""

    def walk(block: Any) -> Iterator[OperationProxy]:
        for operation in block.operations:
            yield operation.__proxy__
            for inner in operation.blocks:
                yield from walk(inner)

    for function in structure.program.functions.values() if structure is not None and structure.program else ():
        yield from walk(function.block)


def _layer(layer: Any) -> Any:
    from coremltools.models import compute_plan

    kind = layer.WhichOneof("layer")
    kind = _LAYER_TYPES.get(kind, kind)
    return compute_plan.MLModelStructureNeuralNetworkLayer(
        layer.name, kind, list(layer.input), list(layer.output), OperationProxy(kind, "", frozenset(), 1)
    )


def _function(name: str, function: Any) -> Any:
    from coremltools.models import compute_plan

    block = _block(name, function.block_specializations[function.opset])
    return compute_plan.MLModelStructureProgramFunction(_value_types(function.inputs), block)


def _block(function: str, block: Any) -> Any:
    from coremltools.models import compute_plan

    operations = [
        compute_plan.MLModelStructureProgramOperation(
            inputs={name: _argument(argument) for name, argument in operation.inputs.items()},
            operator_name=operation.type,
            outputs=_value_types(operation.outputs),
            blocks=[_block(function, inner) for inner in operation.blocks],
            __proxy__=_operation_proxy(function, operation),
        )
        for operation in block.operations
    ]
    return compute_plan.MLModelStructureProgramBlock(_value_types(block.inputs), operations, list(block.outputs))


def _operation_proxy(function: str, operation: Any) -> OperationProxy:
    tensors = [value.type.tensorType for value in operation.outputs if value.type.WhichOneof("type") == "tensorType"]
    elements = sum(math.prod(size.constant.size or 1 for size in tensor.dimensions) for tensor in tensors)
    return OperationProxy(operation.type, function, frozenset(tensor.dataType for tensor in tensors), max(1, elements))


def _argument(argument: Any) -> Any:
    from coremltools.models import compute_plan

    return compute_plan.MLModelStructureProgramArgument(
        [
            compute_plan.MLModelStructureProgramBinding(binding.name, None)
            if binding.WhichOneof("binding") == "name"
            else compute_plan.MLModelStructureProgramBinding(None, compute_plan.MLModelStructureProgramValue())
            for binding in argument.arguments
        ]
    )


def _value_types(values: Any) -> list[Any]:
    from coremltools.models import compute_plan

    return [
        compute_plan.MLModelStructureProgramNamedValueType(value.name, compute_plan.MLModelStructureProgramValueType())
        for value in values
    ]

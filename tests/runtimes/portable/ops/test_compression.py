from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.errors import PackageError
from harness.quiet import quiet_imports
from harness.runtimes.portable.registry import KERNELS

with quiet_imports():
    import coremltools as ct
    import coremltools.optimize.coreml as cto
    from coremltools.converters.mil.mil import Builder as mb
    from coremltools.converters.mil.mil import types
    from coremltools.converters.mil.mil.ops.defs import iOS18

from pathlib import Path

from harness.runtimes import portable
from tests.runtimes.portable.conftest import Run

RANDOM = np.random.default_rng(0)


def typed(values: Any, dtype: str) -> np.ndarray:
    """Values of a MIL type, sub-byte ones included."""
    return np.asarray(values).astype(types.nptype_from_builtin(types.string_to_builtin(dtype)))


def integers(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    span = types.type_mapping.builtin_to_range(types.string_to_builtin(dtype))
    return typed(RANDOM.integers(span.low, span.high, shape, endpoint=True), dtype)


def floats(shape: tuple[int, ...], dtype: str = "fp32") -> np.ndarray:
    return typed(RANDOM.uniform(0.5, 2, shape) * RANDOM.choice([-1, 1], shape), dtype)


def mask(shape: tuple[int, ...]) -> np.ndarray:
    return integers("uint1", shape)


def executed(run: Run, build: Any, shape: tuple[int, ...], target: Any, dtype: str = "fp32", **options: Any) -> Any:
    """The weight that ``build`` makes, as an operation on it sees it."""
    numpy_dtype = np.float16 if dtype == "fp16" else np.float32

    def weighed(x: Any) -> Any:
        weight = build()
        if types.is_int(weight.dtype):
            weight = mb.cast(x=weight, dtype="fp32")
        return mb.add(x=x, y=weight)

    (result,) = run(weighed, {"x": np.zeros(shape, numpy_dtype)}, target=target, **options)
    return result


def iterations(shape: tuple[int, ...]) -> Any:
    return np.ndindex(*shape)


# iOS16: packed bytes, shape given apart ------------------------------------------------------------

AFFINE = [
    ("uint8", "uint8", (), 0),
    ("int8", "int8", (3,), 1),
    ("uint8", "uint8", (4,), -1),
    ("int8", "fp32", (2,), 0),
]


@pytest.mark.parametrize(("dtype", "zero_dtype", "parameters", "axis"), AFFINE)
@pytest.mark.parametrize("float_dtype", ["fp32", "fp16"])
@pytest.mark.parametrize("target", [ct.target.iOS16, ct.target.iOS18])
def test_affine_dequantize(
    run: Run, dtype: str, zero_dtype: str, parameters: tuple[int, ...], axis: int, float_dtype: str, target: Any
) -> None:
    data, scale = integers(dtype, (2, 3, 4)), floats(parameters, float_dtype)
    zero = floats(parameters) if zero_dtype == "fp32" else integers(zero_dtype, parameters)
    result = executed(
        run,
        lambda: mb.constexpr_affine_dequantize(quantized_data=data, zero_point=zero, scale=scale, axis=axis),
        data.shape, target, float_dtype,
    )  # fmt: skip
    moved = np.moveaxis(data.astype(np.float64), axis, -1)
    expected = np.moveaxis((moved - zero.astype(np.float64)) * scale.astype(np.float64), -1, axis)
    np.testing.assert_allclose(result, expected, rtol=1e-6)


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 8])
@pytest.mark.parametrize("dtype", ["fp32", "fp16", "int8", "uint8"])
def test_lut_to_dense_packed(run: Run, bits: int, dtype: str) -> None:
    shape, palettes = (3, 5, 2), 2**bits
    lut = floats((palettes,), dtype) if dtype.startswith("fp") else integers(dtype, (palettes,))
    indices = RANDOM.integers(0, palettes, shape)
    # Bits of all indices in a row, lowest first.
    stream = "".join(format(index, f"0{bits}b")[::-1] for index in indices.reshape(-1))
    packed = np.array([int(stream[at : at + 8][::-1], 2) for at in range(0, len(stream), 8)], np.uint8)
    result = executed(
        run, lambda: mb.constexpr_lut_to_dense(indices=packed, lut=lut, shape=np.array(shape, np.uint32)), shape,
        ct.target.iOS17, dtype,
    )  # fmt: skip
    np.testing.assert_array_equal(result, lut[indices].astype(np.float32))


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "int8", "uint8"])
def test_sparse_to_dense_packed(run: Run, dtype: str) -> None:
    places = mask((3, 5, 2))
    count = int(places.sum())
    values = floats((count,), dtype) if dtype.startswith("fp") else integers(dtype, (count,))
    result = executed(
        run,
        lambda: mb.constexpr_sparse_to_dense(
            nonzero_data=values, mask=np.packbits(places, bitorder="little"), shape=np.array(places.shape, np.uint32)
        ),
        places.shape, ct.target.iOS17, dtype,
    )  # fmt: skip
    left = iter(values.astype(np.float32))
    expected = [next(left) if place else 0 for place in places.reshape(-1)]
    np.testing.assert_array_equal(result.reshape(-1), expected)


@pytest.mark.parametrize("target", [ct.target.iOS16, ct.target.iOS18])
def test_cast(run: Run, target: Any) -> None:
    source = floats((2, 3), "fp16")
    result = executed(run, lambda: mb.constexpr_cast(source_val=source, output_dtype="fp32"), (2, 3), target)
    np.testing.assert_array_equal(result, source.astype(np.float32))


# iOS18: tensors of sub-byte types, blocks ----------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int4", "uint4", "int8", "uint8", "fp16", "fp32"])
@pytest.mark.parametrize("blocks", [(1, 1, 1), (4, 1, 2), (2, 3, 1), (4, 3, 6)])
@pytest.mark.parametrize("offset_dtype", [None, "same", "fp32"])
def test_blockwise_shift_scale(run: Run, dtype: str, blocks: tuple[int, ...], offset_dtype: str | None) -> None:
    shape = (4, 3, 6)
    data = floats(shape, dtype) if dtype.startswith("fp") else integers(dtype, shape)
    scale = floats(blocks)
    given: dict[str, Any] = {"data": data, "scale": scale}
    offset = np.zeros(blocks)
    if offset_dtype:
        wanted = dtype if offset_dtype == "same" else offset_dtype
        offset = given["offset"] = floats(blocks, wanted) if wanted.startswith("fp") else integers(wanted, blocks)
    result = executed(run, lambda: mb.constexpr_blockwise_shift_scale(**given), shape, ct.target.iOS18)
    expected = np.zeros(shape)
    for place in iterations(shape):
        block = tuple(i * blocks[axis] // shape[axis] for axis, i in enumerate(place))
        expected[place] = float(scale[block]) * (float(data[place]) - float(offset[block]))
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("bits", "blocks", "vector", "vector_axis"),
    [
        (1, (1, 1), 1, None),
        (2, (2, 1), 1, None),
        (3, (4, 3), 1, None),
        (4, (2, 3), 1, 0),
        (6, (1, 3), 2, 0),
        (8, (2, 1), 2, 1),
        (2, (4, 1), 3, -1),
        (4, (2, 3), 2, -2),
    ],
)
@pytest.mark.parametrize("dtype", ["fp32", "fp16", "int8"])
def test_lut_to_dense(
    run: Run, bits: int, blocks: tuple[int, ...], vector: int, vector_axis: int | None, dtype: str
) -> None:
    shape = (4, 6)
    indices = integers(f"uint{bits}", shape)
    table = (*blocks, 2**bits, vector)
    lut = floats(table, dtype) if dtype.startswith("fp") else integers(dtype, table)
    expected = np.zeros(shape if vector_axis is None else [
        size * (vector if axis == vector_axis % 2 else 1) for axis, size in enumerate(shape)
    ])  # fmt: skip
    for place in iterations(shape):
        block = tuple(i * blocks[axis] // shape[axis] for axis, i in enumerate(place))
        for element in range(vector):
            target = list(place)
            if vector_axis is not None:
                target[vector_axis] = target[vector_axis] * vector + element
            expected[tuple(target)] = lut[(*block, int(indices[place]), element)]
    given = {} if vector_axis is None else {"vector_axis": vector_axis}
    result = executed(
        run, lambda: mb.constexpr_lut_to_dense(indices=indices, lut=lut, **given), expected.shape, ct.target.iOS18,
        dtype,
    )  # fmt: skip
    np.testing.assert_array_equal(result, expected)


def test_lut_example_of_the_documentation() -> None:
    indices = np.array([2, 3, 3, 0, 1, 0, 3, 0, 2, 1, 0, 3]).reshape(6, 2)
    lut = np.array([1.0, 5, 9, 13, 2, 10, 18, 26]).reshape(2, 1, 4, 1)
    np.testing.assert_array_equal(
        KERNELS["constexpr_lut_to_dense"].function(indices, lut), [[9, 13], [13, 1], [5, 1], [26, 2], [18, 10], [2, 26]]
    )


@pytest.mark.parametrize("dtype", ["int4", "uint4", "int8", "fp16", "fp32"])
def test_sparse_to_dense(run: Run, dtype: str) -> None:
    places = mask((3, 5))
    count = int(places.sum())
    values = floats((count,), dtype) if dtype.startswith("fp") else integers(dtype, (count,))
    if dtype.endswith("int4"):  # nothing but another weight operation takes these
        result = executed(
            run,
            lambda: mb.constexpr_blockwise_shift_scale(
                data=mb.constexpr_sparse_to_dense(nonzero_data=values, mask=places), scale=np.float32([[1]])
            ),
            places.shape, ct.target.iOS18,
        )  # fmt: skip
    else:
        result = executed(run, lambda: mb.constexpr_sparse_to_dense(nonzero_data=values, mask=places), places.shape,
                          ct.target.iOS18, dtype)  # fmt: skip
    left = iter(values.astype(np.float32))
    np.testing.assert_array_equal(result.reshape(-1), [next(left) if place else 0 for place in places.reshape(-1)])


@pytest.mark.parametrize(("vector", "axis"), [(1, None), (2, 0), (3, 1), (2, -1)])
def test_lut_to_sparse(run: Run, vector: int, axis: int | None) -> None:
    places = mask((4, 6))
    given: dict[str, Any] = {
        "indices_mask": places, "indices_nonzero_data": integers("uint2", (int(places.sum()),)),
        "lut": floats((1, 2, 4, vector)), **({} if axis is None else {"vector_axis": axis}),
    }  # fmt: skip
    out_mask, values = iOS18.constexpr_lut_to_sparse.decompress(*[given.get(name) for name in (
        "indices_mask", "indices_nonzero_data", "lut", "vector_axis")])  # fmt: skip
    expected = np.zeros(out_mask.shape)
    expected[out_mask != 0] = values

    def build() -> Any:
        found_mask, found = mb.constexpr_lut_to_sparse(**given)
        return mb.constexpr_sparse_to_dense(nonzero_data=found, mask=found_mask)

    np.testing.assert_array_equal(executed(run, build, expected.shape, ct.target.iOS18), expected)


@pytest.mark.parametrize("dtype", ["int4", "uint8"])
@pytest.mark.parametrize("has_offset", [False, True])
def test_sparse_blockwise_shift_scale(run: Run, dtype: str, has_offset: bool) -> None:
    places = mask((4, 6))
    data, scale = integers(dtype, (int(places.sum()),)), floats((2, 3))
    offset = integers(dtype, (2, 3)) if has_offset else np.zeros((2, 3))
    left, expected = iter(data), np.zeros(places.shape)
    for place in iterations(places.shape):
        if places[place]:
            block = place[0] // 2, place[1] // 2
            expected[place] = (float(next(left)) - float(offset[block])) * float(scale[block])

    def build() -> Any:
        given = {"offset": offset} if has_offset else {}
        found_mask, found = mb.constexpr_sparse_blockwise_shift_scale(
            data_mask=places, nonzero_data=data, scale=scale, **given
        )
        return mb.constexpr_sparse_to_dense(nonzero_data=found, mask=found_mask)

    np.testing.assert_allclose(executed(run, build, places.shape, ct.target.iOS18), expected, rtol=1e-6)


def test_float16_results_are_rounded(run: Run) -> None:
    data, scale = integers("int8", (4, 6)), floats((4, 1), "fp16")
    result = executed(
        run, lambda: mb.constexpr_blockwise_shift_scale(data=data, scale=scale), data.shape, ct.target.iOS18, "fp16",
        numerics="float16",
    )  # fmt: skip
    np.testing.assert_array_equal(result, (data.astype(np.float16) * scale).astype(np.float32))


# What coremltools' own compression makes of a network ----------------------------------------------

QUANTIZED = cto.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=0)
BLOCKS = cto.OpLinearQuantizerConfig(
    mode="linear", dtype="int4", granularity="per_block", block_size=4, weight_threshold=0
)
PALETTES = cto.OpPalettizerConfig(mode="uniform", nbits=4, weight_threshold=0)
GROUPS = cto.OpPalettizerConfig(
    mode="uniform", nbits=3, granularity="per_grouped_channel", group_size=4, weight_threshold=0
)
PRUNED = cto.OpMagnitudePrunerConfig(target_sparsity=0.5, weight_threshold=0)
QUANTIZE, PALETTIZE, PRUNE = cto.linear_quantize_weights, cto.palettize_weights, cto.prune_weights


@pytest.mark.parametrize(
    ("target", "steps"),
    [
        (ct.target.iOS16, [(QUANTIZE, QUANTIZED)]),
        (ct.target.iOS16, [(PALETTIZE, PALETTES)]),
        (ct.target.iOS16, [(PRUNE, PRUNED)]),
        (ct.target.iOS18, [(QUANTIZE, BLOCKS)]),
        (ct.target.iOS18, [(PALETTIZE, GROUPS)]),
        (ct.target.iOS18, [(PRUNE, PRUNED), (QUANTIZE, QUANTIZED)]),
        (ct.target.iOS18, [(PRUNE, PRUNED), (PALETTIZE, PALETTES)]),
    ],
)
def test_compressed_network(target: Any, steps: list[Any]) -> None:
    """The compressed weights, decompressed by coremltools, give the same result."""
    weight = RANDOM.normal(size=(8, 16, 3, 3)).astype(np.float32)
    x = RANDOM.normal(size=(1, 16, 6, 6)).astype(np.float32)
    program = mb.program(input_specs=[mb.TensorSpec(x.shape)], opset_version=target)(
        lambda x: mb.conv(x=x, weight=weight, pad_type="same")
    )
    model = ct.convert(program, convert_to="mlprogram", minimum_deployment_target=target,
                       compute_precision=ct.precision.FLOAT32, skip_model_load=True)  # fmt: skip

    def predict(model: Any) -> tuple[np.ndarray, set[str]]:
        loaded = portable.load_spec(model.get_spec(), Path(model.weights_dir), "float32")
        (result,) = loaded.predict({"x": x}).values()
        return result, {item.type for item in loaded.function.block.operations}

    plain, _ = predict(model)
    for step, config in steps:
        model = step(model, cto.OptimizationConfig(global_config=config), **(
            {"joint_compression": True} if step is not steps[0][0] else {}
        ))  # fmt: skip
    compressed, operations = predict(model)
    decompressed, after = predict(cto.decompress_weights(model))
    assert any(name.startswith("constexpr_") for name in operations)
    assert not any(name.startswith("constexpr_") for name in after)
    np.testing.assert_allclose(compressed, decompressed, rtol=1e-4, atol=1e-4)
    assert 1e-3 < np.abs(compressed - plain).max() < 15


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("constexpr_sparse_to_dense", (np.ones(2), np.array([1, 0, 0])), "2 values; supported: 1 places"),
        ("constexpr_blockwise_shift_scale", (np.ones((3, 4)), np.ones((2, 2))), "no multiple of its 2 blocks"),
        ("constexpr_lut_to_dense", (np.array([1, 1], np.uint8), np.ones(16), (5,)), "cut short"),
    ],
)
def test_errors(name: str, arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(PackageError, match=message):
        KERNELS[name].function(*arguments)

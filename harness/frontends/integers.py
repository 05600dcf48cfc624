"""Integers of every width in MIL, which computes with int32.

Results of narrower ones are wrapped, wider ones are refused where 32 bits could change the result.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.errors import UnsupportedError
from harness.frontends.builder import mb
from harness.frontends.dispatch import Value, Var

# Bits and sign of the integers that are narrower than int32.
NARROW = {
    "int2": (2, True), "int4": (4, True), "int8": (8, True), "int16": (16, True),
    "uint2": (2, False), "uint4": (4, False), "uint8": (8, False), "uint16": (16, False),
}  # fmt: skip
INTEGERS = frozenset({*NARROW, "int32", "int64", "uint32", "uint64"})
# Powers of other integers than -1, 0 and 1 go beyond int32 from here on.
_LARGEST_EXPONENT = 31


def wrapped(x: Var, dtype: str) -> Var:
    """``x`` modulo the range of a narrow integer type; others as they are."""
    if dtype not in NARROW:
        return x
    bits, is_signed = NARROW[dtype]
    span, half = 1 << bits, 1 << (bits - 1)
    if not is_signed:
        return mb.mod(x=x, y=np.int32(span))
    return mb.sub(x=mb.mod(x=mb.add(x=x, y=np.int32(half)), y=np.int32(span)), y=np.int32(half))


def held(dtype: str, *values: Var) -> None:
    """Raise UnsupportedError where a constant of a wide type was clipped to int32, which is what these then hold."""
    ends = (-(2**31), 2**31 - 1)
    if dtype in ("int64", "uint32", "uint64"):
        for value in values:
            if value.val is not None and np.isin(value.val, ends).any():
                raise UnsupportedError("int32 does not hold a constant", received=dtype)


def truncated_quotient(x: Var, y: Value, *, is_signed: bool) -> Var:
    """The quotient of integers towards zero: one above the floor where that is negative and there is a rest."""
    quotient = mb.floor_div(x=x, y=y)
    if not is_signed:
        return quotient
    has_rest = mb.not_equal(x=mb.mul(x=quotient, y=y), y=x)
    is_below = mb.logical_and(x=has_rest, y=mb.less(x=quotient, y=np.int32(0)))
    return mb.add(x=quotient, y=mb.cast(x=is_below, dtype="int32"))


def constant_power(x: Var, exponent: int) -> Var:
    """By repeated squaring."""
    if exponent > _LARGEST_EXPONENT:
        raise UnsupportedError("an integer power beyond int32", received=exponent, supported=_LARGEST_EXPONENT)
    result, square = None, x
    while exponent:
        if exponent & 1:
            result = square if result is None else mb.mul(x=result, y=square)
        exponent >>= 1
        if exponent:
            square = mb.mul(x=square, y=square)
    return mb.add(x=mb.mul(x=x, y=np.int32(0)), y=np.int32(1)) if result is None else result


def computed_power(x: Var, y: Var) -> Var:
    """By repeated squaring, bit by bit of |y|, of which only the parity counts where the power is in int32 still.
    Negative powers are 0 but for those of 1 and -1."""
    size = mb.abs(x=y)
    parity = mb.mod(x=size, y=np.int32(2))
    large = mb.add(x=parity, y=np.int32(30))
    size = mb.select(cond=mb.greater(x=size, y=np.int32(_LARGEST_EXPONENT)), a=large, b=size)
    one = mb.add(x=mb.mul(x=x, y=np.int32(0)), y=np.int32(1))
    result, square = None, x
    for bit in range(5):
        is_set = mb.equal(x=mb.mod(x=mb.floor_div(x=size, y=np.int32(1 << bit)), y=np.int32(2)), y=np.int32(1))
        factor = mb.select(cond=is_set, a=square, b=one)
        result = factor if result is None else mb.mul(x=result, y=factor)
        square = mb.mul(x=square, y=square)
    is_unit = mb.cast(x=mb.equal(x=mb.abs(x=x), y=np.int32(1)), dtype="int32")
    return mb.select(cond=mb.less(x=y, y=np.int32(0)), a=mb.mul(x=result, y=is_unit), b=result)


def combined_bits(combine: str, x: Var, y: Var, dtype: str) -> Var:
    """``and``, ``or`` or ``xor`` by arithmetic on each bit: floor division and remainder work on two's complement, of
    which the sign is the last bit (x = sum of bits - sign * 2**n)."""
    held(dtype, x, y)
    if combine == "and" and y.val is not None and np.size(y.val) == 1:
        mask = int(np.reshape(y.val, ())) + 1
        if mask > 0 and mask & (mask - 1) == 0 and x.rank >= y.rank:
            return mb.mod(x=x, y=np.int32(mask))
    total: Any = None
    for bit in range(NARROW[dtype][0] if dtype in NARROW else 31):
        both = [mb.mod(x=mb.floor_div(x=value, y=np.int32(1 << bit)), y=np.int32(2)) for value in (x, y)]
        part = mb.mul(x=_combined(combine, both[0], both[1]), y=np.int32(1 << bit))
        total = part if total is None else mb.add(x=total, y=part)
    if dtype in NARROW:
        return wrapped(total, dtype)
    signs = [mb.cast(x=mb.less(x=value, y=np.int32(0)), dtype="int32") for value in (x, y)]
    return mb.add(x=total, y=mb.mul(x=_combined(combine, signs[0], signs[1]), y=np.int32(-(2**31))))


def _combined(combine: str, a: Var, b: Var) -> Var:
    """Of bits that are 0 or 1."""
    if combine == "and":
        return mb.mul(x=a, y=b)
    if combine == "or":
        return mb.maximum(x=a, y=b)
    return mb.abs(x=mb.sub(x=a, y=b))


def powers_of_two(x: Var, bits: int) -> tuple[Var, Var]:
    """2**x of x within [0, bits), and x within these bounds."""
    powers = (np.int64(1) << np.arange(bits)).astype(np.int32)
    inside = mb.minimum(x=mb.maximum(x=x, y=np.int32(0)), y=np.int32(bits - 1))
    return mb.gather(x=powers, indices=inside, axis=0), inside


_MIL_TYPES = {"float32": "fp32", "float16": "fp16", "bool": "bool", "int32": "int32", "int64": "int32"}


def converted(x: Var, given: str, wanted: str) -> Var:
    """A change of type: floats are truncated towards zero, integers wrap."""
    if wanted in _MIL_TYPES:
        return x if given == wanted else mb.cast(x=x, dtype=_MIL_TYPES[wanted])
    integers = x if given in INTEGERS else mb.cast(x=x, dtype="int32")
    if wanted in NARROW:
        return wrapped(integers, wanted)
    # Formats leave open what floats below 0 become.
    if wanted in ("uint32", "uint64") and (given not in INTEGERS or given.startswith("u")):
        return integers
    raise UnsupportedError("this change of type is not the same in Core ML", received=f"{given} to {wanted}")


def bits_as(x: Var, given: str, wanted: str) -> Var:
    """The same bits as another type, between integers that int32 holds."""
    if given == "bool" and wanted in NARROW:
        return mb.cast(x=x, dtype="int32")
    if given == wanted or (given in NARROW and wanted in NARROW and NARROW[given][0] == NARROW[wanted][0]):
        return x if given == wanted else wrapped(x, wanted)
    if (given, wanted) in (("uint32", "int32"), ("uint64", "int64")):
        # An unsigned value that int32 holds has the same bits.
        return x
    raise UnsupportedError("bits of this type are not read as the other", received=f"{given} as {wanted}")

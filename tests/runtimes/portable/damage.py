"""Damages packages at random: what the portable runtime must answer with a typed error, or a result."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from harness.runtimes.portable.package import open_package

_EXTREMES = (0, 1, -1, 2, 7, 255, 2**16, 2**31 - 1, -(2**31))


def damaged(package: Path, folder: Path, seed: int) -> Path:
    """A copy of ``package`` with one to four places changed; the same for the same seed."""
    chance = random.Random(seed)
    copy = folder / f"damaged-{seed}.mlpackage"
    shutil.copytree(package, copy)
    model = next(copy.glob("Data/*/*.mlmodel"))
    weights = list(copy.glob("Data/*/weights/*.bin"))
    kind = chance.choice(["flip model", "flip weights", "truncate", "field", "field", "field", "offset"])
    target = chance.choice(weights) if weights and kind == "flip weights" else model
    if kind.startswith("flip"):
        content = bytearray(target.read_bytes())
        for _ in range(chance.randint(1, 4)):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        target.write_bytes(content)
    elif kind == "truncate":
        target = chance.choice([*weights, model, copy / "Manifest.json"])
        content = bytearray(target.read_bytes())
        target.write_bytes(content[: chance.randrange(len(content))])
    else:
        proto, _ = open_package(copy)
        for _ in range(chance.randint(1, 3)):
            if kind == "offset":
                _change_offset(proto, chance)
            else:
                _change_field(proto, chance)
        model.write_bytes(proto.SerializeToString())
    return copy


def _scalars(message: Any) -> Iterator[tuple[Any, FieldDescriptor]]:
    """Every scalar field that is set, with the message that holds it."""
    for descriptor, value in message.ListFields():
        if descriptor.type != FieldDescriptor.TYPE_MESSAGE:
            yield message, descriptor
        elif descriptor.message_type.GetOptions().map_entry:
            if descriptor.message_type.fields_by_name["value"].type == FieldDescriptor.TYPE_MESSAGE:
                for key in value:
                    yield from _scalars(value[key])
        else:
            for item in value if descriptor.is_repeated else [value]:
                yield from _scalars(item)


def _change_field(proto: Any, chance: random.Random) -> None:
    message, descriptor = chance.choice(list(_scalars(proto)))
    value = getattr(message, descriptor.name)
    if descriptor.is_repeated:
        if not len(value) or chance.random() < 0.3:
            del value[len(value) // 2 :]
            return
        index = chance.randrange(len(value))
        value[index] = _other(value[index], chance)
    else:
        setattr(message, descriptor.name, _other(value, chance))


def _other(value: Any, chance: random.Random) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return (
            chance.choice([extreme for extreme in _EXTREMES if extreme >= 0])
            if value >= 0
            else chance.choice(_EXTREMES)
        )
    if isinstance(value, float):
        return chance.choice([0.0, -1.0, 1e30, float("nan"), float("inf")])
    if isinstance(value, bytes):
        return value[: chance.randrange(len(value) + 1)]
    return value[::-1] if len(value) > 1 and chance.random() < 0.5 else value + "x"


def _change_offset(proto: Any, chance: random.Random) -> None:
    blobs = [
        operation.attributes["val"].blobFileValue
        for function in proto.mlProgram.functions.values()
        for block in function.block_specializations.values()
        for operation in block.operations
        if operation.type == "const" and operation.attributes["val"].WhichOneof("value") == "blobFileValue"
    ]
    if blobs:
        blob = chance.choice(blobs)
        blob.offset = chance.choice([blob.offset + 1, blob.offset + 64, 2**40, 2**63, 0])

"""What the fuzzers of the frontends share: changed bytes, and batches of files in processes of their own, so that a
crash or a hang is told with its seed."""

from __future__ import annotations

import argparse
import collections
import queue
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from harness.errors import HarnessError, InternalError

BATCH = 50
# Until a batch says something: it imports TensorFlow and makes its models first, on machines that do more besides.
SECONDS_PER_LINE = 240

# How one file fares: "refused", "converted ..." or "WRONG ...".
Judge = Callable[[Path, Path], str]


def damaged_bytes(content: bytes, choose: random.Random) -> bytes:
    """Bytes changed, cut off or doubled."""
    data = bytearray(content)
    for _ in range(choose.choice((1, 2, 5, 20))):
        data[choose.randrange(len(data))] = choose.randrange(256)
    kind = choose.randrange(4)
    if kind == 0:
        del data[choose.randrange(len(data)) :]
    elif kind == 1:
        start = choose.randrange(len(data))
        data[start:start] = data[start : start + choose.randrange(1, 40)]
    return bytes(data)


def outcomes_of(
    seeds: Iterable[int],
    contents: list[bytes],
    damaged_model: Callable[[bytes, random.Random], bytes],
    judge: Judge,
    folder: Path,
    suffix: str,
) -> Iterable[tuple[int, str]]:
    """Each seed, first with "begin" and then with what became of its file."""
    for seed in seeds:
        choose = random.Random(seed)
        content = choose.choice(contents)
        damage = damaged_bytes if choose.random() < 0.5 else damaged_model
        path = folder / f"damaged{suffix}"
        path.write_bytes(damage(content, choose))
        yield seed, "begin"
        try:
            yield seed, judge(path, folder / "a.mlpackage")
        except InternalError as error:
            yield seed, f"internal: {error}"
        except HarnessError:
            yield seed, "refused"
        except Exception as error:
            yield seed, f"untyped {type(error).__name__}: {str(error)[:100]}"


def main(module: str, description: str | None, batch: Callable[[list[int], Path], Iterable[tuple[int, str]]]) -> None:
    """The command of a fuzzer: ``COUNT [--seed FIRST]``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", nargs=2, type=int)
    arguments = parser.parse_args()
    if arguments.batch:
        with tempfile.TemporaryDirectory() as folder:
            for seed, outcome in batch(list(range(*arguments.batch)), Path(folder)):
                print("begin" if outcome == "begin" else "end", seed, outcome, flush=True)
        return
    outcomes: collections.Counter[str] = collections.Counter()
    seed, last = arguments.seed, arguments.seed + arguments.count
    while seed < last:
        end = min(seed + BATCH, last)
        command = [sys.executable, "-m", module, "0", "--batch", str(seed), str(end)]
        start = time.monotonic()
        output, status = _output_of(command)
        lines = [line.split(" ", 2) for line in output if line.startswith(("begin", "end"))]
        for word, number, *rest in lines:
            if word == "end":
                outcomes[rest[0].split(":")[0]] += 1
                if rest[0].startswith(("untyped", "internal", "WRONG")):
                    print(number, rest[0], flush=True)
        finished = [int(line[1]) for line in lines if line[0] == "end"]
        if status != 0 or len(finished) < end - seed:
            began = [int(line[1]) for line in lines if line[0] == "begin"]
            culprit = began[-1] if began else seed
            outcomes["hung" if status == -1 else "crashed"] += 1
            print(f"seed {culprit}: the process ended with {status} after {time.monotonic() - start:.0f} s", flush=True)
            seed = culprit + 1
        else:
            seed = end
    print(dict(outcomes))


def _output_of(command: list[str]) -> tuple[list[str], int]:
    """Its lines and its status, which is -1 where it was silent for too long and therefore ended."""
    lines: list[str] = []
    coming: queue.Queue[str | None] = queue.Queue()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                coming.put(line.rstrip("\n"))
            coming.put(None)

        threading.Thread(target=read, daemon=True).start()
        try:
            while (line := coming.get(timeout=SECONDS_PER_LINE)) is not None:
                lines.append(line)
        except queue.Empty:
            process.kill()
            return lines, -1
        return lines, process.wait()

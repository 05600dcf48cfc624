"""``python -m tests.bench_run``: how long ``harness run unet`` takes from a full cache, beside what cannot be saved.

That is the import of TensorFlow, and the samples themselves: those of every cell, and the reference's once. All figures
are of one session; only their ratio is worth comparing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--model", default="unet")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HARNESS_CACHE_DIR"] = str(Path(folder, "cache"))
        run(folder, arguments.model, 0)  # fills the cache
        start = time.perf_counter()
        records = run(folder, arguments.model, arguments.samples)
        whole = time.perf_counter() - start
        imported = seconds_of("import tensorflow")
    assert all(record["convert_cached"] for record in records)
    samples = sum(sum(record["samples"]) for record in records)
    references = {tuple(record["reference_samples"]) for record in records}
    samples += sum(sum(reference) for reference in references)
    table = Table("cells", "schedules", "whole s", "import s", "samples s", "ratio", "bound", box=None)
    ratio = whole / (imported + samples)
    figures = (f"{value:.1f}" for value in (whole, imported, samples))
    table.add_row(str(len(records)), str(len(references)), *figures, f"{ratio:.2f}", "2.00")
    Console().print(table)


def run(folder: str, model: str, samples: int) -> list[dict[str, object]]:
    """The records of one run on the portable runtime."""
    command = ["harness", "run", model, "--runtime", "portable", "--samples", str(samples), "--out", folder, "--json"]
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=True)
    records: list[dict[str, object]] = json.loads(done.stdout)
    return records


def seconds_of(code: str) -> float:
    """A new interpreter that executes ``code``."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()

"""``python -m tests.bench_timing``: what the timing loop adds to a sample, with a prediction that does nothing."""

from __future__ import annotations

import statistics
from time import perf_counter_ns

from harness.timing import interleave


def empty() -> None:
    """A prediction that takes no time."""


def main() -> None:
    count = 20_000
    (timing,) = interleave({"empty": empty}, samples=count, warm_up=1000).values()
    start = perf_counter_ns()
    for _ in range(count):
        empty()
    bare = (perf_counter_ns() - start) / count
    added = statistics.median(timing.samples) * 1e9 - bare
    print(f"an empty prediction: {bare:.0f} ns alone; each sample adds {added:.0f} ns, {added / 1e4:.4f} % of 1 ms")


if __name__ == "__main__":
    main()

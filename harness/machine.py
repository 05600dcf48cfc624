"""What machine this is, as it stands beside every figure."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from pathlib import Path


@cache
def machine_name() -> str:
    """Architecture and processor, such as ``arm64 Apple M2``."""
    return f"{platform.machine()} {_processor()}".strip()


def _processor() -> str:
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.strip()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")

"""A cell's process in which the stand-in is Core ML: ``HARNESS_STAND_IN`` says which Mac."""

from __future__ import annotations

import sys

from harness.quiet import without_frameworks
from harness.runtimes.portable import stand_in

if __name__ == "__main__":
    without_frameworks()
    stand_in.install_from_environment()
    from harness.runtimes.coreml.cell import main

    main(sys.argv[1:])

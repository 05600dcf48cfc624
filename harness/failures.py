"""What a failure is called in a record: whose code raised, and what it said."""

from __future__ import annotations

import sys
import traceback

from harness.errors import HarnessError, InternalError, one_line

# Packages that compute for whoever calls them: an exception from within them is the caller's.
_NUMBERS = ("numpy", "scipy", "PIL", "skimage")


def failure_text(error: Exception) -> str:
    """What an exception says to a user, and whose it is: whose code was executed last, numbers apart."""
    if isinstance(error, HarnessError):
        return str(error)
    for frame in reversed(list(traceback.walk_tb(error.__traceback__))):
        module = str(frame[0].f_globals.get("__name__", ""))
        package = module.partition(".")[0]
        if package in sys.stdlib_module_names or package in _NUMBERS:
            continue
        said, where = f"{type(error).__name__}: {one_line(error)}", f"{frame[0].f_code.co_name} ({module}:{frame[1]})"
        if package == "harness":
            return str(InternalError("harness failed", received=f"{said}, in {where}", remedy="Report it"))
        return f"{package} raised {said}, in {where}"
    return f"{type(error).__name__}: {one_line(error)}"

"""MIL's builder is imported when an operation is asked for, not when something looks at the object."""

from __future__ import annotations

import subprocess
import sys


def test_coremltools_is_imported_at_the_first_operation() -> None:
    code = (
        "import sys; from harness.frontends.builder import mb; "
        "assert not hasattr(mb, '__test__') and not hasattr(mb, '_pytestfixturefunction'); "
        "assert 'coremltools' not in sys.modules; "
        "assert mb.add and 'coremltools' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")

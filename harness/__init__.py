"""Does a TensorFlow image-to-image model survive its trip to Core ML?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["results"]


def results(folder: Path | str = "results") -> pd.DataFrame:
    """Every record of every run in ``folder``, one row each, with derived statistics in milliseconds.

    See harness.report.frame.to_frame for the columns. Raises StoreError.
    """
    from harness.report.frame import to_frame
    from harness.store import Store

    return to_frame(Store(folder).records())

"""Imports of TensorFlow and coremltools without the lines that they print while they load."""

from __future__ import annotations

import functools
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_imports() -> Iterator[None]:
    """Absent optional parts (CUDA, PyTorch, macOS) are not announced, not even by native code.

    What was written to standard error is shown after all where the import fails.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logger = logging.getLogger("coremltools")
    level = logger.level
    logger.setLevel(logging.ERROR)
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except BaseException:
            held.seek(0)
            os.write(saved, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            logger.setLevel(level)


@contextmanager
def quiet_native() -> Iterator[None]:
    """What native code writes to standard error is dropped, whatever happens: its exception says what is to be said."""
    sys.stderr.flush()
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)


def without_frameworks() -> None:
    """For a process that converts nothing, before it imports coremltools, which else imports TensorFlow and PyTorch
    where they are installed: 5 s and 600 MB. They cannot be imported in this process afterwards."""
    for name in ("tensorflow", "torch"):
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]


@contextmanager
def quiet_conversion() -> Iterator[None]:
    """Progress bars, log lines and warnings of coremltools and tf2onnx are not shown while they convert."""
    from tqdm import tqdm

    levels = {logger: logger.level for logger in map(logging.getLogger, ("coremltools", "tf2onnx"))}
    start = tqdm.__init__
    for logger in levels:
        logger.setLevel(logging.CRITICAL)
    tqdm.__init__ = functools.partialmethod(start, disable=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        tqdm.__init__ = start
        for logger, level in levels.items():
            logger.setLevel(level)

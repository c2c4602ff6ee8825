"""What the commands share: one-line messages, a silent decoder, and quiet libraries."""

import contextlib
import os
import sys
from collections.abc import Iterator

from transformers.utils import logging


def one_line(error: object) -> str:
    """Return a message without line breaks, which names of files may contain."""
    return " ".join(str(error).split())


@contextlib.contextmanager
def quiet_decoder() -> Iterator[None]:
    """Keep libmpg123's own messages about damaged files off standard error; the commands report them in one line.

    Python's `sys.stderr` still goes where it went.
    """
    stderr = sys.stderr
    try:
        shared = stderr.fileno() == 2
    except (AttributeError, OSError, ValueError):  # closed, or kept in memory
        shared = False
    if not shared:
        yield
        return
    stderr.flush()
    options = {"buffering": 1, "encoding": stderr.encoding, "errors": stderr.errors}
    with open(os.devnull, "w") as nothing, open(os.dup(2), "w", **options) as kept:
        os.dup2(nothing.fileno(), 2)
        sys.stderr = kept
        try:
            yield
        finally:
            os.dup2(kept.fileno(), 2)
            sys.stderr = stderr


def quiet_libraries():
    """Turn off transformers' warnings and progress bars, which would drown a command's own output."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()

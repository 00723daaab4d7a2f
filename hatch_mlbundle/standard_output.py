"""Standard output: whoever reads it may stop early, and it may be a file on a full disk."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import StorageError


@contextmanager
def standard_output() -> Iterator[None]:
    """Let the body print, and flush it. Raises StorageError where it cannot be written.

    That its reader has gone (`| head`) is no fault: all else is done as ever, and the exit code stays what it is.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
    except OSError as error:
        discard_output()
        raise StorageError(f"cannot write to standard output ({error.strerror}); send it elsewhere") from error


def discard_output() -> None:
    """Let all that is still to be printed go nowhere: at its exit, Python would try once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

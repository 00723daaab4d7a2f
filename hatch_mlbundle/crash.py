"""Our own bugs: one line for the person, the whole story in a file to paste."""

from __future__ import annotations

import platform
import sys
import tempfile
import traceback

from . import __version__

EXIT_CODE = 3
INTERRUPTED = 130
"""What a shell reports of a program that Ctrl-C ended."""
TERMINATED = 143
"""The same for SIGTERM."""


def report(error: BaseException) -> str:
    """Write the traceback and the releases of what runs to a temporary file; return the line that names it.

    Where no file can be written, the story goes to standard error.
    """
    kind = _printable(" ".join(f"{type(error).__name__}: {error}".split()))
    setting = f"hatch-mlbundle {__version__}, Python {platform.python_version()}, {platform.platform()}\n{' '.join(sys.argv)}\n\n"
    story = _printable(setting + "".join(traceback.format_exception(error)))
    try:
        with tempfile.NamedTemporaryFile("w", prefix="mlbundle-crash-", suffix=".log", delete=False, encoding="utf-8") as log:
            log.write(story)
        where = log.name
    except OSError as refusal:
        print(story, file=sys.stderr)  # noqa: T201
        where = f"the text above (no log can be written: {refusal.strerror})"
    return f"mlbundle: this is a bug of ours ({kind}). Please report it with {where}"


def _printable(text: str) -> str:
    """Return the text with an escape for what UTF-8 cannot hold: names of files need not be Unicode."""
    return text.encode(errors="backslashreplace").decode()

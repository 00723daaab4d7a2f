"""Our own bugs: one line for the person, the whole story in a file to paste."""

from __future__ import annotations

import platform
import sys
import tempfile
import traceback
from pathlib import Path

from . import __version__

EXIT_CODE = 3


def report(error: BaseException) -> str:
    """Write the traceback and the releases of what runs to a temporary file; return the line that names it."""
    story = "".join(traceback.format_exception(error))
    setting = f"hatch-mlbundle {__version__}, Python {platform.python_version()}, {platform.platform()}\n{' '.join(sys.argv)}\n\n"
    with tempfile.NamedTemporaryFile("w", prefix="mlbundle-crash-", suffix=".log", delete=False, encoding="utf-8") as log:
        log.write(setting + story)
    kind = " ".join(f"{type(error).__name__}: {error}".split())
    return f"mlbundle: this is a bug of ours ({kind}); nothing was replaced. Please report it with {Path(log.name)}"

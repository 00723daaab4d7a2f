"""Our own command in the scripts of CI jobs: in this process, which is quicker, unless a test is about the script itself."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from hatch_mlbundle.ci.__main__ import main


def run_here(command: str, folder: Path, variables: Mapping[str, str]) -> tuple[int, str]:
    """Run `python -m hatch_mlbundle.ci COMMAND` in a folder; return its exit code and what it printed."""
    said, before = io.StringIO(), Path.cwd()
    os.chdir(folder)
    try:
        with redirect_stdout(said), redirect_stderr(said):
            code = main([command], variables)
    finally:
        os.chdir(before)
    return code, said.getvalue()

"""Code for a frozen executable: what one more of its scripts is made of (`Executable.rebuilt`)."""

from __future__ import annotations

import marshal
import shutil
import subprocess
import sys
from importlib.util import MAGIC_NUMBER

from hatch_mlbundle.errors import MissingProgramError

from .executable import Executable

_COMPILE = """\
import importlib.util, marshal, sys
code = compile(sys.stdin.buffer.read(), sys.argv[1], "exec", dont_inherit=True)
sys.stdout.buffer.write(importlib.util.MAGIC_NUMBER + marshal.dumps(code))
"""
_PATIENCE = 60.0
"""Seconds for another Python to start and compile a script."""


def script_code(executable: Executable, source: str, name: str) -> bytes:
    """Return the marshalled code of a script, compiled for the executable's release of Python; `name` stands in its tracebacks.

    Code of one release is nothing to another, so where this Python is another one, `python3.x` of the PATH compiles it. Raises
    MissingProgramError where there is none.
    """
    magic = executable.pyz.bytecode if executable.pyz else MAGIC_NUMBER
    if magic == MAGIC_NUMBER:
        return marshal.dumps(compile(source, name, "exec", dont_inherit=True))
    major, minor = divmod(executable.archive.python, 100)
    other = shutil.which(f"python{major}.{minor}")
    code = _compiled_by(other, source, name) if other else b""
    if not code.startswith(magic):
        ours = "{}.{}".format(*sys.version_info)
        raise MissingProgramError(
            f"{executable.path}: was frozen with Python {major}.{minor}, for which this one ({ours}) cannot compile;"
            f" install mlbundle for Python {major}.{minor}, or put python{major}.{minor} on the PATH"
        )
    return code[len(magic) :]


def _compiled_by(python: str, source: str, name: str) -> bytes:
    command = [python, "-I", "-S", "-c", _COMPILE, name]
    try:
        return subprocess.run(command, input=source.encode(), capture_output=True, check=True, timeout=_PATIENCE).stdout
    except (OSError, subprocess.SubprocessError):
        return b""

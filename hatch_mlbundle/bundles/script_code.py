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
import __future__, importlib.util, marshal, sys
flags = __future__.annotations.compiler_flag
code = compile(sys.stdin.buffer.read(), sys.argv[1], "exec", flags=flags, dont_inherit=True, optimize=2)
try:
    data = marshal.dumps(code, 2)
except ValueError:
    data = marshal.dumps(code)
sys.stdout.buffer.write(importlib.util.MAGIC_NUMBER + data)
"""
"""Annotations are not evaluated, so that a script needs no `from __future__ import`, which imports a module. Version 2 of the format is
the last that gives the same bytes each time; what Python 3.14 makes of slices needs a later one.
"""
_PLAIN_MARSHAL = 2
_PATIENCE = 60.0
"""Seconds for another Python to start and compile a script."""


def script_code(executable: Executable, source: str, name: str) -> bytes:
    """Return the marshalled code of a script, compiled for the executable's release of Python; `name` stands in its tracebacks.

    Code of one release is nothing to another, so where this Python is another one, `python3.x` of the PATH compiles it. Raises
    MissingProgramError where there is none.
    """
    magic = executable.pyz.bytecode if executable.pyz else MAGIC_NUMBER
    if magic == MAGIC_NUMBER:
        return compiled(source, name)
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


def compiled(source: str, name: str) -> bytes:
    """Return the marshalled code of a script for this Python, the same bytes each time."""
    code = compile(source, name, "exec", flags=annotations.compiler_flag, dont_inherit=True, optimize=2)
    try:
        return marshal.dumps(code, _PLAIN_MARSHAL)
    except ValueError:
        return marshal.dumps(code)


def _compiled_by(python: str, source: str, name: str) -> bytes:
    command = [python, "-I", "-S", "-c", _COMPILE, name]
    try:
        return subprocess.run(command, input=source.encode(), capture_output=True, check=True, timeout=_PATIENCE).stdout
    except (OSError, subprocess.SubprocessError):
        return b""

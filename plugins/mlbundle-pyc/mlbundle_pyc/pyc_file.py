"""The two forms in which a bundle has bytecode: `.pyc` files with a header, and modules inside an executable without one."""

from __future__ import annotations

from importlib.util import MAGIC_NUMBER

from hatch_mlbundle.importpaths import is_in_pyz
from hatch_mlbundle.model import File

from .compiling import HEADER


def header_size(path: str) -> int:
    """Return the bytes before the code of a bytecode file, by its path in the bundle."""
    return 0 if is_in_pyz(path) else HEADER


def code_in(file: File) -> bytes:
    """Return the marshalled code in a file; raises ValueError where it is that of another Python, or not there."""
    data = file.read()
    size = header_size(file.path)
    if size and (len(data) < size or data[:4] != MAGIC_NUMBER):
        raise ValueError("it is bytecode of another Python")
    return data[size:]

"""Compile sources to the files that Python imports in their place (PEP 3147, "Case 4: legacy pyc files and source-less imports")."""

from __future__ import annotations

import marshal
import threading
import warnings
from collections.abc import Collection
from importlib.util import MAGIC_NUMBER, source_hash
from types import CodeType

from hatch_mlbundle.errors import KeptError, UnsoundResultError

from .docstrings import without_docstrings
from .marshal_tree import read_tree, write_tree
from .proof import prove

HEADER = 16
"""Bytes before the code in a `.pyc` file (PEP 552): magic number, flags, and a hash or a time and a size of the source."""

_UNCHECKED_HASH = (0b01).to_bytes(4, "little")
_LOCK = threading.Lock()


def compile_source(source: bytes, name: str, *, asserts: bool, kept: Collection[str] | None) -> bytes:
    """Return the `.pyc` file of a source: the same bytes each time; `name` is what tracebacks call it.

    All docstrings stay where `kept` is None, else those of definitions called as one of `kept`. What is made is read back by Python and
    compared with what was compiled. Raises KeptError where this Python cannot compile it, UnsoundResultError.
    """
    code = compiled(source, name, asserts=asserts)
    before = read_tree(marshal.dumps(code))
    after = write_tree(before if kept is None else without_docstrings(before, kept))
    problem = prove(write_tree(before), after, kept or ()) if kept is not None else None
    again = marshal.loads(after)  # noqa: S302 - what was written right here
    if problem or (kept is None and again != code) or set(_file_names(again)) != {name}:
        raise UnsoundResultError(problem or "its code is another one when it is read back")
    return MAGIC_NUMBER + _UNCHECKED_HASH + source_hash(source) + after


def compiled(source: bytes, name: str, *, asserts: bool = True) -> CodeType:
    """Return the code of a source; raises KeptError where this Python cannot compile it."""
    with _LOCK, warnings.catch_warnings():  # the filters belong to the whole process: one thread at a time
        warnings.simplefilter("ignore")
        try:
            return compile(source, name, "exec", dont_inherit=True, optimize=0 if asserts else 1)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise KeptError(f"this Python cannot compile it ({type(error).__name__})") from error


def _file_names(code: CodeType) -> list[str]:
    return [code.co_filename, *(name for each in code.co_consts if isinstance(each, CodeType) for name in _file_names(each))]

"""Compile sources to the files that Python imports in their place (PEP 3147, "Case 4: legacy pyc files and source-less imports")."""

from __future__ import annotations

import marshal
import threading
import warnings
from importlib.util import MAGIC_NUMBER, source_hash
from types import CodeType

from hatch_mlbundle.errors import KeptError, UnsoundResultError

from .marshal_tree import read_tree, write_tree

HEADER = 16
"""Bytes before the code in a `.pyc` file (PEP 552): magic number, flags, and a hash or a time and a size of the source."""

_UNCHECKED_HASH = (0b01).to_bytes(4, "little")
_LOCK = threading.Lock()


def compile_source(source: bytes, name: str, *, asserts: bool) -> bytes:
    """Return the `.pyc` file of a source: the same bytes each time; `name` is what tracebacks call it.

    It is unmarshalled and compared with what was compiled. Raises KeptError where this Python cannot compile it.
    """
    code = _compiled(source, name, 0 if asserts else 1)
    data = write_tree(read_tree(marshal.dumps(code)))
    again = marshal.loads(data)  # noqa: S302 - what was written right here
    if again != code or set(_file_names(again)) != {name}:
        raise UnsoundResultError("its code is another one when it is read back")
    return MAGIC_NUMBER + _UNCHECKED_HASH + source_hash(source) + data


def _compiled(source: bytes, name: str, optimize: int) -> CodeType:
    with _LOCK, warnings.catch_warnings():  # the filters belong to the whole process: one thread at a time
        warnings.simplefilter("ignore")
        try:
            return compile(source, name, "exec", dont_inherit=True, optimize=optimize)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise KeptError(f"this Python cannot compile it ({type(error).__name__})") from error


def _file_names(code: CodeType) -> list[str]:
    return [code.co_filename, *(name for each in code.co_consts if isinstance(each, CodeType) for name in _file_names(each))]

"""Prove that code without docstrings is otherwise the same: by Python's own reader, and its own comparison of code objects."""

from __future__ import annotations

import marshal
from collections.abc import Collection
from types import CodeType

_OPTIMIZED = 0x1
_HAS_DOCSTRING = 0x4000000


def prove(before: bytes, after: bytes, kept: Collection[str]) -> str | None:
    """Return what is wrong with marshalled code whose docstrings were left out, None where nothing is. Both were written right here.

    Each constant that differs must be a string that is None now, one in each code object, and none in what is called as one of `kept`.
    """
    try:
        old, new = (marshal.loads(data) for data in (before, after))  # noqa: S302 - well-formed: marshal_tree wrote it
    except (ValueError, EOFError, TypeError) as error:
        return f"it cannot be read back: {error}"
    if not (isinstance(old, CodeType) and isinstance(new, CodeType)):
        return "it is no code any more"
    return None if _restored(old, new, kept) == old else "its code is another one"


def _restored(old: CodeType, new: CodeType, kept: Collection[str]) -> CodeType:
    """Return the new code with the docstring of the old one, at any depth, where just that is missing."""
    if len(old.co_consts) != len(new.co_consts):
        return new
    constants = list(new.co_consts)
    missing = [
        number for number, (one, other) in enumerate(zip(old.co_consts, constants, strict=True)) if isinstance(one, str) and other is None
    ]
    for number, (one, other) in enumerate(zip(old.co_consts, constants, strict=True)):
        if isinstance(one, CodeType) and isinstance(other, CodeType):
            constants[number] = _restored(one, other, kept)
    if len(missing) == 1 and old.co_name not in kept and (missing[0] == 0 or not old.co_flags & _OPTIMIZED):
        constants[missing[0]] = old.co_consts[missing[0]]
    return new.replace(co_consts=tuple(constants), co_flags=new.co_flags | (old.co_flags & _HAS_DOCSTRING))

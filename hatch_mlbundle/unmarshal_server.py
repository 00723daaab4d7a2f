"""Unmarshal code objects and tell what they import: run as a script, in a process of its own, by unmarshal.py.

Reads and writes frames: their length as four bytes, little-endian, then as many bytes. A question is marshalled code of this very
Python; the answer is what `opcodes.needs_of` says of it, as JSON, or null.
"""

from __future__ import annotations

import json
import marshal
import sys
from contextlib import suppress
from pathlib import Path
from types import CodeType

if __name__ == "__main__":  # as a script it has no package around it
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from hatch_mlbundle.marshalled_code import Code, Constant
from hatch_mlbundle.opcodes import needs_of

MOST_MEMORY = 2 << 30
"""Address space in bytes: five bytes of hostile data can ask for a tuple of 16 GiB, which would be filled."""


def code_of(code: CodeType) -> Code:
    """Return a code object as marshalled_code.py would have read it."""
    exceptions: bytes | None = getattr(code, "co_exceptiontable", None)
    constants = tuple(map(_constant, code.co_consts))
    return Code(code.co_name, code.co_flags, code.co_code, constants, code.co_names, exceptions)


def _constant(value: object) -> Constant:
    if isinstance(value, CodeType):
        return code_of(value)
    plain = isinstance(value, str | bytes | tuple) or (isinstance(value, int) and not isinstance(value, bool))
    return value if plain else None


def answer(data: bytes) -> bytes:
    """Return the answer to a question."""
    try:
        code = marshal.loads(data)  # noqa: S302 - this is what the process is there for
        return json.dumps(needs_of(code_of(code))).encode()
    except Exception:  # whatever it was: the reader that trusts nothing says what is wrong
        return b"null"


def limit_memory() -> None:
    """Let what would take more than `MOST_MEMORY` fail at once, on systems that can."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))


def main() -> None:
    """Answer until there are no more questions."""
    limit_memory()
    source, target = sys.stdin.buffer, sys.stdout.buffer
    while len(head := source.read(4)) == 4:
        said = answer(source.read(int.from_bytes(head, "little")))
        target.write(len(said).to_bytes(4, "little") + said)
        target.flush()


if __name__ == "__main__":
    main()

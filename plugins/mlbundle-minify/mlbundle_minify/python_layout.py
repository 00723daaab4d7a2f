"""Write Python source anew in the fewest bytes, by python-minifier with everything off that changes what the code does."""

from __future__ import annotations

import ast
import re
from typing import Any

from hatch_mlbundle.errors import KeptError, UnsoundResultError
from hatch_mlbundle.pysource import parse

_HEAD = re.compile(rb"(?:\xef\xbb\xbf)?(?:[ \t]*(?:#[^\r\n]*)?(?:\r\n|\r|\n))*")
_SHEBANG = re.compile(r"#![^\n]*\n")
_COMMENT = re.compile(rb"^[ \t]*#|[ \t]#", re.MULTILINE)

_NOTHING: dict[str, Any] = dict.fromkeys(
    (
        "combine_imports",
        "constant_folding",
        "convert_posargs_to_args",
        "hoist_literals",
        "preserve_shebang",
        "remove_annotations",
        "remove_asserts",
        "remove_builtin_exception_brackets",
        "remove_debug",
        "remove_explicit_return_none",
        "remove_literal_statements",
        "remove_object_base",
        "remove_pass",
        "rename_globals",
        "rename_locals",
    ),
    False,
)
"""python_minifier.minify's options, all off."""


def packed(source: bytes) -> bytes:
    """Return a source with the comments at its head, and the rest laid out anew; the syntax tree is the same, but for positions.

    Raises UnsoundResultError, and KeptError where another comment would be lost.
    """
    import python_minifier

    match = _HEAD.match(source)
    head = b"".join(line for line in (match[0] if match else b"").splitlines(keepends=True) if line.strip())
    body = source[len(match[0]) if match else 0 :]
    if _COMMENT.search(body):
        return source
    try:
        made = head + python_minifier.minify(body.decode(), **_NOTHING).encode() + b"\n"
    except (python_minifier.UnstableMinification, RecursionError) as error:
        raise KeptError(f"python-minifier cannot write it ({type(error).__name__})") from error
    if ast.dump(parse(source)) != ast.dump(parse(made)):
        raise UnsoundResultError("its syntax tree is another one")
    return made if len(made) < len(source) else source

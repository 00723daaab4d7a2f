"""Whose a file of a frozen bundle is: it has no RECORDs to ask."""

from __future__ import annotations

import re

from packaging.utils import canonicalize_name

from hatch_mlbundle.importpaths import installed

_INFO = re.compile(r"(.+?)-[^-]+\.(?:dist|egg)-info")
_PYTHON = re.compile(r"base_library\.zip|lib(?:python|\d).*|python\d+(?:\.\d+|\.dll|\.zip)?")


def frozen_owner(path: str, contents: str) -> str:
    """Return the distribution or top-level package of a file, "python" for the interpreter's own; `contents` is the folder of files."""
    inside = installed(path)
    inside = inside.removeprefix(f"{contents}/") if contents else inside
    first = inside.partition("/")[0]
    if match := _INFO.fullmatch(first):
        return canonicalize_name(match[1]).replace("-", "_")
    if _PYTHON.fullmatch(first):
        return "python"
    return first.removesuffix(".libs") if "/" in inside else first.partition(".")[0]

"""What the paths in a frozen bundle tell: whose a file is, as it has no RECORDs to ask, and whether it can be told from a module."""

from __future__ import annotations

import re
from collections.abc import Iterable

from packaging.utils import canonicalize_name

from hatch_mlbundle.errors import ArtifactError
from hatch_mlbundle.importpaths import PYZ, installed, is_in_pyz

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


def check_names(paths: Iterable[str]) -> None:
    """Raise ArtifactError where a file lies in a folder that has the name of those under which modules of an executable are listed."""
    path = next((path for path in paths if is_in_pyz(path)), None)
    if path is not None:
        raise ArtifactError(path, f"lies in a folder whose name ends in {PYZ}, as those of the modules in an executable do; rename it")

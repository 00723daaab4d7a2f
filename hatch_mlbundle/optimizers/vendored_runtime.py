"""The part of the runtime that finds models, to be put into a wheel that is to do without hatch-mlbundle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from hatch_mlbundle.errors import MissingLibraryError

PACKAGE = "_mlbundle"
"""What it is called in the wheel's package."""

_RUNTIME = Path(__file__).parents[1] / "runtime"
_DOC = '"""Finds models outside the application: a part of hatch-mlbundle {version}, under the licence beside it."""\n'


def vendored_files() -> dict[str, bytes]:
    """Return the files by their paths in the package `_mlbundle`; raises MissingLibraryError where the licence is not to be found."""
    from hatch_mlbundle import __version__

    found = {"__init__.py": _DOC.format(version=__version__).encode(), "LICENSE": _licence()}
    waiting = [*(_RUNTIME / "models").glob("*.py"), _RUNTIME / "__main__.py"]
    while waiting:
        path = waiting.pop()
        name = path.relative_to(_RUNTIME).as_posix()
        if name not in found:
            found[name] = path.read_bytes()
            waiting += _imported(path)
    return dict(sorted(found.items()))


def _imported(path: Path) -> Iterator[Path]:
    """Yield the modules of the runtime that one of them imports; it names them relative to itself."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.level:
            folder = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            names = [folder.with_suffix(".py"), *(folder / f"{alias.name}.py" for alias in node.names)]
            yield from (each for each in names if each.is_file())


def _licence() -> bytes:
    """Return our licence: from the checkout, or from where an installer put it."""
    checkout = _RUNTIME.parents[1] / "LICENSE"
    if checkout.is_file():
        return checkout.read_bytes()
    try:
        installed = files("hatch-mlbundle") or []
    except PackageNotFoundError:
        installed = []
    for path in installed:
        if path.name == "LICENSE" and path.parent.name in ("licenses", path.parts[0]):
            return Path(str(path.locate())).read_bytes()
    raise MissingLibraryError("externalize: hatch-mlbundle is installed without its licence, which `vendor` needs; install it anew")

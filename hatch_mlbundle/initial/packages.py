"""The name under which a project's package is imported, as its back end is told or finds it, and the sources behind a reference."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

PLACES = (".", "src", "python", "lib")
"""Where projects keep their packages."""

_NO_PACKAGES = {"tests", "test", "docs", "doc", "examples", "benchmarks", "scripts", "tools", "build", "dist", "node_modules", "notebooks"}
_DISTINCT = re.compile(r"[-_.]+")
_HELPING = re.compile(r"^\s*(?:import|from)\s+(?:argparse|click|rich_click|typer|docopt|fire|cyclopts|jsonargparse)\b", re.MULTILINE)
"""Libraries whose programs understand `--help`."""


def import_name(folder: Path, document: Mapping[str, Any], hatch: Mapping[str, Any], name: str) -> str:
    """Return the top-level name of the package or module, "" where it cannot be told."""
    configured = next(_configured(document, hatch), "")
    if configured:
        return configured.partition(".")[0]
    wanted = _DISTINCT.sub("_", name).lower()
    found = [each for place in PLACES for each in sorted(_importable(folder / place))]
    same = [each for each in found if each.lower() == wanted]
    packages = [each for each in found if each not in _NO_PACKAGES]
    return same[0] if same else packages[0] if len(packages) == 1 else ""


def helps(folder: Path, reference: str) -> bool:
    """Say whether the program behind a reference ("package.module:function") is seen to understand `--help`."""
    module = reference.partition(":")[0].strip().replace(".", "/")
    for place in PLACES:
        for path in (folder / place / f"{module}.py", folder / place / module / "__init__.py"):
            if path.is_file():
                return bool(_HELPING.search(path.read_text(encoding="utf-8", errors="replace")))
    return False


def _configured(document: Mapping[str, Any], hatch: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names that are written down for hatchling, setuptools, flit, uv_build, maturin and poetry."""
    tool = document.get("tool", {})
    folders = _under(hatch, "build", "targets", "wheel", "packages")
    yield from _names([Path(each).name for each in folders if isinstance(each, str)] if isinstance(folders, list) else None)
    yield from _names(_under(tool, "setuptools", "packages"))
    yield from _names(_under(tool, "setuptools", "py-modules"))
    for keys in (("flit", "module", "name"), ("uv", "build-backend", "module-name"), ("maturin", "module-name")):
        yield from _names([_under(tool, *keys)])
    included = _under(tool, "poetry", "packages")
    yield from _names([each.get("include") for each in included if isinstance(each, Mapping)] if isinstance(included, list) else None)


def _importable(place: Path) -> Iterator[str]:
    if place.is_dir():
        yield from (path.parent.name for path in place.glob("*/__init__.py") if path.parent.name.isidentifier())
        if place.name in PLACES[1:]:  # beside pyproject.toml, a module is as often a script
            yield from (path.stem for path in place.glob("*.py") if path.stem.isidentifier())


def _under(table: Any, *keys: str) -> Any:
    for key in keys:
        table = table.get(key) if isinstance(table, Mapping) else None
    return table


def _names(listed: Any) -> Iterator[str]:
    for each in listed if isinstance(listed, list) else ():
        if isinstance(each, str) and each.partition(".")[0].isidentifier():
            yield each

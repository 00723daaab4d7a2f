"""Find modules as Python's import would, without importing anything: their code is run by nobody but the frozen application."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import BuiltinImporter, ModuleSpec, PathFinder
from pathlib import Path


def is_module(dotted: str, folders: Sequence[Path]) -> bool:
    """Say whether there is such a module, in one of the folders or where this Python finds its own."""
    return find(dotted, folders) is not None


def is_package(dotted: str, folders: Sequence[Path]) -> bool:
    """Say whether there is such a package."""
    spec = find(dotted, folders)
    return spec is not None and spec.submodule_search_locations is not None


def find(dotted: str, folders: Sequence[Path]) -> ModuleSpec | None:
    """Return the spec of a module; for what is below a package it looks where the package's own spec says."""
    top, *rest = dotted.split(".")
    if not all(part.isidentifier() for part in (top, *rest)):
        return None
    spec = PathFinder.find_spec(top, [str(folder) for folder in folders]) or _installed(top)
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = PathFinder.find_spec(part, list(spec.submodule_search_locations))  # by its full name it would ask for its parent
    return spec


def _installed(top: str) -> ModuleSpec | None:
    if top in sys.builtin_module_names:
        return BuiltinImporter.find_spec(top)
    try:
        return importlib.util.find_spec(top)
    except ValueError:  # a module that was put into sys.modules by hand
        return None

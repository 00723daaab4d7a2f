"""Lay out a changed model for whoever runs it: a folder of links to the original's files, with the changed ones in place."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from posixpath import dirname

_WHOLE = ("modules.json", "model_index.json")
"""Say what parts a model has, in the folders below: sentence-transformers', diffusers'."""

_PART = "config.json"
"""Says what one model is, beside its weights: transformers'."""


def model_root(paths: Collection[str], path: str) -> str | None:
    """Return the folder of the model that a file of the bundle belongs to, "" for the bundle's own root; None for a lone file.

    It is the topmost folder upward with `modules.json` or `model_index.json`; where there is none, the topmost one with `config.json`
    in an unbroken row of such folders: an application's own `config.json` further up is none of the model's.
    """
    folders = list(_upward(dirname(path)))
    known = paths if isinstance(paths, (set, frozenset, Mapping)) else frozenset(paths)
    wholes = [folder for folder in folders if any(_below(folder, name) in known for name in _WHOLE)]
    if wholes:
        return wholes[-1]
    parts = [_below(folder, _PART) in known for folder in folders]
    if True not in parts:
        return None
    last = parts.index(True)
    while last + 1 < len(parts) and parts[last + 1]:
        last += 1
    return folders[last]


def model_files(paths: Collection[str], root: str) -> list[str]:
    """Return the bundle's files in a model's folder and below: what is to be on disk where the model is run."""
    return [path for path in paths if not root or path.startswith(f"{root}/")]


def staged(sources: Mapping[str, Path], about: str, changed: Mapping[str, Path | None], target: Path) -> tuple[Path, Path]:
    """Return the original of the model that the file `about` belongs to, and the changed one, as a judge takes them.

    `sources` gives the places of a task's files, `changed` those of new ones (None where one is left out), both by their paths in the
    bundle. A folder that is needed for the changed one is made at `target`. Raises OSError.
    """
    root = model_root(sources, about)
    if root is None:
        return sources[about], changed.get(about) or sources[about]
    depth = len(about.removeprefix(root).strip("/").split("/"))
    original = sources[about].absolute().parents[depth - 1]
    replaced = {path.removeprefix(root).lstrip("/"): place for path, place in changed.items()}
    return original, candidate_folder(original, replaced, target)


def candidate_folder(root: Path, replaced: Mapping[str, Path | None], target: Path) -> Path:
    """Make the new folder `target` of links to all files of `root`, but for those `replaced`, by their paths below it; return it.

    The value is the changed file, linked to in turn, or None to leave the file out. New files are put in. Raises ValueError for a path
    that leads out of the folder, OSError.
    """
    astray = [path for path in replaced if path.startswith("/") or {"", ".", ".."} & set(path.split("/"))]
    if astray:
        raise ValueError(f"{astray[0]!r} is no path below a model's folder")
    target.mkdir(parents=True)
    _link_all(root.absolute(), target, {path: changed.absolute() if changed else None for path, changed in replaced.items()})
    return target


def _link_all(source: Path | None, target: Path, replaced: Mapping[str, Path | None]) -> None:
    """Fill `target` with links to what is in `source`, and what is replaced in it; folders are made only where something in them is."""
    below: dict[str, dict[str, Path | None]] = {}
    for path, changed in replaced.items():
        name, _, rest = path.partition("/")
        if rest:
            below.setdefault(name, {})[rest] = changed
        elif changed:
            (target / name).symlink_to(changed)
    for entry in os.scandir(source) if source else ():
        if entry.name not in replaced and entry.name not in below and not is_unfinished(entry.name):
            (target / entry.name).symlink_to(entry.path)
    for name, inner in below.items():
        original = source / name if source and (source / name).is_dir() else None
        (target / name).mkdir()
        _link_all(original, target / name, inner)


def is_unfinished(name: str) -> bool:
    """Say whether another rewrite is writing this file just now, beside its original."""
    return name.startswith(".") and name.endswith(".mlbundle")


def _upward(folder: str) -> Iterator[str]:
    yield folder
    while folder:
        folder = dirname(folder)
        yield folder


def _below(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name

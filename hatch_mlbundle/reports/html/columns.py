"""All files as columns, a row a file: those before and after the steps, and those that only a baseline has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hatch_mlbundle.manifest import FileRow, FileState, Manifest

ABSENT = -1
"""A size that is not there, and the step of a file that no step made smaller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The files by path, in sorted order, as the artifact's manifest and its baseline's have them."""

    rows: Mapping[str, tuple[FileRow | None, FileRow | None]]
    index: Mapping[str, int]

    @classmethod
    def of(cls, manifest: Manifest, baseline: Manifest | None) -> Table:
        """Return the files that were there before or after the steps, or that are in the baseline."""
        ours = {row.path: row for row in manifest.files if row.before or row.after}
        theirs = {row.path: row for row in baseline.files if row.after} if baseline else {}
        paths = sorted({*ours, *theirs})
        return cls(rows={path: (ours.get(path), theirs.get(path)) for path in paths}, index={path: at for at, path in enumerate(paths)})

    def place(self, path: str) -> int | str:
        """Return the number of a file's row, or the path itself where there is no such file."""
        return self.index.get(path, path)


def columns(table: Table, steps: int) -> dict[str, Any]:
    """Return the columns as the page's model.js reads them; sizes from before are written as differences, which pack better.

    Of what the files say of steps, only that of the first `steps` counts: there are no more.
    """
    folders, names, owners, kinds = _Folders(), [], _Numbers(), _Numbers()
    written: dict[str, list[int]] = {key: [] for key in ("folder", "owner", "kind", "step")}
    states: list[tuple[FileState | None, FileState | None, FileState | None]] = []
    for path, (ours, theirs) in table.rows.items():
        known = ours or theirs
        if known is None:
            continue
        folder, _, name = path.rpartition("/")
        names.append(name)
        written["folder"].append(folders.number(folder) if folder or path.startswith("/") else 0)
        written["owner"].append(owners.number(known.owner))
        written["kind"].append(kinds.number(known.kind))
        written["step"].append(_step(ours, steps))
        states.append((ours.after if ours else None, ours.before if ours else None, theirs.after if theirs else None))
    return {
        "count": len(names),
        "names": names,
        "folders": folders.rows,
        "owners": owners.names,
        "kinds": kinds.names,
        "columns": {**written, **_sizes(states)},
    }


def _sizes(states: Sequence[tuple[FileState | None, ...]]) -> dict[str, list[int]]:
    """Return sizes after; those before, and those of the baseline, less these; nothing where there is no baseline."""
    now, was, base = tuple(zip(*states, strict=True)) if states else ((), (), ())
    size, packed = [_installed(state) for state in now], [_packed(state) for state in now]
    return {
        "size": size,
        "packed": packed,
        "was": _less(map(_installed, was), size),
        "wasPacked": _less(map(_packed, was), packed),
        "base": _less(map(_installed, base), size) if any(base) else [],
        "basePacked": _less(map(_packed, base), packed) if any(base) else [],
    }


def _installed(state: FileState | None) -> int:
    return state.size if state else ABSENT


def _packed(state: FileState | None) -> int:
    return ABSENT if state is None or state.compressed is None else state.compressed


def _less(sizes: Any, others: Sequence[int]) -> list[int]:
    return [size - other for size, other in zip(sizes, others, strict=True)]


def _step(row: FileRow | None, steps: int) -> int:
    """Return the step that saved most of a file, installed before compressed."""
    saved = [
        (change.saved.installed, change.saved.compressed or 0, -change.step)
        for change in (row.changes if row else ())
        if change.step is not None and 0 <= change.step < steps
    ]
    best = max(saved, default=(0, 0, 0))
    return -best[2] if best[:2] > (0, 0) else ABSENT


class _Numbers:
    """Names in the order in which they come, each with its number."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, name: str) -> int:
        number = self._numbers.setdefault(name, len(self.names))
        if number == len(self.names):
            self.names.append(name)
        return number


class _Folders:
    """Folders as `[parent, name]`, a parent before its children; number 0 is the top, whose parent is -1."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, str]] = [(-1, "")]
        self._numbers: dict[str, int] = {}

    def number(self, path: str) -> int:
        missing = []
        while path not in self._numbers:
            above, slash, name = path.rpartition("/")
            missing.append((path, name))
            if not slash:
                break
            path = above
        number = self._numbers.get(path, 0)
        for each, name in reversed(missing):
            self.rows.append((number, name))
            number = self._numbers[each] = len(self.rows) - 1
        return number

"""Two manifests side by side: what grew, what shrank, what moved, which releases changed. docs/comparing.md describes the JSON."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from .json_rows import document_text, rows
from .manifest import FileState, Manifest
from .pairing import Pair, Present, pair_files, present
from .releases import distributions, pythons

FORMAT = "mlbundle-comparison"
FORMAT_VERSION = "1.0"
"""Major and minor of the document that `to_json` writes: a new minor adds keys, a new major changes what there is."""

Status: TypeAlias = Literal["added", "removed", "changed", "moved"]
"""`moved` is a file that is there under another path: with the same bytes, or as the same file of another release."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Bytes installed, bytes in the artifact (None where it compresses nothing), and the number of files."""

    installed: int
    compressed: int | None
    files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two: the artifact's file name, its kind, its own bytes, and those that belong to no file.

    `sizes.compressed` are the artifact's own bytes, None where it compresses nothing; `structure` is a part of them.
    """

    name: str
    kind: str
    sizes: Sizes
    structure: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """A file that is not as it was. `former` is the path of a moved one before; `before` is None where added, `after` where removed."""

    path: str
    status: Status
    kind: str
    owner: str
    before: FileState | None
    after: FileState | None
    former: str | None = None

    @property
    def growth(self) -> int:
        """Bytes installed that came to it, negative where it shrank."""
        return (self.after.size if self.after else 0) - (self.before.size if self.before else 0)

    @property
    def compressed_growth(self) -> int | None:
        """Bytes in the artifact that came to it, negative where it shrank; of use only where both sides compress."""
        return _difference(*(state.compressed if state else 0 for state in (self.before, self.after)))


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupChange:
    """All files of an owner or a kind, before and after."""

    name: str
    before: Sizes
    after: Sizes

    @property
    def growth(self) -> int:
        """Bytes installed that came to it, negative where it shrank."""
        return self.after.installed - self.before.installed

    @property
    def compressed_growth(self) -> int | None:
        """Bytes in the artifact that came to it, negative where it shrank; None where not both sides compress."""
        return _difference(self.before.compressed, self.after.compressed)

    @property
    def changed(self) -> bool:
        """Whether its sizes or the number of its files are other ones."""
        return bool(self.growth or self.compressed_growth or self.before.files != self.after.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionChange:
    """A distribution whose release is another one; None where it is not there. Several versions of one are told as `1.0, 2.0`.

    `python` and `pyinstaller` are among them, where both sides tell which ones they are for; of two images, the packages of the
    distribution and CUDA's libraries as well.
    """

    distribution: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All differences, the largest first. Groups that are as they were are in `owners` and `kinds`, too: they add up to the sides.

    `hashed` tells whether contents could be compared: where not, a file of the same path and size counts as unchanged.
    """

    before: Side
    after: Side
    files: tuple[FileChange, ...]
    owners: tuple[GroupChange, ...]
    kinds: tuple[GroupChange, ...]
    versions: tuple[VersionChange, ...]
    hashed: bool

    @property
    def compressed(self) -> bool:
        """Whether both sides have compressed sizes."""
        return self.before.sizes.compressed is not None and self.after.sizes.compressed is not None

    @property
    def growth(self) -> int:
        """Bytes installed that came to it, negative where it shrank."""
        return self.after.sizes.installed - self.before.sizes.installed

    @property
    def compressed_growth(self) -> int | None:
        """Bytes that came to the artifact itself, negative where it shrank; None where not both sides compress."""
        return _difference(self.before.sizes.compressed, self.after.sizes.compressed)

    @property
    def structure_growth(self) -> int | None:
        """The part of `compressed_growth` that belongs to no file: headers of the archive."""
        return self.after.structure - self.before.structure if self.compressed else None

    @property
    def unchanged(self) -> GroupChange:
        """The files that are in both as they were: they may well be compressed otherwise."""
        befores, afters = [change.before for change in self.files], [change.after for change in self.files]
        return GroupChange(name="unchanged", before=_rest(self.before, befores), after=_rest(self.after, afters))

    @property
    def same(self) -> bool:
        """Whether there is no difference at all: in files, in releases, in what the artifact itself takes."""
        return not self.files and not self.versions and not self.growth and not self.compressed_growth

    def to_json(self) -> str:
        """Return the comparison as a document of its own: one line for each row. Any UTF-8 stream takes it."""
        parts: dict[str, Any] = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "before": self.before,
            "after": self.after,
            "growth": self._growth(self),
            "structure_growth": self.structure_growth,
            "hashed": self.hashed,
            "unchanged": self._row(self.unchanged),
            "versions": list(self.versions),
            "owners": [self._row(group) for group in self.owners],
            "kinds": [self._row(group) for group in self.kinds],
            "files": [self._row(change) for change in self.files],
        }
        return document_text({key: _text(value) for key, value in parts.items()})

    def _row(self, change: FileChange | GroupChange) -> dict[str, Any]:
        return {**_fields(change), "growth": self._growth(change)}

    def _growth(self, change: FileChange | GroupChange | Comparison) -> dict[str, int | None]:
        return {"installed": change.growth, "compressed": change.compressed_growth if self.compressed else None}


def compare(before: Manifest, after: Manifest) -> Comparison:
    """Compare two artifacts as they are after all steps, of whatever kinds; docs/comparing.md says which file is taken for which."""
    olds, news = present(before), present(after)
    pairs = pair_files(olds, news)
    sides = _side(before), _side(after)
    names = _renamed(pairs, {file.owner for file in olds}, {file.owner for file in news})
    changes = (_change(old, new, names) for old, new in pairs)
    return Comparison(
        before=sides[0],
        after=sides[1],
        files=tuple(sorted(filter(None, changes), key=_file_order)),
        owners=_groups(olds, news, sides, lambda file: names.get(file.owner, file.owner)),
        kinds=_groups(olds, news, sides, lambda file: file.kind),
        versions=_versions(before, after, {file.owner for file in olds}, {file.owner for file in news}),
        hashed=all(file.state.sha256 is not None for file in (*olds, *news)),
    )


def _difference(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before


def _side(manifest: Manifest) -> Side:
    totals = manifest.artifact.after
    compressed = totals.size if manifest.compresses else None
    sizes = Sizes(installed=totals.installed, compressed=compressed, files=totals.files)
    return Side(name=manifest.artifact.name, kind=manifest.artifact.kind, sizes=sizes, structure=totals.structure)


def _rest(side: Side, states: Iterable[FileState | None]) -> Sizes:
    """Return the sizes of a side's files without those in these states."""
    there = [state for state in states if state]
    whole = side.sizes
    compressed = None if whole.compressed is None else whole.compressed - side.structure - sum(state.compressed or 0 for state in there)
    installed = whole.installed - sum(state.size for state in there)
    return Sizes(installed=installed, compressed=compressed, files=whole.files - len(there))


def _renamed(pairs: Iterable[Pair], befores: set[str], afters: set[str]) -> dict[str, str]:
    """Return one name for two owners that are the same: a wheel goes by its package (`sklearn`), what it was installed into by its
    distribution (`scikit-learn`).

    They are where the one is only before, the other only after, and more than half of the bytes of each are the other's.
    """
    gone, come = befores - afters, afters - befores
    totals: Counter[str] = Counter()
    shared: Counter[tuple[str, str]] = Counter()
    for old, new in pairs:
        for file, names in ((old, gone), (new, come)):
            if file and file.owner in names:
                totals[file.owner] += file.state.size
        if old and new and old.owner in gone and new.owner in come:
            shared[old.owner, new.owner] += min(old.state.size, new.state.size)
    same = [owners for owners, size in shared.items() if size * 2 > max(totals[owner] for owner in owners)]
    longer = {owners: max(owners, key=lambda name: (len(name), name)) for owners in same}  # most often the distribution's name
    return {owner: name for owners, name in longer.items() for owner in owners}


def _change(old: Present | None, new: Present | None, names: dict[str, str]) -> FileChange | None:
    """Return what came of a file, None where it is as it was."""
    file = new or old
    if file is None or (old and new and old.path == new.path and _alike(old.state, new.state)):
        return None
    status: Status = "added" if not old else "removed" if not new else "changed" if old.path == new.path else "moved"
    return FileChange(
        path=file.path,
        status=status,
        kind=file.kind,
        owner=names.get(file.owner, file.owner),
        before=old.state if old else None,
        after=new.state if new else None,
        former=old.path if old and status == "moved" else None,
    )


def _alike(old: FileState, new: FileState) -> bool:
    return old.size == new.size and (old.sha256 == new.sha256 or None in (old.sha256, new.sha256))


def _groups(
    olds: Sequence[Present], news: Sequence[Present], sides: tuple[Side, Side], label: Callable[[Present], str]
) -> tuple[GroupChange, ...]:
    before, after = (_sums(files, side, label) for files, side in zip((olds, news), sides, strict=True))
    nothing = [Sizes(installed=0, compressed=None if side.sizes.compressed is None else 0, files=0) for side in sides]
    names = before.keys() | after.keys()
    changes = (GroupChange(name=name, before=before.get(name, nothing[0]), after=after.get(name, nothing[1])) for name in names)
    return tuple(sorted(changes, key=lambda group: (-abs(group.growth), -abs(group.compressed_growth or 0), group.name)))


def _sums(files: Sequence[Present], side: Side, label: Callable[[Present], str]) -> dict[str, Sizes]:
    groups: defaultdict[str, list[FileState]] = defaultdict(list)
    for file in files:
        groups[label(file)].append(file.state)
    packs = side.sizes.compressed is not None
    return {
        name: Sizes(
            installed=sum(state.size for state in states),
            compressed=sum(state.compressed or 0 for state in states) if packs else None,
            files=len(states),
        )
        for name, states in groups.items()
    }


def _file_order(change: FileChange) -> tuple[int, int, str]:
    return -abs(change.growth), -abs(change.compressed_growth or 0), change.path


def _versions(before: Manifest, after: Manifest, owners_before: set[str], owners_after: set[str]) -> tuple[VersionChange, ...]:
    """Return the releases that changed. Where only files tell that a distribution is there, its release is not known: no change is told."""
    olds, news = distributions(before), distributions(after)
    changes = [VersionChange(distribution=name, before=old, after=new) for name, (old, new) in pythons(before, after).items()]
    for name in olds.keys() | news.keys():
        unknown = (name not in olds and name in owners_before) or (name not in news and name in owners_after)
        if not unknown:
            changes.append(VersionChange(distribution=name, before=olds.get(name), after=news.get(name)))
    if before.components and after.components:
        system, now = _system(before), _system(after)
        known = olds.keys() | news.keys()
        names = (system.keys() | now.keys()) - known
        changes += [VersionChange(distribution=name, before=system.get(name), after=now.get(name)) for name in names]
    changed = (change for change in changes if change.before != change.after)
    return tuple(sorted(changed, key=lambda change: change.distribution))


def _system(manifest: Manifest) -> dict[str, str]:
    """Return the releases of what is no Python package in an image: packages of the distribution, CUDA's libraries."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for row in manifest.components:
        if row.kind in ("system", "cuda") and row.version:
            found[row.name].add(row.version)
    return {name: ", ".join(sorted(versions)) for name, versions in found.items()}


def _text(value: Any) -> str:
    return rows(map(_line, value)) if isinstance(value, list) else _line(value)


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=_fields)


def _fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}

"""What a limit counts: the files of a manifest that a rule selects, how large they are, and who has most of it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from packaging.utils import canonicalize_name

from .budget_limits import Sized
from .budget_settings import BudgetRule
from .globs import matcher
from .manifest import ArtifactRow, FileRow, FileState, Manifest
from .releases import owner_name

_RELEASE = re.compile(r"[-_]v?\d[\w.]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The files that a rule selects in an artifact as it is after all steps; without a rule, all of it, with what belongs to no file."""

    manifest: Manifest
    files: tuple[tuple[FileRow, FileState], ...]
    whole: bool

    def size(self, sized: Sized) -> int | None:
        """Return the number of bytes or files; None of compressed bytes where the artifact compresses nothing."""
        totals = self.manifest.artifact.after
        if sized == "compressed" and not self.manifest.compresses:
            return None
        if self.whole:
            return {"installed": totals.installed, "compressed": totals.size, "files": totals.files}[sized]
        return sum(_count(state, sized) for _, state in self.files)

    def parts(self, sized: Sized, *, by_path: bool) -> Mapping[str, int]:
        """Return the same by owner, by the name that it goes by in every release and kind of artifact, or by path."""
        found: defaultdict[str, int] = defaultdict(int)
        for row, state in self.files:
            found[row.path if by_path else owner_name(row.owner)] += _count(state, sized)
        return found


def group_of(manifest: Manifest, rule: BudgetRule | None) -> Group:
    """Return the files that a rule selects, or all of them."""
    selects = _selector(rule)
    files = tuple((row, row.after) for row in manifest.files if row.after and selects(row))
    return Group(manifest=manifest, files=files, whole=rule is None)


def uploads(manifest: Manifest) -> Iterator[tuple[str, str, int]]:
    """Yield name, format and bytes of each file that a release would consist of."""
    if manifest.compresses:
        artifact = manifest.artifact
        yield artifact.name, "one-file" if artifact.kind == "frozen" else artifact.kind, artifact.after.size
    for packed in manifest.packed:
        yield packed.name, packed.format, packed.size


def project_name(artifact: ArtifactRow) -> str:
    """Return what stays the same of an artifact's name from release to release: of a wheel's its distribution (PEP 427)."""
    return canonicalize_name(artifact.name.partition("-")[0]) if artifact.kind == "wheel" else _RELEASE.sub("", artifact.name)


def _selector(rule: BudgetRule | None) -> Callable[[FileRow], bool]:
    if rule is None:
        return lambda _: True
    if rule.owner:
        owner = owner_name(rule.owner)
        return lambda row: owner_name(row.owner) == owner
    if rule.kind:
        return lambda row: row.kind == rule.kind
    matches = matcher([rule.files])
    return lambda row: matches(row.path)


def _count(state: FileState, sized: Sized) -> int:
    if sized == "files":
        return 1
    return state.size if sized == "installed" else state.compressed or 0

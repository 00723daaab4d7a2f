"""What a finished artifact says: its kind and sizes, what it is imported or started as, and what each step would save."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from hatch_mlbundle.config import DEFAULT_OPTIMIZERS
from hatch_mlbundle.manifest import FileRow, Manifest, SuggestionRow
from hatch_mlbundle.model import Kind

_GROUPS = {Kind.HEADER: "headers", Kind.STATIC_LIBRARY: "static-libs", Kind.TYPE_STUB: "type-stubs", Kind.SOURCE: "sources"}
"""The groups of `exclude` that are told by a file's kind."""

_WORTH = 0.005
"""Share of the installed size from which a group of files is worth a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """An artifact as it is: `installed` and `size` in bytes, `groups` the bytes of files that `exclude` has a group for.

    `place` is its path as it was given, `programs` are the executables of a frozen bundle.
    """

    place: str
    name: str
    kind: str
    installed: int
    size: int
    imports: str
    programs: tuple[str, ...]
    suggestions: Mapping[str, SuggestionRow]
    groups: Mapping[str, int]


def read_artifact(place: str, manifest: Manifest) -> Artifact:
    """Return what the manifest of an analysis with suggestions tells of the artifact at a path."""
    there = [row for row in manifest.files if row.after]
    totals = manifest.artifact.after
    return Artifact(
        place=place,
        name=manifest.artifact.name,
        kind=manifest.artifact.kind,
        installed=totals.installed,
        size=totals.size,
        imports=_import_name(there, manifest.artifact.name),
        programs=tuple(sorted(row.path for row in there if row.kind == Kind.FROZEN and "/" not in row.path)),
        suggestions={row.optimizer: row for row in manifest.suggestions},
        groups={name: size for name, size in _groups(there).items() if size > _WORTH * totals.installed},
    )


def _import_name(files: list[FileRow], name: str) -> str:
    """Return the top-level package of a wheel: that of its own name where it has one, else its only one, else ""."""
    packages = sorted({row.path.partition("/")[0] for row in files if row.path.count("/") == 1 and row.path.endswith("/__init__.py")})
    packages += sorted(row.path.removesuffix(".py") for row in files if "/" not in row.path and row.path.endswith(".py"))
    own = name.partition("-")[0].lower()
    same = [each for each in packages if each.lower() == own]
    found = same[0] if same else packages[0] if len(packages) == 1 else ""
    return found if found.isidentifier() else ""


def _groups(files: list[FileRow]) -> dict[str, int]:
    sizes: Counter[str] = Counter()
    for row in files:
        group = _GROUPS.get(Kind(row.kind)) if row.kind in list(Kind) else None
        if group and row.after:
            sizes[group] += row.after.size
    return dict(sizes.most_common())


def other_suggestions(artifact: Artifact) -> list[SuggestionRow]:
    """Return what steps would save that run only when they are named, the largest first."""
    return [row for name, row in artifact.suggestions.items() if name not in DEFAULT_OPTIMIZERS]

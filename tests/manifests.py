"""Manifests made from dicts of small files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from hatch_mlbundle.manifest import ArtifactRow, FileRow, FileState, Manifest, Saved, ToolRow, Totals


def manifest_of(
    files: Mapping[str, bytes | FileState],
    *,
    name: str = "demo",
    kind: str = "folder",
    structure: int = 0,
    packs: bool = False,
    hashed: bool = True,
    owners: Mapping[str, str] | None = None,
    tools: Sequence[ToolRow] = (),
) -> Manifest:
    """Return the manifest of an artifact with these files; a file belongs to its first folder unless `owners` says otherwise."""
    rows = []
    for path, data in sorted(files.items()):
        state = data if isinstance(data, FileState) else state_of(data, packs=packs, hashed=hashed)
        owner = (owners or {}).get(path) or path.removeprefix("_internal/").partition("/")[0]
        rows.append(FileRow(path=path, kind="elf" if ".so" in path else path.rpartition(".")[2], owner=owner, before=state, after=state))
    states = [row.after for row in rows if row.after]
    installed = sum(state.size for state in states)
    size = structure + sum(state.compressed or 0 for state in states) if packs else installed
    totals = Totals(size=size, installed=installed, structure=structure, files=len(states), sha256=None)
    return Manifest(
        generator="test",
        artifact=ArtifactRow(name=name, kind=kind, before=totals, after=totals),
        tools=tuple(tools),
        configuration={},
        steps=(),
        remainder=Saved(installed=0, compressed=0 if packs else None),
        files=tuple(rows),
        companions=(),
        findings=(),
    )


def state_of(data: bytes, *, packs: bool = False, hashed: bool = True) -> FileState:
    digest = hashlib.sha256(data).hexdigest() if hashed else None
    return FileState(size=len(data), compressed=len(data) // 2 + 1 if packs else None, sha256=digest)

"""Hold what lies beside an artifact against its manifest: companions, models that left, and what a folder was packed into."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from hatch_mlbundle.bundles.folder_scan import walk
from hatch_mlbundle.bundles.inventory import hash_file
from hatch_mlbundle.bundles.member_names import name_fault
from hatch_mlbundle.errors import ManifestError
from hatch_mlbundle.manifest import COMPANIONS, Manifest, PackedRow
from hatch_mlbundle.matching import Difference, Part, State, changed
from hatch_mlbundle.printable import printable
from hatch_mlbundle.runtime.models.places import NEIGHBOUR


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What was found beside an artifact: `checked` files, and what the manifest lists that is not there at all (`unchecked`)."""

    differences: tuple[Difference, ...] = ()
    unchecked: tuple[str, ...] = ()
    checked: int = 0


def check_names(manifest: Manifest, where: str) -> None:
    """Raise ManifestError where the path of something beside the artifact leads out of its folder, or is there twice."""
    seen: set[tuple[bool | None, str]] = set()
    for key in [*((bool(row.model), row.path) for row in manifest.companions), *((None, row.name) for row in manifest.packed)]:
        fault = name_fault(key[1]) or ("has a folder in it" if key[0] is None and "/" in key[1] else None)
        fault = fault or ("is there twice" if key in seen else None)
        if fault:
            raise ManifestError(f"{where}: lists {printable(key[1])!r} beside the artifact: the name {fault}; do not trust this manifest")
        seen.add(key)


def look_beside(artifact: Path, manifest: Manifest, place: Path, pool: Executor) -> Beside:
    """Hold the files beside `artifact` against its manifest, which lies at `place`; companions may lie beside that.

    Where a whole folder or archive is not there, it is `unchecked`. Raises ArtifactError where a file cannot be read.
    """
    companions: dict[str, State] = {row.path: _state(row.size, row.sha256) for row in manifest.companions if not row.model}
    models: dict[str, State] = {row.path: _state(row.size, row.sha256) for row in manifest.companions if row.model}
    name = f"{artifact.name}{COMPANIONS}"
    folder = next((each for each in (artifact.with_name(name), place.with_name(name)) if each.is_dir()), None)
    tops = {path.partition("/")[0] for path in models}
    found = [
        _folder("companion", companions, folder, pool, name),
        _folder("model", models, _existing(artifact.with_name(artifact.name + NEIGHBOUR)), pool, artifact.name + NEIGHBOUR, tops),
        *(_archive(row, artifact.with_name(row.name)) for row in manifest.packed if row.name != artifact.name),
    ]
    return Beside(
        differences=tuple(each for one in found for each in one.differences),
        unchecked=tuple(each for one in found for each in one.unchecked),
        checked=sum(one.checked for one in found),
    )


def _existing(folder: Path) -> Path | None:
    return folder if folder.is_dir() else None


def _folder(
    part: Part, expected: Mapping[str, State], folder: Path | None, pool: Executor, name: str, tops: set[str] | None = None
) -> Beside:
    """Hold a folder against the rows of its files; of others, only what lies below `tops` counts, where there are any."""
    if folder is None:
        return Beside(unchecked=(name,) if expected else ())
    present = {path for path, entry in walk(folder) if not entry.is_dir(follow_symlinks=False)}
    extra = sorted(path for path in present - expected.keys() if tops is None or path.partition("/")[0] in tops)
    found = list(pool.map(lambda path: _hashed(folder / path), sorted(expected)))
    differences = [*_compared(part, expected, dict(zip(sorted(expected), found, strict=True)))]
    differences += [Difference(part=part, status="extra", path=path) for path in extra]
    return Beside(differences=tuple(differences), checked=len(expected))


def _compared(part: Part, expected: Mapping[str, State], found: Mapping[str, State | None]) -> Iterator[Difference]:
    for path, state in expected.items():
        there = found[path]
        if there is None:
            yield Difference(part=part, status="missing", path=path, expected=state)
        elif there != state:
            yield changed(part, path, state, there)


def _archive(row: PackedRow, place: Path) -> Beside:
    if not place.is_file():
        return Beside(unchecked=(row.name,))
    return Beside(differences=tuple(packed_difference(row, *hash_file(place))), checked=1)


def packed_difference(row: PackedRow, size: int, sha256: str) -> Sequence[Difference]:
    """Return in what an archive is not the one of a row, if in anything."""
    expected, found = _state(row.size, row.sha256), _state(size, sha256)
    return [] if expected == found else [changed("packed", row.name, expected, found)]


def _hashed(place: Path) -> State | None:
    """Return the state of a file, None where there is none; no link is followed out of the folder."""
    if os.path.islink(place) or not os.path.isfile(place):  # noqa: PTH113, PTH114 - unlike Path's, they stand names that are too long
        return None
    return _state(*hash_file(place))


def _state(size: int, sha256: str) -> State:
    return {"size": size, "sha256": sha256}

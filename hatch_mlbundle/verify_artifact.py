"""What `mlbundle verify` does: prove that an artifact is the one that a manifest describes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import ArtifactError, ManifestError, MismatchError
from .printable import printable

if TYPE_CHECKING:
    from .manifest import Manifest, PackedRow
    from .matching import Difference, Inventory, Match

_ARCHIVES = (".tar.zst", ".tar.gz", ".zip")


def verify(options: argparse.Namespace) -> None:
    """Hold an artifact against a manifest; raises MismatchError where it is another one, and what else MlbundleError is for."""
    from .config import available_cores
    from .manifest import Manifest

    artifact: Path = options.artifact if options.artifact.name not in ("", "..") else options.artifact.resolve()
    place = options.manifest or manifest_beside(artifact)
    manifest = Manifest.load(place)
    with ThreadPoolExecutor(options.workers or available_cores(), thread_name_prefix="verify") as pool:
        match = matched(artifact, manifest, place, pool, complete=options.complete)
    _tell(match, options)
    if not match.same:
        first, count = match.differences[0], len(match.differences)
        others = f" and {count - 1:,} more" if count > 1 else ""
        raise MismatchError(f"{printable(str(artifact))}: is not what {printable(str(place))} describes: {first.line()}{others}")


def manifest_beside(artifact: Path) -> Path:
    """Return where the manifest of an artifact lies; that of an archive is its folder's. Raises ManifestError where there is none."""
    from .manifest import SUFFIX

    if artifact.suffix == ".json":
        raise ManifestError(f"{printable(str(artifact))}: is a manifest by its name; name the artifact first, then its manifest")
    names = [artifact.name, *(artifact.name.removesuffix(each) for each in _ARCHIVES if artifact.name.endswith(each))]
    places = [artifact.with_name(name + SUFFIX) for name in names]
    found = next((place for place in places if os.path.isfile(place)), None)  # noqa: PTH113 - it stands names that are too long
    if found is None:
        raise ManifestError(
            f"{printable(str(places[0]))}: there is no manifest beside the artifact; name one: mlbundle verify ARTIFACT MANIFEST"
        )
    return found


def matched(artifact: Path, manifest: Manifest, place: Path, pool: Executor, *, complete: bool = False) -> Match:
    """Return what comes of holding an artifact, and what lies beside it, against the manifest at `place`; raises MlbundleError."""
    from .bundles.beside_inventory import Beside, check_names, look_beside
    from .matching import Difference, Match, check_provable

    where = printable(str(place))
    check_provable(manifest, where)
    check_names(manifest, where)
    if not artifact.exists():
        raise ArtifactError(str(artifact), "does not exist")
    packed = _packed_row(artifact, manifest)
    if packed:
        found, beside = _packed_differences(artifact, manifest, packed, pool), Beside()
    else:
        found, beside = _artifact_differences(artifact, manifest, pool), look_beside(artifact, manifest, place, pool)
    absent = [Difference(part="companion", status="missing", path=name) for name in beside.unchecked] if complete else []
    after = manifest.artifact.after
    return Match(
        artifact=artifact.name,
        kind=packed.format if packed else manifest.artifact.kind,
        generator=manifest.generator,
        sha256=packed.sha256 if packed else after.sha256 or "",
        size=packed.size if packed else after.size,
        installed=after.installed,
        files=after.files,
        beside=beside.checked,
        differences=(*found, *beside.differences, *absent),
        unchecked=beside.unchecked,
    )


def _packed_row(artifact: Path, manifest: Manifest) -> PackedRow | None:
    """Return the row of an archive that a folder was packed into, where the artifact is one: a file, but no artifact of its own."""
    if artifact.is_dir() or manifest.compresses:
        return None
    return next((row for row in manifest.packed if row.name == artifact.name), None)


def _packed_differences(artifact: Path, manifest: Manifest, row: PackedRow, pool: Executor) -> Sequence[Difference]:
    from .bundles.beside_inventory import packed_difference
    from .bundles.inventory import hash_file
    from .bundles.packed_inventory import expected_files, packed_files
    from .matching import Difference, file_differences

    hashing = pool.submit(hash_file, artifact)
    try:
        files = packed_files(artifact, row.format, pool)
    except ArtifactError as error:
        found = packed_difference(row, *hashing.result())
        if not found:
            raise
        return [*found, Difference(part="packed", status="unreadable", path=row.name, problem=error.problem)]
    return [*packed_difference(row, *hashing.result()), *file_differences(expected_files(manifest, row.format), files)]


def _artifact_differences(artifact: Path, manifest: Manifest, pool: Executor) -> Sequence[Difference]:
    from .matching import Difference, differences

    inventory = _inventory(artifact, manifest, pool)
    if inventory is None:
        found = {"kind": "folder" if artifact.is_dir() else "file"}
        expected = {"kind": manifest.artifact.kind}
        return [Difference(part="artifact", status="changed", path=manifest.artifact.name, expected=expected, found=found)]
    found_differences = differences(manifest, inventory)
    if inventory.fault and not any(each.status == "changed" for each in found_differences):
        raise inventory.fault  # the very bytes that the manifest names: then it is no artifact that can be read
    return found_differences


def _inventory(artifact: Path, manifest: Manifest, pool: Executor) -> Inventory | None:
    """Read the artifact as what the manifest says that it is; None where it can be no such thing."""
    from .bundles import inventory

    kind, is_folder = manifest.artifact.kind, artifact.is_dir()
    if kind == "image":
        return inventory.read_image(artifact, pool)
    read: Callable[[Path, Executor], Inventory]
    if is_folder and not manifest.compresses:
        return inventory.read_folder(artifact, pool, frozen=kind == "frozen")
    if is_folder or not manifest.compresses:
        return None
    read = inventory.read_wheel if kind == "wheel" else inventory.read_one_file
    return read(artifact, pool)


def _tell(match: Match, options: argparse.Namespace) -> None:
    from .standard_output import standard_output

    if options.json:
        with standard_output():
            sys.stdout.write(match.to_json())
    elif not options.quiet:
        from .reports.matching import match_report
        from .reports.terminal import show

        show(match_report(match, top=options.top))

"""The one pass over a wheel's bytes: hash each member, tell its kind, compare it with RECORD."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import TypeAlias

from hatch_mlbundle.identify import HEAD, identify
from hatch_mlbundle.model import Bundle, Kind
from hatch_mlbundle.optimizer import Json

from .record import STRONG, RecordRow
from .unpacking import UnpackingContent
from .zip_reader import ZipMember

Faults: TypeAlias = Mapping[str, Sequence[str]]
"""Ways in which RECORD does not fit the wheel, each with the paths it concerns."""

_NAMED = 3
"""Paths that a fault names before it only counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberFacts:
    """What the bytes of one member are: their hex SHA-256 and their kind."""

    sha256: str
    kind: Kind


def export_facts(bundle: Bundle) -> Json:
    """Return what a scan found out by reading, for a cache under the wheel's SHA-256: path to digest and kind."""
    return {path: [file.sha256, file.kind.value] for path, file in bundle.items()}


def import_facts(data: Json) -> dict[str, MemberFacts]:
    """Return what `export_facts` wrote; raises ValueError for anything else."""
    try:
        return {path: MemberFacts(sha256=sha256, kind=Kind(kind)) for path, (sha256, kind) in data.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"no facts of a scan: {error}") from error


def listing_faults(members: Collection[str], rows: Collection[str]) -> Faults:
    """Compare the paths that a wheel has with those that its RECORD lists; those that RECORD may leave out come in neither."""
    return {
        "not in RECORD": [path for path in members if path not in rows],
        "in RECORD but not in the wheel": [path for path in rows if path not in members],
    }


def examine_all(
    members: Iterable[ZipMember], rows: Mapping[str, RecordRow], workers: int, folder: Path | None = None
) -> tuple[dict[str, MemberFacts], Faults]:
    """Read the members on `workers` threads; return their facts, and where they do not fit their rows in RECORD.

    A member without a row has nothing to fit. Native files and models are left unpacked in `folder`, if there is one. Raises ArtifactError
    for a damaged member, StorageError for a full disk.
    """
    largest_first = sorted(members, key=lambda member: member.size, reverse=True)  # what takes longest must not start last
    facts: dict[str, MemberFacts] = {}
    faults: dict[str, list[str]] = defaultdict(list)
    with ThreadPoolExecutor(workers, thread_name_prefix="scan") as pool:
        examined = pool.map(_examine, largest_first, [rows.get(member.path) for member in largest_first], repeat(folder))
        for member, (found, fault) in zip(largest_first, examined, strict=True):
            facts[member.path] = found
            if fault:
                faults[fault].append(member.path)
    return facts, faults


def describe(faults: Faults) -> str:
    """Return the faults on one line with the first few paths of each, empty where there is none."""
    return "; ".join(f"{fault}: {_some(sorted(paths))}" for fault, paths in faults.items() if paths)


def _examine(member: ZipMember, row: RecordRow | None, folder: Path | None) -> tuple[MemberFacts, str | None]:
    """Read a member once; return its facts, and in what way RECORD's row (None: has no hash to compare) does not fit."""
    sha256 = hashlib.sha256()
    stated = sha256 if row is None or row.algorithm not in STRONG - {"sha256"} else hashlib.new(row.algorithm)
    head = b""
    content = UnpackingContent(member, member.path, folder / str(member.data_offset)) if folder else member
    for chunk in content.chunks():
        head += chunk[: HEAD - len(head)]
        sha256.update(chunk)
        if stated is not sha256:
            stated.update(chunk)
    place = content.local_path()
    if place:
        member.unpacked[member.path] = place
    facts = MemberFacts(sha256=sha256.hexdigest(), kind=identify(member.path, head))
    return facts, None if row is None else _row_fault(row, member.size, stated.digest())


def _row_fault(row: RecordRow, size: int, digest: bytes) -> str | None:
    if not row.algorithm:
        return "no hash in RECORD"
    if row.algorithm not in STRONG:
        return f"hash weaker than SHA-256 or unknown ({row.algorithm})"
    if row.size is not None and row.size != size:
        return "size other than in RECORD"
    return None if row.digest_fits(digest) else "hash other than in RECORD"


def _some(paths: list[str]) -> str:
    named = ", ".join(map(repr, paths[:_NAMED]))
    return f"{named} and {len(paths) - _NAMED} more" if len(paths) > _NAMED else named

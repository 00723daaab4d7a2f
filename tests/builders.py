"""Bundles made from dicts of small files, and a context that examines on the spot."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hatch_mlbundle.identify import HEAD, identify
from hatch_mlbundle.model import Bundle, Change, DiskContent, Drop, File, Finding, Keep, Kind, MemoryContent
from hatch_mlbundle.optimizer import ArtifactKind, Context, Json, Judge, Optimizer


def file_of(path: str, data: bytes, *, link: str | None = None) -> File:
    return File(
        path=path,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        mode=0o644,
        kind=Kind.LINK if link else identify(path, data[:HEAD]),
        owner=path.split("/", 1)[0],
        content=MemoryContent(data),
        link=link,
    )


def bundle_of(files: Mapping[str, bytes | str]) -> Bundle:
    return Bundle(file_of(path, data if isinstance(data, bytes) else data.encode()) for path, data in files.items())


def bundle_from(root: Path) -> Bundle:
    files = []
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.is_symlink():
            name = path.relative_to(root).as_posix()
            with path.open("rb") as stream:
                kind = identify(name, stream.read(HEAD))
                stream.seek(0)
                digest = hashlib.file_digest(stream, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else ""
            size = path.stat().st_size
            files.append(
                File(path=name, size=size, sha256=digest, mode=0o644, kind=kind, owner=name.split("/", 1)[0], content=DiskContent(path))
            )
    return Bundle(files)


@dataclass
class PlainContext:
    """Examines in this thread and keeps the findings; `left_alone` are the paths that `exclude` would match."""

    left_alone: frozenset[str] = frozenset()
    findings: list[Finding] = field(default_factory=list)
    judge: Judge | None = None
    artifact: ArtifactKind = "folder"

    def selects(self, path: str) -> bool:
        return path not in self.left_alone

    def examine(self, name: str, files: Sequence[File], examiner: Callable[[File], Json]) -> Mapping[str, Json]:
        return {file.path: examiner(file) for file in files}

    def local(self, file: File) -> Path:
        raise NotImplementedError

    def report(self, finding: Finding) -> None:
        self.findings.append(finding)


@dataclass
class Plan:
    """What an optimizer planned: reasons by path, and all of it in order."""

    dropped: dict[str, str]
    kept: dict[str, str]
    findings: list[Finding]
    changes: list[Change]


def plan_of(optimizer: Optimizer, bundle: Bundle, context: PlainContext | None = None) -> Plan:  # type: ignore[type-arg]
    plain = context or PlainContext()
    port: Context = plain
    changes = list(optimizer.plan(bundle, port))
    dropped = {change.path: change.reason for change in changes if isinstance(change, Drop)}
    return Plan(dropped, {change.path: change.reason for change in changes if isinstance(change, Keep)}, plain.findings, changes)

"""Stand-ins for what the pipeline gives an optimizer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hatch_mlbundle.identify import HEAD, identify
from hatch_mlbundle.model import Bundle, Convert, DiskContent, File, Finding, Kind
from hatch_mlbundle.optimizer import ArtifactKind, ConvertTask, Json, Judge, Task


class FakeContext:
    """Implements `Context` over a folder that holds the bundle's files; findings are gathered in `findings`."""

    artifact: ArtifactKind = "folder"

    def __init__(self, root: Path, *, excluded: Sequence[str] = (), judge: Judge | None = None) -> None:
        self.root = root
        self.judge = judge
        self.excluded = frozenset(excluded)
        self.findings: list[Finding] = []
        self.examined: list[str] = []

    def selects(self, path: str) -> bool:
        return path not in self.excluded

    def examine(self, name: str, files: Sequence[File], examiner: Callable[[File], Json]) -> Mapping[str, Json]:
        self.examined += [file.path for file in files]
        facts: Mapping[str, Json] = json.loads(json.dumps({file.path: examiner(file) for file in files}))
        return facts

    def local(self, file: File) -> Path:
        return self.root / file.path

    def report(self, finding: Finding) -> None:
        self.findings.append(finding)

    @property
    def codes(self) -> list[str]:
        return [finding.code for finding in self.findings]

    def task(self, file: File, companions: Path) -> Task:
        """Return a task as the pipeline would make it: the target is a free name beside the source."""
        source = self.local(file)
        companions.mkdir(parents=True, exist_ok=True)
        return Task(file=file, source=source, target=source.with_name(f".{source.name}.new"), companions=companions)

    def convert_task(self, change: Convert, work: Path) -> ConvertTask:
        """Return a task as the pipeline would make it: its folders are new ones below `work`."""
        target, scratch = work / "target", work / "scratch"
        target.mkdir(parents=True)
        scratch.mkdir()
        sources = {path: self.root / path for path in (*change.sources, *change.reads)}
        return ConvertTask(change=change, sources=sources, target=target, scratch=scratch)


def file_of(root: Path, path: Path) -> File:
    """Return the bundle's view of one file below `root`."""
    relative = path.relative_to(root).as_posix()
    if path.is_symlink():
        return File(
            path=relative,
            size=0,
            sha256="",
            mode=0o777,
            kind=Kind.LINK,
            owner=relative.split("/")[0],
            content=DiskContent(path),
            link=str(path.readlink()),
        )
    data = path.read_bytes()
    return File(
        path=relative,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        mode=path.stat().st_mode & 0o777,
        kind=identify(relative, data[:HEAD]),
        owner=relative.split("/")[0],
        content=DiskContent(path),
    )


def bundle_of(root: Path) -> Bundle:
    """Return the bundle of all files below a folder, sorted by path."""
    return Bundle(file_of(root, path) for path in sorted(root.rglob("*")) if path.is_symlink() or path.is_file())

"""A run written down as lines, so that two runs can be compared, in one process or two, and the first difference told."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields

from hatch_mlbundle.model import Add, Change, File
from hatch_mlbundle.testing.running import Run
from hatch_mlbundle.units import format_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """All that must be the same of two runs: the plan, what became of it, and the findings, in order; files and companions by path."""

    plan: tuple[str, ...]
    changes: tuple[str, ...]
    findings: tuple[str, ...]
    files: Mapping[str, str]
    companions: Mapping[str, str]

    def in_any_order(self) -> Record:
        """Return the same, its lines sorted."""
        plan, changes, findings = (tuple(sorted(lines)) for lines in (self.plan, self.changes, self.findings))
        return Record(plan=plan, changes=changes, findings=findings, files=self.files, companions=self.companions)


def record_of(run: Run) -> Record:
    """Write a run down."""
    return Record(
        plan=tuple(map(written, run.plan)),
        changes=tuple(f"{each.action} {each.path}: {each.reason} {each.detail or ''}".rstrip() for each in run.changes),
        findings=tuple(finding.line() for finding in run.findings),
        files={path: _state(file) for path, file in run.after.items()},
        companions={name: _bytes(data) for name, data in run.companions.items()},
    )


def difference(one: Record, other: Record) -> str | None:
    """Return the first difference in words, None where the records are the same."""
    for what, before, after in (("file", one.files, other.files), ("companion", one.companions, other.companions)):
        for path in sorted({*before, *after}):
            if before.get(path) != after.get(path):
                return f"the {what} {path} is {before.get(path, 'not there')}, then {after.get(path, 'not there')}"
    for what in ("plan", "changes", "findings"):
        lines, others = getattr(one, what), getattr(other, what)
        for number in range(max(len(lines), len(others))):
            first, second = (each[number] if number < len(each) else "nothing" for each in (lines, others))
            if first != second:
                return f"number {number + 1} of the {what} is {first!r}, then {second!r}"
    return None


def written(change: Change) -> str:
    """Return a change as one line: its sort, its path, and all else that it says."""
    said = {each.name: getattr(change, each.name) for each in fields(change) if each.name not in ("path", "render")}
    if isinstance(change, Add):
        said["content"] = _bytes(b"".join(change.content.chunks()))
    return f"{type(change).__name__} {change.path}: {', '.join(f'{name}={_shown(value)}' for name, value in said.items())}"


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_shown, value))})"
    return value.path if isinstance(value, File) else str(value)


def _state(file: File) -> str:
    link = f" -> {file.link}" if file.link is not None else ""
    return f"{file.kind.value}{link} of mode {file.mode:o}, {format_size(file.size)} ({file.sha256[:12]})"


def _bytes(data: bytes) -> str:
    return f"{format_size(len(data))} ({hashlib.sha256(data).hexdigest()[:12]})"

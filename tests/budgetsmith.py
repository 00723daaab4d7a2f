"""Manifests of any sizes, and budgets read as from TOML, for tests of what they are held to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hatch_mlbundle.budget import BudgetCheck, LimitResult, Performance, check_budget
from hatch_mlbundle.budget_settings import BudgetSettings
from hatch_mlbundle.config import read_config
from hatch_mlbundle.manifest import ArtifactRow, FileRow, FileState, Manifest, PackedRow, Saved, Totals
from hatch_mlbundle.model import Finding
from hatch_mlbundle.plugins import load_registry

MB = 10**6
WHEEL = "app-1.0-py3-none-any.whl"
HOSTILE = 'a\n\x1b[31m<script>|`&"\u202e\udc80'
"""A name that breaks lines, colours, markup, tables, directions and encodings."""


def file_row(path: str, size: int, *, owner: str = "app", kind: str = "data", compressed: int | None = None) -> FileRow:
    state = FileState(size=size, compressed=compressed, sha256="0" * 64)
    return FileRow(path=path, kind=kind, owner=owner, before=state, after=state)


def manifest_of(
    rows: Iterable[FileRow] = (),
    *,
    kind: str = "wheel",
    name: str = WHEEL,
    structure: int = 100,
    packed: tuple[PackedRow, ...] = (),
    findings: tuple[Finding, ...] = (),
) -> Manifest:
    """Return a manifest of these files as they are; that of a wheel has compressed sizes, half as large where a row has none."""
    files = tuple(_packed_row(row) if kind == "wheel" else row for row in rows)
    states = [row.after for row in files if row.after]
    installed = sum(state.size for state in states)
    size = structure + sum(state.compressed or 0 for state in states) if kind == "wheel" else installed
    totals = Totals(size=size, installed=installed, structure=structure, files=len(states), sha256="0" * 64)
    return Manifest(
        generator="test",
        artifact=ArtifactRow(name=name, kind=kind, before=totals, after=totals),
        tools=(),
        configuration={},
        steps=(),
        remainder=Saved(installed=0, compressed=0 if kind == "wheel" else None),
        files=files,
        companions=(),
        findings=findings,
        packed=packed,
    )


def _packed_row(row: FileRow) -> FileRow:
    size = row.after.size if row.after else 0
    compressed = row.after.compressed if row.after and row.after.compressed is not None else size // 2
    return file_row(row.path, size, owner=row.owner, kind=row.kind, compressed=compressed)


def budget(table: Mapping[str, Any]) -> BudgetSettings:
    """Return the settings of a table as it stands in TOML; raises ConfigurationError."""
    return read_config({"budget": dict(table)}, load_registry().option_types()).settings.budget


def checked(
    table: Mapping[str, Any], manifest: Manifest, baseline: Manifest | None = None, performance: Performance | None = None
) -> BudgetCheck:
    return check_budget(budget(table), manifest, baseline, performance)


def only(check: BudgetCheck) -> LimitResult:
    """Return the one result of a check."""
    (result,) = check.results
    return result

"""The report's data as one JSON document, and how it lies in the page."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from hatch_mlbundle.budget import BudgetCheck, LimitResult
from hatch_mlbundle.compare import compare
from hatch_mlbundle.manifest import BudgetRow, Manifest, Saved, StepRow, SuggestionRow, Totals
from hatch_mlbundle.model import Finding
from hatch_mlbundle.reports.models import finite
from hatch_mlbundle.reports.structure import REMAINDERS, structure_label

from .changes import changes
from .columns import Table, columns
from .components import advice, components
from .duplicates import duplicates
from .insides import insides
from .layers import layers
from .libraries import libraries
from .models import models

PLAIN = 50_000
"""Characters of JSON up to which it stays plain: any browser reads it, and so does a person."""


def report_data(manifest: Manifest, baseline: Manifest | None = None, budget: BudgetCheck | None = None) -> dict[str, Any]:
    """Return everything that the page shows."""
    table = Table.of(manifest, baseline)
    artifact = manifest.artifact
    return {
        "name": artifact.name,
        "artifactKind": artifact.kind,
        "structureLabel": structure_label(artifact.kind),
        "remainderLabel": REMAINDERS.get(artifact.kind, "other"),
        "packs": manifest.compresses,
        "hashed": all(row.after.sha256 is not None for row in manifest.files if row.after),
        "generator": manifest.generator,
        "totals": {"before": _totals(artifact.before), "after": _totals(artifact.after)},
        "steps": [_step(step) for step in manifest.steps],
        "remainder": _saved(manifest.remainder),
        "baseline": _baseline(baseline) if baseline else None,
        "budget": [_limit(row) for row in (budget.results if budget else manifest.budget)],
        "changes": changes(compare(baseline, manifest), table) if baseline else None,
        "duplicates": duplicates(table),
        "layers": layers(manifest),
        **components(manifest),
        **advice(manifest),
        "insides": insides(manifest, table),
        **libraries(manifest, table),
        "models": models(manifest, table),
        "suggestions": [_suggestion(each) for each in manifest.suggestions],
        "findings": [_finding(each, table) for each in (*manifest.findings, *(budget.findings if budget else ()))],
        "tools": [[tool.name, tool.version] for tool in manifest.tools],
        "configuration": _pretty(manifest.configuration),
        "archives": [[each.name, each.format, each.size, each.sha256] for each in manifest.packed],
        "companions": [[each.path, each.size, each.sha256] for each in manifest.companions],
        **columns(table, len(manifest.steps)),
    }


def data_script(document: dict[str, Any]) -> str:
    """Return the document as a script element that runs nothing: plain JSON where it is small, else deflated, in base64.

    All of it is ASCII, so that file names that no UTF-8 can hold keep their surrogates.
    """
    text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    if len(text) <= PLAIN:
        return f'<script id="data" type="application/json">{text.replace("<", chr(92) + "u003c")}</script>'
    packed = base64.b64encode(zlib.compress(text.encode("ascii"), 9)).decode("ascii")
    return f'<script id="data" type="application/octet-stream">{packed}</script>'


def _totals(totals: Totals) -> dict[str, Any]:
    return {key: value for key, value in asdict(totals).items() if key != "sha256"}


def _step(step: StepRow) -> dict[str, Any]:
    return {
        "name": step.optimizer,
        "distribution": step.distribution,
        "version": step.version,
        "lossless": step.lossless,
        "files": sum(count for action, count in step.changes.items() if action != "keep"),
        "changes": dict(step.changes),
        "options": _pretty(step.options),
        "saved": _saved(step.saved),
    }


def _suggestion(row: SuggestionRow) -> dict[str, Any]:
    return {
        "optimizer": row.optimizer,
        "lossless": row.lossless,
        "files": row.files,
        "saved": _saved(row.saved),
        "configuration": row.configuration,
    }


def _limit(row: LimitResult | BudgetRow) -> dict[str, Any]:
    """Return a limit that was checked just now, or what the manifest says of one as if it had been."""
    kept = {"key": row.limit, "note": "", **asdict(row)}
    return {**kept, "allowed": finite(row.allowed), "actual": finite(row.actual)}


def _finding(finding: Finding, table: Table) -> dict[str, Any]:
    return {**asdict(finding), "path": table.place(finding.path) if finding.path else None}


def _saved(saved: Saved) -> list[int | None]:
    return [saved.installed, saved.compressed]


def _pretty(settings: Mapping[str, Any]) -> str:
    return json.dumps(dict(settings), indent=2, ensure_ascii=False) if settings else ""


def _baseline(baseline: Manifest) -> dict[str, Any]:
    return {
        "name": baseline.artifact.name,
        "packs": baseline.compresses,
        "totals": _totals(baseline.artifact.after),
    }

"""The components of a container image, and what could be done about it, as the page gets them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from hatch_mlbundle.manifest import AdviceRow, Manifest
from hatch_mlbundle.reports.advice_sizes import sizes_now, sizes_with_all, told
from hatch_mlbundle.reports.component_rows import KINDS, component_kinds


def components(manifest: Manifest) -> dict[str, Any]:
    """Return every component, the largest first, and the kinds of them together."""
    rows = sorted(manifest.components, key=lambda row: (-row.installed, -row.compressed, row.name, row.version))
    kinds = [{"label": each.label, "count": each.count, **asdict(each.whole)} for each in component_kinds(manifest, 0)]
    return {"components": [{**asdict(row), "label": KINDS[row.kind]} for row in rows], "componentKinds": kinds}


def advice(manifest: Manifest) -> dict[str, Any]:
    """Return every option, the one that saves most first, and the image's sizes now and with all of them."""
    return {
        "advice": [_option(row, told(manifest.advice, position)) for position, row in enumerate(manifest.advice)],
        "adviceSizes": {"now": asdict(sizes_now(manifest)), "all": asdict(sizes_with_all(manifest))},
    }


def _option(row: AdviceRow, sentence: str) -> dict[str, Any]:
    return {
        "title": row.title,
        "told": sentence,
        "saved": [row.saved.installed, row.saved.compressed],
        "pros": row.pros,
        "cons": row.cons,
        "edits": [[edit.where, edit.text] for edit in row.edits],
    }

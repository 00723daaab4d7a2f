"""The HTML report as one self-contained file."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable
from importlib.resources import files
from string import Template

from hatch_mlbundle.budget import BudgetCheck
from hatch_mlbundle.manifest import ArtifactRow, Manifest
from hatch_mlbundle.printable import printable
from hatch_mlbundle.units import format_size

from .data import data_script, report_data

_STYLES = ("style.css", "map.css")
_SCRIPTS = (
    *(
        "model.js",
        "parts.js",
        "header.js",
        "changes.js",
        "steps.js",
        "files.js",
        "layers.js",
        "components.js",
        "insides.js",
        "libraries.js",
        "scatter.js",
        "models.js",
        "findings.js",
    ),
    *("hierarchy.js", "finder.js", "layout.js", "paints.js", "mapaddress.js", "mapnumbers.js", "mapboxes.js", "mapcontrols.js"),
    *("mapdetails.js", "treemap.js"),
    "main.js",
)
"""In the order in which they run: each uses those before it, the last begins."""


def html_report(manifest: Manifest, baseline: Manifest | None = None, budget: BudgetCheck | None = None) -> str:
    """Return the page: the artifact as it is after all steps, what the steps saved, and how it differs from a baseline.

    It loads nothing: its policy allows the scripts and styles that are written here, by their hashes, and no address at all.
    """
    styles, scripts = _read(_STYLES), _read(_SCRIPTS)
    allowed = f"script-src {_hashes(scripts)}; style-src {_hashes(styles)}; img-src data:"
    return Template(_text("page.html")).substitute(
        policy=f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'",
        title=_escaped(f"{manifest.artifact.name}: size report"),
        name=_escaped(manifest.artifact.name),
        totals=_escaped(_totals(manifest.artifact)),
        data=data_script(report_data(manifest, baseline, budget)),
        styles="\n".join(f"<style>{text}</style>" for text in styles),
        scripts="\n".join(f"<script>{text}</script>" for text in scripts),
    )


def _read(names: Iterable[str]) -> list[str]:
    return [_text(name) for name in names]


def _text(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hashes(texts: Iterable[str]) -> str:
    """Return the sources of a Content-Security-Policy that allow these elements alone (CSP Level 3, 2.3.1)."""
    digests = (hashlib.sha256(text.encode()).digest() for text in texts)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode('ascii')}'" for digest in digests)


def _escaped(text: str) -> str:
    return html.escape(printable(text))


def _totals(artifact: ArtifactRow) -> str:
    before, after = (
        f"{format_size(side.installed)} installed, {format_size(side.size)} itself" for side in (artifact.before, artifact.after)
    )
    return f"{artifact.after.files:,} files, {after}" if before == after else f"{artifact.after.files:,} files, {after}; before: {before}"

"""What `mlbundle analyze`, `compare` and `check` do: read manifests or artifacts, and write every report that is asked for.

Each report is imported where it is wanted: they cost more time than a small folder takes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from .adapters.project import FROZEN, WHEEL
from .application import selected
from .atomic import replace_atomically
from .budget import BudgetCheck, check_budget
from .compare import Comparison, compare
from .errors import BudgetError
from .invocation import config_of, project_of
from .manifest import Manifest
from .plugins import load_registry
from .subjects import Subject, load_subject

if TYPE_CHECKING:
    from rich.console import RenderableType

_Text: TypeAlias = Callable[[], str]

STDOUT = Path("-")
"""The name that stands for standard output."""


def analyze(options: argparse.Namespace) -> None:
    """Show what takes the space."""
    manifest = _load(options, options.artifact).manifest
    _write(options.html, lambda: _html(manifest))
    _write(options.markdown, lambda: _analysis_markdown(manifest, options.top))
    _write(options.svg, lambda: _svg(manifest))
    if options.png:
        from .reports.pictures import png_picture

        _save(options.png, png_picture(manifest))
    _tell(options, manifest.to_json, lambda: _analysis(manifest, options.top))


def compare_two(options: argparse.Namespace) -> None:
    """Show how one artifact differs from another."""
    before, after = (_load(options, path).manifest for path in (options.before, options.after))
    comparison = compare(before, after)
    _write(options.html, lambda: _html(after, before))
    _write(options.markdown, lambda: _comparison_markdown(comparison, options.top))
    _tell(options, comparison.to_json, lambda: _comparison(comparison, options.top))


def check(options: argparse.Namespace) -> None:
    """Hold an artifact against [tool.mlbundle.budget]; raises BudgetError where it is over a limit."""
    subject = _load(options, options.artifact)
    config = config_of(options, load_registry(), FROZEN if subject.manifest.artifact.kind == "frozen" else WHEEL)
    settings, project = config.settings.budget, project_of(options)
    baseline = _baseline(options, project, settings.baseline)
    manifest, former = subject.manifest, baseline.manifest if baseline else None
    checked = check_budget(settings, manifest, former, subject.performance)
    checked = replace(checked, findings=selected(config, checked.findings))
    _write(options.html, lambda: _html(manifest, former, checked))
    _write(options.markdown, lambda: _check_markdown(checked, compare(former, manifest) if former else None, options.top))
    _write(options.junit, lambda: _junit(checked))
    _write(options.sarif, lambda: _sarif(checked, manifest, project))
    _tell(options, checked.to_json, lambda: _check(checked))
    if checked.breaches:
        raise BudgetError(checked.lines())


def _load(options: argparse.Namespace, path: Path) -> Subject:
    return load_subject(path, options)


def _baseline(options: argparse.Namespace, project: Path, configured: str) -> Subject | None:
    """Return what growth is counted from: what the command line names, else the file that the configuration does, where it is there."""
    if options.baseline:
        return _load(options, options.baseline)
    place = project / configured
    if not configured or not place.exists():
        return None
    return _load(options, place)


def _tell(options: argparse.Namespace, to_json: _Text, report: Callable[[], RenderableType]) -> None:
    """Print the JSON where that is asked for, else the report, unless something was to be quiet or has standard output for itself."""
    written = [getattr(options, name, None) for name in ("html", "markdown", "svg", "junit", "sarif")]
    if options.json:
        sys.stdout.write(to_json())
    elif not options.quiet and STDOUT not in written:
        from .reports.terminal import show

        show(report())


def _write(path: Path | None, text: _Text) -> None:
    if path == STDOUT:
        sys.stdout.write(text())
    elif path:
        _save(path, text().encode(errors="backslashreplace"))


def _save(path: Path, content: bytes) -> None:
    with replace_atomically(path) as stream:
        stream.write(content)


def _analysis(manifest: Manifest, top: int) -> RenderableType:
    from .reports.terminal import analysis

    return analysis(manifest, top=top)


def _comparison(comparison: Comparison, top: int) -> RenderableType:
    from .reports.comparison import comparison_report

    return comparison_report(comparison, top=top)


def _check(checked: BudgetCheck) -> RenderableType:
    from .reports.budget import budget_report

    return budget_report(checked)


def _html(manifest: Manifest, baseline: Manifest | None = None, checked: BudgetCheck | None = None) -> str:
    from .reports.html.page import html_report

    return html_report(manifest, baseline, checked)


def _analysis_markdown(manifest: Manifest, top: int) -> str:
    from .reports.markdown import analysis_markdown

    return analysis_markdown(manifest, top=top)


def _comparison_markdown(comparison: Comparison, top: int) -> str:
    from .reports.markdown import comparison_markdown

    return comparison_markdown(comparison, top=top)


def _check_markdown(checked: BudgetCheck, comparison: Comparison | None, top: int) -> str:
    from .reports.markdown import check_markdown

    return check_markdown(checked, comparison, top=top)


def _svg(manifest: Manifest) -> str:
    from .reports.pictures import svg_picture

    return svg_picture(manifest)


def _junit(checked: BudgetCheck) -> str:
    from .reports.junit import junit_report

    return junit_report(checked)


def _sarif(checked: BudgetCheck, manifest: Manifest, project: Path) -> str:
    from .reports.sarif import sarif_report

    place = (project / "pyproject.toml").resolve()
    root = next((folder for folder in place.parents if (folder / ".git").exists()), place.parent)
    text = place.read_text(encoding="utf-8") if place.is_file() else ""
    return sarif_report(checked, manifest, text, place.relative_to(root).as_posix())

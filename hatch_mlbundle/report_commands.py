"""What `mlbundle analyze`, `compare` and `check` do: read manifests or artifacts, and write every report that is asked for.

Each report is imported where it is wanted: they cost more time than a small folder takes.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from .adapters.project import places_of
from .atomic import replace_atomically
from .budget_baseline import read_baseline
from .config import selected
from .errors import BudgetError, ConfigurationError
from .invocation import check_apart, project_of, real_path
from .manifest import Manifest
from .standard_output import standard_output
from .storage import storage_errors
from .subjects import load_subject, settings_for

if TYPE_CHECKING:
    from rich.console import RenderableType

    from .budget import BudgetCheck
    from .compare import Comparison

_Text: TypeAlias = Callable[[], str]

STDOUT = Path("-")
"""The name that stands for standard output."""

_REPORTS = ("html", "markdown", "svg", "png", "junit", "sarif", "manifest")
"""The options that name files to write."""


def analyze(options: argparse.Namespace) -> None:
    """Show what takes the space."""
    _check_reports(options, options.artifact)
    manifest = load_subject(options.artifact, options).manifest
    _write(options.html, lambda: _html(manifest))
    _write(options.markdown, lambda: _analysis_markdown(manifest, options.top))
    _write(options.svg, lambda: _svg(manifest))
    if options.png:
        from .reports.pictures import png_picture

        _write_bytes(options.png, png_picture(manifest))
    _tell(options, manifest.to_json, lambda: _analysis(manifest, options))


def compare_two(options: argparse.Namespace) -> None:
    """Show how one artifact differs from another."""
    from .compare import compare

    _check_reports(options, options.before, options.after)
    before, after = (load_subject(path, options).manifest for path in (options.before, options.after))
    comparison = compare(before, after)
    _write(options.html, lambda: _html(after, before))
    _write(options.markdown, lambda: _comparison_markdown(comparison, options.top))
    _tell(options, comparison.to_json, lambda: _comparison(comparison, options.top))


def check(options: argparse.Namespace) -> None:
    """Hold an artifact against [tool.mlbundle.budget]; raises BudgetError where it is over a limit."""
    from .budget import check_budget
    from .compare import compare

    project = project_of(options)
    _check_reports(options, options.artifact, *([options.baseline] if options.baseline else []))
    settings = settings_for(options.artifact, options)
    former = _baseline(options, project, settings.budget.baseline)
    subject = load_subject(options.artifact, options)
    manifest = subject.manifest
    checked = check_budget(settings.budget, manifest, former, subject.performance)
    checked = replace(checked, findings=selected(settings, checked.findings))
    _write(options.html, lambda: _html(manifest, former, checked))
    _write(options.markdown, lambda: _check_markdown(checked, compare(former, manifest) if former else manifest, options.top))
    _write(options.manifest, manifest.to_json)
    _write(options.junit, lambda: _junit(checked))
    _write(options.sarif, lambda: _sarif(checked, manifest, project))
    _tell(options, checked.to_json, lambda: _check(checked))
    if checked.breaches:
        raise BudgetError(checked.lines())


def _check_reports(options: argparse.Namespace, *artifacts: Path) -> None:
    """See, before any work, whether the reports can be written where they are to go; raises MlbundleError.

    None goes into or over what is read, none where another one goes, and only one to standard output.
    """
    named = {name: place for name in _REPORTS if (place := getattr(options, name, None))}
    taken: dict[Path, str] = {STDOUT: "json"} if options.json else {}
    for name, place in named.items():
        where = place if place == STDOUT else real_path(place)
        other = taken.setdefault(where, name)
        if other != name:
            raise ConfigurationError([f"--{name}: goes to {place}, as --{other} does; write each report to a place of its own"])
        for artifact in () if place == STDOUT else artifacts:
            check_apart(place, artifact)
    if named.get("png") == STDOUT and sys.stdout.isatty():
        raise ConfigurationError(["--png: a terminal cannot show it; name a file, or send standard output to one"])


def _baseline(options: argparse.Namespace, project: Path, configured: str) -> Manifest | None:
    """Return what growth is counted from: what the command line names, else the manifest that the configuration does, if it is there."""
    if options.baseline:
        return load_subject(options.baseline, options).manifest
    former = read_baseline(project / configured) if configured else None
    return former.manifest if former else None


def _tell(options: argparse.Namespace, to_json: _Text, report: Callable[[], RenderableType]) -> None:
    """Print the JSON where that is asked for, else the report, unless something was to be quiet or has standard output for itself."""
    if options.json:
        text = to_json()
        with standard_output():
            sys.stdout.write(text)
    elif not options.quiet and STDOUT not in (getattr(options, name, None) for name in _REPORTS):
        from .reports.terminal import show

        show(report())


def _write(path: Path | None, text: _Text) -> None:
    if path:
        _write_bytes(path, text().encode(errors="backslashreplace"))


def _write_bytes(path: Path, content: bytes) -> None:
    if path == STDOUT:
        with standard_output():
            sys.stdout.buffer.write(content)
        return
    if os.path.exists(path) and not path.is_file():  # noqa: PTH110 - it stands names that are too long
        with storage_errors(path):  # a device or a pipe, which nothing may take the place of
            path.write_bytes(content)
        return
    with replace_atomically(real_path(path)) as stream:  # a link stays one
        stream.write(content)


def _analysis(manifest: Manifest, options: argparse.Namespace) -> RenderableType:
    from rich.console import Group

    from .reports.advice import advice_hint, advice_report, advice_table
    from .reports.suggestions import suggestions_report
    from .reports.terminal import analysis

    top = options.top
    return Group(
        analysis(manifest, top=top),
        *suggestions_report(manifest, asked=options.suggest, top=top),
        *advice_table(manifest, top=top),
        *(advice_report(manifest, top=top) if options.advice else advice_hint(manifest)),
    )


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


def _check_markdown(checked: BudgetCheck, subject: Comparison | Manifest, top: int) -> str:
    from .reports.markdown import check_markdown

    return check_markdown(checked, subject, top=top)


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
    return sarif_report(checked, manifest, text, place.relative_to(root).as_posix(), overlays=places_of(manifest.artifact.kind))

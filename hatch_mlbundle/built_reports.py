"""Reports that a build writes beside the manifest, where `reports` asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .atomic import replace_atomically
from .beside import REPORTS, beside
from .job import Job
from .manifest import Manifest

_ROWS = 10
"""Rows of each table in Markdown."""


@contextmanager
def replacing_reports(job: Job, target: Path, manifest: Manifest) -> Iterator[None]:
    """Write the reports on an artifact, put in place when the body ends well; those of an earlier build go in any case.

    They are made from the manifest and the baseline's alone: the same whether the artifact was made or recalled.
    """
    wanted = job.config.settings.reports
    with ExitStack() as commits:
        for name in wanted:
            text = _html(job, manifest) if name == "html" else _markdown(job, manifest)
            commits.enter_context(replace_atomically(beside(job, target, REPORTS[name]))).write(text.encode(errors="backslashreplace"))
        yield
    for name in REPORTS.keys() - set(wanted):
        beside(job, target, REPORTS[name]).unlink(missing_ok=True)


def _html(job: Job, manifest: Manifest) -> str:
    from .reports.html.page import html_report

    return html_report(manifest, job.baseline.manifest if job.baseline else None)


def _markdown(job: Job, manifest: Manifest) -> str:
    from .reports.markdown import analysis_markdown, comparison_markdown

    if job.baseline is None:
        return analysis_markdown(manifest, top=_ROWS)
    from .compare import compare

    return comparison_markdown(compare(job.baseline.manifest, manifest), top=_ROWS)

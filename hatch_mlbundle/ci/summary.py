"""One Markdown report of all artifacts that were checked, short enough for a comment."""

from __future__ import annotations

from collections.abc import Sequence

from hatch_mlbundle.reports.markdown_parts import LIMIT, code, joined, marker
from hatch_mlbundle.units import format_growth, format_size

from .checking import Checked

_RESERVED = 2_000
"""Bytes kept for what stands before and behind the artifacts' own reports."""
_NAMED = 100
"""Artifacts that are named at all, where the reports of so many do not fit."""


def summary(name: str, checked: Sequence[Checked]) -> str:
    """Return the report: a program finds it by its name. Of many artifacts, those whose report does not fit have a line only."""
    head = [marker(name), *([_overview(checked)] if len(checked) > 1 else [])]
    told: list[str] = []
    room, lines = LIMIT - _RESERVED, 0
    for each in sorted(checked, key=lambda each: -each.exit_code):
        report = _report(each)
        if _length(report) > room:
            report, lines = _first_line(report), lines + 1
        if _length(report) <= room and lines <= _NAMED:
            told.append(report)
            room -= _length(report)
    left = len(checked) - len(told)
    return joined([*head, *told, f"[{left:,} others]" if left else ""])


def grown(checked: Sequence[Checked]) -> int | None:
    """Return the bytes installed that came to all artifacts with a baseline, None without any."""
    pairs = [(each.before, each.after) for each in checked]
    growths = [after.installed - before.installed for before, after in pairs if before and after]
    return sum(growths) if growths else None


def _overview(checked: Sequence[Checked]) -> str:
    growth, over = grown(checked), sum(each.exit_code == 1 for each in checked)
    installed = sum(each.after.installed for each in checked if each.after)
    size = f"{format_growth(growth)} installed" if growth is not None else f"{format_size(installed)} installed"
    failed = sum(each.exit_code > 1 for each in checked)
    told = [f"{len(checked):,} artifacts", *([f"{over:,} over budget"] if over else []), *([f"{failed:,} not checked"] if failed else [])]
    return f"**{size}** in {', '.join(told)}"


def _report(checked: Checked) -> str:
    if checked.exit_code > 1:
        return f"**{code(checked.name)} could not be checked**: {code(checked.said)}"
    return checked.markdown.read_text(encoding="utf-8").partition("\n")[2].strip()


def _length(report: str) -> int:
    """Return the bytes that a report takes with the blank line before it."""
    return len(report.encode()) + 2


def _first_line(report: str) -> str:
    return report.partition("\n")[0]

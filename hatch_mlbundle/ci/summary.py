"""One Markdown report of all artifacts that were checked, short enough for a comment."""

from __future__ import annotations

from collections.abc import Sequence

from hatch_mlbundle.reports.markdown_changes import signed
from hatch_mlbundle.reports.markdown_parts import LIMIT, code, marker
from hatch_mlbundle.units import format_size

from .checking import Checked

_RESERVED = 2_000
"""Bytes kept for what stands before, between and behind the artifacts' own reports."""
_NAMED = 100
"""Artifacts that are named at all, where the reports of so many do not fit."""


def summary(name: str, checked: Sequence[Checked]) -> str:
    """Return the report: a program finds it by its name. Of many artifacts, those whose report does not fit have a line only."""
    parts = [marker(name)]
    if len(checked) > 1:
        parts.append(_overview(checked))
    room = LIMIT - _RESERVED - sum(len(part.encode()) for part in parts)
    ordered = sorted(checked, key=lambda each: -each.exit_code)
    shortened = 0
    for each in ordered:
        report = _report(each)
        if len(report.encode()) > room:
            shortened += 1
            report = _first_line(report)
        if len(report.encode()) > room or shortened > _NAMED:
            continue
        parts.append(report)
        room -= len(report.encode()) + 2
    left = len(checked) - (len(parts) - (2 if len(checked) > 1 else 1))
    return "\n\n".join([*parts, *([f"[{left:,} others]"] if left else [])]) + "\n"


def grown(checked: Sequence[Checked]) -> int | None:
    """Return the bytes installed that came to all artifacts with a baseline, None without any."""
    pairs = [(each.before, each.after) for each in checked]
    growths = [after.installed - before.installed for before, after in pairs if before and after]
    return sum(growths) if growths else None


def _overview(checked: Sequence[Checked]) -> str:
    growth, over = grown(checked), sum(each.exit_code == 1 for each in checked)
    installed = sum(each.after.installed for each in checked if each.after)
    size = f"{signed(growth)} installed" if growth is not None else f"{format_size(installed)} installed"
    failed = sum(each.exit_code > 1 for each in checked)
    told = [f"{len(checked):,} artifacts", *([f"{over:,} over budget"] if over else []), *([f"{failed:,} not checked"] if failed else [])]
    return f"**{size}** in {', '.join(told)}"


def _report(checked: Checked) -> str:
    if checked.exit_code > 1:
        return f"**{code(checked.name)} could not be checked**: {code(checked.said)}"
    return checked.markdown.read_text(encoding="utf-8").partition("\n")[2].strip()


def _first_line(report: str) -> str:
    return report.partition("\n")[0]

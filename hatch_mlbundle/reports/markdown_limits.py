"""What came of the budget, as parts of a Markdown report."""

from __future__ import annotations

from collections import Counter

from hatch_mlbundle.budget import BudgetCheck, LimitResult, format_amount

from .markdown_parts import code, folded, table

_STATUS = {"ok": "kept", "over": "**over**", "overridden": "overridden", "unmeasured": "not measured"}


def verdict(check: BudgetCheck, rows: int) -> str:
    """Return a line for each limit that is exceeded, or one that says that none is; nothing where there are no limits."""
    count = len(check.results)
    if not check.breaches:
        return f"Within budget: {_counts(check)}" if count else ""
    lines = [f"- {_breach(result)}" for result in check.breaches[:rows]]
    if rest := len(check.breaches) - len(lines):
        lines.append(f"- [{rest:,} others]")
    return "\n".join([f"**Over budget: {len(check.breaches):,} of {count:,} limit{'s' if count > 1 else ''}**", "", *lines])


def all_limits(check: BudgetCheck, rows: int) -> str:
    """Return a table of all limits, folded; those that are exceeded come first."""
    ordered = sorted(check.results, key=lambda result: result.status != "over")
    lines = [
        [code(result.limit), format_amount(result.allowed, result.unit), _actual(result), _STATUS[result.status], _remark(result)]
        for result in ordered[:rows]
    ]
    if rest := len(ordered) - len(lines):
        lines.append([f"[{rest:,} others]", "", "", "", ""])
    return folded(f"All limits: {len(ordered):,}", table(["limit", "allowed", "is", "", ""], lines, words=(3, 4)))


def _counts(check: BudgetCheck) -> str:
    counts = Counter(result.status for result in check.results)
    told = [f"{counts['ok']:,} limit{'s' if counts['ok'] != 1 else ''} kept"]
    told += [f"{counts[status]:,} {_STATUS[status]}" for status in ("overridden", "unmeasured") if counts[status]]
    return ", ".join(told)


def _breach(result: LimitResult) -> str:
    line = f"{code(result.limit)}: **{_actual(result)}**, {_over(result, result.allowed)} allowed"
    if result.up_to is not None:
        line += f", and {_over(result, result.up_to)} of its override"
    return f"{line}; {code(result.note)}" if result.note else line


def _over(result: LimitResult, bound: float) -> str:
    return f"{format_amount((result.actual or 0) - bound, result.unit)} over the {format_amount(bound, result.unit)}"


def _actual(result: LimitResult) -> str:
    return "" if result.actual is None else format_amount(result.actual, result.unit)


def _remark(result: LimitResult) -> str:
    remark = result.reason or result.note
    return code(remark) if remark else ""

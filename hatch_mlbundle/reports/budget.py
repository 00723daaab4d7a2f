"""Limits and what came of them, for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hatch_mlbundle.budget import BudgetCheck, LimitResult, format_amount
from hatch_mlbundle.budget_limits import VARYING
from hatch_mlbundle.manifest import BudgetRow, Manifest
from hatch_mlbundle.printable import printable

_CELLS = 10
_STYLES = {"ok": "green", "over": "red", "overridden": "yellow", "unmeasured": "dim"}


def budget_report(check: BudgetCheck) -> RenderableType:
    """Return a row for each limit, and below it what is to be said of some."""
    baseline = f", growth since {printable(check.baseline)}" if check.baseline else ""
    title = Text(f"{printable(check.artifact)}{baseline}", style="cyan", overflow="fold")
    if not check.results:
        return Group(title, Text("no limits: [tool.mlbundle.budget] sets none"))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("limit", overflow="fold", ratio=1)
    for column in ("allowed", "actual", "used"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("", no_wrap=True)
    for result in check.results:
        table.add_row(*_cells(result))
    return Group(title, table, *_notes(check), _verdict(check))


def budget_line(manifest: Manifest, *, verified: bool) -> RenderableType | None:
    """Return one line on the budget that a build was held to, None where there was none; `verified`: times were measured, too."""
    if not manifest.budget:
        return None
    rows = [row for row in manifest.budget if row.status != "unmeasured" or (verified and row.limit in VARYING)]
    kept = [row for row in rows if row.status != "overridden"]
    told = _counts(len(kept), len(rows) - len(kept), len(manifest.budget) - len(rows))
    shares = {row.limit: share for row in kept if (share := _share(row)) is not None}
    tightest = max(kept, key=lambda row: shares.get(row.limit, -1), default=None)
    if tightest and tightest.limit in shares:
        told += f", tightest: {printable(tightest.limit)} {_percent(tightest)}"
    return Text(f"budget: {told}", style="green", overflow="fold")


def _cells(result: LimitResult) -> Iterator[Text]:
    style = _STYLES[result.status]
    yield Text(printable(result.limit), overflow="fold")
    yield Text(format_amount(result.allowed, result.unit))
    yield Text("-" if result.actual is None else format_amount(result.actual, result.unit))
    yield Text(_percent(result))
    yield Text(_bar(result), style=style)
    yield Text(result.status, style=style)


def _share(row: LimitResult | BudgetRow) -> float | None:
    """Return how much of a limit is used, as a share of it; None where that is no number."""
    if row.actual is None or (row.allowed == 0 and row.actual > 0):
        return None
    return max(row.actual, 0) / row.allowed if row.allowed else 0.0


def _percent(row: LimitResult | BudgetRow) -> str:
    """Return the share in percent, rounded to what does not tell less (or more) than the status does."""
    share = _share(row)
    if share is None:
        return ""
    percent = int(share * 100) if share <= 1 else max(round(share * 100), 101)
    return f"{percent:,} %" if percent < 10_000 else "> 9,999 %"


def _bar(result: LimitResult) -> str:
    share = 1.0 if result.status == "over" else _share(result)
    if share is None:
        return ""
    filled = min(round(share * _CELLS), _CELLS)
    return "#" * filled + "." * (_CELLS - filled)


def _notes(check: BudgetCheck) -> Iterator[Text]:
    for result in check.results:
        for note in (result.note, f"overridden: {result.reason}" if result.reason is not None else ""):
            if note:
                yield Text(f"{printable(result.limit)}: {printable(note)}", style="dim", overflow="fold")
    for finding in check.findings:
        if finding.code in ("MB822", "MB823"):  # the others are notes of their limits
            yield Text(finding.line(), style="yellow", overflow="fold")


def _verdict(check: BudgetCheck) -> Text:
    over = len(check.breaches)
    if over:
        return Text(f"over {_limits(over)} of {len(check.results):,}", style="red")
    kept, overridden, unmeasured = (sum(each.status == status for each in check.results) for status in ("ok", "overridden", "unmeasured"))
    return Text(_counts(kept, overridden, unmeasured), style="green")


def _counts(kept: int, overridden: int, unmeasured: int) -> str:
    rest = {"overridden": overridden, "not measured": unmeasured}
    return ", ".join([f"{_limits(kept)} kept", *(f"{count:,} {what}" for what, count in rest.items() if count)])


def _limits(count: int) -> str:
    return f"{count:,} {'limit' if count == 1 else 'limits'}"

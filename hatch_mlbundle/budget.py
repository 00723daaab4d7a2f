"""Hold an artifact, by its manifest, against the limits of [tool.mlbundle.budget]."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from .budget_limits import VARYING, Limit, limits_of
from .budget_measure import Measuring, Performance, Reading, mismatch
from .budget_settings import BudgetSettings
from .manifest import BudgetRow, BudgetStatus, Manifest, Unit
from .model import Finding
from .printable import printable
from .units import format_size

__all__ = ["ABOUT_THE_BUDGET", "BudgetCheck", "LimitResult", "Performance", "breach_line", "check_budget", "findings_of", "format_amount"]

FORMAT = "mlbundle-budget"
FORMAT_VERSION = "1.0"
ABOUT_THE_BUDGET = "MB82"
"""What the codes of all findings on a budget begin with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitResult:
    """A limit and what came of it. `key` is its TOML path in the table; `note` says what counts most, or why there is no figure.

    `reason` is that of its override, also where none is needed, and `up_to` what that one allows, None where it allows anything.
    """

    limit: str
    key: str
    unit: Unit
    allowed: float
    actual: float | None
    status: BudgetStatus
    reason: str | None = None
    note: str = ""
    up_to: float | None = None

    def line(self) -> str:
        """Return what came of it as one line, without the note."""
        if self.actual is None:
            return f"{self.limit} is not measured"
        told = f"{self.limit} is {format_amount(self.actual, self.unit)}"
        allowed = format_amount(self.allowed, self.unit)
        if self.actual <= self.allowed:
            return f"{told} of {allowed} allowed"
        told = f"{told}, {format_amount(self.actual - self.allowed, self.unit)} over the {allowed} allowed"
        if self.up_to is None or self.actual <= self.up_to:
            return told
        beyond = format_amount(self.actual - self.up_to, self.unit)
        return f"{told}, and {beyond} over the {format_amount(self.up_to, self.unit)} of its override"


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetCheck:
    """All limits, in the order of the configuration, for an artifact by its file name; `baseline` is that of the one before.

    `findings` are what a person should know of beside breaches: limits that were not measured, overrides that are no longer needed.
    """

    artifact: str
    baseline: str | None
    results: tuple[LimitResult, ...]
    findings: tuple[Finding, ...] = ()

    @property
    def breaches(self) -> tuple[LimitResult, ...]:
        """The limits that are exceeded and not overridden."""
        return tuple(result for result in self.results if result.status == "over")

    def lines(self) -> tuple[str, ...]:
        """Return one line for each breach: the limit, what it allows, what there is, what counts most."""
        return tuple(breach_line(result) for result in self.breaches)

    def to_json(self) -> str:
        """Return the check as a document of its own, which docs/budgets.md describes; ASCII alone."""
        head = {"format": FORMAT, "format_version": FORMAT_VERSION, "artifact": self.artifact, "baseline": self.baseline}
        rows = [asdict(result) for result in self.results]
        findings = [asdict(finding) for finding in self.findings]
        return json.dumps({**head, "kept": not self.breaches, "limits": rows, "findings": findings}, indent=2) + "\n"

    def rows(self) -> tuple[BudgetRow, ...]:
        """Return what the manifest says of it: nothing of times and memory but their limits."""
        return tuple(_row(result) for result in self.results)


def breach_line(result: LimitResult) -> str:
    """Return a breach as one line of printable characters."""
    return printable(f"budget: {result.line()}{f' ({result.note})' if result.note else ''}")


def check_budget(
    settings: BudgetSettings, manifest: Manifest, baseline: Manifest | None = None, performance: Performance | None = None
) -> BudgetCheck:
    """Return what came of each limit for the artifact as it is after all steps; settings without faults (budget_limits.py)."""
    measuring = Measuring(manifest=manifest, baseline=baseline, performance=performance, place=settings.baseline)
    read = [(limit, measuring.read(limit)) for limit in limits_of(settings)]
    results = tuple(_result(limit, reading, measuring) for limit, reading in read)
    findings = [Finding(code="MB823", message=problem)] if baseline and (problem := mismatch(manifest, baseline)) else []
    for result in results:
        findings += findings_of(result)
    unmatched = dict.fromkeys(f"{limit.rule.title}: {reading.unmatched}" for limit, reading in read if limit.rule and reading.unmatched)
    findings += [Finding(code="MB824", message=f"budget: {printable(each)}") for each in unmatched]
    return BudgetCheck(
        artifact=manifest.artifact.name,
        baseline=baseline.artifact.name if baseline else None,
        results=results,
        findings=tuple(findings),
    )


def findings_of(result: LimitResult) -> Iterator[Finding]:
    """Yield what a person should know of a limit by itself. Nothing depends on times or memory: findings go into the manifest."""
    name = printable(result.limit)
    if result.status == "unmeasured":
        yield Finding(code="MB821", message=f"budget: {name} is not measured: {printable(result.note)}")
    elif result.status == "ok" and result.reason is not None and result.limit not in VARYING:
        yield Finding(code="MB822", message=f"budget: the override of {name} is no longer needed; delete it")


def format_amount(value: float, unit: Unit) -> str:
    """Return an amount as a person reads it: `'600 MB'`, `'12,000'` files, `'2.5 %'`, `'1.5 s'`."""
    if unit == "bytes":
        return format_size(round(value))
    if unit == "files":
        return f"{round(value):,}"
    number = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{number} {'%' if unit == 'percent' else 's'}"


def _result(limit: Limit, reading: Reading, measuring: Measuring) -> LimitResult:
    status = _status(reading.actual, limit.allowed, limit.up_to, overridden=limit.reason is not None)
    return LimitResult(
        limit=limit.name,
        key=limit.key,
        unit=limit.unit,
        allowed=limit.allowed,
        actual=reading.actual,
        status=status,
        reason=limit.reason,
        note=measuring.most(limit) if status in ("over", "overridden") else reading.note,
        up_to=limit.up_to,
    )


def _status(actual: float | None, allowed: float, up_to: float | None, *, overridden: bool) -> BudgetStatus:
    if actual is None:
        return "unmeasured"
    if actual <= allowed:
        return "ok"
    return "overridden" if overridden and (up_to is None or actual <= up_to) else "over"


def _row(result: LimitResult) -> BudgetRow:
    varies = result.limit in VARYING
    return BudgetRow(
        limit=result.limit,
        unit=result.unit,
        allowed=result.allowed,
        actual=None if varies else result.actual,
        status="unmeasured" if varies else result.status,
        reason=result.reason,
    )

"""Hold an artifact, by its manifest, against the limits of [tool.mlbundle.budget]."""

from __future__ import annotations

from dataclasses import dataclass

from .budget_settings import BudgetSettings
from .manifest import BudgetRow, BudgetStatus, Manifest, Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """What the slowest command took from start to exit, in seconds, and the largest one of memory, in bytes."""

    seconds: float
    peak_memory: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitResult:
    """A limit and what came of it. `key` is its TOML path in the table; `note` says what counts most, or why there is no figure."""

    limit: str
    key: str
    unit: Unit
    allowed: float
    actual: float | None
    status: BudgetStatus
    reason: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetCheck:
    """All limits, in the order of the configuration, for an artifact by its file name; `baseline` is that of the one before."""

    artifact: str
    baseline: str | None
    results: tuple[LimitResult, ...]

    @property
    def breaches(self) -> tuple[LimitResult, ...]:
        """The limits that are exceeded and not overridden."""
        return tuple(result for result in self.results if result.status == "over")

    def lines(self) -> tuple[str, ...]:
        """Return one line for each breach: the limit, what it allows, what there is, what counts most."""
        raise NotImplementedError

    def to_json(self) -> str:
        """Return the check as a document of its own."""
        raise NotImplementedError

    def rows(self) -> tuple[BudgetRow, ...]:
        """Return what the manifest says of it."""
        raise NotImplementedError


def check_budget(
    settings: BudgetSettings, manifest: Manifest, baseline: Manifest | None = None, performance: Performance | None = None
) -> BudgetCheck:
    """Return what came of each limit for the artifact as it is after all steps."""
    raise NotImplementedError

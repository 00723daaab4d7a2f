"""Limits and what came of them, for a terminal of 80 columns."""

from __future__ import annotations

from rich.console import RenderableType

from hatch_mlbundle.budget import BudgetCheck


def budget_report(check: BudgetCheck) -> RenderableType:
    """Return a row for each limit, and a line for each breach."""
    raise NotImplementedError

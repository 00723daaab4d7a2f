"""JUnit XML: each limit of the budget as a test case."""

from __future__ import annotations

from hatch_mlbundle.budget import BudgetCheck


def junit_report(check: BudgetCheck) -> str:
    """Return the XML text."""
    raise NotImplementedError

"""Markdown for a pull request's comment or a job's summary: the difference first, details folded."""

from __future__ import annotations

from hatch_mlbundle.budget import BudgetCheck
from hatch_mlbundle.compare import Comparison
from hatch_mlbundle.manifest import Manifest


def analysis_markdown(manifest: Manifest, *, top: int) -> str:
    """Return what takes the space."""
    raise NotImplementedError


def comparison_markdown(comparison: Comparison, *, top: int) -> str:
    """Return what grew and shrank."""
    raise NotImplementedError


def check_markdown(check: BudgetCheck, comparison: Comparison | None, *, top: int) -> str:
    """Return whether the budget is kept, and how the artifact differs from the baseline."""
    raise NotImplementedError

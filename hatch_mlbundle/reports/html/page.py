"""The HTML report as one self-contained file."""

from __future__ import annotations

from hatch_mlbundle.budget import BudgetCheck
from hatch_mlbundle.manifest import Manifest


def html_report(manifest: Manifest, baseline: Manifest | None = None, budget: BudgetCheck | None = None) -> str:
    """Return the page: the artifact as it is after all steps, what the steps saved, and how it differs from a baseline."""
    raise NotImplementedError

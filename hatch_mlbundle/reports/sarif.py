"""SARIF 2.1.0: breaches of the budget and findings, at the lines of pyproject.toml that they come from."""

from __future__ import annotations

from hatch_mlbundle.budget import BudgetCheck
from hatch_mlbundle.manifest import Manifest


def sarif_report(check: BudgetCheck, manifest: Manifest, pyproject: str) -> str:
    """Return the JSON text; `pyproject` is the text of the file that the locations point into."""
    raise NotImplementedError

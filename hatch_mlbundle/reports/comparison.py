"""Two artifacts side by side, for a terminal of 80 columns."""

from __future__ import annotations

from rich.console import RenderableType

from hatch_mlbundle.compare import Comparison


def comparison_report(comparison: Comparison, *, top: int) -> RenderableType:
    """Return the difference, then the `top` largest ones by package, kind and file, and the releases that changed."""
    raise NotImplementedError

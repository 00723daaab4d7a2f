"""`[tool.mlbundle.budget]`: how large an artifact may be, and how much it may grow."""

from __future__ import annotations

from dataclasses import dataclass

from .optimizer import option
from .schema import Size


@dataclass(frozen=True, kw_only=True)
class BudgetSettings:
    """The limits; one that is not set is none."""

    installed: Size | None = option("Bytes of the files as installed, at most.", default=None)
    baseline: str = option("A manifest, relative to the project, that growth is counted from; empty means none.", default="")

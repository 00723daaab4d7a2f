"""What long work tells of itself."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Hears how far a piece of work has come; called from any thread."""

    def start(self, what: str, total: int) -> None:
        """A piece of work begins, of `total` units."""

    def advance(self, units: int = 1) -> None:
        """So many units of it are done."""


class Silence:
    """A Progress that says nothing."""

    def start(self, what: str, total: int) -> None:
        """Say nothing."""

    def advance(self, units: int = 1) -> None:
        """Say nothing."""

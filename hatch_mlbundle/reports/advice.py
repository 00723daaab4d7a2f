"""What could be done about a container image: each option with what it saves, what speaks for and against it, and the exact change."""

from __future__ import annotations

from rich.console import RenderableType

from hatch_mlbundle.manifest import Manifest


def advice_report(manifest: Manifest, *, top: int) -> list[RenderableType]:
    """Return the options, the one that saves most first, a table of sizes now, with each, and with all; or nothing."""
    raise NotImplementedError

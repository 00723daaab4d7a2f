"""The components of a container image as a table."""

from __future__ import annotations

from rich.console import RenderableType

from hatch_mlbundle.manifest import Manifest


def components_report(manifest: Manifest, *, top: int) -> list[RenderableType]:
    """Return a table of the `top` largest components, the rest in one row; nothing where there are none."""
    raise NotImplementedError

"""The entry point that hatch finds us by."""

from __future__ import annotations

from hatchling.plugin import hookimpl

from .adapters.frozen import FrozenBuilder
from .adapters.hatch import MlbundleBuildHook


@hookimpl
def hatch_register_builder() -> type[FrozenBuilder]:
    """Return the build target `frozen`."""
    return FrozenBuilder


@hookimpl
def hatch_register_build_hook() -> type[MlbundleBuildHook]:
    """Return the build hook `mlbundle`."""
    return MlbundleBuildHook

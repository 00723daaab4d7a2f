"""What hatch-mlbundle finds under the entry-point group `mlbundle`: it imports this module and calls its hooks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hatch_mlbundle.api import Optimizer, hookimpl

from .notebook_outputs import NotebookOutputs


@hookimpl
def mlbundle_register_optimizers() -> Iterable[type[Optimizer[Any]]]:
    """Return the optimizers of this distribution."""
    return [NotebookOutputs]

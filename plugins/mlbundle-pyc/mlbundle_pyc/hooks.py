"""What hatch-mlbundle finds under the entry-point group `mlbundle`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hatch_mlbundle.hookspecs import hookimpl
from hatch_mlbundle.optimizer import Optimizer

from .sourceless import Sourceless
from .strip_docstrings import StripDocstrings


@hookimpl
def mlbundle_register_optimizers() -> Iterable[type[Optimizer[Any]]]:
    """Return the optimizers of bytecode."""
    return [Sourceless, StripDocstrings]

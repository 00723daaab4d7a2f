"""What a third party may register: a distribution names a module under the entry-point group `mlbundle` and implements these."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pluggy

from .accuracy.evaluator import Evaluator
from .contents.inspector import Inspector
from .optimizer import Optimizer

PROJECT = "mlbundle"
"""The pluggy project and the entry-point group."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a plugin's implementation of one of these hooks."""


@hookspec
def mlbundle_register_optimizers() -> Iterable[type[Optimizer[Any]]]:  # type: ignore[empty-body]
    """Return the optimizer classes that the distribution offers. Their order means nothing: the configuration gives it."""


@hookspec
def mlbundle_register_evaluators() -> Iterable[type[Evaluator]]:  # type: ignore[empty-body]
    """Return the classes that run models, for [tool.mlbundle.accuracy]. Of several that can run a model, the first by name does."""


@hookspec
def mlbundle_register_inspectors() -> Iterable[type[Inspector]]:  # type: ignore[empty-body]
    """Return the classes that tell what files are made of. Of several that tell the same of a file, ours comes first, then by name."""

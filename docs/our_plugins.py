"""The optimizers of this repository, those of its plugins among them, whether these are installed or not."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hatch_mlbundle.optimizer import Optimizer
from hatch_mlbundle.plugins import OURS, load_registry

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PLUGINS = Path(__file__).parents[1] / "plugins"


def our_optimizers() -> dict[type[Optimizer[Any]], str]:
    """Return each with the distribution that it is of: those of hatch-mlbundle in their order, then each plugin's."""
    core = {each.optimizer: OURS for each in load_registry().values() if each.distribution == OURS}
    return {**core, **{each: name for folder in sorted(PLUGINS.iterdir()) for each, name in _of_a_plugin(folder)}}


def _of_a_plugin(folder: Path) -> Iterator[tuple[type[Optimizer[Any]], str]]:
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    for name in project["entry-points"]["mlbundle"].values():
        offered = getattr(importlib.import_module(name), "mlbundle_register_optimizers", list)()
        yield from ((each, project["name"]) for each in offered)

"""The optimizers of this repository, those of its plugins among them, whether these are installed or not."""

from __future__ import annotations

import importlib
import sys
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
    return {**core, **{each: name for folder in sorted(PLUGINS.iterdir()) for each, name in optimizers_of(folder).items()}}


def optimizers_of(folder: Path) -> dict[type[Optimizer[Any]], str]:
    """Return those that the project in a folder registers, with its name."""
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
    named = project.get("entry-points", {}).get("mlbundle", {}).values()
    sys.path += [str(each) for each in (folder, folder / "src") if named and str(each) not in sys.path]
    modules = [importlib.import_module(name) for name in named]
    offered = [each for module in modules for each in getattr(module, "mlbundle_register_optimizers", list)()]
    return dict.fromkeys(offered, project.get("name", ""))

"""A project's configuration: `[tool.mlbundle]` of its pyproject.toml, and the hatch hook's own table laid over it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hatch_mlbundle.config import Config, read_config
from hatch_mlbundle.errors import ConfigurationError
from hatch_mlbundle.plugins import Registry

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_HOOKS = (("build", "targets", "wheel", "hooks", "mlbundle"), ("build", "hooks", "mlbundle"))
"""Where hatch looks for a hook's table; the first replaces the second."""

_HATCHS_OWN = ("dependencies", "enable-by-default", "require-runtime-dependencies", "require-runtime-features")
"""Keys of a hook's table that hatch itself reads."""


def project_config(root: Path, registry: Registry, override: Mapping[str, object] | None = None) -> Config:
    """Return the configuration of the project in the folder `root`, `override` laid over its top-level keys.

    Raises ConfigurationError. A folder without pyproject.toml has the default configuration.
    """
    pyproject = _load(root / "pyproject.toml")
    hatch = {**_table(pyproject, "tool", "hatch"), **_load(root / "hatch.toml")}
    table = {**_table(pyproject, "tool", "mlbundle")}
    for keys in _HOOKS:
        hook = _table(hatch, *keys)
        if hook:
            overlay = {key: value for key, value in hook.items() if key not in _HATCHS_OWN and key not in (override or {})}
            path = ".".join(("tool", "hatch", *keys))
            return read_config({**table, **(override or {})}, registry.option_types(), overlay=overlay, overlay_path=path)
    return read_config({**table, **(override or {})}, registry.option_types())


def find_project(start: Path) -> Path:
    """Return the nearest folder at or above `start` that has a pyproject.toml, or else `start`."""
    for folder in (start, *start.parents):
        if (folder / "pyproject.toml").is_file():
            return folder
    return start


def _load(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError([f"{path}: is no TOML: {error}"]) from error


def _table(document: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    found: Any = document
    for key in keys:
        found = found.get(key, {}) if isinstance(found, Mapping) else {}
    if not isinstance(found, Mapping):
        raise ConfigurationError([f"{'.'.join(keys)}: must be a table"])
    return found

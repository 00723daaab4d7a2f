"""A project's configuration: `[tool.mlbundle]` of its pyproject.toml, and the table of the hatch hook or target laid over it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from hatch_mlbundle.config import TABLE, Config, Settings, read_config, read_settings
from hatch_mlbundle.errors import ConfigurationError
from hatch_mlbundle.printable import printable

if TYPE_CHECKING:
    from hatch_mlbundle.plugins import Registry

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Places: TypeAlias = tuple[tuple[str, ...], ...]
"""Where the table to be laid over may stand; the first that is there, be it empty, counts."""

WHEEL: Places = (("tool", "hatch", "build", "targets", "wheel", "hooks", "mlbundle"), ("tool", "hatch", "build", "hooks", "mlbundle"))
"""Where hatch looks for a hook's table (hatchling's `BuilderConfig.hook_config`)."""

FROZEN: Places = (("tool", "hatch", "build", "targets", "frozen", "mlbundle"),)
"""Where the target `frozen` has its own."""

_HATCHS_OWN = ("dependencies", "enable-by-default", "require-runtime-dependencies", "require-runtime-features")
"""Keys of a hook's table that hatch itself reads."""


def places_of(kind: str) -> Places:
    """Return where the configuration for artifacts of this kind may stand beside [tool.mlbundle]."""
    return FROZEN if kind == "frozen" else WHEEL


def project_config(root: Path, registry: Registry, override: Mapping[str, object] | None = None, places: Places = WHEEL) -> Config:
    """Return the configuration of the project in the folder `root`, the table at one of `places` and `override` laid over it.

    Raises ConfigurationError. A folder without pyproject.toml has the default configuration.
    """
    table, overlay, overlay_path = _tables(root, override or {}, places)
    known = registry.option_types()
    return read_config(table, known, overlay=overlay, overlay_path=overlay_path, why_missing=registry.why_missing)


def project_settings(root: Path, override: Mapping[str, object] | None = None, places: Places = WHEEL) -> Settings | None:
    """Return the settings of a project that configures no optimizer, None of one that does; raises ConfigurationError."""
    table, overlay, overlay_path = _tables(root, override or {}, places)
    return read_settings(table, overlay=overlay, overlay_path=overlay_path)


def place_of(key: str, root: Path, places: Places = WHEEL) -> str:
    """Return the TOML path of the table in which a key of the configuration stands, or may be put; raises ConfigurationError."""
    _, overlay, overlay_path = _tables(root, {}, places)
    return overlay_path if key in overlay else TABLE


def _tables(root: Path, override: Mapping[str, object], places: Places) -> tuple[dict[str, object], dict[str, object], str]:
    """Return [tool.mlbundle], with `override` laid over it, and the adapter's own table with its TOML path, without what that hides."""
    pyproject = _load(root / "pyproject.toml")
    table = {**(_table(pyproject, "tool", "mlbundle") or {}), **override}
    path, over = _overlay(root, pyproject, places)
    return table, {key: value for key, value in over.items() if key not in _HATCHS_OWN and key not in override}, path


def has_frozen_target(root: Path) -> bool:
    """Say whether a project configures the hatch target `frozen`; raises ConfigurationError."""
    return root.is_dir() and bool(_overlay(root, _load(root / "pyproject.toml"), (FROZEN[0][:-1],))[1])


def find_project(start: Path) -> Path:
    """Return the nearest folder at or above `start` that has a pyproject.toml, or else `start`."""
    for folder in (start, *start.parents):
        if (folder / "pyproject.toml").is_file():
            return folder
    return start


def _load(path: Path) -> dict[str, Any]:
    try:
        return parsed_toml(path, path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ConfigurationError([f"{path}: cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError([f"{path}: is no TOML: {error}"]) from error


def parsed_toml(path: Path, text: str) -> dict[str, Any]:
    """Return what the text of the file at `path` says; raises ConfigurationError."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError([f"{printable(str(path))}: is no TOML: {error}"]) from error


def _overlay(root: Path, pyproject: Mapping[str, Any], places: Places) -> tuple[str, Mapping[str, Any]]:
    """Return the table that hatch would use, with its TOML path; keys of a file hatch.toml replace those of tool.hatch."""
    beside = root / "hatch.toml"
    hatch = {**(_table(pyproject, "tool", "hatch") or {}), **(_load(beside) if beside.is_file() else {})}
    for keys, table in [(keys, _table({"tool": {"hatch": hatch}}, *keys)) for keys in places]:
        if table is not None:
            return ".".join(keys), table
    return TABLE, {}


def _table(document: Mapping[str, Any], *keys: str) -> Mapping[str, Any] | None:
    """Return the table under these keys, None where there is none; raises ConfigurationError where something else is there."""
    found: Any = document
    for depth, key in enumerate(keys, 1):
        if key not in found:
            return None
        found = found[key]
        if not isinstance(found, Mapping):
            raise ConfigurationError([f"{'.'.join(keys[:depth])}: must be a table"])
    return found  # type: ignore[no-any-return]

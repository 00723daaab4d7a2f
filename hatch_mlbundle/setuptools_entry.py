"""The entry point that setuptools finds us by. It is called in every build of an environment that we are in, so it is quick."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def finalize_distribution_options(dist: Any) -> None:
    """Let `bdist_wheel` optimize where the project has `[tool.mlbundle]`; elsewhere do nothing."""
    if has_table(Path("pyproject.toml")):
        from .adapters.setuptools import install

        install(dist)


finalize_distribution_options.order = 1000  # type: ignore[attr-defined]  # after the plugins that give the project a bdist_wheel


def has_table(pyproject: Path) -> bool:
    """Say whether a file has `[tool.mlbundle]`; where it is no TOML, setuptools says so."""
    try:
        data = pyproject.read_bytes()
    except OSError:
        return False
    return b"mlbundle" in data and _has_table(data)


def _has_table(data: bytes) -> bool:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        tool = tomllib.loads(data.decode()).get("tool")
    except ValueError:
        return False
    return isinstance(tool, dict) and "mlbundle" in tool

"""What setup.cfg and setup.py say, as far as it stands there as plain values: nothing of them is run."""

from __future__ import annotations

import ast
import configparser
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class LegacyProject:
    """What is there beside pyproject.toml: the name, console scripts and requirements; `there` where there is such a file."""

    there: bool
    name: str
    scripts: Mapping[str, str]
    requires: tuple[str, ...]


def legacy_project(folder: Path) -> LegacyProject:
    """Return what setup.cfg says, or else setup.py; a setup.cfg without a project is that of other tools."""
    cfg, py = _setup_cfg(folder / "setup.cfg"), _setup_py(folder / "setup.py")
    return LegacyProject(
        there=cfg.there or py.there, name=cfg.name or py.name, scripts=cfg.scripts or py.scripts, requires=cfg.requires or py.requires
    )


def _setup_cfg(path: Path) -> LegacyProject:
    parser = configparser.ConfigParser(interpolation=None)
    with suppress(configparser.Error, UnicodeDecodeError, OSError):
        parser.read(path, encoding="utf-8")
    return LegacyProject(
        there=parser.has_section("metadata") or parser.has_section("options"),
        name=parser.get("metadata", "name", fallback=""),
        scripts=_scripts(parser.get("options.entry_points", "console_scripts", fallback="").splitlines()),
        requires=tuple(parser.get("options", "install_requires", fallback="").splitlines()),
    )


def _setup_py(path: Path) -> LegacyProject:
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        tree = ast.Module(body=[], type_ignores=[])
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _called(node.func) == "setup"]
    given = {keyword.arg: _value(keyword.value) for call in calls for keyword in call.keywords}
    name, points = given.get("name"), given.get("entry_points")
    listed = points.get("console_scripts") if isinstance(points, dict) else None
    return LegacyProject(
        there=path.is_file(),
        name=name if isinstance(name, str) else "",
        scripts=_scripts(_strings(listed)),
        requires=tuple(_strings(given.get("install_requires"))),
    )


def _called(function: ast.expr) -> str:
    return function.id if isinstance(function, ast.Name) else function.attr if isinstance(function, ast.Attribute) else ""


def _value(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, MemoryError, RecursionError):
        return None


def _strings(listed: Any) -> list[str]:
    return [each for each in listed if isinstance(each, str)] if isinstance(listed, list | tuple) else []


def _scripts(lines: Iterable[str]) -> dict[str, str]:
    pairs = (line.partition("=") for line in lines)
    return {name.strip(): reference.strip() for name, equals, reference in pairs if equals}

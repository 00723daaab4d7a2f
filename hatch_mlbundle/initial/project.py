"""What a project says of itself: its build back end, its packages, how it is started, what it needs, and whether it is frozen."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from hatch_mlbundle.adapters.project import FROZEN, WHEEL, parsed_toml
from hatch_mlbundle.config import TABLE
from hatch_mlbundle.errors import ConfigurationError
from hatch_mlbundle.printable import printable

from .packages import import_name
from .setuptools_files import LegacyProject, legacy_project

Backend: TypeAlias = Literal["hatchling", "setuptools", "other", "none"]
"""What builds the wheel; `other` are those that know no hook of ours, `none` is a folder that nothing is built from."""

PYPROJECT = "pyproject.toml"

_SCRIPTS = (("project", "scripts"), ("project", "gui-scripts"), ("tool", "poetry", "scripts"), ("tool", "flit", "scripts"))
_MODELS = (".safetensors", ".onnx", ".pt", ".pth", ".ckpt", ".gguf")
_MOST_FILES = 20_000
_FROZEN = ("tool", "hatch", "build", "targets", "frozen")


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project: the text of its pyproject.toml (None where it has none) and what stands there; files that it has beside it.

    `back_end` is the name of another back end; `scripts` are references by the command's name; `requires` canonical names;
    `models` are paths below the project's folder.
    """

    folder: Path
    text: str | None
    document: Mapping[str, Any]
    hatch: Mapping[str, Any]
    name: str
    backend: Backend
    back_end: str
    imports: str
    scripts: Mapping[str, str]
    requires: frozenset[str]
    specs: tuple[str, ...]
    models: tuple[str, ...]

    @property
    def path(self) -> Path:
        """Where its pyproject.toml is, or is to be."""
        return self.folder / PYPROJECT

    @property
    def configured(self) -> str:
        """The TOML path of the configuration that there is, "" where there is none; an empty table of a hook is none."""
        if _table(self.document, "tool", "mlbundle") is not None:
            return TABLE
        tables = (keys for keys in (*WHEEL, *FROZEN) if _table({"tool": {"hatch": self.hatch}}, *keys))
        return ".".join(next(tables, ()))

    @property
    def frozen_target(self) -> Mapping[str, Any] | None:
        """The table of the hatch target `frozen`, None where there is none."""
        return _table({"tool": {"hatch": self.hatch}}, *_FROZEN)


def read_project(folder: Path) -> Project:
    """Return what the project in a folder says; raises ConfigurationError for a file that cannot be read or is no TOML."""
    text = _text(folder / PYPROJECT)
    document = parsed_toml(folder / PYPROJECT, text) if text is not None else {}
    beside = _text(folder / "hatch.toml")
    legacy = legacy_project(folder)
    hatch = {**(_table(document, "tool", "hatch") or {}), **(parsed_toml(folder / "hatch.toml", beside) if beside is not None else {})}
    back_end = _back_end(document)
    backend = _backend(back_end, legacy)
    name = _name(document) or legacy.name
    imports = import_name(folder, document, hatch, name)
    return Project(
        folder=folder,
        text=text,
        document=document,
        hatch=hatch,
        name=name,
        backend=backend,
        back_end=back_end.partition(".")[0].partition(":")[0],
        imports=imports,
        scripts=_scripts(document) or legacy.scripts,
        requires=frozenset(_names(_dependencies(document) or legacy.requires)),
        specs=_specs(folder),
        models=tuple(_models(folder, imports)),
    )


def is_project(folder: Path) -> bool:
    """Say whether a folder is one that something is built from, or that has a configuration."""
    return any((folder / name).is_file() for name in (PYPROJECT, "setup.py", "setup.cfg")) or bool(_specs(folder))


def _specs(folder: Path) -> tuple[str, ...]:
    """Return the names of PyInstaller's spec files; those of RPM are others."""
    return tuple(sorted(path.name for path in folder.glob("*.spec") if "Analysis(" in (_text(path) or "")))


def _text(path: Path) -> str | None:
    """Return a file's text with its line ends as they are, None where there is none."""
    try:
        return path.read_bytes().decode()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigurationError([f"{printable(str(path))}: cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        if path.suffix != ".toml":
            return None
        raise ConfigurationError([f"{printable(str(path))}: is no TOML: {error}"]) from error


def _back_end(document: Mapping[str, Any]) -> str:
    system = _table(document, "build-system") or {}
    named = system.get("build-backend")
    return named if isinstance(named, str) else "setuptools" if system else ""  # PEP 517, "build-backend" is optional


def _backend(back_end: str, legacy: LegacyProject) -> Backend:
    if back_end == "hatchling.build":
        return "hatchling"
    if back_end.partition(".")[0] == "setuptools" or (not back_end and legacy.there):
        return "setuptools"
    return "other" if back_end else "none"


def _name(document: Mapping[str, Any]) -> str:
    for keys in (("project",), ("tool", "poetry")):
        name = (_table(document, *keys) or {}).get("name")
        if isinstance(name, str):
            return name
    return ""


def _scripts(document: Mapping[str, Any]) -> dict[str, str]:
    tables = (_table(document, *keys) or {} for keys in _SCRIPTS)
    return {name: reference for table in tables for name, reference in table.items() if isinstance(reference, str)}


def _dependencies(document: Mapping[str, Any]) -> list[str]:
    listed = (_table(document, "project") or {}).get("dependencies")
    poetry = _table(document, "tool", "poetry", "dependencies") or {}
    return [each for each in listed if isinstance(each, str)] if isinstance(listed, list) else [each for each in poetry if each != "python"]


def _names(requirements: Sequence[str]) -> Iterator[str]:
    for each in requirements:
        try:
            yield canonicalize_name(Requirement(each).name)
        except InvalidRequirement:
            continue


def _models(folder: Path, imports: str) -> Iterator[str]:
    """Yield the model files of the package, sorted; of a package of very many files, those that are found first."""
    package = next((place / imports for place in (folder, folder / "src") if imports and (place / imports).is_dir()), None)
    seen = 0
    for parent, folders, files in os.walk(package) if package else ():
        folders.sort()
        seen += len(files)
        yield from (Path(parent, name).relative_to(folder).as_posix() for name in sorted(files) if name.endswith(_MODELS))
        if seen > _MOST_FILES:
            return


def _table(document: Mapping[str, Any], *keys: str) -> Mapping[str, Any] | None:
    found: Any = document
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else None

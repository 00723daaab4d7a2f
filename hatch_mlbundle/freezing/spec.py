"""The spec files that PyInstaller carries out: one an application, written by PyInstaller itself, and ours, which collects them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from .options import Executable, Target, split_data

_COLLECT = """\
# Written by hatch-mlbundle: runs the spec file of each application, and collects them all into one folder.
from PyInstaller.config import CONF

collected = []


def keep(*parts, **_options):
    collected.extend(parts)


def drop(*_parts, **_options):
    pass


CONF["specpath"] = SPECPATH = {root!r}  # relative paths start there
for name in {names!r}:
    CONF["warnfile"] = os.path.join(workpath, "warn-" + name + ".txt")
    path = os.path.join({folder!r}, name + ".spec")
    with open(path, "rb") as source:
        exec(compile(source.read(), path, "exec"), {{**globals(), "COLLECT": keep, "BUNDLE": drop}})
if not collected:
    raise SystemExit("ERROR: pyinstaller-arguments make a one-file bundle; set one-file = true instead")
COLLECT(*collected, strip=False, upx=False, name={name!r})
"""

_CALL = """\
import sys

from {module} import {imported}

if __name__ == "__main__":
    if "multiprocessing" in sys.modules:
        sys.modules["multiprocessing"].freeze_support()
    sys.exit({function}())
"""


def collecting_spec(target: Target, folder: Path) -> str:
    """Return the text of the spec file that collects the target's executables, whose own spec files lie in `folder`."""
    names = [each.name for each in target.executables]
    return _COLLECT.format(root=str(target.root), names=names, folder=str(folder), name=target.name)


def script_of(executable: Executable, folder: Path) -> Path:
    """Return the Python file that an executable runs: its script, or one made in `folder` that calls its function."""
    if executable.script:
        return executable.script
    path = folder / f"run-{executable.name}.py"  # which no import finds before the package of this name
    imported = executable.function.partition(".")[0]
    path.write_text(_CALL.format(module=executable.module, imported=imported, function=executable.function), encoding="utf-8")
    return path


def makespec_arguments(target: Target, executable: Executable, script: Path, folder: Path) -> list[str]:
    """Return the arguments with which `pyi-makespec` writes an executable's spec file into `folder`."""
    return [*_own_arguments(target, executable, folder), *target.options.pyinstaller_arguments, "--", str(script)]


def _own_arguments(target: Target, executable: Executable, folder: Path) -> Iterator[str]:
    options = target.options
    yield from ("--onedir", "--noupx", f"--specpath={folder}", f"--name={executable.name}")
    if executable.windowed:
        yield "--windowed"
    if executable.icon:
        yield f"--icon={executable.icon if executable.icon == 'NONE' else target.root / executable.icon}"
    yield from (f"--paths={path}" for path in target.paths)
    yield from (f"--hidden-import={name}" for name in executable.hidden_imports)
    yield from (f"--collect-data={name}" for name in options.collect_data)
    yield from (f"--collect-all={name}" for name in options.collect_packages)
    yield from (f"--exclude-module={name}" for name in options.exclude_modules)
    for entry in options.data:
        source, into = split_data(entry)
        yield f"--add-data={target.root / source}{os.pathsep}{into}"

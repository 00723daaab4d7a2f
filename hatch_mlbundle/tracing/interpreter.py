"""Trace a Python that is not frozen: which one a command starts, what is installed in it, and how the hook gets into it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from posixpath import normpath

from hatch_mlbundle.errors import TraceError

from .inventory import Inventory, read_inventory

ROOTS = "MLBUNDLE_TRACE_ROOTS"
"""Names the variable with the folders in which use is recorded."""

_RUNTIME = Path(__file__).parents[1] / "runtime"
_PYTHON = re.compile(r"(?:python|pypy)(?:w|[\d.]+)?(?:\.exe)?", re.IGNORECASE)
_WRAPPED = re.compile(rb"'''exec' (?:\"([^\"\n]+)\"|(\S+)) \"\$0\"")
"""The second line of a script of pip's whose interpreter has a path too long or with blanks (pip, `_vendor/distlib/scripts.py`)."""
_ASK = "import json, sysconfig; print(json.dumps([sysconfig.get_path(name) for name in ('purelib', 'platlib')]))"
_PATIENCE = 60.0


def find_interpreter(program: Path) -> Path | None:
    """Return the Python that a program is, or that a script names in its first line; None for anything else."""
    if _PYTHON.fullmatch(program.name):
        return program
    with program.open("rb") as stream:
        first, second = stream.readline(4096), stream.readline(4096)
    if not first.startswith(b"#!"):
        return None
    words = [os.fsdecode(word) for word in first[2:].split()]
    if words and Path(words[0]).name == "env":
        named = next((word for word in words[1:] if not word.startswith("-") and "=" not in word), "")
        words = [shutil.which(named) or ""]
    elif wrapped := _WRAPPED.match(second):
        words = [os.fsdecode(wrapped[1] or wrapped[2])]
    return Path(words[0]) if words and _PYTHON.fullmatch(Path(words[0]).name) else None


def installed_in(python: Path) -> list[Path]:
    """Return the folders, one or two, in which an interpreter has its packages; raises TraceError where it does not tell."""
    try:
        said = subprocess.run([python, "-I", "-c", _ASK], capture_output=True, check=True, timeout=_PATIENCE).stdout
        folders = [Path(folder) for folder in json.loads(said)]
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise TraceError(f"{python}: does not tell where its packages are; does it run, and is it a Python 3?") from error
    found = {os.path.realpath(folder): folder for folder in folders if folder.is_dir()}
    if not found:
        raise TraceError(f"{python}: has no packages ({folders[0]} is not there); trace with the Python of a virtual environment")
    return list(found.values())


def read_installed(roots: Sequence[Path], packages: Sequence[str]) -> list[Inventory]:
    """Return the files of these distributions, of all where none is named, without bytecode that Python caches.

    Raises TraceError where a distribution is not installed.
    """
    whole = [read_inventory(root) for root in roots]
    owned = _owned(roots, packages) if packages else None
    return [_kept(each, owned) for each in whole]


def hook_environment(place: Path, roots: Iterable[Path]) -> dict[str, str]:
    """Put the hook into the folder `place`, and return the variables that make a Python load it."""
    place.mkdir(exist_ok=True)
    shutil.copyfile(_RUNTIME / "trace_hook.py", place / "mlbundle_trace_hook.py")
    shutil.copyfile(_RUNTIME / "trace_sitecustomize.py", place / "sitecustomize.py")
    searched = [str(place), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(searched), ROOTS: os.pathsep.join(map(str, roots))}


def _kept(inventory: Inventory, owned: frozenset[str] | None) -> Inventory:
    files: Mapping[str, int] = {
        path: size for path, size in inventory.files.items() if "__pycache__/" not in path and (owned is None or path in owned)
    }
    return replace(inventory, files=files, links={path: target for path, target in inventory.links.items() if path in files})


def _owned(roots: Sequence[Path], packages: Sequence[str]) -> frozenset[str]:
    """Return what the distributions' RECORDs list, but for what lies outside of the roots."""
    from importlib.metadata import Distribution, distributions  # costs as much time as all else that tracing imports

    from packaging.utils import canonicalize_name

    there: dict[str, Distribution] = {}
    for each in distributions(path=[str(root) for root in roots]):
        there.setdefault(canonicalize_name(each.metadata["Name"] or ""), each)
    found: set[str] = set()
    for name in packages:
        distribution = there.get(canonicalize_name(name))
        if distribution is None:
            raise TraceError(f"--package {name}: is not installed in {roots[0]}; install its wheel there, or correct the name")
        found.update(normpath(path.as_posix()) for path in distribution.files or ())
    return frozenset(path for path in found if not path.startswith("../"))

"""What an interpreter needs to run where there is nothing else: its own files, and the libraries of the system that it links to."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from hatch_mlbundle.binaries.elf import Elf, read_elf
from hatch_mlbundle.binaries.reader import Reader
from hatch_mlbundle.errors import BinaryError, TrialError

from .c_library import FOLDERS, c_library_folder, is_of_c_library
from .mounts import Mount

_ASK = "import json, sys, sysconfig; print(json.dumps([sys.base_prefix, sysconfig.get_path('stdlib')]))"
_SHARED = ("/", "/usr", "/usr/local")
"""Prefixes that hold more than a Python."""
_SECONDS = 60.0
_LDCONFIG = ("/sbin/ldconfig", "/usr/sbin/ldconfig")


def python_mounts(python: Path) -> list[Mount]:
    """Return what a Python, or that below a virtual environment, needs besides the environment's own folder; raises TrialError.

    Those are its prefix (of a prefix like /usr, the program and the standard library alone), and the libraries that the interpreter
    and the extension modules of its standard library need; those of tkinter are left out, which are half a desktop's.
    """
    try:
        asked = subprocess.run([str(python), "-I", "-S", "-c", _ASK], capture_output=True, text=True, check=True, timeout=_SECONDS)
        prefix, standard = map(Path, json.loads(asked.stdout))
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise TrialError(f"{python}: does not start: {error}") from error
    programs = _chain(python)
    folders = [standard] if str(prefix) in _SHARED else [prefix, standard]
    mounts = [Mount.of(folder) for folder in folders if folder.is_dir()]
    mounts += [Mount(source=program.resolve(), target=program) for program in programs]
    modules = sorted((standard / "lib-dynload").glob("*.so"))
    binaries = [python.resolve(), *(module for module in modules if not module.name.startswith("_tkinter."))]
    for name, path in libraries_of(binaries).items():
        if not any(path.is_relative_to(folder) for folder in folders):
            mounts.append(Mount(source=path.resolve(), target=c_library_folder() / name))
    return mounts


def libraries_of(files: Iterable[Path]) -> dict[str, Path]:
    """Return the libraries that ELF files need, and those that these need, the C library's aside, by the names they are needed by."""
    found: dict[str, Path] = {}
    ahead = list(files)
    while ahead:
        path = ahead.pop()
        elf = _elf(path)
        for name in elf.needed if elf else ():
            if elf and name not in found and not is_of_c_library(name):
                library = _search(name, path, elf)
                if library is not None:
                    found[name] = library
                    ahead.append(library)
    return dict(sorted(found.items()))


def _chain(python: Path) -> list[Path]:
    """Return the paths that a symbolic link to a program leads through, the first one included."""
    chain = [python.absolute()]
    while chain[-1].is_symlink() and len(chain) < 40:
        link = chain[-1].parent / chain[-1].readlink()
        chain.append(link.parent.resolve() / link.name if ".." in link.parts else link)
    return chain


def _search(name: str, needing: Path, elf: Elf) -> Path | None:
    """Return where the loader finds a library: as RUNPATH or RPATH say, by its cache, and where it always looks (ld.so(8))."""
    given = (elf.runpath or elf.rpath or "").split(":")
    origin = str(needing.resolve().parent)
    folders = [entry.replace("${ORIGIN}", origin).replace("$ORIGIN", origin) for entry in given if entry]
    places = [Path(folder, name) for folder in folders]
    places += _cached().get(name, [])
    places += [Path(folder, name) for folder in (str(c_library_folder()), *FOLDERS)]
    return next((place for place in places if _fits(place, elf)), None)


def _fits(path: Path, elf: Elf) -> bool:
    other = _elf(path) if path.is_file() else None
    return other is not None and other.header.machine == elf.header.machine and other.encoding == elf.encoding


def _elf(path: Path) -> Elf | None:
    with suppress(OSError, BinaryError), Reader(path) as reader:
        return read_elf(reader)
    return None


@lru_cache
def _cached() -> dict[str, list[Path]]:
    """Return what the loader's cache holds: places by name (ldconfig(8))."""
    program = next(filter(os.path.exists, _LDCONFIG), None)
    if program is None:
        return {}
    listed = subprocess.run([program, "-p"], capture_output=True, text=True, check=False, errors="surrogateescape")
    found: dict[str, list[Path]] = {}
    for line in listed.stdout.splitlines():
        name, arrow, place = line.strip().partition(" => ")
        if arrow:
            found.setdefault(name.partition(" ")[0], []).append(Path(place))
    return found

"""Copies of a project to build from: what git tracks of it, else all that is no result of an earlier build."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hatch_mlbundle.errors import RebuildError
from hatch_mlbundle.printable import printable

_LEFT_OUT = frozenset({".git", ".hg", ".svn", "__pycache__", ".tox", ".nox", ".venv"})
_MARKS = ("pyvenv.cfg", "CACHEDIR.TAG")
"""Files that tell of an environment, or of a cache (bford.info/cachedir)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The files of a project, below `root`: the top of its repository, of which `project` is a folder, or the project itself.

    `files` are relative to `root`; `is_repository` says whether a clone of it is to come along, for what takes the version from it.
    """

    root: Path
    project: Path
    files: tuple[Path, ...]
    is_repository: bool

    @property
    def inner(self) -> Path:
        """The project, relative to `root`."""
        return self.project.relative_to(self.root)


def sources_of(project: Path, scratch: Path) -> Sources:
    """Return the files of a project, a folder or an sdist, which is unpacked to `scratch`; raises RebuildError."""
    if project.is_file():
        project = _unpacked(project, scratch)
        files = tuple(path.relative_to(project) for path in project.rglob("*") if path.is_symlink() or path.is_file())
        return Sources(root=project, project=project, files=files, is_repository=False)
    if not any((project / name).is_file() for name in ("pyproject.toml", "setup.py")):
        raise RebuildError(f"{printable(str(project))}: is no project: there is no pyproject.toml; name its folder, or an sdist")
    project = project.resolve()
    top = _git(project, "rev-parse", "--show-toplevel")
    tracked = _tracked(Path(os.fsdecode(top.rstrip(b"\n"))), project) if top else None
    return tracked or Sources(root=project, project=project, files=tuple(_walked(project)), is_repository=False)


def copy_sources(sources: Sources, folder: Path, *, umask: int, moment: float, backwards: bool) -> Path:
    """Copy a project's files below `folder`, and return the project there.

    Files are made one after the other by their names, or backwards, with the modes that a checkout gives them under `umask`, and with
    `moment` as their time, in seconds since 1970.
    """
    target = folder / sources.root.name
    if sources.is_repository:
        _git(folder, "clone", "--quiet", "--shared", "--no-checkout", os.fspath(sources.root), os.fspath(target))
    folders: set[Path] = set()
    for file in sorted(sources.files, reverse=backwards):
        copy = target / file
        copy.parent.mkdir(parents=True, exist_ok=True)
        folders |= set(copy.relative_to(target).parents)
        _copy(sources.root / file, copy, umask, moment)
    for each in sorted(folders, reverse=True):
        (target / each).chmod(0o777 & ~umask)
        os.utime(target / each, (moment, moment))
    if sources.is_repository:
        _git(target, "reset", "--quiet")
    return target / sources.inner


def _copy(source: Path, copy: Path, umask: int, moment: float) -> None:
    if source.is_symlink():
        copy.symlink_to(source.readlink())
        return
    shutil.copyfile(source, copy)
    copy.chmod((0o777 if source.stat().st_mode & 0o100 else 0o666) & ~umask)
    os.utime(copy, (moment, moment))


def _tracked(top: Path, project: Path) -> Sources | None:
    """Return the files of a repository that git tracks, None where it tracks none of the project."""
    listed = _git(top, "ls-files", "-z", "--recurse-submodules") or b""
    files = [Path(os.fsdecode(name)) for name in listed.split(b"\0") if name]
    there = [file for file in files if (top / file).is_symlink() or (top / file).is_file()]
    top = top.resolve()
    if not any((top / file).is_relative_to(project) for file in there):
        return None
    return Sources(root=top, project=project, files=tuple(there), is_repository=True)


def _git(folder: Path, *arguments: str) -> bytes | None:
    """Return what git prints, None where there is none, or it fails."""
    try:
        result = subprocess.run(["git", "-C", os.fspath(folder), *arguments], capture_output=True, check=False)  # noqa: S607 - the user's git
    except OSError:
        return None
    return result.stdout if result.returncode == 0 else None


def _walked(project: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(project):
        top = Path(folder)
        folders[:] = [name for name in folders if not _is_left_out(top / name, project)]
        links = [name for name in folders if (top / name).is_symlink()]
        yield from (top.relative_to(project) / name for name in (*files, *links))


def _is_left_out(folder: Path, project: Path) -> bool:
    """Say whether a folder is what an earlier build, a tool or a person's environment made."""
    name = folder.name
    if name in _LEFT_OUT or name.endswith(".egg-info") or any((folder / mark).is_file() for mark in _MARKS):
        return True
    if folder.parent != project:
        return False  # a package's own files: `static/dist` is what a web front end is built to
    built = ("lib", "lib.*", "bdist.*", "temp.*")
    return name == "dist" or (name == "build" and any(found for each in built for found in folder.glob(each)))


def _unpacked(sdist: Path, scratch: Path) -> Path:
    """Unpack an sdist, and return its one folder."""
    scratch.mkdir()
    try:
        with tarfile.open(sdist) as archive:
            members = archive.getmembers()
            _check(sdist, members)
            archive.extractall(scratch, members, filter="data")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise RebuildError(
            f"{printable(str(sdist))}: is no sdist that can be unpacked ({str(error).partition(':')[0]}); name a project's folder"
        ) from error
    folders = [path for path in scratch.iterdir() if path.is_dir()]
    if len(folders) != 1:
        raise RebuildError(f"{printable(str(sdist))}: is no sdist: {len(folders)} folders where there must be one; name a project's folder")
    return folders[0]


def _check(sdist: Path, members: Sequence[tarfile.TarInfo]) -> None:
    if sum(member.size for member in members) > 100 * 10**9:
        raise RebuildError(f"{printable(str(sdist))}: unpacks to more than 100 GB; name a project's folder")

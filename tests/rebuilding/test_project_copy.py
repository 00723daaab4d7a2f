"""Copies of projects: what comes along, and how."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from hatch_mlbundle.errors import RebuildError
from hatch_mlbundle.rebuilding.project_copy import copy_sources, sources_of

GIT = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    run = subprocess.run(["git", "-C", folder, *who, *arguments], check=True, capture_output=True, text=True, env={**os.environ, **GIT})
    return run.stdout


def project(folder: Path) -> Path:
    (folder / "pkg" / "__pycache__").mkdir(parents=True)
    (folder / "dist").mkdir()
    for name in ("pyproject.toml", "pkg/__init__.py", "pkg/run.sh", "pkg/__pycache__/a.pyc", "dist/old.whl"):
        (folder / name).write_text(name)
    (folder / "pkg" / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("pkg")
    return folder


def copied(source: Path, tmp_path: Path, umask: int = 0o022, *, backwards: bool = False) -> Path:
    place = tmp_path / "copy"
    place.mkdir()
    return copy_sources(sources_of(source, tmp_path / "scratch"), place, umask=umask, moment=1e9, backwards=backwards)


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()}


def test_results_of_earlier_builds_and_environments_stay_behind(tmp_path: Path) -> None:
    source = project(tmp_path / "app")
    for folder, mark in ((".venv", "x"), ("env", "pyvenv.cfg"), (".cache", "CACHEDIR.TAG"), ("app.egg-info", "x"), ("build/lib", "x")):
        (source / folder).mkdir(parents=True)
        (source / folder / mark).write_text("")
    own = {"pkg/build/lib.py", "pkg/static/dist/app.js"}
    for path in own:
        (source / path).parent.mkdir(parents=True)
        (source / path).write_text("")
    assert files(copied(source, tmp_path)) == {"pyproject.toml", "pkg/__init__.py", "pkg/run.sh", "link", *own}


def test_of_a_repository_comes_what_is_tracked_as_it_is_now_with_its_history(tmp_path: Path) -> None:
    top = tmp_path / "repository"
    source = project(top / "apps" / "one")
    git(tmp_path, "init", "-q", str(top))
    (top / "README").write_text("top")
    git(top, "add", "README", "apps/one/pyproject.toml", "apps/one/pkg/__init__.py", "apps/one/link")
    git(top, "commit", "-qm", "first")
    git(top, "tag", "v1.2.3")
    (source / "pkg" / "__init__.py").write_text("changed")
    copy = copied(source, tmp_path)
    assert copy == tmp_path / "copy" / "repository" / "apps" / "one"
    assert files(copy) == {"pyproject.toml", "pkg/__init__.py", "link"}
    assert (copy / "pkg" / "__init__.py").read_text() == "changed"
    assert (copy.parents[1] / "README").read_text() == "top"
    assert git(copy, "describe", "--tags").strip() == "v1.2.3"
    assert git(copy, "status", "--porcelain").split() == ["M", "apps/one/pkg/__init__.py"]


def test_a_folder_that_its_repository_does_not_track_is_copied_as_it_is(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", str(tmp_path / "top"))
    copy = copied(project(tmp_path / "top" / "app"), tmp_path)
    assert files(copy) == {"pyproject.toml", "pkg/__init__.py", "pkg/run.sh", "link"}


@pytest.mark.parametrize(("umask", "plain", "program"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700)])
def test_modes_follow_the_umask_and_times_are_those_that_are_asked_for(tmp_path: Path, umask: int, plain: int, program: int) -> None:
    copy = copied(project(tmp_path / "app"), tmp_path, umask, backwards=umask == 0o077)
    assert (copy / "pkg" / "__init__.py").stat().st_mode & 0o777 == plain
    assert (copy / "pkg" / "run.sh").stat().st_mode & 0o777 == (copy / "pkg").stat().st_mode & 0o777 == program
    assert {path.stat().st_mtime for path in (copy, copy / "pkg", copy / "pkg" / "run.sh")} == {1e9}


def test_an_sdist_is_a_project(tmp_path: Path) -> None:
    source = project(tmp_path / "app-1.0")
    (source / "app.egg-info").mkdir()
    (source / "app.egg-info" / "SOURCES.txt").write_text("by which setuptools finds data")
    with tarfile.open(tmp_path / "app-1.0.tar.gz", "w:gz") as archive:
        archive.add(source, "app-1.0")
    copy = copied(tmp_path / "app-1.0.tar.gz", tmp_path)
    assert (copy.name, files(copy)) == ("app-1.0", files(source))


def test_what_is_no_project_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.tar.gz").write_bytes(b"no archive")
    (tmp_path / "empty").mkdir()
    with tarfile.open(tmp_path / "outside.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "empty", "../outside")
    with tarfile.open(tmp_path / "none.tar.gz", "w:gz"):
        pass
    (tmp_path / "pyproject.toml").write_text("")
    for name, problem in (
        ("x.tar.gz", "is no sdist that can be unpacked"),
        ("outside.tar.gz", "is no sdist that can be unpacked"),
        ("none.tar.gz", "is no sdist: 0 folders"),
        ("empty", "is no project: there is no pyproject.toml"),
        ("absent", "is no project"),
    ):
        with pytest.raises(RebuildError, match=problem) as raised:
            sources_of(tmp_path / name, tmp_path / f"scratch-{name}")
        assert "\n" not in str(raised.value)

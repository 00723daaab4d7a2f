"""What is seen without hashing is what an analysis that hashes sees, but for the hashes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hatch_mlbundle import application
from hatch_mlbundle.bundles.survey import Survey, survey
from hatch_mlbundle.errors import ArtifactError
from hatch_mlbundle.manifest import FileRow
from hatch_mlbundle.model import Kind
from tests.bundles.test_frozen import job_for
from tests.bundles.test_onefile import HOSTILE
from tests.bundles.wheelsmith import build_wheel
from tests.frozensmith import frozen_file, frozen_folder

LARGE = {"max_ratio": 200, "max_size": 10**10}
ELF = b"\x7fELF\x02\x01\x01" + bytes(600)
FILES = {
    "package/__init__.py": b"",
    "package/program": ELF,
    "package/library.so.1": ELF * 3,
    "package/weights.bin": b"GGUF" + bytes(900),
    "package/table.dat": b"plain",
    "package/model.safetensors": bytes(4000),
    "package-1.0.dist-info/RECORD": b"package/__init__.py,,\npackage/program,,\n./package/sub/../table.dat,,\n",
    "other/a|b`<script>.txt": b"text",
    "other/two\nlines \u202e.json": b"{}",
    f"other/{'n' * 250}.h": b"int a;",
    ".hidden": b"#!/bin/sh\n",
    "noise": bytes(range(256)),
}


def folder(root: Path) -> Path:
    for path, data in FILES.items():
        place = root / "folder" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    undecodable = os.fsencode(root / "folder" / "other") + b"/\xff.py"
    Path(os.fsdecode(undecodable)).write_bytes(b"x = 1\n")
    (root / "folder" / "link").symlink_to("noise")
    (root / "folder" / "dangling").symlink_to("nowhere")
    (root / "folder" / "round").symlink_to(".")
    (root / "folder" / "empty").mkdir()
    return root / "folder"


def without_hashes(row: FileRow) -> FileRow:
    before, after = (None if state is None else replace(state, sha256=None) for state in (row.before, row.after))
    return replace(row, before=before, after=after)


def check_same(found: Survey, path: Path, project: Path) -> None:
    hashed = application.analyze(job_for(project), path)
    totals = hashed.artifact.after
    assert found.files == tuple(map(without_hashes, hashed.files))
    assert (found.kind, found.size, found.structure) == (hashed.artifact.kind, totals.size, totals.structure)
    assert found.packs == (hashed.remainder.compressed is not None)
    parts = [row.after.compressed if found.packs else row.after.size for row in found.files if row.after]
    assert sum(part or 0 for part in parts) + found.structure == found.size


@pytest.mark.parametrize("make", [folder, build_wheel, frozen_folder, frozen_file])
def test_a_survey_sees_what_an_analysis_does(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    path = make(tmp_path)
    check_same(survey(path, **LARGE), path, tmp_path)


def test_a_library_of_any_name_is_known_by_its_bytes(tmp_path: Path) -> None:
    kinds = {row.path: row.kind for row in survey(folder(tmp_path), **LARGE).files}
    assert kinds["package/program"] == kinds["package/library.so.1"] == Kind.ELF
    assert (kinds["package/weights.bin"], kinds["package/table.dat"]) == (Kind.MODEL, Kind.DATA)
    assert (kinds["link"], kinds["round"], kinds["noise"]) == (Kind.LINK, Kind.LINK, Kind.OTHER)


def test_nothing_is_read_where_names_tell(tmp_path: Path) -> None:
    """What reads a file has to be let in."""
    place = tmp_path / "package" / "model.safetensors"
    place.parent.mkdir()
    place.write_bytes(bytes(100))
    stamp = (1_000_000_000, 2_000_000_000)
    os.utime(place, ns=stamp)
    survey(tmp_path, **LARGE)
    assert place.stat().st_atime_ns == stamp[0]


def test_an_empty_folder_has_nothing(tmp_path: Path) -> None:
    assert survey(tmp_path, **LARGE) == Survey(kind="folder", size=0, structure=0, files=(), packs=False)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArtifactError, match="neither file, folder nor link"):
        survey(tmp_path, **LARGE)


@pytest.mark.parametrize("name", ["missing", "missing.whl"])
def test_what_is_not_there_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactError, match="does not exist"):
        survey(tmp_path / name, **LARGE)


def test_neither_wheel_nor_executable(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(ArtifactError, match="neither a wheel"):
        survey(tmp_path / "a.txt", **LARGE)


UNSEEN = ("lying bomb", "too short", "no zlib", "cut off")
"""Damage in bytes that nothing looks at."""


@pytest.mark.parametrize("name", sorted(HOSTILE.keys() - UNSEEN))
def test_a_hostile_executable_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "one"
    path.write_bytes(HOSTILE[name][0])
    with pytest.raises(ArtifactError) as refused:
        survey(path, **LARGE)
    assert HOSTILE[name][1] in str(refused.value)


@pytest.mark.parametrize("suffix", ["", ".py"])
@pytest.mark.parametrize("name", UNSEEN)
def test_damage_is_a_clear_line_or_not_looked_at(tmp_path: Path, name: str, suffix: str) -> None:
    path = tmp_path / "one"
    path.write_bytes(HOSTILE[name][0].replace(b"a\0\0\0", f"a{suffix}".encode().ljust(4, b"\0")))
    try:
        found = survey(path, **LARGE)
    except ArtifactError:
        assert not suffix
    else:
        assert found.size == path.stat().st_size


def test_a_hostile_wheel_is_refused(tmp_path: Path) -> None:
    bomb = build_wheel(tmp_path, {"demo/zeros.py": bytes(150_000_000)})
    with pytest.raises(ArtifactError, match="limits"):
        survey(bomb, **LARGE)
    bomb.write_bytes(bomb.read_bytes()[:-40])
    with pytest.raises(ArtifactError):
        survey(bomb, **LARGE)


def test_a_signed_wheel_is_looked_at_all_the_same(tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path, unlisted={"demo-1.0.dist-info/RECORD.jws": b"{}"})
    found = survey(wheel, **LARGE)
    assert "demo-1.0.dist-info/RECORD.jws" in {row.path for row in found.files}
    check_same(found, wheel, tmp_path)

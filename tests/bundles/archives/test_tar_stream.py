from __future__ import annotations

import io
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from hatch_mlbundle.bundles.archives.tar_stream import tar_chunks, tar_size
from hatch_mlbundle.bundles.archives.tree import Member, MemberType, read_tree

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links and permission bits are Unix's")

MTIME = 1_600_000_000


def test_the_size_is_known_before(tree: Path) -> None:
    members = read_tree(tree)
    for count in range(len(members)):
        assert len(b"".join(tar_chunks(members[:count], MTIME))) == tar_size(members[:count], MTIME)


def test_headers_name_nobody_and_one_time(tree: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(b"".join(tar_chunks(read_tree(tree), MTIME)))) as archive:
        members = archive.getmembers()
    assert {(each.uid, each.gid, each.uname, each.gname, each.mtime) for each in members} == {(0, 0, "", "", MTIME)}
    assert {(each.type, each.mode) for each in members} == {
        (tarfile.DIRTYPE, 0o755),
        (tarfile.REGTYPE, 0o644),
        (tarfile.REGTYPE, 0o755),
        (tarfile.SYMTYPE, 0o777),
        (tarfile.LNKTYPE, 0o644),
    }


def test_pax_headers_come_in_only_where_they_must(tmp_path: Path) -> None:
    root = tmp_path / "app"
    for path in ("short", "s" * 90 + "/" + "t" * 90, "ü", "u" * 120):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    with tarfile.open(fileobj=io.BytesIO(b"".join(tar_chunks(read_tree(root), MTIME)))) as archive:
        headed = [each.name for each in archive if each.pax_headers]
    assert headed == ["app/" + "u" * 120, "app/ü"]


def test_a_file_of_8_gib_has_a_size(tmp_path: Path) -> None:
    member = Member(name="large", place=tmp_path, type=MemberType.FILE, size=8 << 30)
    assert tar_size([member], MTIME) == -(-((8 << 30) + 5 * 512) // 10240) * 10240  # with header, pax header, its record and the end
    header = next(iter(tar_chunks([member], MTIME)))
    assert tarfile.TarInfo.frombuf(header[-512:], "utf-8", "strict").name == "large"
    assert f"size={8 << 30}\n".encode() in header
    assert b"size=" not in next(iter(tar_chunks([replace(member, size=(8 << 30) - 1)], MTIME)))


def test_times_before_1970_are_1970() -> None:
    member = Member(name="a", place=Path(), type=MemberType.FOLDER)
    assert list(tar_chunks([member], -5)) == list(tar_chunks([member], 0))

"""The first difference of two artifacts, told by what it is."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hatch_mlbundle.errors import RebuildError
from hatch_mlbundle.rebuilding.causes import ORDER, Clue, Clues
from hatch_mlbundle.rebuilding.differences import Difference, differences

BEGAN = 1_700_000_000.0
CLUES = Clues(clues=[Clue(cause="the folder", first="/build/one/app", second="/build/another/app")], began=BEGAN)
TIME = (2020, 2, 2, 0, 0, 0)


def zipped(path: Path | io.BytesIO, files: Mapping[str, bytes], **traits: Any) -> Path | io.BytesIO:
    if isinstance(path, Path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name, traits.get("time", TIME))
            info.external_attr = traits.get("mode", 0o100644) << 16
            archive.writestr(info, data, traits.get("method", zipfile.ZIP_STORED))
    return path


def found(tmp_path: Path, first: Mapping[str, bytes], second: Mapping[str, bytes], **traits: Any) -> list[Difference]:
    one, other = tmp_path / "1" / "app.whl", tmp_path / "2" / "app.whl"
    zipped(one, first)
    zipped(other, second, **traits)
    return differences(one, other, CLUES)


def told(each: Difference) -> tuple[tuple[str, ...], str, str, str]:
    return each.where, each.what, each.first, each.second


def test_the_same_has_none(tmp_path: Path) -> None:
    assert found(tmp_path, {"a": b"x"}, {"a": b"x"}) == []


def test_text_is_told_by_the_line(tmp_path: Path) -> None:
    (each,) = found(tmp_path, {"a.py": b"x\none\ny"}, {"a.py": b"x\ntwo\ny"})
    assert told(each) == (("app.whl", "a.py"), "line 2", "one\n", "two\n")
    assert each.line() == "app.whl: a.py: line 2"


@pytest.mark.parametrize(("first", "second", "line"), [(b"a\n", b"a\nb\n", "line 2"), (b"a\n", b"a\r\n", "line 1"), (b"", b"\n", "line 1")])
def test_text_that_ends_earlier_or_otherwise_is_told_by_the_line(tmp_path: Path, first: bytes, second: bytes, line: str) -> None:
    (each,) = found(tmp_path, {"a": first}, {"a": second})
    assert each.what == line


def test_anything_else_is_told_by_the_byte(tmp_path: Path) -> None:
    (each,) = found(tmp_path, {"a.so": b"\0" * 2000 + b"\1\2"}, {"a.so": b"\0" * 2000 + b"\1"})
    assert told(each) == (("app.whl", "a.so"), "byte 2,001", "02", "the end")


@pytest.mark.parametrize(
    ("first", "second", "cause"),
    [
        (b"P = '/build/one/app/x'", b"P = '/build/another/app/x'", "the folder"),
        (b"\0\xff/build/one/app\0", b"\0\xff/build/another/app\0", "the folder"),
        (b"{'b', 'a', 'c'}", b"{'a', 'c', 'b'}", ORDER),
        (b"x\ny\nz\n", b"z\nx\ny\n", ORDER),
        (b"B = 1700000001", b"B = 1700000004", "a time; take it from SOURCE_DATE_EPOCH"),
        (b"B = 1700000001123", b"B = 1700000004123", "a time; take it from SOURCE_DATE_EPOCH"),
        (b"built 2023-11-14", b"built 2023-11-15", "a time; take it from SOURCE_DATE_EPOCH"),
        (b"version 1234567890", b"version 1234567891", ""),
        (b"a 1", b"a 2", ""),
    ],
)
def test_the_cause_is_told_where_the_difference_shows_it(tmp_path: Path, first: bytes, second: bytes, cause: str) -> None:
    (each,) = found(tmp_path, {"a": first}, {"a": second})
    assert each.cause == cause


def test_bytecode_that_knows_the_time_of_its_source(tmp_path: Path) -> None:
    first, second = (b"\xa7\r\r\n" + bytes(4) + time.to_bytes(4, "little") + bytes(40) for time in (1, 2))
    (each,) = found(tmp_path, {"a.pyc": first}, {"a.pyc": second})
    assert each.cause == "the time of its source, in the header of bytecode"


def test_what_tells_of_other_files_comes_last(tmp_path: Path) -> None:
    names = ["a-1.dist-info/RECORD", "a-1.dist-info/mlbundle.json", "z.py"]
    each = found(tmp_path, dict.fromkeys(names, b"1"), dict.fromkeys(names, b"2"))
    assert [one.where[-1] for one in each] == ["z.py", *names[:2]]
    assert [one.follows for one in each] == [False, True, True]


def test_a_file_of_one_of_them(tmp_path: Path) -> None:
    each = found(tmp_path, {"a": b"", "b": b""}, {"a": b"", "c": b""})
    assert [told(one) for one in each] == [
        (("app.whl", "b"), "is in one of them only", "there", "missing"),
        (("app.whl", "c"), "is in one of them only", "missing", "there"),
    ]


@pytest.mark.parametrize(
    ("traits", "trait", "first", "second"),
    [
        ({"mode": 0o100600}, "mode", "100644", "100600"),
        ({"time": (2021, 1, 2, 3, 4, 6)}, "time", "2020-02-02 00:00:00", "2021-01-02 03:04:06"),
        ({"method": zipfile.ZIP_DEFLATED}, "compression", "0 (300 bytes)", "8 (7 bytes)"),
    ],
)
def test_a_trait_of_several_files_is_told_once(tmp_path: Path, traits: dict[str, Any], trait: str, first: str, second: str) -> None:
    files = {"a": b"x" * 300, "b": b"y" * 300, "c": b"z" * 300}
    (each,) = found(tmp_path, files, files, **traits)
    assert (each.where, each.trait, each.files) == (("app.whl", "a"), trait, 3)
    assert each.first == first
    assert each.second.split()[0] == second.split()[0]
    assert each.line().startswith(f"app.whl: a: {trait}, and of 2 more")


def test_the_order_of_an_archive(tmp_path: Path) -> None:
    (each,) = found(tmp_path, {"a": b"", "b": b""}, {"b": b"", "a": b""})
    assert told(each) == (("app.whl",), "order of its files", "a", "b")


def test_an_archive_in_an_archive_is_told_by_its_members(tmp_path: Path) -> None:
    inner = [io.BytesIO(), io.BytesIO()]
    for stream, data in zip(inner, (b"1", b"2"), strict=True):
        zipped(stream, {"deep": data})
    (each,) = found(tmp_path, {"data.npz": inner[0].getvalue()}, {"data.npz": inner[1].getvalue()})
    assert told(each) == (("app.whl", "data.npz", "deep"), "line 1", "1", "2")


def test_gzip_that_knows_when_it_was_made(tmp_path: Path) -> None:
    first, second = (gzip.compress(b"the same", mtime=time) for time in (1, 2))
    (each,) = found(tmp_path, {"a.gz": first}, {"a.gz": second})
    assert (each.what, each.first) == ("header of gzip", "time 1, flags 0, system 255")
    (each,) = found(tmp_path / "other", {"a.gz": gzip.compress(b"a", mtime=1)}, {"a.gz": gzip.compress(b"b", mtime=2)})
    assert told(each)[1:] == ("line 1", "a", "b")


def tarred(path: Path, data: bytes = b"x", header: int = 0, **traits: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("app-1/a")
        info.size = len(data)
        for name, value in traits.items():
            setattr(info, name, value)
        archive.addfile(info, io.BytesIO(data))
    path.write_bytes(gzip.compress(buffer.getvalue(), mtime=header))
    return path


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"uid": 1000, "uname": "me"}, "owner"),
        ({"mtime": 5}, "time"),
        ({"mode": 0o600}, "mode"),
        ({"data": b"y"}, "line 1"),
        ({"header": 7}, "header of gzip"),
    ],
)
def test_sdists(tmp_path: Path, change: dict[str, Any], what: str) -> None:
    first, second = tarred(tmp_path / "1" / "app-1.tar.gz"), tarred(tmp_path / "2" / "app-1.tar.gz", **change)
    (each,) = differences(first, second, CLUES)
    assert each.what == what


def test_folders(tmp_path: Path) -> None:
    for name, mode in (("1", 0o755), ("2", 0o644)):
        root = tmp_path / name / "app"
        (root / "lib").mkdir(parents=True)
        (root / "lib" / "a.so").write_bytes(b"\0\1")
        (root / "app").write_bytes(b"")
        (root / "app").chmod(mode)
        (root / "link").symlink_to("app" if name == "1" else "lib")
    each = differences(tmp_path / "1" / "app", tmp_path / "2" / "app", CLUES)
    assert [(one.where[-1], one.trait, one.first, one.second) for one in each] == [
        ("app", "mode", "755", "644"),
        ("link", "target", "app", "lib"),
    ]


def test_what_is_no_archive_and_damaged_ones(tmp_path: Path) -> None:
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "app").write_bytes(b"\x7fELF\0" + name.encode())
        (tmp_path / name / "bad.tar.gz").write_bytes(os.urandom(50))
        zipped(tmp_path / name / "bad.whl", {"a": name.encode() * 50})
        data = (tmp_path / name / "bad.whl").read_bytes()
        (tmp_path / name / "bad.whl").write_bytes(data.replace(name.encode() * 50, b"?" * 50))
    (each,) = differences(tmp_path / "1" / "app", tmp_path / "2" / "app", CLUES)
    assert each.what == "byte 5"
    for name in ("bad.tar.gz", "bad.whl"):
        with pytest.raises(RebuildError, match=f"^{name}: cannot be compared: "):
            differences(tmp_path / "1" / name, tmp_path / "2" / name, CLUES)


def _spoilt(path: Path, offset: int, value: bytes) -> None:
    """Write over a field of the only member's central header."""
    data = bytearray(path.read_bytes())
    place = data.index(b"PK\1\2") + offset
    data[place : place + len(value)] = value
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("offset", "value"), [(8, b"\1"), (10, b"\x63"), (10, b"\x08"), (10, b"\x0e")], ids=["encrypted", "unknown", "deflate", "lzma"]
)
def test_an_archive_that_cannot_be_read_is_told_in_one_line(tmp_path: Path, offset: int, value: bytes) -> None:
    for name in ("1", "2"):
        zipped(tmp_path / name / "app.whl", {"a": b"\xff" * 40 + name.encode()})
        _spoilt(tmp_path / name / "app.whl", offset, value)
    with pytest.raises(RebuildError, match=r"^app\.whl: cannot be compared: "):
        differences(tmp_path / "1" / "app.whl", tmp_path / "2" / "app.whl", CLUES)


@pytest.mark.parametrize("start", [b"\x1f\x8b\x08\x00" + b"\xff" * 20, b"PK\3\4" + b"x" * 20 + b"PK\5\6" + b"\1\0" * 9])
def test_a_file_that_only_begins_as_an_archive_is_told_by_the_byte(tmp_path: Path, start: bytes) -> None:
    (each,) = found(tmp_path, {"a.bin": start[:12] + b"1" + start[12:]}, {"a.bin": start[:12] + b"2" + start[12:]})
    assert told(each)[:2] == (("app.whl", "a.bin"), "byte 12")

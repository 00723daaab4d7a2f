from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path

import pytest

from hatch_mlbundle.bundles.carchive import find_carchive
from hatch_mlbundle.bundles.executable import find_executable
from hatch_mlbundle.bundles.shared_file import SharedFile
from hatch_mlbundle.errors import ArtifactError
from tests.frozensmith import Item, craft, craft_pyz, frozen_file, frozen_folder


def found(path: Path, data: bytes | None = None) -> object:
    if data is not None:
        path.write_bytes(data)
    with closing(SharedFile(path)) as file:
        return find_executable(file, "app")


@pytest.mark.parametrize("make", [lambda place: frozen_folder(place) / "app", frozen_file], ids=["folder", "file"])
def test_pyinstaller_s_own_readers_see_the_same(tmp_path: Path, make: object) -> None:
    assert callable(make)
    path = make(tmp_path)
    from PyInstaller.archive.readers import CArchiveReader

    theirs = CArchiveReader(str(path))
    with closing(SharedFile(path)) as file:
        ours = find_executable(file, "app")
        assert ours is not None
        start = ours.archive.start
        entries = {
            each.name: (each.offset - start, each.stored, each.size, each.compressed, each.type)
            for each in ours.archive.entries
            if each.type != "o"
        }
        assert entries == {name: (*row[:3], bool(row[3]), row[4]) for name, row in theirs.toc.items()}
        assert [each.name for each in ours.archive.entries if each.type == "o"] == theirs.options
        assert ours.pyz is not None
        pyz = theirs.open_embedded_archive("PYZ.pyz")
        modules = {each.name: (each.type, each.offset - ours.pyz.offset, each.stored) for each in ours.pyz.modules}
        assert modules == dict(pyz.toc)
        assert len(ours.modules) > 20


DATA = Item(name=b"a", data=b"data")
BAD = {
    "too large": craft([DATA], size=1 << 31),
    "too small": craft([DATA], size=10),
    "table elsewhere": craft([DATA], table=3),
    "table of 2 GiB": craft([DATA], table_size=1 << 31),
    "huge sums": craft([DATA], size=0xFFFFFFFF, table=0xFFFFFF00, table_size=0xA7),
    "cookie cut off": craft([DATA])[:-1],
    "cookie begun": craft([DATA])[:-80],
    "entry of no length": craft([Item(name=b"a", length=0)]),
    "entry beyond the table": craft([Item(name=b"a", length=1000)]),
    "table ends early": craft([Item(name=b"a", length=20)]),
    "outside": craft([Item(name=b"a", data=b"x", offset=5000)]),
    "in the table": craft([Item(name=b"a", data=b"x", stored=20, size=20)]),
    "overlap": craft([Item(name=b"a", data=b"xxxx"), Item(name=b"b", data=b"yyyy", offset=2)]),
    "two sizes": craft([Item(name=b"a", data=b"xxxx", size=5)]),
    "unknown type": craft([Item(name=b"a", type=b"?")]),
    "type beyond ASCII": craft([Item(name=b"a", type=b"\xff")]),
    "no UTF-8": craft([Item(name=b"\xff\xfe")]),
    "contents above": craft([Item(name=b"pyi-contents-directory ..", type=b"o")]),
    "contents elsewhere": craft([Item(name=b"pyi-contents-directory /etc", type=b"o")]),
    "contents deep": craft([Item(name=b"pyi-contents-directory a/b", type=b"o")]),
    "two PYZ": craft([craft_pyz([]), craft_pyz([])]),
    "PYZ too short": craft([Item(name=b"p", type=b"z", data=b"PYZ\0")]),
    "PYZ of another magic": craft([Item(name=b"p", type=b"z", data=b"XYZ\0" + bytes(30))]),
    "PYZ table outside": craft([craft_pyz([], table=10_000)]),
    "PYZ table negative": craft([craft_pyz([], table=-1)]),
    "PYZ table no list": craft([craft_pyz("x")]),
    "PYZ row of another shape": craft([craft_pyz([("a", 1)])]),
    "PYZ type unknown": craft([craft_pyz([("a", (9, 17, 0))])]),
    "PYZ module outside": craft([craft_pyz([("a", (0, 17, 5))])]),
    "PYZ offset negative": craft([craft_pyz([("a", (0, -1, 0))])]),
    "PYZ size negative": craft([craft_pyz([("a", (0, 17, -1))])]),
    "PYZ modules overlap": craft([craft_pyz([("a", (0, 17, 4)), ("b", (0, 18, 3))], b"xxxx")]),
    "PYZ module twice": craft([craft_pyz([("a", (0, 17, 2)), ("a", (0, 19, 2))], b"xxxx")]),
    "PYZ module is a folder": craft([craft_pyz([("a", (1, 17, 2)), ("a.__init__", (0, 19, 2))], b"xxxx")]),
    "PYZ name with a slash": craft([craft_pyz([("../a", (0, 17, 0))])]),
    "PYZ name with a backslash": craft([craft_pyz([("a\\b", (0, 17, 0))])]),
    "PYZ name with dots": craft([craft_pyz([("..", (0, 17, 0))])]),
    "PYZ name of surrogates": craft([craft_pyz([("\ud800", (0, 17, 0))])]),
    "PYZ name without end": craft([craft_pyz([("a." * 9000 + "a", (0, 17, 0))])]),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_damaged_or_hostile_is_one_clear_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        found(tmp_path / "app", BAD[name])
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).startswith(str(tmp_path / "app"))


def test_a_table_that_refers_to_itself_many_times_over_is_told_at_once(tmp_path: Path) -> None:
    laughs = b"\xa9\x0a" + b"z\x01x" * 10
    for number in range(1, 60):
        laughs += b"\xa9\x0a" + (b"r" + number.to_bytes(4, "little")) * 10
    raw = b"\xdb" + (60).to_bytes(4, "little") + laughs
    with pytest.raises(ArtifactError, match="row 0 describes no module"):
        found(tmp_path / "app", craft([craft_pyz([], raw=raw)]))


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"MZ" + bytes(5000), b"MEI\014\013\012"])
def test_other_files_have_no_archive(tmp_path: Path, data: bytes) -> None:
    assert found(tmp_path / "app", data) is None


def test_what_follows_the_cookie_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "app").write_bytes(craft([DATA], tail=bytes(1000)))
    with closing(SharedFile(tmp_path / "app")) as file:
        archive = find_carchive(file)
    assert archive is not None
    assert archive.end == file.size - 1000


def test_flipped_bytes_raise_nothing_but_an_artifact_error(tmp_path: Path) -> None:
    body = b"".join(bytes([number]) * 50 for number in range(4))
    modules: list[object] = [(f"pkg.m{number}", (0, 17 + 50 * number, 50)) for number in range(4)]
    whole = craft([DATA, craft_pyz(modules, body), Item(name="\u00e4".encode(), data=b"z" * 100)])  # type: ignore[arg-type]
    chance, path, refused = random.Random(7), tmp_path / "app", 0
    for _ in range(1500):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            data[chance.randrange(64, len(data))] = chance.randrange(256)
        try:
            found(path, bytes(data))
        except ArtifactError:
            refused += 1
    assert 500 < refused < 1500

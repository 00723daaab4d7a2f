from __future__ import annotations

import io
import tarfile

import pytest

from hatch_mlbundle.bundles.images.tar_format import HARD_LINK, TarFormatError
from hatch_mlbundle.bundles.images.tar_header import RawHeader

LONG = "folder/" + "n" * 150


def made(name: str, form: int, **more: object) -> bytes:
    info = tarfile.TarInfo(name)
    info.mtime = 1_000_000_000
    for key, value in more.items():
        setattr(info, key, value)
    return info.tobuf(form, "utf-8", "surrogateescape")


def read(header: RawHeader) -> tarfile.TarInfo:
    with tarfile.open(fileobj=io.BytesIO(bytes(header) + bytes(1024)), errors="surrogateescape", encoding="utf-8") as tar:
        return next(iter(tar))


FORMS = [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["short", LONG, "raw\udcff" * 30])
def test_what_is_not_changed_stays_byte_for_byte(form: int, name: str) -> None:
    raw = made(name, form, size=9 << 30, uid=3_000_000_000, linkname="l" * 120)
    assert bytes(RawHeader.of(raw)) == raw


@pytest.mark.parametrize("form", [*FORMS, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("old", [0, 8**11])
@pytest.mark.parametrize("new", [5, 8**11 - 1, 8**11, 1 << 40])
def test_sizes_of_any_length_become_any_other(form: int, old: int, new: int) -> None:
    if old and form == tarfile.USTAR_FORMAT:
        pytest.skip("has no room for it")
    found = read(RawHeader.of(made("name", form, size=old)).with_data(new, 0o711))
    assert (found.name, found.size, found.mode, found.mtime, found.type) == ("name", new, 0o711, 1_000_000_000, tarfile.REGTYPE)


@pytest.mark.parametrize("form", [*FORMS, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("old", ["short", "p" * 60 + "/" + "n" * 60, LONG])
@pytest.mark.parametrize("new", ["x", "caf\u00e9", "y/" + "z" * 98, LONG + LONG, "\udcfe" * 101])
def test_names_of_any_length_become_any_other(form: int, old: str, new: str) -> None:
    if old == LONG and form == tarfile.USTAR_FORMAT:
        pytest.skip("has no room for it")
    header = RawHeader.of(made(old, form, size=7)).renamed(new)
    assert (read(header).name, read(header).size) == (new, 7)
    assert read(header.renamed(old)).name == old


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("old", ["", "short", LONG])
@pytest.mark.parametrize("new", ["x", LONG + LONG, "\udcfe" * 101])
def test_links_of_any_length_become_any_other(form: int, old: str, new: str) -> None:
    raw = made("name", form, linkname=old, type=tarfile.SYMTYPE if old else tarfile.REGTYPE, size=0 if old else 5, mode=0o640)
    found = read(RawHeader.of(raw).with_link(HARD_LINK, new))
    assert (found.type, found.linkname, found.size, found.mode) == (tarfile.LNKTYPE, new, 0, 0o640)
    plain = read(RawHeader.of(raw).with_link(HARD_LINK, new).with_data(3, 0o600))
    assert (plain.type, plain.linkname, plain.size) == (tarfile.REGTYPE, "", 3)


def test_records_that_are_not_known_stay_in_their_order() -> None:
    records = {"SCHILY.xattr.user.b": "1\n\udcff", "comment": "c", "LIBARCHIVE.xattr.x": "eA", "mtime": "1.5"}
    raw = made("name", tarfile.PAX_FORMAT, pax_headers=records)
    header = RawHeader.of(raw).with_data(8**11, 0o644).renamed(LONG)
    before = [key for key, _ in RawHeader.of(raw).records]
    assert [key for key, _ in header.records] == [*before, "size", "path"]
    assert records.items() <= read(header).pax_headers.items()


def test_headers_for_all_members_go_on_but_may_not_name_them() -> None:
    common = tarfile.TarInfo.create_pax_global_header({"comment": "all"})
    header = RawHeader.of(common + made("name", tarfile.PAX_FORMAT))
    assert bytes(header).startswith(common)
    assert common not in bytes(header.own())
    for key in ("path", "linkpath", "size"):
        with pytest.raises(TarFormatError, match="one name, link or size"):
            RawHeader.of(tarfile.TarInfo.create_pax_global_header({key: "1"}) + made("name", tarfile.PAX_FORMAT))

from __future__ import annotations

import io
import struct
import threading
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hatch_mlbundle.bundles.shared_file import SharedFile
from hatch_mlbundle.bundles.zip_reader import Limits, ZipReader
from hatch_mlbundle.errors import ArtifactError
from hatch_mlbundle.model import CHUNK
from tests.bundles.wheelsmith import FILES, Member, Unseekable, build_wheel, craft

UTF8 = 1 << 11
DESCRIPTOR = 1 << 3
HELLO = Member(name=b"a/hello.txt", data=b"hello " * 50, deflated=True)


def reader(tmp_path: Path, data: bytes, limits: Limits | None = None) -> ZipReader:
    path = tmp_path / "archive.zip"
    path.write_bytes(data)
    return ZipReader(path, limits or Limits())


def refusal(tmp_path: Path, data: bytes, limits: Limits | None = None) -> str:
    """Return the one line with which opening or reading the archive is refused."""
    with pytest.raises(ArtifactError) as caught:
        contents(reader(tmp_path, data, limits))
    message = str(caught.value)
    assert message.startswith(str(tmp_path))
    assert "\n" not in message
    return message


def contents(archive: ZipReader) -> dict[str, bytes]:
    try:
        return {path: b"".join(member.chunks()) for path, member in archive.members.items()}
    finally:
        archive.close()


def accounted(archive: ZipReader) -> bool:
    return sum(member.compressed_size for member in archive.members.values()) + archive.structure_size == archive.size


def test_members_are_read_as_zipfile_reads_them(tmp_path: Path) -> None:
    path = build_wheel(tmp_path)
    archive = ZipReader(path, Limits())
    with zipfile.ZipFile(path) as expected:
        assert list(archive.members) == expected.namelist()
        assert accounted(archive)
        assert archive.members["demo/_native.so"].mode == 0o755
        assert contents(archive) == {name: expected.read(name) for name in expected.namelist()}


def test_a_large_member_comes_in_bounded_chunks_whatever_its_ratio(tmp_path: Path) -> None:
    data = bytes(5 * CHUNK + 7)
    archive = reader(tmp_path, craft(Member(name=b"zeros", data=data, deflated=True), Member(name=b"stored", data=data)))
    for path in ("zeros", "stored"):
        sizes = [len(chunk) for chunk in archive.members[path].chunks()]
        assert max(sizes) <= CHUNK
        assert sum(sizes) == len(data)
    archive.close()


def test_many_threads_read_one_archive(tmp_path: Path) -> None:
    archive = ZipReader(build_wheel(tmp_path), Limits())
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            read = dict(zip(FILES, pool.map(lambda path: b"".join(archive.members[path].chunks()), FILES), strict=True))
            assert read == FILES
    archive.close()


def test_reading_without_pread_is_as_safe(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    path.write_bytes(b"".join(struct.pack("<I", number) for number in range(50_000)))
    file = SharedFile(path)
    wrong: list[int] = []

    def work(first: int) -> None:
        numbers = range(first, 50_000, 40)
        wrong.extend(number for number in numbers if file._seek_and_read(4 * number, 4) != struct.pack("<I", number))

    threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    file.close()
    assert not wrong


def test_a_closed_archive_says_so(tmp_path: Path) -> None:
    archive = ZipReader(build_wheel(tmp_path), Limits())
    archive.close()
    with pytest.raises(ValueError, match="closed"):
        list(archive.members["top.py"].chunks())


@pytest.mark.parametrize("force_zip64", [False, True])
def test_data_descriptors_of_unseekable_streams(tmp_path: Path, force_zip64: bool) -> None:
    stream = Unseekable()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("one.txt", "two.txt"):
            with archive.open(name, "w", force_zip64=force_zip64) as member:
                member.write(name.encode() * 100)
    found = reader(tmp_path, bytes(stream.data))
    assert accounted(found)
    assert contents(found) == {"one.txt": b"one.txt" * 100, "two.txt": b"two.txt" * 100}


@pytest.mark.parametrize("signature", [b"", b"PK\x07\x08"])
@pytest.mark.parametrize("layout", ["<3I", "<I2Q"])
def test_each_form_of_data_descriptor(tmp_path: Path, signature: bytes, layout: str) -> None:
    values = struct.pack(layout, zlib.crc32(HELLO.data), len(HELLO.raw()), len(HELLO.data))
    empty = {"flags": DESCRIPTOR, "crc32": 0, "compressed_size": 0, "size": 0}
    member = Member(name=b"d", data=HELLO.data, deflated=True, local=empty, central={"flags": DESCRIPTOR}, behind=signature + values)
    assert contents(reader(tmp_path, craft(member, HELLO)))["d"] == HELLO.data
    wrong = Member(
        name=b"d", data=HELLO.data, deflated=True, local=empty, central={"flags": DESCRIPTOR}, behind=signature + values[:-1] + b"!"
    )
    assert "does not have the same sizes" in refusal(tmp_path, craft(wrong, HELLO))


def test_zip64_fields_of_small_members(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a", "w", force_zip64=True) as member:
        member.write(b"zip64")
    assert contents(reader(tmp_path, buffer.getvalue())) == {"a": b"zip64"}


def test_folders_comments_gaps_and_extra_fields_are_structure(tmp_path: Path) -> None:
    extra = struct.pack("<2HI", 0x7075, 4, 1)
    folder = Member(name=b"a/", central={"external_attributes": 0o40755 << 16})
    member = Member(name=b"a/b", data=b"bytes", local_extra=extra, central_extra=extra, behind=b"a gap of some bytes")
    archive = reader(tmp_path, craft(folder, member, before=b"#!/bin/sh\n", comment=b"a comment"))
    assert list(archive.members) == ["a/b"]
    assert accounted(archive)
    assert contents(archive) == {"a/b": b"bytes"}


def test_names_are_utf8_where_flagged_and_cp437_where_not(tmp_path: Path) -> None:
    flagged = {"flags": UTF8}
    archive = reader(tmp_path, craft(Member(name="é/ü".encode(), local=flagged, central=flagged), Member(name="ö".encode("cp437"))))
    assert list(archive.members) == ["é/ü", "ö"]
    archive.close()


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        (b"/etc/passwd", "is absolute"),
        (b"../up", "'..'"),
        (b"a/../../up", "'..'"),
        (b"./a", "'.'"),
        (b"a\\b", "backslash"),
        (b"a\0b", "control character"),
        (b"a\nb", "control character"),
        (b"C:/windows", "drive"),
        (b"c:windows", "drive"),
        (b"a//b", "empty part"),
        (b"a//", "empty part"),
        (b"", "empty part"),
        (b"/", "empty part"),
    ],
)
def test_names_that_lead_elsewhere(tmp_path: Path, name: bytes, fault: str) -> None:
    message = refusal(tmp_path, craft(HELLO, Member(name=name)))
    assert fault in message
    assert "rename it" in message


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    flagged = {"flags": UTF8}
    assert "not UTF-8" in refusal(tmp_path, craft(Member(name=b"\xff", local=flagged, central=flagged)))


@pytest.mark.parametrize(
    ("members", "fault"),
    [
        ((HELLO, HELLO), "two members named 'a/hello.txt'"),
        ((Member(name=b"a"), Member(name=b"a/b")), "'a' both as a file and as a folder"),
        ((Member(name=b"a/b/c"), Member(name=b"a")), "'a' both as a file and as a folder"),
        ((Member(name=b"a"), Member(name=b"a/")), "'a' both as a file and as a folder"),
        ((Member(name=b"a"), Member(name=b"a/b/")), "'a' both as a file and as a folder"),
    ],
)
def test_names_that_clash(tmp_path: Path, members: tuple[Member, ...], fault: str) -> None:
    assert fault in refusal(tmp_path, craft(*members))


@pytest.mark.parametrize(
    ("central", "local", "fault"),
    [
        ({"flags": 1}, {"flags": 1}, "is encrypted"),
        ({"flags": 1 << 6}, {}, "is encrypted"),
        ({}, {"flags": 1}, "not called or packed the same"),
        ({"method": 12}, {"method": 12}, "compression method 12"),
        ({"method": 99}, {"method": 99}, "compression method 99"),
        ({"flags": 1 << 5}, {}, "compression method"),
        ({"external_attributes": 0o120777 << 16}, {}, "symbolic link"),
        ({"external_attributes": 0o10644 << 16}, {}, "no regular file"),
        ({"external_attributes": 0o40755 << 16}, {}, "no regular file"),
        ({}, {"method": 0}, "not called or packed the same"),
        ({}, {"size": 299}, "does not have the same sizes"),
        ({}, {"compressed_size": 1}, "does not have the same sizes"),
        ({}, {"crc32": 1}, "does not have the same sizes or CRC-32"),
        ({}, {"flags": DESCRIPTOR, "size": 0}, "does not have the same sizes"),
        ({}, {"compressed_size": 0xFFFFFFFF}, "does not have the same sizes"),
        ({"compressed_size": 0xFFFFFFFF}, {}, "zip64 extra field is missing"),
        ({"offset": 1}, {}, "no local header"),
        ({"offset": 10**6}, {}, "overlaps"),
        ({"disk": 1}, {}, "another part of the archive"),
        ({"crc32": 1}, {"crc32": 1}, "CRC-32"),
        ({"size": 299}, {"size": 299}, "unpacks to more than the 299 bytes"),
        ({"size": 301}, {"size": 301}, "unpacks to 1 bytes less"),
    ],
)
def test_headers_that_lie(tmp_path: Path, central: dict[str, int], local: dict[str, int], fault: str) -> None:
    assert fault in refusal(tmp_path, craft(Member(name=b"m", data=b"hello " * 50, deflated=True, central=central, local=local)))


def test_names_that_differ_between_headers(tmp_path: Path) -> None:
    assert "not called or packed the same" in refusal(tmp_path, craft(Member(name=b"good.py", local_name=b"evil.py")))


def test_a_stored_member_with_two_sizes(tmp_path: Path) -> None:
    assert "stored, yet declares two sizes" in refusal(tmp_path, craft(Member(name=b"a", data=b"1234", central={"size": 5})))


def test_a_folder_with_content(tmp_path: Path) -> None:
    assert "a folder that declares content" in refusal(tmp_path, craft(Member(name=b"a/", data=b"1234")))


def test_members_that_share_their_bytes(tmp_path: Path) -> None:
    kernel = Member(name=b"b", data=b"kernel" * 30)
    quoting = Member(name=b"a", data=craft(kernel)[: 31 + 180])
    assert "overlaps" in refusal(tmp_path, craft(quoting, Member(name=b"b", data=kernel.data, central={"offset": 31})))
    assert "overlaps" in refusal(tmp_path, craft(HELLO, Member(name=b"other", data=HELLO.data, deflated=True, central={"offset": 0})))


@pytest.mark.parametrize("surplus", [3, CHUNK])
def test_data_behind_the_end_of_a_deflate_stream(tmp_path: Path, surplus: int) -> None:
    sizes = {"compressed_size": len(HELLO.raw()) + surplus}
    member = Member(name=b"a", data=HELLO.data, deflated=True, local=sizes, central=sizes, behind=bytes(surplus))
    assert "behind the end of its deflate stream" in refusal(tmp_path, craft(member))


def test_a_broken_and_an_endless_deflate_stream(tmp_path: Path) -> None:
    broken = {"method": 8, "size": 300}
    assert "broken deflate stream" in refusal(tmp_path, craft(Member(name=b"a", data=b"\xff" * 50, local=broken, central=broken)))
    cut = {"compressed_size": len(HELLO.raw()) - 2}
    member = Member(name=b"a", data=HELLO.data, deflated=True, local=cut, central=cut)
    assert "without an end" in refusal(tmp_path, craft(member))


@pytest.mark.parametrize("data", [b"PK", b"not a zip archive at all", b"\x7fELF" + bytes(100)])
def test_no_zip_archive(tmp_path: Path, data: bytes) -> None:
    assert "is not a zip archive" in refusal(tmp_path, data)


def test_empty_file(tmp_path: Path) -> None:
    assert "is empty" in refusal(tmp_path, b"")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="does not exist"):
        ZipReader(tmp_path / "absent.zip", Limits())
    with pytest.raises(ArtifactError, match="is not a file"):
        ZipReader(tmp_path, Limits())


def test_a_file_cut_short_anywhere(tmp_path: Path) -> None:
    data = craft(HELLO, Member(name=b"b", data=b"x" * 90))
    for length in range(len(data)):
        refusal(tmp_path, data[:length])
        if length:
            refusal(tmp_path, data[length:])


@pytest.mark.parametrize(
    ("end", "fault"),
    [
        ({"entries": 2, "disk_entries": 2}, "lists 1 members where its end record counts 2"),
        ({"disk_entries": 2}, "one part of a zip archive"),
        ({"disk": 1}, "one part of a zip archive"),
        ({"directory_size": 10}, "not where the end record says"),
        ({"directory_offset": 0xFFFFFFFF}, "not where the end record says"),
        ({"comment_length": 5}, "archive comment"),
    ],
)
def test_end_records_that_lie(tmp_path: Path, end: dict[str, int], fault: str) -> None:
    assert fault in refusal(tmp_path, craft(HELLO, end=end))


def test_a_comment_that_holds_another_end_record(tmp_path: Path) -> None:
    assert "archive comment" in refusal(tmp_path, craft(HELLO, comment=craft()[:-1] + b"\x07"))


def test_end_records_that_disagree(tmp_path: Path) -> None:
    plain = craft(HELLO)
    body, end = plain[:-22], plain[-22:]
    entries, _, size, offset = struct.unpack_from("<HHII", end, 8)

    def zip64(offset64: int, record_size: int = 44) -> bytes:
        record = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", record_size, 45, 45, 0, 0, entries, entries, size, offset64)
        return body + record + struct.pack("<4sIQI", b"PK\x06\x07", 0, len(body), 1) + end

    assert contents(reader(tmp_path, zip64(offset))) == {"a/hello.txt": HELLO.data}
    assert "two end records that disagree" in refusal(tmp_path, zip64(offset + 1))
    assert "no zip64 end record" in refusal(tmp_path, zip64(offset, 45))


def test_bombs_by_ratio_and_by_size_name_the_option_that_raises_the_limit(tmp_path: Path) -> None:
    sizes = {"size": 300 * 10**6, "compressed_size": 400_000}
    bomb = craft(Member(name=b"zeros", deflated=True, local=sizes, central=sizes, behind=bytes(400_000)))
    message = refusal(tmp_path, bomb)
    assert "unpacks to 300 MB from 400 kB" in message
    assert "raise `max-ratio` (now 200) in `[tool.mlbundle] limits`" in message
    message = refusal(tmp_path, bomb, Limits(max_size=10**6))
    assert "raise `max-size` in `[tool.mlbundle] limits`" in message
    reader(tmp_path, bomb, Limits(max_ratio=1000)).close()


def test_small_members_may_have_any_ratio(tmp_path: Path) -> None:
    data = bytes(3 * 10**6)
    assert contents(reader(tmp_path, craft(Member(name=b"zeros", data=data, deflated=True)))) == {"zeros": data}

from __future__ import annotations

import random
import struct
import time
import tracemalloc
from pathlib import Path

import pytest

from hatch_mlbundle.binaries import fatbin as fatbin_module
from hatch_mlbundle.binaries.edits import EditedReader
from hatch_mlbundle.binaries.fatbin import Container, read_containers
from hatch_mlbundle.binaries.fatbin_pruning import prune
from hatch_mlbundle.binaries.gpu_targets import Target
from hatch_mlbundle.binaries.reader import Reader
from hatch_mlbundle.errors import BinaryError
from tests.elfsmith import Code, fatbin

TARGETS = [Target.parse("8.0"), Target.parse("9.0")]


def read(folder: Path, data: bytes) -> list[Container]:
    (folder / "section").write_bytes(data)
    with Reader(folder / "section") as reader:
        return list(read_containers(reader, 0, len(data)))


def test_containers_and_entries_are_where_they_are(tmp_path: Path) -> None:
    data = bytes(24) + fatbin(Code(80, b"x" * 100), Code(90, b"y" * 8, kind=1, flags=0x110011)) + bytes(8) + fatbin()
    one, other = read(tmp_path, data)
    assert (one.offset, one.header, one.body, one.end, one.is_pinned) == (24, 16, 240, 280, False)
    assert [(entry.offset, entry.header, entry.payload, entry.end, entry.name) for entry in one.entries] == [
        (40, 64, 104, 208, "sm_80"),
        (208, 64, 8, 280, "lto_90a (LTO-IR)"),
    ]
    assert (other.offset, other.body, other.entries) == (288, 0, ())


@pytest.mark.parametrize("header", [48, 80, 112, 176])
def test_headers_of_entries_are_of_any_size(tmp_path: Path, header: int) -> None:
    entry = bytearray(fatbin(Code(80, b"x" * 200, header=header))[16:])
    body = bytes(entry[:64]).ljust(header, b"o")[:header] + b"x" * 200
    data = struct.pack("<IHHQ", fatbin_module.MAGIC, 1, 24, len(body)) + b"8 bytes." + body
    (container,) = read(tmp_path, data)
    assert (container.header, container.entries[0].header, container.entries[0].end) == (24, header, len(data))


@pytest.mark.parametrize("end", [7, 15, 17, 50, 79, 200, 879])
def test_a_section_that_is_cut_off_is_refused(tmp_path: Path, end: int) -> None:
    with pytest.raises(BinaryError, match="the fat binary at byte 0 "):
        read(tmp_path, fatbin(Code(80, b"x" * 800))[:end])


def test_anything_else_between_containers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BinaryError, match="at byte 152 has another format"):
        read(tmp_path, fatbin(Code(80, b"x" * 64)) + bytes(8) + b"something else, of 30 bytes...")


def test_damage_is_refused_or_pruned_within_its_container(tmp_path: Path) -> None:
    numbers = random.Random(5)
    whole = b"".join(fatbin(*(Code(arch, bytes([arch]) * 40, kind=numbers.choice([1, 2, 8])) for arch in (70, 80, 90))) for _ in range(3))
    refused = 0
    for _ in range(500):
        data = bytearray(whole)
        for _ in range(numbers.randrange(1, 4)):
            data[numbers.randrange(len(data))] = numbers.choice([0, 1, 0x7F, 255, numbers.randrange(256)])
        if numbers.random() < 0.3:
            del data[numbers.randrange(len(data)) :]
        try:
            found = read(tmp_path, bytes(data))
        except BinaryError as error:
            refused += "\n" not in str(error)
            continue
        with Reader(tmp_path / "section") as reader:
            pruning = prune(found, TARGETS)
            after = EditedReader(reader, pruning.edits)
            again = list(read_containers(after, 0, after.size))
        assert [each.offset for each in again] == [each.offset for each in found]
        assert prune(again, TARGETS).edits == ()
        assert sum(share.size for share in (*pruning.kept.values(), *pruning.dropped.values())) == sum(each.body for each in found)
    assert 100 < refused < 400


@pytest.mark.parametrize("form", ["entries", "containers"])
def test_as_many_entries_as_are_read_take_bounded_time_and_memory(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 1 << 11
    monkeypatch.setattr(fatbin_module, "MOST_ENTRIES", count)
    data = fatbin(*[Code(80, b"")] * (count - 1)) if form == "entries" else fatbin() * count
    tracemalloc.start()
    began = time.monotonic()
    found = read(tmp_path, data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(1 + len(each.entries) for each in found) == count
    assert peak < 400 * count + len(data)
    assert time.monotonic() - began < 5
    assert prune(found, TARGETS).edits == ()
    with pytest.raises(BinaryError, match=f"more than {count} entries"):
        read(tmp_path, data + fatbin())

"""Which containers of a library are known well enough to be pruned: those that its own pointers name."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from hatch_mlbundle.binaries import fatbin_sections
from hatch_mlbundle.binaries.elf import read_elf
from hatch_mlbundle.binaries.fatbin import Container
from hatch_mlbundle.binaries.fatbin_pruning import prune
from hatch_mlbundle.binaries.fatbin_sections import elf_containers
from hatch_mlbundle.binaries.gpu_targets import Target
from hatch_mlbundle.binaries.reader import Reader
from hatch_mlbundle.errors import BinaryError
from tests.elfsmith import Code, Part, build_elf, compile_elf, fatbin, need
from tests.fatbinsmith import WRAPPER, WRAPPER_MAGIC, fatbin_library, wrapper_assembly

ONE = fatbin(Code(80, b"a" * 800), Code(90, b"b" * 800))
TWO = ONE + bytes(64) + fatbin(Code(90, b"c" * 80))


def containers(path: Path) -> list[Container]:
    with Reader(path) as reader:
        return elf_containers(reader, read_elf(reader))


def pinned(path: Path) -> list[bool]:
    return [each.is_pinned for each in containers(path)]


def compiled(folder: Path, data: bytes, wrappers: str, *flags: str) -> Path:
    (folder / "data").write_bytes(data)
    lines = [f'.section .nv_fatbin,"a",@progbits\n.balign 8\nfatbins:\n.incbin "{folder / "data"}"\n.previous\n', wrappers]
    text = "".join(lines).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return compile_elf(folder / "lib.so", *flags, source=f'__asm__("{text}");\nint f(void) {{ return 1; }}\n')


@pytest.mark.parametrize("section", [".nv_fatbin", "__nv_relfatbin"])
def test_what_wrappers_name_can_be_pruned(tmp_path: Path, section: str) -> None:
    assert pinned(fatbin_library(tmp_path / "lib.so", TWO, section)) == [False, False]


@pytest.mark.parametrize("linker", ["bfd", "gold"])
def test_wrappers_of_real_linkers_are_read(tmp_path: Path, linker: str) -> None:
    need(f"ld.{linker}")
    path = compiled(tmp_path, TWO, wrapper_assembly(TWO), f"-fuse-ld={linker}")
    assert pinned(path) == [False, False]
    path.write_bytes(without_addresses(path))  # for AArch64, and as lld does: the relocation alone has the address
    assert pinned(path) == [False, False]


def without_addresses(path: Path) -> bytes:
    data = bytearray(path.read_bytes())
    with Reader(path) as reader:
        (section,) = (each for each in read_elf(reader).sections if each.name == ".nvFatBinSegment")
    for at in range(section.offset, section.end, WRAPPER.size):
        assert WRAPPER.unpack_from(data, at)[2]
        WRAPPER.pack_into(data, at, WRAPPER_MAGIC, 1, 0, 0)
    return bytes(data)


def test_a_pointer_from_anywhere_will_do(tmp_path: Path) -> None:
    pointer = '.section .data.rel.ro,"aw",@progbits\n.balign 8\n.quad fatbins\n.previous\n'
    assert pinned(compiled(tmp_path, TWO, pointer)) == [False, True]


def test_what_nothing_names_stays_whole(tmp_path: Path) -> None:
    path = compiled(tmp_path, TWO, wrapper_assembly(ONE))
    found = containers(path)
    assert [each.is_pinned for each in found] == [False, True]
    pruning = prune(found, [Target.parse("8.0")])
    assert {name: share.entries for name, share in pruning.kept.items()} == {"sm_80": 1, "sm_90": 1}
    assert {name: share.entries for name, share in pruning.dropped.items()} == {"sm_90": 1}
    assert max(edit.target + edit.size for edit in pruning.edits) == found[0].end


@pytest.mark.parametrize("wrappers", [wrapper_assembly(ONE, "fatbins+8"), '.section .data,"aw"\n.balign 8\n.quad fatbins+900\n.previous\n'])
def test_a_pointer_into_the_middle_of_a_container_is_refused(tmp_path: Path, wrappers: str) -> None:
    path = compiled(tmp_path, ONE, wrapper_assembly(ONE) + wrappers)
    with pytest.raises(BinaryError, match="a pointer leads into the middle of the fat binary at byte"):
        containers(path)


def test_a_pointer_behind_the_last_container_leads_into_none(tmp_path: Path) -> None:
    end = f'.section .data,"aw"\n.balign 8\n.quad fatbins+{len(ONE)}\n.previous\n'
    assert pinned(compiled(tmp_path, ONE, wrapper_assembly(ONE) + end)) == [False]


@pytest.mark.parametrize("wrappers", [b"", b"x" * 7, b"x" * 48, WRAPPER.pack(WRAPPER_MAGIC, 1, 2**64 - 1, 0), WRAPPER.pack(1, 1, 0, 0)])
def test_wrappers_that_say_nothing_leave_all_as_it_is(tmp_path: Path, wrappers: bytes) -> None:
    parts = [Part(".nv_fatbin", TWO, flags=2), Part(".nvFatBinSegment", wrappers, flags=3)]
    path = build_elf(tmp_path / "lib.so", parts)
    assert pinned(path) == [True, True]
    assert prune(containers(path), [Target.parse("8.0")]).edits == ()


def test_objects_that_are_to_be_linked_stay_as_they_are(tmp_path: Path) -> None:
    assert pinned(compiled(tmp_path, TWO, wrapper_assembly(TWO), "-c")) == [True, True]


def test_code_for_32_bits_stays_as_it_is(tmp_path: Path) -> None:
    path = build_elf(tmp_path / "lib.so", [Part(".nv_fatbin", TWO, flags=2), Part(".nvFatBinSegment", bytes(48), flags=3)], bits=32)
    assert pinned(path) == [True, True]


def test_more_relocations_than_any_library_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = compiled(tmp_path, TWO, wrapper_assembly(TWO))
    monkeypatch.setattr(fatbin_sections, "MOST_RELOCATIONS", 3)
    with pytest.raises(BinaryError, match="it has more than 3 relocations and wrappers"):
        containers(path)


def test_more_entries_than_any_library_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [Part(name, ONE, flags=2) for name in (".nv_fatbin", "__nv_relfatbin")]
    path = build_elf(tmp_path / "lib.so", parts)
    monkeypatch.setattr(fatbin_sections, "MOST_ENTRIES", 5)
    with pytest.raises(BinaryError, match="its GPU code has more than 5 entries"):
        containers(path)


def test_a_section_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    path = fatbin_library(tmp_path / "lib.so", ONE + struct.pack("<II", 1, 2))
    with pytest.raises(BinaryError, match="is cut off"):
        containers(path)


def test_sections_that_overlap_are_refused(tmp_path: Path) -> None:
    """A thousand headers of the same megabytes would have them read a thousand times."""
    path = build_elf(tmp_path / "lib.so", [Part(name, ONE, flags=2) for name in (".nv_fatbin", "__nv_relfatbin")])
    with Reader(path) as reader:
        elf = read_elf(reader)
    record = elf.encoding.section
    one, other = (elf.header.shoff + number * record.size for number, each in enumerate(elf.sections) if each.size == len(ONE))
    data = bytearray(path.read_bytes())
    data[other + 24 : other + 32] = data[one + 24 : one + 32]  # sh_offset
    path.write_bytes(data)
    with pytest.raises(BinaryError, match="its sections of GPU code overlap"):
        containers(path)


def test_wrappers_are_limited_as_relocations_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fatbin_library(tmp_path / "lib.so", TWO)
    monkeypatch.setattr(fatbin_sections, "MOST_RELOCATIONS", 1)
    with pytest.raises(BinaryError, match="relocations and wrappers"):
        containers(path)

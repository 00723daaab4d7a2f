"""Where the functions of an x86-64 library are, by its symbol table, and by what exceptions unwind for those that it does not name."""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hatch_mlbundle.errors import BinaryError

from . import elf_format as fmt
from .elf import Elf
from .elf_format import Section
from .ranges import Range, difference
from .reader import RangeReader

LINKAGE = ".plt"
"""What the names of sections with stubs begin with, by which functions of other libraries are called."""
SHF_EXECINSTR = 0x4
_KINDS = frozenset({0, 2, 10})
"""STT_NOTYPE (labels of assembly), STT_FUNC, STT_GNU_IFUNC."""
_MAX_NAMES = 1 << 30
_PT_GNU_EH_FRAME = 0x6474E550
_UNWINDING = struct.Struct("<4BiI")
_FORMS = (1, 0x03, 0x3B)
"""Version 1, a count of 4 bytes (DW_EH_PE_udata4), a table of DW_EH_PE_datarel | DW_EH_PE_sdata4."""
_PAIR = struct.Struct("<2i")
_STEP = (1 << 20) // 24 * 24
_MANGLED = b"_Z"
_MKL = (b"mkl_", b"_mkl_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Functions:
    """Functions by number, in the order of their addresses: each begins at `starts`, and ends at `ends`, where the next one begins.

    `mangled` has 1 for those that only C++ code can name. Intel's MKL, whose licence forbids to disassemble it, is left out.
    """

    starts: array[int]
    ends: array[int]
    mangled: bytearray

    def number_of(self, address: int) -> int | None:
        """Return the function that has the code at an address, or None."""
        number = bisect_right(self.starts, address) - 1
        return number if number >= 0 and address < self.ends[number] else None

    def starts_in(self, ranges: Sequence[Range]) -> set[int]:
        """Return where the functions in these ranges of addresses begin."""
        return {start for low, high in ranges for start in self.starts[bisect_left(self.starts, low) : bisect_left(self.starts, high)]}


def code_sections(elf: Elf) -> list[Section]:
    """Return the sections that hold code."""
    return [part for part in elf.sections if part.is_loaded and part.flags & SHF_EXECINSTR and part.filesz]


def read_functions(reader: RangeReader, elf: Elf) -> Functions | None:
    """Return the functions, None where the symbol table was stripped; raises BinaryError."""
    _check_sections(reader, elf)
    sections = [part for part in code_sections(elf) if not part.name.startswith(LINKAGE)]
    names: dict[int, list[bytes]] = {}
    for address, name in _code_symbols(reader, elf):
        names.setdefault(address, []).append(name)
    if not names:
        return None
    for address in _unwound(reader, elf):
        names.setdefault(address, [])
    found = Functions(starts=array("Q"), ends=array("Q"), mangled=bytearray())
    for section in sorted(sections, key=lambda part: part.address):
        end = section.address + section.size
        inside = sorted({section.address, *(address for address in names if section.address <= address < end)})
        for start, stop in _without_mkl(inside, end, names):
            found.starts.append(start)
            found.ends.append(stop)
            found.mangled.append(_is_mangled(names.get(start, [])))
    return found


def _check_sections(reader: RangeReader, elf: Elf) -> None:
    """Raise BinaryError where sections do not tell what is loaded: they are elsewhere, or executable memory has bytes in none."""
    sections = [part for part in elf.sections if part.is_loaded and part.filesz]
    for part in sections:
        moved = part.offset - part.address
        if not any(load.offset - load.vaddr == moved and load.offset <= part.offset and part.end <= load.end for load in elf.loads):
            raise BinaryError(f"{reader.path}: its section {part.name[:80]!a} is not what is loaded at that address")
    known = [(0, elf.encoding.header.size), elf.segment_table, *((part.offset, part.end) for part in sections)]
    for load in elf.loads:
        for start, end in difference([(load.offset, load.end)], known) if load.flags & fmt.PF_X else ():
            if not reader.is_zero(start, end - start):
                raise BinaryError(f"{reader.path}: at byte {start:#x} there is code that no section tells of")


def _is_mangled(names: list[bytes]) -> bool:
    return bool(names) and all(name.startswith(_MANGLED) for name in names)


def _without_mkl(starts: list[int], end: int, names: dict[int, list[bytes]]) -> Iterator[tuple[int, int]]:
    """Yield the functions between two C++ ones, unless MKL's are among them.

    MKL is an archive of C, Fortran and assembly, which a linker puts in one place. Code that is not C++ names no C++ function.
    """
    run: list[tuple[int, int]] = []
    is_mkl = False
    for start, stop in zip(starts, [*starts[1:], end], strict=True):
        here = names.get(start, [])
        if _is_mangled(here):
            yield from () if is_mkl else run
            yield start, stop
            run, is_mkl = [], False
        else:
            run.append((start, stop))
            is_mkl = is_mkl or any(name.startswith(_MKL) for name in here)
    yield from () if is_mkl else run


def _unwound(reader: RangeReader, elf: Elf) -> Iterator[int]:
    """Yield where each range of code begins that can be unwound; raises BinaryError.

    By the sorted table of `.eh_frame_hdr` (Linux Standard Base Core 5.0, section 10.6.2): pairs of offsets from where it begins.
    """
    for segment in elf.segments:
        if segment.type != _PT_GNU_EH_FRAME or not segment.filesz:
            continue
        version, _, count_form, table_form, _, count = _UNWINDING.unpack(reader.read(segment.offset, _UNWINDING.size, "unwinding table"))
        if (version, count_form, table_form) != _FORMS or count * _PAIR.size > segment.filesz - _UNWINDING.size:
            raise BinaryError(f"{reader.path}: its unwinding table is of a form that is not known here")
        table = b"".join(reader.chunks(segment.offset + _UNWINDING.size, count * _PAIR.size, "unwinding table"))
        for start, _ in _PAIR.iter_unpack(table):
            yield segment.vaddr + start


def _code_symbols(reader: RangeReader, elf: Elf) -> Iterator[tuple[int, bytes]]:
    """Yield address and name of each symbol of code in the symbol table, names cut after a few characters."""
    code = {number for number, part in enumerate(elf.sections) if part.is_loaded and part.flags & SHF_EXECINSTR}
    for table in elf.sections:
        if table.type != fmt.SHT_SYMTAB:
            continue
        record = elf.encoding.symbol
        if table.entsize != record.size or table.link >= len(elf.sections) or elf.sections[table.link].filesz > _MAX_NAMES:
            raise BinaryError(f"{reader.path}: the symbol table is malformed")
        names = b"".join(reader.chunks(elf.sections[table.link].offset, elf.sections[table.link].filesz, "symbol names"))
        for start in range(table.offset, table.end - record.size + 1, _STEP):
            size = min(_STEP, table.end - start) // record.size * record.size
            for name, info, _, index, value, _ in record.iter_unpack(reader.read(start, size, "symbols")):
                if index in code and info & 0xF in _KINDS:
                    yield value, names[name : name + 8]

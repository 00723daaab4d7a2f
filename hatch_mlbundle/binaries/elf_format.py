"""The records of an ELF file and how they are packed (System V ABI, chapters 4 and 5: "Object Files", "Program Loading")."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from operator import attrgetter
from typing import Literal

from hatch_mlbundle.errors import BinaryError

MAGIC = b"\x7fELF"

ET_REL, ET_EXEC, ET_DYN, ET_CORE = 1, 2, 3, 4
PF_X, PF_W, PF_R = 1, 2, 4
PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE, PT_PHDR, PT_TLS = 1, 2, 3, 4, 6, 7
SEGMENT_NAMES = {
    PT_DYNAMIC: "DYNAMIC", PT_INTERP: "INTERP", PT_NOTE: "NOTE", PT_PHDR: "PHDR", PT_TLS: "TLS",
    0x6474E550: "GNU_EH_FRAME", 0x6474E551: "GNU_STACK", 0x6474E552: "GNU_RELRO", 0x6474E553: "GNU_PROPERTY",
}  # fmt: skip
SHT_NULL, SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB, SHT_RELA, SHT_DYNAMIC, SHT_NOTE, SHT_NOBITS, SHT_REL, SHT_DYNSYM = (
    0,
    1,
    2,
    3,
    4,
    6,
    7,
    8,
    9,
    11,
)
SHT_GROUP, SHT_SYMTAB_SHNDX = 17, 18
SHF_ALLOC = 0x2
DT_NULL, DT_NEEDED, DT_STRTAB, DT_STRSZ, DT_SONAME, DT_RPATH, DT_RUNPATH = 0, 1, 5, 10, 14, 15, 29
DT_TEXTREL, DT_FLAGS, DF_TEXTREL = 22, 30, 4
DT_HASH, DT_SYMTAB, DT_INIT, DT_GNU_HASH, DT_FLAGS_1, DF_1_PIE = 4, 6, 12, 0x6FFFFEF5, 0x6FFFFFFB, 0x08000000
STT_OBJECT, STT_GNU_IFUNC = 1, 10
NT_GNU_BUILD_ID = 3
SHN_LORESERVE, SHN_XINDEX, PN_XNUM = 0xFF00, 0xFFFF, 0xFFFF


@dataclass(frozen=True, slots=True)
class Header:
    """The file header, in the order of its fields in the file (`Elf64_Ehdr`); offsets and sizes in bytes."""

    ident: bytes
    type: int
    machine: int
    version: int
    entry: int
    phoff: int
    shoff: int
    flags: int
    ehsize: int
    phentsize: int
    phnum: int
    shentsize: int
    shnum: int
    shstrndx: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A program header, in the order of `Elf64_Phdr`; offsets and sizes in bytes."""

    type: int
    flags: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int
    align: int

    @property
    def end(self) -> int:
        """Where its bytes end in the file."""
        return self.offset + self.filesz

    @property
    def is_aligned(self) -> bool:
        """Whether a loader can map it: `vaddr` and `offset` agree modulo `align`."""
        return self.align < 2 or (self.vaddr - self.offset) % self.align == 0


@dataclass(frozen=True, slots=True)
class Section:
    """A section header, in the order of `Elf64_Shdr`, and then its `name`; offsets and sizes in bytes."""

    name_offset: int
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entsize: int
    name: str = ""

    @property
    def end(self) -> int:
        """Where its bytes end in the file."""
        return self.offset + self.filesz

    @property
    def filesz(self) -> int:
        """How many bytes it has in the file: none for a section that only takes room in memory."""
        return 0 if self.type in (SHT_NOBITS, SHT_NULL) else self.size

    @property
    def is_loaded(self) -> bool:
        """Whether it is part of the program's memory (SHF_ALLOC)."""
        return bool(self.flags & SHF_ALLOC)


@dataclass(frozen=True, slots=True)
class Symbol:
    """A dynamic symbol: `defined` tells whether this file has it, or asks for it."""

    name: str
    value: int
    size: int
    info: int
    other: int
    defined: bool

    @property
    def type(self) -> int:
        """What it is: STT_OBJECT and so on."""
        return self.info & 0xF


_HEADER_FIELDS, _SEGMENT_FIELDS, _SECTION_FIELDS = (
    attrgetter(*(field.name for field in fields(cls))) for cls in (Header, Segment, Section)
)
"""Return the fields of a record in order; `dataclasses.astuple` would copy each of them deeply."""


@dataclass(frozen=True)
class Encoding:
    """Word size and byte order of a file; packs and unpacks its records."""

    bits: Literal[32, 64]
    order: Literal["<", ">"]

    @classmethod
    def of(cls, ident: bytes) -> Encoding | None:
        """Return the encoding that `e_ident` (its first 6 bytes or more) names, or None."""
        if len(ident) < 6 or ident[4] not in (1, 2) or ident[5] not in (1, 2):
            return None
        return cls(64 if ident[4] == 2 else 32, "<" if ident[5] == 1 else ">")

    def _struct(self, wide: str, narrow: str) -> struct.Struct:
        return struct.Struct(self.order + (wide if self.bits == 64 else narrow))

    @cached_property
    def header(self) -> struct.Struct:
        """The file header."""
        return self._struct("16sHHIQQQIHHHHHH", "16sHHIIIIIHHHHHH")

    @cached_property
    def segment(self) -> struct.Struct:
        """A program header; the 32-bit one has its flags in another place."""
        return self._struct("IIQQQQQQ", "IIIIIIII")

    @cached_property
    def section(self) -> struct.Struct:
        """A section header."""
        return self._struct("IIQQQQIIQQ", "IIIIIIIIII")

    @cached_property
    def dynamic(self) -> struct.Struct:
        """An entry of the dynamic section: tag and value."""
        return self._struct("qQ", "iI")

    @cached_property
    def symbol(self) -> struct.Struct:
        """A symbol; the order of its fields depends on the word size."""
        return self._struct("IBBHQQ", "IIIBBH")

    @cached_property
    def word(self) -> struct.Struct:
        """A 32-bit word."""
        return struct.Struct(f"{self.order}I")

    def unpack_segment(self, fields: tuple[int, ...]) -> Segment:
        """Return the segment of unpacked fields."""
        if self.bits == 64:
            return Segment(*fields)
        kind, offset, vaddr, paddr, filesz, memsz, flags, align = fields
        return Segment(kind, flags, offset, vaddr, paddr, filesz, memsz, align)

    def pack_header(self, header: Header) -> bytes:
        """Return the header's bytes; raises BinaryError where a number is too large."""
        return _pack(self.header, _HEADER_FIELDS(header))

    def pack_segment(self, segment: Segment) -> bytes:
        """Return the program header's bytes; raises BinaryError where a number is too large."""
        kind, flags, *rest, align = _SEGMENT_FIELDS(segment)
        if self.bits == 64:
            return _pack(self.segment, (kind, flags, *rest, align))
        return _pack(self.segment, (kind, *rest, flags, align))

    def pack_section(self, section: Section) -> bytes:
        """Return the section header's bytes; raises BinaryError where a number is too large."""
        return _pack(self.section, _SECTION_FIELDS(section)[:-1])

    def unpack_symbol(self, fields: tuple[int, ...], name: str) -> Symbol:
        """Return the symbol of unpacked fields."""
        if self.bits == 64:
            _, info, other, index, value, size = fields
        else:
            _, value, size, info, other, index = fields
        return Symbol(name, value, size, info, other, index != 0)


def _pack(record: struct.Struct, values: Iterable[int | bytes]) -> bytes:
    try:
        return record.pack(*values)
    except struct.error as error:
        raise BinaryError("an offset or an address in its headers is larger than any real one") from error


def number_sections(header: Header, first: Section, count: int, names_index: int) -> tuple[Header, Section]:
    """Return header and section 0 that state these two numbers; section 0 holds what 16 bits cannot.

    System V ABI, "ELF Header": e_shnum, e_shstrndx.
    """
    many, far = count >= SHN_LORESERVE, names_index >= SHN_LORESERVE
    header = replace(header, shnum=0 if many else count, shstrndx=SHN_XINDEX if far else names_index)
    return header, replace(first, size=count if many else 0, link=names_index if far else 0)

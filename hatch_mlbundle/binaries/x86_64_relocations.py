"""Read the dynamic relocations of an x86-64 library, and leave one out.

After the System V ABI, AMD64 supplement, section 4.4 ("Relocation"); `Elf64_Rela` is in the gabi's chapter "Relocation".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hatch_mlbundle.errors import BinaryError

from . import elf_format as fmt
from .edits import Edit, Literal, Zero
from .elf import Elf, dynamic_values
from .elf_format import Symbol
from .reader import RangeReader

EM_X86_64 = 62
ADDRESS, GOT, PLT, RELATIVE, IRELATIVE = 1, 6, 7, 8, 37
"""R_X86_64_64, R_X86_64_GLOB_DAT, R_X86_64_JUMP_SLOT, R_X86_64_RELATIVE, R_X86_64_IRELATIVE: those that put an address into memory."""

_THREAD_LOCAL = frozenset({16, 17, 18})
"""R_X86_64_DTPMOD64, R_X86_64_DTPOFF64, R_X86_64_TPOFF64: they concern no code."""
_KNOWN = frozenset({0, ADDRESS, GOT, PLT, RELATIVE, IRELATIVE}) | _THREAD_LOCAL
_RELA = struct.Struct("<QIIq")
_STEP = (1 << 20) // _RELA.size * _RELA.size
_SHT_RELR = 19
_DT_PLTRELSZ, _DT_RELASZ = 2, 8
_OTHER_FORMS = (17, 36, 0x6000000F, 0x60000011)
"""DT_REL, DT_RELR, DT_ANDROID_REL, DT_ANDROID_RELA."""


@dataclass(frozen=True, slots=True)
class Relocation:
    """The record of `Elf64_Rela` at the offset `record` in the file: it writes at the address `place`; `symbol` is a number."""

    record: int
    place: int
    type: int
    symbol: int
    addend: int


def read_relocations(reader: RangeReader, elf: Elf) -> Iterator[Relocation]:
    """Yield what the loader relocates, by the section headers; raises BinaryError where it has forms that are not known here.

    That these are all that the loader sees, in the dynamic section, is checked when the last one was taken.
    """
    size = 0
    for section in elf.sections:
        if not section.is_loaded or section.type not in (fmt.SHT_RELA, fmt.SHT_REL, _SHT_RELR):
            continue
        if section.type != fmt.SHT_RELA or section.size % _RELA.size:
            raise BinaryError(f"{reader.path}: its relocations in {section.name!a} are of a form that is not known here")
        for start in range(section.offset, section.end, _STEP):
            table = reader.read(start, min(_STEP, section.end - start), "relocations")
            for number, (place, kind, symbol, addend) in enumerate(_RELA.iter_unpack(table)):
                if kind not in _KNOWN:
                    raise BinaryError(f"{reader.path}: a relocation has the type {kind}, which is not known here")
                yield Relocation(start + number * _RELA.size, place, kind, symbol, addend)
        size += section.size
    values = dynamic_values(reader, elf)
    if size != values.get(_DT_RELASZ, 0) + values.get(_DT_PLTRELSZ, 0) or any(tag in values for tag in _OTHER_FORMS):
        raise BinaryError(f"{reader.path}: it has other relocations than its section headers say")


def target_of(relocation: Relocation, symbols: Sequence[Symbol]) -> int | None:
    """Return the address in the library itself that a relocation refers to, None where there is none; raises BinaryError."""
    if relocation.type in (RELATIVE, IRELATIVE):
        return relocation.addend
    if relocation.type in _THREAD_LOCAL or not relocation.symbol:
        return None
    if relocation.symbol >= len(symbols):
        raise BinaryError(f"a relocation names symbol {relocation.symbol} of {len(symbols)}")
    symbol = symbols[relocation.symbol]
    return symbol.value + relocation.addend if symbol.defined else None


def leave_null(reader: RangeReader, elf: Elf, unwanted: Sequence[Relocation]) -> list[Edit]:
    """Return the edits after which pointers that relocations fill are null; raises BinaryError.

    A record cannot become an R_X86_64_NONE: the first DT_RELACOUNT of them are taken for R_X86_64_RELATIVE, unseen. It becomes a copy of
    the nearest other one of its type: the same address is written twice.
    """
    left_out = {each.record for each in unwanted}
    ordered = sorted(unwanted, key=lambda relocation: relocation.record)
    edits: list[Edit] = [Literal(each.record, _neighbour(reader, elf, each, left_out)) for each in ordered]
    for place in dict.fromkeys(each.place for each in ordered):
        at = _file_offset(elf, place)
        if at is not None:
            edits.append(Zero(at, 8))
    return edits


def _neighbour(reader: RangeReader, elf: Elf, relocation: Relocation, left_out: set[int]) -> bytes:
    """Return the record of the nearest relocation of the same type that stays."""
    table = next(part for part in elf.sections if part.offset <= relocation.record < part.end)
    for distance in range(_RELA.size, table.size, _RELA.size):
        for record in (relocation.record - distance, relocation.record + distance):
            if record in left_out or not table.offset <= record < table.end:
                continue
            data = reader.read(record, _RELA.size, "relocation")
            if _RELA.unpack(data)[1] == relocation.type:
                return data
    raise BinaryError(f"{reader.path}: it has no other relocation like that at {relocation.place:#x}")


def _file_offset(elf: Elf, address: int) -> int | None:
    for load in elf.loads:
        if load.vaddr <= address and address + 8 <= load.vaddr + load.filesz:
            return load.offset + address - load.vaddr
    return None

"""Tables of 32-bit differences in the data of an x86-64 library that lead to functions, as relative virtual tables do."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Set as AbstractSet
from itertools import pairwise

from . import elf_format as fmt
from .elf import Elf
from .elf_format import Section
from .reader import RangeReader
from .x86_64_functions import SHF_EXECINSTR

_UNWINDING = (".eh_frame", ".gcc_except_table")
"""What the names of sections begin with that lead to functions only while these run, to unwind them."""
_SIZE = 4


def functions_in_tables(reader: RangeReader, elf: Elf, starts: AbstractSet[int], bases: AbstractSet[int]) -> set[int]:
    """Return those `starts` of functions that a number in data gives, added to the nearest address before it in `bases`.

    What is no such table counts too, where its bytes happen to look like one.
    """
    found: set[int] = set()
    for section in elf.sections:
        if _is_data(section):
            found |= _in_section(reader, section, starts, bases)
    return found


def _is_data(section: Section) -> bool:
    is_code = bool(section.flags & SHF_EXECINSTR)
    return section.is_loaded and section.type == fmt.SHT_PROGBITS and not is_code and not section.name.startswith(_UNWINDING)


def _in_section(reader: RangeReader, section: Section, starts: AbstractSet[int], bases: AbstractSet[int]) -> set[int]:
    end = section.address + section.filesz
    inside = sorted(base for base in bases if section.address <= base < end)
    found: set[int] = set()
    for base, following in pairwise([*inside, end]):
        offset = section.offset + base - section.address
        for data in reader.chunks(offset, (following - base) // _SIZE * _SIZE, "data"):
            numbers = array("i", data)
            if sys.byteorder == "big":
                numbers.byteswap()
            found.update(starts & {base + number for number in numbers})
    return found

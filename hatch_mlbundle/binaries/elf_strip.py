"""Strip an ELF file without touching what is loaded: only known sections go, and no loaded byte or address changes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from . import elf_format as fmt
from .elf import Elf
from .elf_format import Section
from .elf_layout import Outline, write_outline
from .elf_rewrite import rewritten

Mode: TypeAlias = Literal["all", "debug"]
"""What goes: `all` is debug data, symbol tables and remarks; `debug` leaves the symbol tables."""

DEBUG_NAMES = (".debug", ".zdebug", ".stab", ".gdb_index", ".gnu_debugaltlink")
"""Beginnings of the names of debug sections. `.gnu_debuglink` is none of them: it is how a debugger finds such data elsewhere."""
REMARK_NAMES = (".comment", ".gnu.build.attributes", ".note.gnu.gold-version")
"""Beginnings of the names of sections in which compilers and linkers leave their versions."""
SYMBOL_NAMES = (".gnu_debugdata",)
"""Symbol tables in another form (MiniDebugInfo: compressed)."""

HOST_MACHINES = frozenset({2, 3, 8, 20, 21, 22, 40, 43, 62, 183, 243, 258})
"""`e_machine` of processors that run Python: SPARC, x86, MIPS, PowerPC, s390, Arm, RISC-V, LoongArch.

Code for GPUs and signal processors comes as ELF files too, but there the symbol table is what their loaders go by.
"""

_BLOCK = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class StripPlan:
    """What a strip takes out: bytes by what they are, and `saves`, the exact difference between the two files in bytes."""

    symbols: int
    debug: int
    remarks: int
    saves: int
    outline: Outline


def why_not(elf: Elf) -> str | None:
    """Return why such a file must not be stripped, or None."""
    if elf.header.type == fmt.ET_REL:
        return "a relocatable object: its symbol table is what a linker goes by"
    if elf.header.type == fmt.ET_CORE:
        return "a core dump"
    if elf.header.type not in (fmt.ET_DYN, fmt.ET_EXEC):
        return f"an ELF file of type {elf.header.type}, neither a library nor an executable"
    if elf.header.machine not in HOST_MACHINES:
        return f"code for machine type {elf.header.machine}, no host processor: its loader may read the symbol table"
    if elf.payload:
        return f"{elf.payload} bytes of data are appended to it, which their reader may find by offset"
    return None


def plan_strip(elf: Elf, mode: Mode = "all") -> StripPlan | None:
    """Return what goes and how the result is laid out, None where nothing can be gained or `why_not` speaks against it."""
    dropped = droppable(elf, mode)
    if not dropped or why_not(elf):
        return None
    result = rewritten(elf, dropped)
    if result.size >= elf.size:
        return None
    sizes = {what: sum(elf.sections[index].filesz for index in dropped if _sort(elf, index) == what) for what in _SORTS}
    return StripPlan(**sizes, saves=elf.size - result.size, outline=result)


def is_worth_it(saves: int, size: int) -> bool:
    """Say whether it is worth it to write a file of `size` bytes anew for what that saves: a block of a file system, or a hundredth."""
    return saves >= _BLOCK or 100 * saves >= size


def write_stripped(source: Path, target: Path, plan: StripPlan) -> None:
    """Write what `plan` says of `source` to `target`, which must not exist; raises StorageError, BinaryError."""
    write_outline(source, target, plan.outline)


def droppable(elf: Elf, mode: Mode = "all") -> frozenset[int]:
    """Return the numbers of the sections that nothing needs when the file is run or loaded."""
    dropped = {number for number, section in enumerate(elf.sections) if number and _is_known(section, mode)}
    dropped.discard(elf.names_index)
    _spare_linked(elf, dropped)
    for number, section in enumerate(elf.sections):
        if number != elf.names_index and _depends_on(section, dropped):
            dropped.add(number)
    return frozenset(dropped | _unused_strings(elf, dropped))


def unknown_sections(elf: Elf) -> list[Section]:
    """Return the sections that are not loaded and that no strip knows: they must stay, whoever strips."""
    known = droppable(elf) | {elf.names_index}
    return [part for number, part in enumerate(elf.sections) if number not in known and not part.is_loaded and part.filesz]


_SORTS = ("symbols", "debug", "remarks")


def _sort(elf: Elf, number: int) -> str:
    """Say for a person what a droppable section is; strings and relocations count with the table that they belong to."""
    name = elf.sections[number].name.removeprefix(".rela").removeprefix(".rel")
    if name.startswith(DEBUG_NAMES):
        return "debug"
    return "remarks" if name.startswith(REMARK_NAMES) else "symbols"


def _is_known(section: Section, mode: Mode) -> bool:
    if section.is_loaded or section.type == fmt.SHT_NULL:
        return False
    if section.name.startswith(DEBUG_NAMES + REMARK_NAMES):
        return True
    return mode == "all" and (section.type == fmt.SHT_SYMTAB or section.name.startswith(SYMBOL_NAMES))


def _follows(section: Section) -> bool:
    """Say whether a section is of no use without the one that it belongs to."""
    return not section.is_loaded and section.type in (fmt.SHT_REL, fmt.SHT_RELA, fmt.SHT_SYMTAB_SHNDX)


def _depends_on(section: Section, dropped: set[int]) -> bool:
    about = section.info if section.type in (fmt.SHT_REL, fmt.SHT_RELA) else 0
    return _follows(section) and (section.link in dropped or about in dropped)


def _needs_link(section: Section) -> bool:
    # Relocations that are loaded go by the dynamic symbols; some linkers name the static ones in their header all the same.
    return not _follows(section) and not (section.is_loaded and section.type in (fmt.SHT_REL, fmt.SHT_RELA))


def _spare_linked(elf: Elf, dropped: set[int]) -> None:
    """Take out of `dropped` what a section that stays is linked to."""
    staying = [number for number in range(len(elf.sections)) if number not in dropped]
    while staying:
        section = elf.sections[staying.pop()]
        if section.link in dropped and _needs_link(section):
            dropped.discard(section.link)
            staying.append(section.link)


def _unused_strings(elf: Elf, dropped: set[int]) -> set[int]:
    """Return the string tables that only dropped sections are linked to."""
    used = {section.link for number, section in enumerate(elf.sections) if number not in dropped}
    linked = {elf.sections[number].link for number in dropped}
    return {number for number in linked - used - {0, elf.names_index} if _is_plain_strings(elf.sections, number)}


def _is_plain_strings(sections: tuple[Section, ...], number: int) -> bool:
    return number < len(sections) and sections[number].type == fmt.SHT_STRTAB and not sections[number].is_loaded

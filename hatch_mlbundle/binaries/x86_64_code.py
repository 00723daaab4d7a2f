"""What the functions of an x86-64 library refer to: all of their code is decoded, with iced-x86.

Code that is not whole instructions from where a function begins to where it ends is refused, never skipped.
"""

from __future__ import annotations

from array import array
from collections.abc import Container, Iterable
from dataclasses import dataclass

from hatch_mlbundle.errors import BinaryError

from .elf import Elf
from .elf_format import Section
from .reader import RangeReader
from .x86_64_functions import LINKAGE, Functions, code_sections

_STUB = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """What each function refers to, by its number.

    `references` are the numbers of other functions, whether it calls them or takes their address; `watched` are those of the addresses
    asked for that it refers to, or that a linkage stub which it calls jumps by; functions without any are missing there.
    """

    references: list[array[int]]
    watched: dict[int, frozenset[int]]


def read_code(reader: RangeReader, elf: Elf, functions: Functions, watch: Container[int]) -> Code:
    """Decode every function; raises BinaryError where bytes among them are no instructions."""
    stubs = _read_stubs(reader, elf)
    code = Code(references=[], watched={})
    offsets = {part.address: part.offset - part.address for part in code_sections(elf)}
    shift = 0
    for number, (start, end) in enumerate(zip(functions.starts, functions.ends, strict=True)):
        shift = offsets.get(start, shift)
        targets = _referred(reader, start, reader.read(start + shift, end - start, "code"))
        seen = frozenset(place for target in targets if (place := stubs.get(target, target)) in watch)
        if seen:
            code.watched[number] = seen
        others = {other for target in targets if (other := functions.number_of(target)) is not None}
        code.references.append(array("L", sorted(others - {number})))
    return code


def _referred(reader: RangeReader, start: int, data: bytes) -> set[int]:
    """Return the addresses that instructions name: targets of jumps and calls, and operands relative to the instruction pointer.

    Position-independent code has no other way to get at an address of its own library but by what the loader relocates.
    """
    from iced_x86 import Decoder

    found: set[int] = set()
    for instruction in Decoder(64, data, ip=start):
        if instruction.is_ip_rel_memory_operand:
            found.add(instruction.ip_rel_memory_address)
        elif target := instruction.near_branch_target:
            found.add(target)
        elif not instruction:
            if any(data[instruction.ip - start :]):
                raise BinaryError(f"{reader.path}: at {instruction.ip:#x} there is something else than code")
            break  # zeros between two sections of the compiler's
    return found


def _read_stubs(reader: RangeReader, elf: Elf) -> dict[int, int]:
    """Return the address of the pointer that each stub of the procedure linkage table jumps by, by the stub's own."""
    stubs: dict[int, int] = {}
    for section in code_sections(elf):
        if section.name.startswith(LINKAGE):
            data = reader.read(section.offset, section.size, "linkage table")
            stubs.update(_stubs_of(section, data))
    return stubs


def _stubs_of(section: Section, data: bytes) -> Iterable[tuple[int, int]]:
    from iced_x86 import Decoder, FlowControl

    size = section.entsize or _STUB
    for instruction in Decoder(64, data, ip=section.address):
        if instruction.is_ip_rel_memory_operand and instruction.flow_control == FlowControl.INDIRECT_BRANCH:
            at = (instruction.ip - section.address) // size * size
            yield section.address + at, instruction.ip_rel_memory_address

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
_OFFSET_TABLES = (".got", ".got.plt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """What each function refers to, by its number.

    `references` are the numbers of other functions, whether it calls them or takes their address; `watched` are those of the addresses
    asked for that it refers to, or that a linkage stub which it calls jumps by; functions without any are missing there. `computed` are
    the addresses elsewhere that any function computes, to go on from there.
    """

    references: list[array[int]]
    watched: dict[int, frozenset[int]]
    computed: set[int]


def read_code(reader: RangeReader, elf: Elf, functions: Functions, watch: Container[int]) -> Code:
    """Decode every function; raises BinaryError where bytes among them are no instructions, or where one adds up addresses of others."""
    stubs = _read_stubs(reader, elf)
    offset_tables = {part.address for part in elf.sections if part.name in _OFFSET_TABLES}
    code = Code(references=[], watched={}, computed=set())
    offsets = {part.address: part.offset - part.address for part in code_sections(elf)}
    shift = 0
    for number, (start, end) in enumerate(zip(functions.starts, functions.ends, strict=True)):
        shift = offsets.get(start, shift)
        data = reader.read(start + shift, end - start, "code")
        targets, computed = _referred(reader, start, data)
        bases = {address for address in computed if start <= address < end or address in offset_tables}
        if bases and any(functions.number_of(sum_) is not None or sum_ in offset_tables for sum_ in _sums(data, bases)):
            raise BinaryError(f"{reader.path}: code at {start:#x} adds up addresses, as in the large code model, which are not followed")
        seen = frozenset(place for target in targets if (place := stubs.get(target, target)) in watch)
        if seen:
            code.watched[number] = seen
        code.computed.update(computed - bases)
        others = {other for target in targets if (other := functions.number_of(target)) is not None}
        code.references.append(array("L", sorted(others - {number})))
    return code


def _referred(reader: RangeReader, start: int, data: bytes) -> tuple[set[int], set[int]]:
    """Return the addresses that instructions name, and those of them that are computed (by LEA), to go on from there.

    Named are targets of jumps and calls, and operands relative to the instruction pointer. Position-independent code has no other way to
    get at an address of its own library but by what the loader relocates, or by adding something to an address that it computed.
    """
    from iced_x86 import Decoder, Mnemonic

    found: set[int] = set()
    computed: set[int] = set()
    for instruction in Decoder(64, data, ip=start):
        if instruction.is_ip_rel_memory_operand:
            found.add(instruction.ip_rel_memory_address)
            if instruction.mnemonic == Mnemonic.LEA:
                computed.add(instruction.ip_rel_memory_address)
        elif target := instruction.near_branch_target:
            found.add(target)
        elif not instruction:
            if any(data[instruction.ip - start :]):
                raise BinaryError(f"{reader.path}: at {instruction.ip:#x} there is something else than code")
            break  # zeros between two sections of the compiler's
    return found, computed


def _sums(data: bytes, bases: Iterable[int]) -> set[int]:
    """Return what constants of 64 bits give with addresses that the code computes.

    In the large code model (System V ABI, AMD64 supplement, section 3.5) these lead from the code to the table of offsets, the GOT, and
    from there to all else; in the medium one the GOT is named.
    """
    from iced_x86 import Code as Opcode
    from iced_x86 import Decoder

    constants = {instruction.immediate64 for instruction in Decoder(64, data) if instruction.code == Opcode.MOV_R64_IMM64}
    return {(base + constant) % (1 << 64) for base in bases for constant in constants}


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

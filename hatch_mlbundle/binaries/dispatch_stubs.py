"""How PyTorch chooses among kernels by the CPU, and what of that a library for newer CPUs can do without.

Each operation has a `DispatchStub` with a pointer to a kernel for each instruction set: `DEFAULT`, `AVX2` and `AVX512`, public symbols
(aten/src/ATen/native/DispatchStub.h). What reads them hands all three to `DispatchStubImpl`, which picks one by what cpuinfo says of the
CPU, or by the environment's ATEN_CPU_CAPABILITY: with AVX-512 that one, else AVX2; with AVX2 that one; and DEFAULT only with neither
(DispatchStub.cpp). A null pointer that is picked raises "DispatchStub: missing kernel for cpu".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from hatch_mlbundle.errors import BinaryError

from .cpu_level import Level
from .edits import Edit
from .elf import Elf, dynamic_symbols, dynamic_values
from .elf_format import Symbol
from .elf_holes import has_holes
from .ranges import Range, within
from .reader import RangeReader
from .unreachable import unreachable
from .x86_64_code import Code, read_code
from .x86_64_functions import read_functions
from .x86_64_relocations import GOT, Relocation, leave_null, read_relocations, target_of
from .x86_64_tables import functions_in_tables

Sets: TypeAlias = Mapping[str, int]
"""The addresses of a stub's pointers, by instruction set."""

_POINTER = re.compile(r"(_ZN2at6native12DispatchStubI.+E)\d+(DEFAULT|AVX2|AVX512)E")
_CHOOSER = "_ZN2at6native16DispatchStubImpl"
_LIBRARIES = "libtorch"
"""What the names of the libraries begin with that others take the pointers from."""
_SETS = frozenset({"DEFAULT", "AVX2", "AVX512"})


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelPruning:
    """What CPUs of a level never run: `kernels` pointers that become null, by `edits`, and the ranges of the file only they lead to."""

    kernels: int
    dead: tuple[Range, ...]
    edits: tuple[Edit, ...]


def has_stubs(reader: RangeReader, elf: Elf) -> bool:
    """Say whether a library has kernels to choose among."""
    return any(_POINTER.fullmatch(symbol.name) for symbol in dynamic_symbols(reader, elf) if symbol.defined)


def reads_as_pytorch(reader: RangeReader, elf: Elf) -> bool:
    """Say whether a library that takes such pointers from another takes all of each stub, and what chooses, as PyTorch's header does."""
    if not any(name.startswith(_LIBRARIES) for name in elf.needed):
        return True
    names = [symbol for symbol in dynamic_symbols(reader, elf) if not symbol.defined]
    taken = _stubs(names)
    chooses = any(symbol.name.startswith(_CHOOSER) for symbol in names)
    return not taken or (chooses and all(sets.keys() == _SETS for sets in taken.values()))


def plan_kernels(reader: RangeReader, elf: Elf, level: Level) -> KernelPruning:
    """Return what the library can do without; raises BinaryError, which says what speaks against it."""
    symbols = list(dynamic_symbols(reader, elf))
    relocations = list(read_relocations(reader, elf))
    stubs = _stubs([symbol for symbol in symbols if symbol.defined])
    filled = {each.place for each in relocations}
    unneeded = {at for sets in stubs.values() for at in _unneeded({name: at for name, at in sets.items() if at in filled}, level)}
    if not unneeded:
        return KernelPruning(kernels=0, dead=(), edits=())
    if has_holes(elf):
        raise BinaryError(
            f"{reader.path}: code was taken out of it before, perhaps for a lower level: cpu_code needs the library as it was"
        )
    functions = read_functions(reader, elf)
    if functions is None:
        raise BinaryError(f"{reader.path}: its symbol table is gone, which says where its functions are: cpu_code has to come before strip")
    places = _places(stubs, symbols, relocations)
    code = read_code(reader, elf, functions, places)
    _check_readers(reader, code, places, stubs)
    pointers = [each for each in relocations if each.place in unneeded]
    pointed = [_target(each, symbols) for each in pointers]
    others = [_target(each, symbols) for each in relocations if each.place not in unneeded]
    others += [symbol.value for symbol in symbols if symbol.defined]
    others += [elf.header.entry, *dynamic_values(reader, elf).values()]  # DT_INIT and DT_FINI among them
    dead = unreachable(functions, code, pointed, others)
    named = functions_in_tables(reader, elf, functions.starts_in(dead), code.computed.union(others))
    dead = unreachable(functions, code, pointed, [*others, *named]) if named else dead
    return KernelPruning(kernels=len(unneeded), dead=tuple(_offsets(elf, dead)), edits=tuple(leave_null(reader, elf, pointers)))


def _unneeded(sets: Sets, level: Level) -> Iterator[int]:
    """Yield the pointers that are never picked on a CPU of the level: those of lesser sets where a better one is there."""
    if "DEFAULT" in sets and ("AVX2" in sets or (level == "x86-64-v4" and "AVX512" in sets)):
        yield sets["DEFAULT"]
    if level == "x86-64-v4" and "AVX2" in sets and "AVX512" in sets:
        yield sets["AVX2"]


def _stubs(symbols: Sequence[Symbol]) -> dict[str, dict[str, int]]:
    stubs: dict[str, dict[str, int]] = {}
    for symbol in symbols:
        if match := _POINTER.fullmatch(symbol.name):
            stubs.setdefault(match[1], {})[match[2]] = symbol.value
    return stubs


def _places(stubs: Mapping[str, Sets], symbols: Sequence[Symbol], relocations: Sequence[Relocation]) -> dict[int, tuple[str, str]]:
    """Return stub and set by each address through which code gets at a pointer, '' for those of what chooses; raises BinaryError."""
    places = {at: (stub, name) for stub, sets in stubs.items() for name, at in sets.items()}
    choosers = {symbol.value: ("", "") for symbol in symbols if symbol.defined and symbol.name.startswith(_CHOOSER)}
    places.update(choosers)
    ours = dict(places)
    for each in relocations:
        known = ours.get(_target(each, symbols))
        if known and known[0] and each.type != GOT:
            raise BinaryError(f"the address of a pointer of {known[0][:80]!a} is in data, where it cannot be told what reads it")
        if known:
            places[each.place] = known
    return places


def _check_readers(reader: RangeReader, code: Code, places: Mapping[int, tuple[str, str]], stubs: Mapping[str, Sets]) -> None:
    """Raise BinaryError where a function reads a stub's pointer and not all of them, or calls nothing that chooses."""
    for seen in code.watched.values():
        read: dict[str, set[str]] = {}
        for at in seen:
            stub, name = places[at]
            read.setdefault(stub, set()).add(name)
        chooses = read.pop("", None)
        for stub, sets in read.items():
            if sets != stubs[stub].keys() or sets != _SETS or not chooses:
                raise BinaryError(f"{reader.path}: a function reads {stub[:80]!a} in another way than PyTorch's DispatchStub.h does")


def _target(relocation: Relocation, symbols: Sequence[Symbol]) -> int:
    return target_of(relocation, symbols) or 0


def _offsets(elf: Elf, ranges: Sequence[Range]) -> Iterator[Range]:
    """Yield addresses as offsets in the file."""
    for load in elf.loads:
        for start, end in within(ranges, load.vaddr, load.vaddr + load.filesz):
            yield start + load.offset - load.vaddr, end + load.offset - load.vaddr

"""The program UPX: which ELF files it packs soundly, and how it is run.

Tried with UPX 4.2.2 on the libraries of torch, numpy, scipy, pyarrow, llvmlite and Python itself (docs/safety.md). A packed library
is unpacked by its initializer (DT_INIT), after the linker has relocated it; whatever reads it before that reads compressed bytes.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from hatch_mlbundle.errors import KeptError, ProgramError
from hatch_mlbundle.programs import Program, find_program

from . import elf_format as fmt
from .elf import Elf, dynamic_symbols, dynamic_values
from .elf_strip import unknown_sections
from .linking import is_executable
from .reader import RangeReader, Reader

INSTALL = "apt-get install upx-ucl, in Debian 12 from the suite bookworm-backports; or https://upx.github.io"

_TRAILER = 36
"""Bytes from the last header that UPX writes to the end of the file (UPX sources, packhead.cpp)."""
_TABLES = (fmt.DT_HASH, fmt.DT_STRTAB, fmt.DT_SYMTAB, fmt.DT_GNU_HASH)
_HARMLESS = frozenset({".gnu_debuglink"})
_REFUSAL = re.compile(r": ((?:CantPack|NotCompressible|AlreadyPacked)\w*(?:: .*)?)")
_GLIBC = re.compile(rb"/(?:[\w.-]+/)*ld(?:-linux[\w.-]*|64)\.so\.[12]\0")


def find_upx() -> Program:
    """Return the program; raises MissingProgramError."""
    return find_program("upx", wanted_by='the optimizer "upx"', install=INSTALL)


def is_packed(reader: RangeReader) -> bool:
    """Say whether UPX packed this ELF file: its headers then speak of bytes that are no longer there."""
    return reader.size > _TRAILER and reader.read(reader.size - _TRAILER, 4, "UPX's header") == b"UPX!"


def why_not(reader: Reader, elf: Elf, copied: Collection[str] = ()) -> str | None:
    """Return why a file must not be packed, or None. `copied` are the data of libraries that programs have copies of."""
    if elf.header.type not in (fmt.ET_DYN, fmt.ET_EXEC):
        return "neither a library nor an executable"
    if elf.payload:
        return f"{elf.payload} bytes of data are appended to it, which their reader may find by offset"
    strangers = [section.name for section in unknown_sections(elf) if section.name not in _HARMLESS]
    if strangers:
        return f"the section {strangers[0]} would be lost"
    return _why_no_program(reader, elf) if is_executable(reader, elf) else _why_no_library(reader, elf, copied)


def copied_data(reader: Reader, elf: Elf) -> Iterator[str]:
    """Yield the names of the data that a program has of its own: among them all that the linker copies from libraries at its start."""
    return (symbol.name for symbol in dynamic_symbols(reader, elf) if symbol.defined and symbol.type == fmt.STT_OBJECT)


def pack(program: Program, source: Path, target: Path, arguments: Collection[str], min_saving: int) -> None:
    """Write the packed file, with the original's permissions; raises KeptError where UPX refuses or saves under `min_saving` percent.

    UPX takes neither links nor files that are not executable, and tells paths: it gets a copy beside the target, by its name alone.
    """
    copy = target.with_name(f"{target.name}.source")
    try:
        shutil.copyfile(source, copy)
        copy.chmod(0o755)
        program.run(["-q", *arguments, "-o", target.name, copy.name], folder=target.parent)
    except ProgramError as error:
        target.unlink(missing_ok=True)
        refusal = _REFUSAL.search(str(error))
        if refusal:
            raise KeptError(f"UPX refuses it: {refusal[1]}") from error
        raise
    finally:
        copy.unlink(missing_ok=True)
    before, after = source.stat().st_size, target.stat().st_size
    if 100 * (before - after) < min_saving * before:
        target.unlink()
        raise KeptError(f"UPX would save {max(0, 100 * (before - after) // before)} % only")
    shutil.copymode(source, target)


def test_packed(program: Program, path: Path) -> None:
    """Let UPX unpack a file in memory and compare checksums; raises ProgramError, without the folder of the file."""
    program.run(["-q", "-t", path.name], folder=path.parent)


def _why_no_program(reader: Reader, elf: Elf) -> str | None:
    """Only what glibc starts can be tried without running it (trace.py)."""
    for segment in elf.segments:
        if segment.type == fmt.PT_INTERP:
            name = reader.read(segment.offset, min(segment.filesz, 4096), "interpreter")
            return None if _GLIBC.fullmatch(name) else "a program of another C library, whose start cannot be tried without running it"
    return "a static program, whose start cannot be tried without running it"


def _why_no_library(reader: Reader, elf: Elf, copied: Collection[str]) -> str | None:
    values = dynamic_values(reader, elf)
    code = [segment for segment in elf.loads if segment.flags & fmt.PF_X]
    if not values or not code:
        return "neither a library nor an executable"
    if code[0] is elf.loads[0]:
        return "its first segment is executable (laid out by an old linker): UPX breaks such libraries without a word"
    if fmt.DT_INIT not in values:
        return "it has no DT_INIT, in which UPX would unpack it"
    if any(values.get(tag, 0) > code[0].vaddr for tag in _TABLES):
        return "its dynamic tables lie behind its code (patchelf moves them there), which UPX does not take"
    return _why_not_by_symbols(reader, elf, copied)


def _why_not_by_symbols(reader: Reader, elf: Elf, copied: Collection[str]) -> str | None:
    fixed = [segment for segment in elf.loads if not segment.flags & fmt.PF_W]
    for symbol in dynamic_symbols(reader, elf):
        if not symbol.defined:
            continue
        if symbol.type == fmt.STT_GNU_IFUNC:
            return f"the linker calls it (IFUNC {symbol.name}) before it could unpack itself"
        if symbol.name in copied and any(part.vaddr <= symbol.value < part.vaddr + part.memsz for part in fixed):
            return f"a program may copy {symbol.name} from it before it could unpack itself"
    return None

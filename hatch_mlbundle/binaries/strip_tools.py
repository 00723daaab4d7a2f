"""The strip programs of others: what they are called, and how they are told to leave a loadable file."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Literal, TypeAlias

from hatch_mlbundle.errors import ProgramError
from hatch_mlbundle.model import Kind
from hatch_mlbundle.programs import Program, find_program, look_for_program

from .elf import read_elf
from .elf_strip import Mode, unknown_sections
from .macho import read_macho
from .macho_signature import Signature
from .reader import Reader

Tool: TypeAlias = Literal["binutils", "llvm", "elfutils"]

_ELF_PROGRAMS: dict[Tool, tuple[str, str]] = {
    "binutils": ("strip", "apt-get install binutils"),
    "llvm": ("llvm-strip", "apt-get install llvm"),
    "elfutils": ("eu-strip", "apt-get install elfutils"),
}
_PE_PROGRAMS = ("llvm-strip", "x86_64-w64-mingw32-strip")
_MACHO_PROGRAMS = ("llvm-strip",)


def elf_program(tool: Tool) -> Program:
    """Return the program that strips ELF files for `strip.tool`; raises MissingProgramError."""
    name, install = _ELF_PROGRAMS[tool]
    return find_program(name, wanted_by=f'strip.tool = "{tool}"', install=install)


def foreign_program(kind: Kind) -> Program | None:
    """Return a program on this machine that strips PE or Mach-O files, or None."""
    if sys.platform == "darwin" and kind is Kind.MACHO:
        return look_for_program("strip")
    return look_for_program(*(_PE_PROGRAMS if kind is Kind.PE else _MACHO_PROGRAMS))


def strip_elf(program: Program, source: Path, target: Path, mode: Mode) -> None:
    """Write a stripped ELF file; raises ProgramError, BinaryError."""
    program.run([*_elf_arguments(program, source, mode), "-o", target, source])
    _finish(source, target)


def strip_pe(program: Program, source: Path, target: Path, mode: Mode) -> None:
    """Write a stripped PE file; raises ProgramError."""
    program.run(["--strip-all" if mode == "all" else "--strip-debug", "-o", target, source])
    _finish(source, target)


def strip_macho(program: Program, source: Path, target: Path, mode: Mode) -> None:
    """Write a stripped Mach-O file; its ad-hoc signature is made anew where there was one. Raises ProgramError, BinaryError."""
    program.run(["-x" if mode == "all" else "-S", "-o", target, source])
    # llvm-strip renews the hashes by itself; Apple's strip leaves that to codesign.
    if sys.platform == "darwin" and program.name == "strip" and _is_signed(source):
        codesign = find_program("codesign", wanted_by="a signed Mach-O file", install="xcode-select --install")
        codesign.run(["--force", "--sign", "-", target])
    _finish(source, target)


def _elf_arguments(program: Program, source: Path, mode: Mode) -> list[str]:
    if mode == "debug":
        return ["--strip-debug"]
    if program.name == "llvm-strip":
        # Its --strip-all takes every section that is not loaded, PyInstaller's `pydata` among them.
        return ["--strip-all-gnu"]
    if program.name == "eu-strip":
        with Reader(source) as reader:
            names = {section.name for section in unknown_sections(read_elf(reader))}
        return [f"--keep-section={name}" for name in sorted(names)]
    return ["--strip-all"]


def _is_signed(source: Path) -> bool:
    with Reader(source) as reader:
        return any(part.signature is not Signature.NONE for part in read_macho(reader))


def _finish(source: Path, target: Path) -> None:
    """Give the result the original's permissions; drop it where it is none or not smaller."""
    if not target.exists():
        return
    if target.stat().st_size == 0:
        target.unlink()
        raise ProgramError(f"{source}: the strip program wrote an empty file")
    shutil.copymode(source, target)
    if target.stat().st_size >= source.stat().st_size:
        target.unlink()

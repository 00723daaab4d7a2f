"""Take symbol tables and debug data out of native libraries, and prove that they load as before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hatch_mlbundle.binaries.elf import Elf, read_elf
from hatch_mlbundle.binaries.elf_check import check_same_program
from hatch_mlbundle.binaries.elf_compact import is_compacted
from hatch_mlbundle.binaries.elf_debug import why_no_debug_file, write_debug_file
from hatch_mlbundle.binaries.elf_strip import Mode, droppable, is_worth_it, plan_strip, why_not, write_stripped
from hatch_mlbundle.binaries.load import Loader, check_still_loads
from hatch_mlbundle.binaries.macho import MH_OBJECT, check_same_macho, read_macho
from hatch_mlbundle.binaries.macho_signature import Signature
from hatch_mlbundle.binaries.pe import check_same_pe, read_pe
from hatch_mlbundle.binaries.reader import Reader
from hatch_mlbundle.binaries.strip_tools import elf_program, foreign_program, strip_elf, strip_macho, strip_pe
from hatch_mlbundle.binaries.upx_tool import is_packed
from hatch_mlbundle.errors import BinaryError, unsound_without_path, without_path
from hatch_mlbundle.model import Bundle, Change, File, Finding, Keep, Kind, Rewrite
from hatch_mlbundle.optimizer import EVERY_KIND, Context, Json, Optimizer, Options, Task, option
from hatch_mlbundle.optimizers.compacted import COMPACTED, report_compacted
from hatch_mlbundle.units import format_size

_FOREIGN = {Kind.PE: "Windows", Kind.MACHO: "macOS"}


@dataclass(frozen=True, kw_only=True)
class StripOptions(Options):
    """What to strip, and with what."""

    tool: Literal["builtin", "binutils", "llvm", "elfutils"] = option(
        "What strips ELF files: our own writer, which moves no loaded byte, or a program on PATH.", default="builtin"
    )
    keep: Literal["nothing", "symbols"] = option(
        "`symbols` leaves the symbol tables, so that profilers and backtraces still name local functions.", default="nothing"
    )
    debug_files: bool = option(
        "Write the debug data of ELF files into separate files, beside the artifact, where gdb finds them by build-id.", default=False
    )
    load_check: bool = option("Load each library that loads on this machine once more after it was stripped.", default=True)

    @property
    def mode(self) -> Mode:
        """What goes, in the words of the writer."""
        return "all" if self.keep == "nothing" else "debug"


class Strip(Optimizer[StripOptions]):
    """Strips ELF, PE and Mach-O files; what is loaded stays byte for byte."""

    name = "strip"
    version = "2"
    artifacts = EVERY_KIND
    options_type = StripOptions

    def __init__(self, options: StripOptions) -> None:
        super().__init__(options)
        self._loader = Loader()
        self._foreign: dict[str, str] = {}

    def programs(self) -> Mapping[str, str]:
        """Return the program that `tool` names, and, once there was a plan, those that it found for PE and Mach-O files.

        These are part of the files' cache keys: most wheels have none of them, and should not wait for a program's version.
        """
        if self.options.tool == "builtin":
            return self._foreign
        program = elf_program(self.options.tool)
        return {program.name: program.version(), **self._foreign}

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        """Yield a Rewrite for each file that something can be taken out of."""
        natives = [file for file in bundle.of_kind(*_EXAMINERS) if context.selects(file.path)]
        facts = context.examine(self.name, natives, lambda file: self._examine(file, context))
        programs = self._foreign_programs(natives, facts, context)
        compacted = self._compacted(natives, facts, context)
        for file in natives:
            fact = facts[file.path]
            if "broken" in fact:
                context.report(Finding(code="MB201", path=file.path, message=f"{fact['broken']}; it stays as it is"))
            elif "keep" in fact:
                yield Keep(path=file.path, reason=fact["keep"])
            elif file.path in compacted:
                yield Keep(path=file.path, reason=COMPACTED)
            elif "gone" in fact and programs.get(file.kind) is not None:
                self._report_lost_debug_data(file, fact, context)
                yield self._rewrite_of(file, fact, programs[file.kind] or "")

    def rewrite(self, task: Task, context: Context) -> None:
        """Write the stripped file, and its debug file where these are asked for."""
        if task.file.kind is Kind.ELF:
            self._rewrite_elf(task)
            return
        program = foreign_program(task.file.kind)
        if program is not None:
            strip = strip_pe if task.file.kind is Kind.PE else strip_macho
            strip(program, task.source, task.target, self.options.mode)

    def check(self, task: Task, context: Context) -> None:
        """Compare what is loaded with the original's, and load it where the original loads."""
        with unsound_without_path(task.source, task.target):
            _CHECKS[task.file.kind](task.source, task.target)
        if self.options.load_check and context.artifact != "image":  # what this machine's C library loads proves nothing there
            check_still_loads(self._loader, task.source, task.target)

    def _examine(self, file: File, context: Context) -> Json:
        """Return what a strip of the file would take out: bytes by what they are under `gone`, or why it stays."""
        path = context.local(file)
        try:
            with Reader(path) as reader:
                return _EXAMINERS[file.kind](reader, self.options.mode)
        except BinaryError as error:
            return {"broken": without_path(error, path)}

    def _foreign_programs(self, files: list[File], facts: Mapping[str, Json], context: Context) -> dict[Kind, str | None]:
        """Return what strips each kind of file here; None where nothing does, which is reported once."""
        programs: dict[Kind, str | None] = {Kind.ELF: ""}
        self._foreign = {}
        for kind, system in _FOREIGN.items():
            waiting = [file for file in files if file.kind is kind and "gone" in facts[file.path]]
            if not waiting:
                continue
            program = foreign_program(kind)
            programs[kind] = f"{program.name} {program.version()}" if program else None
            if program:
                self._foreign[program.name] = program.version()
            else:
                many = f"{len(waiting)} {system} binaries have symbols or debug data, but no program here strips them"
                context.report(Finding(code="MB202", message=f"{many}; install llvm (llvm-strip)"))
        return programs

    def _compacted(self, files: list[File], facts: Mapping[str, Json], context: Context) -> frozenset[str]:
        """Return the libraries that the program that `tool` names would break, which is reported."""
        if self.options.tool == "builtin":
            return frozenset()
        paths = [file.path for file in files if facts[file.path].get("compacted")]
        report_compacted(paths, elf_program(self.options.tool).name, context)
        return frozenset(paths)

    def _report_lost_debug_data(self, file: File, fact: Json, context: Context) -> None:
        if self.options.debug_files and fact.get("no_debug_file"):
            context.report(Finding(code="MB203", path=file.path, message=f"no debug file is written: {fact['no_debug_file']}"))

    def _rewrite_of(self, file: File, fact: Json, program: str) -> Rewrite:
        reason = ", ".join(f"{what} {format_size(size)}" for what, size in fact["gone"].items() if size)
        builtin = file.kind is Kind.ELF and self.options.tool == "builtin"
        return Rewrite(path=file.path, reason=reason, saves=fact["saves"] if builtin else None, key=program)

    def _rewrite_elf(self, task: Task) -> None:
        with Reader(task.source) as reader:
            elf = read_elf(reader)
        if self.options.tool != "builtin":
            strip_elf(elf_program(self.options.tool), task.source, task.target, self.options.mode)
        elif plan := plan_strip(elf, self.options.mode):
            write_stripped(task.source, task.target, plan)
        if self.options.debug_files and why_no_debug_file(elf) is None:
            write_debug_file(task.source, elf, task.companions)


def _examine_elf(reader: Reader, mode: Mode) -> Json:
    if is_packed(reader):  # UPX took everything out, and headers of what it unpacks lead nowhere
        return {}
    elf = read_elf(reader)
    reason = why_not(elf)
    if reason:
        return {"keep": reason} if droppable(elf, mode) else {}
    plan = plan_strip(elf, mode)
    if plan is None or not is_worth_it(plan.saves, elf.size):
        return {}
    gone = {"debug data": plan.debug, "symbol table": plan.symbols, "compiler versions": plan.remarks}
    gone["headers and padding"] = max(0, plan.saves - sum(gone.values()))
    return {"gone": gone, "saves": plan.saves, "no_debug_file": _no_debug_file(elf, plan.debug), "compacted": is_compacted(elf)}


def _no_debug_file(elf: Elf, debug: int) -> str | None:
    return why_no_debug_file(elf) if debug else None


def _examine_pe(reader: Reader, mode: Mode) -> Json:
    pe = read_pe(reader)
    gone = {"debug data": pe.debug, "symbol table": pe.symbols if mode == "all" else 0}
    if not any(gone.values()):
        return {}
    if pe.is_signed:
        return {"keep": "it is signed (Authenticode), and a change would void the signature"}
    if pe.payload:
        return {"keep": f"{pe.payload} bytes of data are appended to it, which their reader may find by offset"}
    return {"gone": gone}


def _examine_macho(reader: Reader, mode: Mode) -> Json:
    slices = read_macho(reader)
    locals_ = sum(part.symbols for part in slices if part.local_symbols) if mode == "all" else 0
    gone = {"debug data": sum(part.debug for part in slices), "symbol table": locals_}
    if not any(gone.values()):
        return {}
    if any(part.type == MH_OBJECT for part in slices):
        return {"keep": "a relocatable object: its symbol table is what a linker goes by"}
    if any(part.signature is Signature.IDENTITY for part in slices):
        return {"keep": "it is signed with an identity, and cannot be signed again here"}
    return {"gone": gone}


_EXAMINERS: Mapping[Kind, Callable[[Reader, Mode], Json]] = {
    Kind.ELF: _examine_elf,
    Kind.PE: _examine_pe,
    Kind.MACHO: _examine_macho,
}
_CHECKS: Mapping[Kind, Callable[[Path, Path], None]] = {
    Kind.ELF: check_same_program,
    Kind.PE: check_same_pe,
    Kind.MACHO: check_same_macho,
}

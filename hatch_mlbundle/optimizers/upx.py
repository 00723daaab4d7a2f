"""Pack ELF libraries and programs with UPX, and prove that they load or start as before."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from hatch_mlbundle.binaries.elf import read_elf
from hatch_mlbundle.binaries.elf_compact import is_compacted
from hatch_mlbundle.binaries.linking import is_executable
from hatch_mlbundle.binaries.load import Loaded, Loader, LoadStatus
from hatch_mlbundle.binaries.reader import Reader
from hatch_mlbundle.binaries.trace import trace
from hatch_mlbundle.binaries.upx_tool import copied_data, find_upx, is_packed, pack, test_packed, why_not
from hatch_mlbundle.errors import BinaryError, KeptError, ProgramError, UnsoundResultError
from hatch_mlbundle.model import Bundle, Change, File, Finding, Keep, Kind, Rewrite
from hatch_mlbundle.optimizer import Context, Json, Optimizer, Options, Risk, Task, option
from hatch_mlbundle.optimizers.compacted import COMPACTED, report_compacted
from hatch_mlbundle.schema import Size

_PROVES_NOTHING = {
    Kind.MACHO: "macOS starts no program whose signature a packer voided, and forbids code that unpacks itself",
    Kind.PE: "Windows libraries cannot be loaded in a process apart here, and nothing else would prove the result",
}


@dataclass(frozen=True, kw_only=True)
class UpxOptions(Options):
    """What to pack, and how hard."""

    method: Literal["nrv", "lzma"] = option(
        "How UPX compresses; most libraries packed with `lzma` crash when they are loaded, and so stay as they are.", default="nrv"
    )
    level: Literal["1", "2", "3", "4", "5", "6", "7", "8", "9", "best"] = option("How hard: 1 is fastest, `best` smallest.", default="9")
    min_size: Size = option("Files smaller than this stay.", default=Size(65536))
    min_saving: int = option("Files that would lose fewer percent of their size stay.", default=10)


class Upx(Optimizer[UpxOptions]):
    """Packs ELF libraries and programs with UPX. Costs memory and time at each start, and gains little in a compressed download."""

    name = "upx"
    version = "2"
    risk: ClassVar[Risk] = "high"
    options_type = UpxOptions

    def __init__(self, options: UpxOptions) -> None:
        super().__init__(options)
        self._loader = Loader()

    def programs(self) -> Mapping[str, str]:
        """Return UPX's version; raises MissingProgramError."""
        return {"upx": find_upx().version()}

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        """Yield a Rewrite for each file that UPX may pack, and a Keep, with its reason, for each that it must not."""
        self._report_foreign(bundle, context)
        natives = [file for _, file in sorted(bundle.items()) if file.kind in (Kind.ELF, Kind.FROZEN)]
        found = context.examine(f"{self.name}: copied", natives, partial(_examine_copied, context=context))
        copied = tuple(sorted({name for names in found.values() for name in names}))
        large = [file for file in natives if file.size >= self.options.min_size and context.selects(file.path)]
        facts = context.examine(f"{self.name}: {copied}", large, partial(_examine, context=context, copied=copied))
        report_compacted([file.path for file in large if facts[file.path] == COMPACTED], "UPX", context)
        for file in large:
            reason = facts[file.path]
            if file.kind is Kind.FROZEN:
                yield Keep(path=file.path, reason="a frozen executable holds its modules in a section that UPX loses")
            elif reason:
                yield Keep(path=file.path, reason=reason)
            else:
                yield Rewrite(path=file.path, reason=f"packed by UPX ({self.options.method})")

    def rewrite(self, task: Task, context: Context) -> None:
        """Write the packed file; raises KeptError where nothing could prove it or it would gain too little, ProgramError."""
        if _is_program(task):
            if _trace_source(task) is None:
                raise KeptError("the program cannot be started here, so that nothing could prove the result")
        elif not _loads(before := self._loader.loads(task.source)):
            status = "loads with symbols missing" if before.lazily else before.status.value
            raise KeptError(f"it cannot be loaded by itself here ({status}), so that nothing could prove the result")
        method = ["--lzma"] if self.options.method == "lzma" else ["--nrv2e"]
        level = "--best" if self.options.level == "best" else f"-{self.options.level}"
        pack(find_upx(), task.source, task.target, [level, *method], self.options.min_saving)

    def check(self, task: Task, context: Context) -> None:
        """Let UPX unpack the result, then load it, or have the linker start it up to its first own instruction."""
        try:
            test_packed(find_upx(), task.target)
        except ProgramError as error:
            raise UnsoundResultError(str(error)) from error
        if _is_program(task):
            if trace(task.target) != _trace_source(task):
                raise UnsoundResultError("packed, it no longer starts with the same libraries")
        elif not _loads(after := self._loader.loads(task.target)):
            raise UnsoundResultError(f"packed, it no longer loads ({after.status.value}): {after.detail.removeprefix(f'{task.target}: ')}")

    def _report_foreign(self, bundle: Bundle, context: Context) -> None:
        for kind, why in _PROVES_NOTHING.items():
            files = [file for file in bundle.of_kind(kind) if file.size >= self.options.min_size and context.selects(file.path)]
            if files and not (kind is Kind.PE and bundle.of_kind(Kind.ELF)):
                context.report(Finding(code="MB411", message=f"{why}: no such file is packed, {files[0].path} for one"))


def _examine_copied(file: File, *, context: Context) -> Json:
    try:
        with Reader(context.local(file)) as reader:
            if not is_packed(reader) and is_executable(reader, elf := read_elf(reader)):
                return sorted(copied_data(reader, elf))
    except BinaryError:
        pass
    return []


def _examine(file: File, *, context: Context, copied: tuple[str, ...]) -> Json:
    try:
        with Reader(context.local(file)) as reader:
            if is_packed(reader):
                return "UPX packed it already"
            elf = read_elf(reader)
            return COMPACTED if is_compacted(elf) else why_not(reader, elf, copied)
    except BinaryError:
        return "its headers cannot be believed"


def _trace_source(task: Task) -> tuple[str, ...] | None:
    """Trace a copy beside the result: the source may be a link, and `$ORIGIN` is the folder of the file that it leads to."""
    copy = task.target.with_name(f"{task.target.name}.source")
    try:
        shutil.copy(task.source, copy)
        return trace(copy)
    finally:
        copy.unlink(missing_ok=True)


def _is_program(task: Task) -> bool:
    with Reader(task.source) as reader:
        return is_executable(reader, read_elf(reader))


def _loads(loaded: Loaded) -> bool:
    return loaded.status is LoadStatus.LOADS and not loaded.lazily

"""Take kernels out of PyTorch that only CPUs below a level run, and prove that nothing else can reach them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from hatch_mlbundle.binaries.cpu_level import Level
from hatch_mlbundle.binaries.dispatch_trial import why_not_chosen
from hatch_mlbundle.binaries.edits import Edit, Literal, Zero
from hatch_mlbundle.binaries.elf import Elf, read_elf
from hatch_mlbundle.binaries.elf_check import check_same_program
from hatch_mlbundle.binaries.elf_compact import CompactionPlan, plan_compaction, why_not_compact
from hatch_mlbundle.binaries.elf_holes import choose_holes
from hatch_mlbundle.binaries.elf_layout import write_outline
from hatch_mlbundle.binaries.load import Loader, check_still_loads
from hatch_mlbundle.binaries.ranges import Range
from hatch_mlbundle.binaries.reader import Reader
from hatch_mlbundle.errors import BinaryError, KeptError, UnsoundResultError, unsound_without_path, without_path
from hatch_mlbundle.libraries import library_versions
from hatch_mlbundle.model import Bundle, Change, Finding, Keep, Kind, Rewrite
from hatch_mlbundle.optimizer import EVERY_KIND, ArtifactKind, Context, Detail, Json, Optimizer, Options, Risk, Task, option
from hatch_mlbundle.units import format_size

if TYPE_CHECKING:
    from hatch_mlbundle.binaries.dispatch_stubs import KernelPruning

_LIBRARY = "libtorch_cpu.so"
_DECODER = "iced-x86"


@dataclass(frozen=True, kw_only=True)
class CpuCodeOptions(Options):
    """Which CPUs the result is for."""

    level: Level = option("The least of the CPUs that the result is for, as the x86-64 psABI names them.", default="x86-64-v3")


class CpuCode(Optimizer[CpuCodeOptions]):
    """Takes kernels out of PyTorch's `libtorch_cpu.so` that only CPUs below a level run; all else is as it was, at the same addresses."""

    name = "cpu_code"
    version = "1"
    risk: ClassVar[Risk] = "high"
    artifacts: ClassVar[tuple[ArtifactKind, ...]] = EVERY_KIND
    options_type = CpuCodeOptions

    def __init__(self, options: CpuCodeOptions) -> None:
        super().__init__(options)
        self._loader = Loader()
        self._facts: dict[str, Json] = {}

    def programs(self) -> Mapping[str, str]:
        """Return the release of what decodes machine code; raises MissingLibraryError."""
        return library_versions(self.name, _DECODER, install="hatch-mlbundle[cpu-code]")

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        """Yield a Rewrite for each library that loses kernels, and a Keep, with its reason, for each other one that has some."""
        found = [file for file in bundle.of_kind(Kind.ELF) if file.path.rpartition("/")[2] == _LIBRARY and context.selects(file.path)]
        facts = context.examine(self.name, found, lambda file: self._examine(context.local(file)))
        odd = _odd_reader(bundle, context) if any("saves" in fact for fact in facts.values()) else None
        for file in found:
            fact = facts[file.path]
            if "broken" in fact:
                context.report(Finding(code="MB451", path=file.path, message=f"{fact['broken']}; it stays as it is"))
            elif "keep" in fact:
                yield Keep(path=file.path, reason=fact["keep"])
            elif "saves" in fact and odd:
                yield Keep(path=file.path, reason=f"{odd!a} gets at its kernels in another way than PyTorch's DispatchStub.h does")
            elif "saves" in fact:
                self._facts[file.sha256] = fact
                yield Rewrite(path=file.path, reason=self._reason(fact), saves=fact["saves"])

    def rewrite(self, task: Task, context: Context) -> Detail:
        """Write the library without those kernels; returns what it needs of a CPU now."""
        reason = why_not_chosen(task.source)
        if reason:
            raise KeptError(reason)
        fact = self._fact_of(task)
        with Reader(task.source) as reader:
            plan = plan_compaction(reader, read_elf(reader), [(start, end) for start, end in fact["pages"]])
        if plan is None:
            raise KeptError("no page of it becomes empty")
        write_outline(task.source, task.target, plan.outline, _edits(fact))
        return {"level": self.options.level, "kernels": fact["kernels"]}

    def check(self, task: Task, context: Context) -> None:
        """Compare what is loaded with the edited original; let it choose among kernels as before, and load it."""
        with unsound_without_path(task.source, task.target):
            check_same_program(task.source, task.target, _edits(self._fact_of(task)))
        check_still_loads(self._loader, task.source, task.target)
        reason = why_not_chosen(task.target)
        if reason:
            raise UnsoundResultError(reason)

    def _fact_of(self, task: Task) -> Json:
        return self._facts.get(task.file.sha256) or self._examine(task.source)

    def _reason(self, fact: Json) -> str:
        size = sum(end - start for start, end in fact["pages"])
        return f"{fact['kernels']} kernels that no CPU of {self.options.level} runs, {format_size(size)}"

    def _examine(self, path: Path) -> Json:
        """Return what goes, and what it saves in bytes: nothing where there are no kernels to choose among."""
        from hatch_mlbundle.binaries.dispatch_stubs import has_stubs, plan_kernels  # most builds need none of it

        try:
            with Reader(path) as reader:
                elf = read_elf(reader)
                if not has_stubs(reader, elf):
                    return {}
                reason = _why_not(reader, elf)
                if reason:
                    return {"keep": reason}
                kernels = plan_kernels(reader, elf, self.options.level)
                pages = choose_holes(elf, kernels.dead)
                plan = plan_compaction(reader, elf, pages)
        except BinaryError as error:
            return {"broken": without_path(error, path)}
        return _fact(kernels, pages, plan) if plan else {}


def _odd_reader(bundle: Bundle, context: Context) -> str | None:
    """Return the path of a library that might use a pointer without asking what chooses, None where there is none."""
    libraries = [file for file in bundle.of_kind(Kind.ELF) if file.path.rpartition("/")[2] != _LIBRARY]
    facts = context.examine("cpu_code: readers", libraries, lambda file: {"odd": _is_odd(context.local(file))})
    return next((path for path, fact in facts.items() if fact["odd"]), None)


def _is_odd(path: Path) -> bool:
    from hatch_mlbundle.binaries.dispatch_stubs import reads_as_pytorch

    try:
        with Reader(path) as reader:
            return not reads_as_pytorch(reader, read_elf(reader))
    except BinaryError:
        return False  # nothing loads it


def _why_not(reader: Reader, elf: Elf) -> str | None:
    from hatch_mlbundle.binaries.x86_64_relocations import EM_X86_64

    if elf.header.machine != EM_X86_64:
        return "it is for other CPUs than x86-64"
    return why_not_compact(reader, elf)


def _fact(kernels: KernelPruning, pages: Sequence[Range], plan: CompactionPlan) -> Json:
    return {
        "kernels": kernels.kernels,
        "saves": plan.saves,
        "pages": [list(page) for page in pages],
        "literals": [[edit.target, edit.data.hex()] for edit in kernels.edits if isinstance(edit, Literal)],
        "zeros": [[edit.target, edit.size] for edit in kernels.edits if isinstance(edit, Zero)],
    }


def _edits(fact: Json) -> list[Edit]:
    """Return what a fact says as edits: pages that go read as zero, and what is between them stays as it is."""
    literals = [Literal(target, bytes.fromhex(data)) for target, data in fact["literals"]]
    return [*literals, *(Zero(target, size) for target, size in fact["zeros"]), *(Zero(start, end - start) for start, end in fact["pages"])]

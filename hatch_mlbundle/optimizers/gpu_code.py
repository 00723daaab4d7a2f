"""Take GPU code that no target can use out of shared libraries, and prove what is left."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

from hatch_mlbundle.binaries.elf import read_elf, read_tables
from hatch_mlbundle.binaries.elf_check import check_same_program
from hatch_mlbundle.binaries.elf_compact import why_not_compact
from hatch_mlbundle.binaries.elf_strip import is_worth_it
from hatch_mlbundle.binaries.fatbin import SECTIONS
from hatch_mlbundle.binaries.fatbin_pruning import Share
from hatch_mlbundle.binaries.gpu_licences import is_nvidias, licence_of
from hatch_mlbundle.binaries.gpu_targets import Ptx, Target
from hatch_mlbundle.binaries.library_pruning import LibraryPruning, Wanted, check_kept_code, plan_pruning, write_pruned
from hatch_mlbundle.binaries.load import Loader, check_still_loads
from hatch_mlbundle.binaries.pe import read_pe
from hatch_mlbundle.binaries.reader import Reader
from hatch_mlbundle.errors import BinaryError, ConfigurationError, KeptError, UnsoundResultError, unsound_without_path, without_path
from hatch_mlbundle.globs import matcher
from hatch_mlbundle.model import Bundle, Change, File, Finding, Keep, Kind, Rewrite
from hatch_mlbundle.optimizer import EVERY_KIND, ArtifactKind, Context, Detail, Json, Optimizer, Options, Risk, Task, option
from hatch_mlbundle.schema import Glob
from hatch_mlbundle.units import format_size

_PE_SECTIONS = frozenset(name[:8] for name in SECTIONS)
_MOST_NAMES = 6
_EULA = "NVIDIA's licence forbids to modify its libraries"
_UNKNOWN = "whether its licence allows to distribute it changed is not known here"


@dataclass(frozen=True, kw_only=True)
class GpuCodeOptions(Options):
    """Which GPUs the result is for, and what may be changed for it."""

    targets: tuple[str, ...] = option(
        'The GPUs to keep code for, by compute capability: `["8.0", "9.0"]`, one or more (docs/gpu-code.md has a table).', default=()
    )
    ptx: Ptx = option(
        "Which PTX stays, the code that the driver compiles for a GPU: what a target needs, having no newer code; that, and the newest for "
        "GPUs to come; all; none.",
        default="when-needed",
    )
    libraries: tuple[Glob, ...] = option(
        "Globs of libraries to change beside those whose licence is known to allow it (docs/gpu-code.md): you answer for theirs.",
        default=(),
    )


class GpuCode(Optimizer[GpuCodeOptions]):
    """Takes GPU code that no target can use out of shared libraries; what stays is byte for byte as it was, at the same addresses."""

    name = "gpu_code"
    version = "1"
    risk: ClassVar[Risk] = "high"
    artifacts: ClassVar[tuple[ArtifactKind, ...]] = EVERY_KIND
    options_type = GpuCodeOptions

    def __init__(self, options: GpuCodeOptions) -> None:
        super().__init__(options)
        self._loader = Loader(at_once=1)

    def inputs(self, project: object) -> Mapping[str, str]:
        """Return nothing; raises ConfigurationError as `wanted_of` does."""
        wanted_of(self.options)
        return {}

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        """Yield a Rewrite for each library that loses code, and a Keep, with its reason, for each other one that could."""
        self.inputs(None)
        natives = _and_neighbours(bundle.of_kind(Kind.ELF, Kind.PE), context)
        facts = context.examine(self.name, natives, lambda file: self._examine(file, context))
        libraries = [file for file in natives if facts[file.path]]
        helpless = self._report_unserved(libraries, facts, context)
        named = self._named(libraries, context)
        rewritten = []
        for file in (each for each in libraries if context.selects(each.path)):
            fact = facts[file.path]
            if "broken" in fact:
                context.report(Finding(code="MB434", path=file.path, message=f"{fact['broken']}; it stays as it is"))
            elif reason := self._why_stays(file, fact, helpless, named):
                yield Keep(path=file.path, reason=reason)
            elif "saves" in fact:
                self._report_bereft(file, fact, context)
                rewritten.append(file)
                yield Rewrite(path=file.path, reason=_gone(fact), saves=fact["saves"], key=self._key)
        self._report_licences([file for file in rewritten if not _is_licensed(file, facts[file.path])], context)

    def rewrite(self, task: Task, context: Context) -> Detail:
        """Write the library without the code that goes; returns what went and what stayed of it."""
        with Reader(task.source) as reader:
            planned = plan_pruning(reader, read_elf(reader), self._wanted)
        if planned is None or planned.compaction is None:
            raise KeptError("no page of it becomes empty")
        write_pruned(task.source, task.target, planned)
        return {"targets": [str(target) for target in self._wanted.targets], "ptx": self.options.ptx, **_told(planned)}

    def check(self, task: Task, context: Context) -> None:
        """Compare what is loaded with the edited original, and the code with what was to be kept; load it where the original loads."""
        with Reader(task.source) as reader:
            planned = plan_pruning(reader, read_elf(reader), self._wanted)
        if planned is None:
            raise UnsoundResultError("it has no GPU code to take out")
        with unsound_without_path(task.source, task.target):
            check_same_program(task.source, task.target, planned.pruning.edits)
            check_kept_code(task.source, task.target, self._wanted)
        if context.artifact != "image":  # what this machine's C library loads proves nothing there
            check_still_loads(self._loader, task.source, task.target)

    @property
    def _wanted(self) -> Wanted:
        return wanted_of(self.options)

    @property
    def _key(self) -> str:
        return " ".join([*map(str, self._wanted.targets), f"ptx={self.options.ptx}"])

    def _examine(self, file: File, context: Context) -> Json:
        """Return what is to be told of a library, and nothing where it has no GPU code.

        `served`: the targets that have code in it; `left`: those that still do; `saves`: bytes, where pages become empty; or `keep`, why
        they cannot go.
        """
        path = context.local(file)
        with Reader(path) as reader:
            if not _has_gpu_code(reader, file.kind):
                return {}
            if file.kind is Kind.PE:
                return {"keep": "a Windows library: nothing here takes ranges out of one", "served": None}
            try:
                elf = read_elf(reader)
                planned = plan_pruning(reader, elf, self._wanted)
                reason = why_not_compact(reader, elf)
            except BinaryError as error:
                return {"broken": without_path(error, path)}
        if planned is None:
            return {}
        served, left = ([str(target) for target in sorted(targets)] for targets in (planned.served, planned.left))
        fact: dict[str, Json] = {"served": served, "left": left, "needed": list(elf.needed)}
        if not planned.pruning.edits:
            return fact
        if reason:
            return {**fact, **_told(planned), "keep": reason}
        saves = planned.compaction.saves if planned.compaction else 0
        if not is_worth_it(saves, elf.size):
            return fact
        bereft = {str(target): count for target, count in planned.pruning.bereft.items()}
        return {**fact, **_told(planned), "saves": saves, "bereft": bereft}

    def _why_stays(self, file: File, fact: Json, helpless: frozenset[str], named: frozenset[str]) -> str | None:
        """Return why a library stays that could lose code, or None."""
        reason: str | None = fact.get("keep")
        if "dropped" not in fact:
            return reason
        if file.owner in helpless:
            return f"{_gone(fact)}: it stays, for nothing of it would be left for the targets"
        if not _is_licensed(file, fact) and file.path not in named:
            why = _EULA if is_nvidias(file.path, file.owner) else _UNKNOWN
            return f"{_gone(fact)}: it stays, for {why}; name it in `libraries` if you may"
        return f"{_gone(fact)}: it stays, {reason}" if reason else None

    def _report_unserved(self, libraries: Sequence[File], facts: Mapping[str, Json], context: Context) -> frozenset[str]:
        """Report the targets for which all libraries of a distribution have no code; return the distributions left without any.

        Some have libraries for one sort of GPU each: it is enough that one of them serves a target, even one that is left alone.
        """
        owned: dict[str, list[File]] = defaultdict(list)
        for file in libraries:
            if facts[file.path].get("served") is not None:
                owned[file.owner].append(file)
        helpless = set()
        for owner, files in owned.items():
            served = {target for file in files for target in facts[file.path]["served"]}
            missing = [str(target) for target in self._wanted.targets if str(target) not in served]
            if missing:
                largest = max(files, key=lambda file: (file.size, file.path))
                message = f"{owner} has no code for GPUs of compute capability {' and '.join(missing)}: it will not run on them"
                context.report(Finding(code="MB433", path=largest.path, message=message))
            if not any(facts[file.path]["left"] for file in files):
                helpless.add(owner)
        return frozenset(helpless)

    def _named(self, libraries: Sequence[File], context: Context) -> frozenset[str]:
        """Return the libraries that `libraries` names; report each glob that matches none that has GPU code of its own."""
        for glob in self.options.libraries:
            matches = matcher([glob.removeprefix("!")])
            if not any(matches(file.path) for file in libraries):
                message = f"the glob {glob!r} in `libraries` matches no library with GPU code of its own; correct it, or take it out"
                context.report(Finding(code="MB303", message=message))
        matches = matcher(self.options.libraries)
        return frozenset(file.path for file in libraries if matches(file.path))

    def _report_bereft(self, file: File, fact: Json, context: Context) -> None:
        for target, count in fact["bereft"].items():
            message = f'{count} of its fat binaries have only PTX for {target}; with `ptx = "none"` they are left without code for it'
            context.report(Finding(code="MB435", path=file.path, message=message))

    def _report_licences(self, files: Sequence[File], context: Context) -> None:
        """Report once for each distribution that libraries change for which nobody but the user answers."""
        owned: dict[str, list[File]] = defaultdict(list)
        for file in files:
            owned[file.owner].append(file)
        for owner, theirs in owned.items():
            many = f"{len(theirs)} libraries" if len(theirs) > 1 else "a library"
            why = _EULA if is_nvidias(theirs[0].path, owner) else _UNKNOWN
            message = f"`libraries` has {many} of {owner} changed: {why}"
            context.report(Finding(code="MB432", path=theirs[0].path, message=message))


def wanted_of(options: GpuCodeOptions) -> Wanted:
    """Return the GPUs that code is kept for; raises ConfigurationError where `targets` names none, or something else than GPUs."""
    table = f"tool.mlbundle.{GpuCode.name}.targets"
    faults = [] if options.targets else [f'{table}: must name the GPUs to keep code for, like ["8.0", "9.0"]']
    targets = set()
    for number, text in enumerate(options.targets):
        try:
            targets.add(Target.parse(text))
        except ValueError as error:
            faults.append(f"{table}[{number}]: {error}")
    if faults:
        raise ConfigurationError(faults)
    return Wanted(targets=tuple(sorted(targets)), ptx=options.ptx)


def _and_neighbours(files: Sequence[File], context: Context) -> list[File]:
    """Return the files that may change, and those of the same distributions, which may serve where they do not: no others are read."""
    owners = {file.owner for file in files if context.selects(file.path)}
    return [file for file in files if file.owner in owners]


def _is_licensed(file: File, fact: Json) -> bool:
    return licence_of(file.path, fact["needed"]) is not None


def _has_gpu_code(reader: Reader, kind: Kind) -> bool:
    """Say whether a binary has sections for GPU code; broken headers are other steps' to report."""
    try:
        if kind is Kind.PE:
            return any(section.name in _PE_SECTIONS and section.size for section in read_pe(reader).sections)
        return any(section.name in SECTIONS and section.filesz for section in read_tables(reader).sections)
    except BinaryError:
        return False


def _told(planned: LibraryPruning) -> dict[str, Json]:
    """Return what stays and what goes, in bytes by nvcc's names for such code, and the GPUs that lose some."""
    pruning = planned.pruning
    return {"kept": _sizes(pruning.kept), "dropped": _sizes(pruning.dropped), "lost": [asdict(span) for span in planned.lost]}


def _sizes(shares: Mapping[str, Share]) -> dict[str, int]:
    return {name: share.size for name, share in shares.items()}


def _gone(fact: Json) -> str:
    """Return what goes, the largest first: `GPU code 783 MB (sm_100, sm_120, 4 more)`."""
    dropped = sorted(fact["dropped"].items(), key=lambda item: (-item[1], item[0]))
    return f"GPU code {format_size(sum(size for _, size in dropped))} ({', '.join(_few(name for name, _ in dropped))})"


def _few(names: Iterable[str]) -> Iterator[str]:
    listed = list(names)
    yield from listed[:_MOST_NAMES]
    if len(listed) > _MOST_NAMES:
        yield f"{len(listed) - _MOST_NAMES} more"

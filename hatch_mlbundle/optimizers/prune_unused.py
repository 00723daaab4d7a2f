"""Drop what no traced run of the application used, but for what the keep rules name and what any of that needs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import ClassVar, Literal, TypeAlias

from hatch_mlbundle.bundles.scripts import entry_scripts, python_release
from hatch_mlbundle.canonical import sha256_of_file
from hatch_mlbundle.errors import ProfileError
from hatch_mlbundle.frozenmodules import FrozenModules, archive_of
from hatch_mlbundle.globs import matcher
from hatch_mlbundle.importpaths import ImportPaths, is_in_pyz, module_of
from hatch_mlbundle.keeprules import Place, catalogue_folder, is_standard, place_of, rule_for
from hatch_mlbundle.model import Bundle, Change, Drop, Finding, Keep, Kind, Rewrite
from hatch_mlbundle.modulesets.model import is_below
from hatch_mlbundle.optimizer import Context, Optimizer, Options, Risk, Task, option
from hatch_mlbundle.optimizers.staying import Staying
from hatch_mlbundle.profile import FILE_NAME, Profile, load_profile
from hatch_mlbundle.profilematch import ProfileMatch
from hatch_mlbundle.schema import Glob
from hatch_mlbundle.unmarshal import unmarshaller

StandardLibrary: TypeAlias = Literal["keep", "prune"]
"""What becomes of modules of Python's standard library that no run used."""


@dataclass(frozen=True, kw_only=True)
class PruneUnusedOptions(Options):
    """Which runs count, and what stays all the same."""

    profile: tuple[str, ...] = option(
        "Profiles, relative to the project, that `mlbundle trace` recorded; what is used in any of them stays.", default=(FILE_NAME,)
    )
    keep: tuple[Glob, ...] = option(
        "What stays although no run used it: globs (as in .gitignore) of files, or dotted names of modules, each with all below it.",
        default=(),
    )
    empty_sources: bool = option(
        "Whether a source that the runs only asked for, whether it is there, becomes an empty file, where its module is in an executable.",
        default=True,
    )
    standard_library: StandardLibrary = option(
        "`keep` leaves Python's standard library whole, as what handles an error may need any of it; `prune` treats it as the rest.",
        default="keep",
    )


class PruneUnused(Optimizer[PruneUnusedOptions]):
    """Drops files and modules that no traced run used; certificates, time zones, licences, error handling and the like stay."""

    name = "prune_unused"
    version = "1"
    risk: ClassVar[Risk] = "medium"
    options_type = PruneUnusedOptions
    _profile = Profile()

    def inputs(self, project: Path) -> Mapping[str, str]:
        """Read the profiles; raises ProfileError where there is none, or one that cannot be read."""
        if not self.options.profile:
            raise ProfileError(f"[tool.mlbundle.{self.name}]: `profile` names no file; name one that `mlbundle trace` recorded")
        paths = {name: project / name for name in self.options.profile}
        self._profile = reduce(Profile.united, map(load_profile, paths.values()), Profile())
        return {name: sha256_of_file(path) for name, path in paths.items()}

    def remedy(self, path: str, module: str | None) -> str:
        """Say what to add to `keep`."""
        missed = module or f"/{path}"
        return f'add "{missed}" to `keep` in [tool.mlbundle.{self.name}], or trace a run that needs it (mlbundle trace)'

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        """Yield a Drop for every file that no run used, or a Keep with the reason why it stays, in the order of the paths."""
        match = ProfileMatch(self._profile, bundle)
        if match.foreign:
            context.report(Finding(code="MB613", message=_foreign(match)))
            return
        _report_differences(match, context)
        unused = sorted(path for path in bundle if match.is_unused(path) and context.selects(path))
        asked = {path for path in bundle if match.is_asked(path)}
        kept = self._kept_by_rules(bundle, match, unused, context)
        with unmarshaller(python_release(bundle)) as quick:
            staying = Staying(bundle, unused, asked, entry_scripts(bundle), context, quick)
            for path, reason in kept.items():
                staying.keep(path, reason)
            staying.follow()
        for path, problem in sorted(staying.unread.items()):
            if path in staying.kept and bundle[path].kind is Kind.BYTECODE:
                message = f"stays, but cannot be read ({problem}): nothing tells what it imports; name that in `keep`"
                context.report(Finding(code="MB616", path=path, message=message))
        for path in unused:
            why = staying.kept.get(path)
            yield Keep(path=path, reason=why) if why else Drop(path=path, reason="no traced run used it")
        if self.options.empty_sources:
            yield from self._emptied(bundle, asked, context)

    def rewrite(self, task: Task, context: Context) -> None:
        """Write an empty file."""
        task.target.write_bytes(b"")

    def _emptied(self, bundle: Bundle, asked: Collection[str], context: Context) -> Iterator[Change]:
        """Yield a Rewrite for each source that no run read and whose module is loaded from an executable.

        Whoever reads it all the same hears from `inspect` that there is no source, as if the file were gone.
        """
        modules, named = ImportPaths(bundle), self._named(bundle, None)
        for path in sorted(asked):
            file, module = bundle[path], module_of(path)
            is_spare = file.kind is Kind.PYTHON and module and any(map(is_in_pyz, modules.provided_by(module)))
            if is_spare and file.size and path not in named:
                yield Rewrite(path=path, reason="the runs only asked whether it is there; the module is in the executable", saves=file.size)

    def _kept_by_rules(self, bundle: Bundle, match: ProfileMatch, unused: list[str], context: Context) -> dict[str, str]:
        """Return why files stay although no run used them, by path: the first rule that holds."""
        modules = FrozenModules(bundle)
        places = {path: place_of(bundle[path], modules) for path in unused}
        named = self._named(bundle, context)
        idle = _idle_executables(modules, match, context)
        folders = {folder for path in bundle if match.is_used(path) and (folder := catalogue_folder(path))}
        kept: dict[str, str] = {}
        for path, place in places.items():
            if path in named:
                kept[path] = "the configuration keeps it"
            elif rule := rule_for(place):
                kept[path] = rule.why
            elif archive_of(path) in idle:
                kept[path] = "no traced run started its executable"
            elif catalogue_folder(path) in folders:
                kept[path] = "translations: which are needed depends on the user's language"
            elif self._is_kept_standard(place):
                kept[path] = "standard library, which what handles an error may need"
        return kept

    def _is_kept_standard(self, place: Place) -> bool:
        return self.options.standard_library == "keep" and is_standard(place)

    def _named(self, bundle: Bundle, context: Context | None) -> set[str]:
        """Return the files that `keep` names; report each of its entries that names none (MB614)."""
        modules = ImportPaths(bundle)
        names = {path: modules.name(path) for path in bundle if module_of(path)}
        named: set[str] = set()
        for entry in self.options.keep:
            matches = matcher([entry])
            found = {path for path in bundle if matches(path) or is_below(names.get(path, ""), (entry,))}
            named |= found
            if not found and context:
                message = f"{entry!r} in `keep` is neither a file of the bundle nor a module; correct it, or take it out"
                context.report(Finding(code="MB614", message=message))
        return named


def _idle_executables(modules: FrozenModules, match: ProfileMatch, context: Context) -> set[str]:
    """Return the archives of which no run used a module: their executables were never started (MB615)."""
    used: dict[str, bool] = defaultdict(bool)
    known: dict[str, bool] = defaultdict(bool)
    for paths in modules.files.values():
        for path in paths:
            if archive := archive_of(path):
                used[archive] |= match.is_used(path)
                known[archive] |= match.is_unused(path)
    idle = {archive for archive in modules.archives if known[archive] and not used[archive]}
    for archive in sorted(idle):
        message = "no traced run started this executable: its modules stay, but files that only it needs may go; trace it, too"
        context.report(Finding(code="MB615", path=archive.rstrip("/"), message=message))
    return idle


def _report_differences(match: ProfileMatch, context: Context) -> None:
    if match.unknown:
        message = f"{_files(match.unknown)} not in the profile: trace again; until then they stay"
        context.report(Finding(code="MB611", message=message))
    if match.missing:
        message = (
            f"{_files(match.missing)} used by traced runs but not there: another step drops them, or the profile is of another version"
        )
        context.report(Finding(code="MB612", message=f"{message}; trace what the other steps leave"))


def _foreign(match: ProfileMatch) -> str:
    unfit = f"{len(match.unknown):,} files of the bundle are not in it, {len(match.missing):,} files that it lists as used are not there"
    return f"the profile is of another application ({unfit}): nothing is left out; trace this one"


def _files(paths: tuple[str, ...]) -> str:
    return f"1 file ({paths[0]}) is" if len(paths) == 1 else f"{len(paths):,} files (first: {paths[0]}) are"

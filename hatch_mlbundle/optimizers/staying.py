"""Find which of the files that are to go something that stays cannot do without: import-time needs, linked libraries, links, plug-ins."""

from __future__ import annotations

import configparser
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from posixpath import basename

from hatch_mlbundle.binaries.linking import Linking, examine_linking
from hatch_mlbundle.entrypoints import entry_points
from hatch_mlbundle.importpaths import ImportPaths, is_compiled, is_in_pyz, module_of
from hatch_mlbundle.importtime import Needs, examine_needs
from hatch_mlbundle.links import resolve
from hatch_mlbundle.model import Bundle, File, Kind
from hatch_mlbundle.optimizer import Context, Json
from hatch_mlbundle.pysource import examine_names
from hatch_mlbundle.unmarshal import Unmarshaller

_STARTED = frozenset({"console_scripts", "gui_scripts"})
"""Groups of entry points that are programs; those of others are plug-ins, which code finds under the group's name."""
_FOREIGN = (Kind.PE, Kind.MACHO)
_CODE = (Kind.PYTHON, Kind.BYTECODE)


class Staying:
    """What stays of the files that are to go (`going`): `kept` says why, by path; `unread` are modules whose needs nobody can tell.

    `asked` stay as they are, but nothing stays for their sake: the runs did not load them. `scripts` are bytecode files that executables
    run, and that are no part of the bundle; `quick` may help to read bytecode.
    """

    def __init__(
        self,
        bundle: Bundle,
        going: Collection[str],
        asked: Collection[str],
        scripts: Sequence[File],
        context: Context,
        quick: Unmarshaller | None = None,
    ) -> None:
        self.kept: dict[str, str] = {}
        self.unread: dict[str, str] = {}
        self._bundle, self._going, self._scripts, self._context = bundle, frozenset(going), scripts, context
        self._idle = self._going | frozenset(asked)
        self._modules = ImportPaths(bundle)
        self._examine = partial(examine_needs, quick=quick)
        self._fresh: list[str] = []
        self._plugins: set[str] = set()

    def keep(self, path: str, reason: str) -> None:
        """Keep a file with the packages that it lies in; the first reason stands."""
        if path not in self._going or path in self.kept:
            return
        self.kept[path] = reason
        self._fresh.append(path)
        if module_of(path):
            for package in _loaded(self._modules.packages_above(path)):
                self.keep(package, f"package of {self._modules.name(path)}, which stays")

    def follow(self) -> None:
        """Keep what all that stays needs, and what that needs in its turn."""
        self._keep_foreign_libraries()
        self._find_plugins()
        self._linking = self._read_linking()
        self._providers = self._find_providers()
        self._follow_modules(self._scripts)
        fresh = [path for path in self._bundle if path not in self._idle] + self._fresh
        while fresh:
            self._fresh = []
            self._follow_links()
            self._follow_libraries(fresh)
            self._follow_modules([self._bundle[path] for path in sorted(fresh)])
            self._follow_compiled([path for path in fresh if path in self.kept])
            fresh = self._fresh

    def _keep_foreign_libraries(self) -> None:
        for file in self._bundle.of_kind(*_FOREIGN):
            if not is_compiled(file.path):
                self.keep(file.path, "nothing here reads which library of Windows or macOS needs which")

    def _stays(self, path: str) -> bool:
        return path not in self._going or path in self.kept

    def _follow_links(self) -> None:
        """A link and what it leads to stay together: the loader asks for the one name, the system tells of the other."""
        for link in self._bundle.of_kind(Kind.LINK):
            target = resolve(self._bundle, link.path)
            if target is None or self._stays(target.path):
                self.keep(link.path, "leads to what stays")
            elif self._stays(link.path):
                self.keep(target.path, f"the link {link.path} leads to it")

    def _read_linking(self) -> dict[str, Linking]:
        elves = self._bundle.of_kind(Kind.ELF)
        if not any(file.path in self._going for file in elves):
            return {}
        facts = self._context.examine("linking", elves, lambda file: examine_linking(self._context.local(file)))
        return {path: Linking.from_json(fact) for path, fact in facts.items() if fact is not None}

    def _find_providers(self) -> dict[str, list[str]]:
        providers: defaultdict[str, list[str]] = defaultdict(list)
        for path, each in self._linking.items():
            for name in {basename(path), each.soname or basename(path)}:
                providers[name].append(path)
        for link in self._bundle.of_kind(Kind.LINK):
            target = resolve(self._bundle, link.path)
            if target is not None:
                providers[basename(link.path)].append(target.path)
        return providers

    def _follow_libraries(self, paths: Iterable[str]) -> None:
        for path in sorted(paths):
            for name in self._linking[path].needed if path in self._linking else ():
                for provider in self._providers.get(basename(name), ()):
                    self.keep(provider, f"{path} is linked with it")

    def _follow_modules(self, files: Iterable[File]) -> None:
        code = [file for file in files if file.kind in _CODE and not self._is_shadowed(file)]
        if not any(module_of(path) for path in self._going) or not code:
            return
        for path, facts in self._context.examine("needs", code, self._examine).items():
            needs = Needs.from_json(facts)
            if needs.error:
                self.unread[path] = needs.error
            for level, module, names in (*needs.first, *(needs.later if path in self._plugins else ())):
                for target in self._targets(path, level, module, names):
                    self.keep(target, f"{self._modules.name(path)} imports it")

    def _is_shadowed(self, file: File) -> bool:
        """Python runs the bytecode in an executable, not the source that lies beside it."""
        if file.kind is not Kind.PYTHON:
            return False
        return any(map(is_in_pyz, self._modules.provided_by(module_of(file.path) or "")))

    def _targets(self, path: str, level: int, module: str, names: Sequence[str]) -> Iterator[str]:
        for dotted in (module, *(f"{module}.{name}".lstrip(".") for name in names)):
            yield from _loaded(self._modules.find_beside(path, level, dotted) if level else self._modules.find(dotted))

    def _follow_compiled(self, paths: Iterable[str]) -> None:
        """What a compiled module that no run loaded imports stands in it as strings; of one that was loaded, the run saw that."""
        files = [self._bundle[path] for path in sorted(paths) if is_compiled(path)]
        words = sorted({self._modules.name(path).rpartition(".")[2] for path in self._going if module_of(path)}) if files else []
        for path, found in self._context.examine(f"names:{words}", files, partial(examine_names, words=words)).items() if words else ():
            for name in found:
                for target in _loaded(self._modules.find(name)):
                    self.keep(target, f"{path} holds its name")

    def _find_plugins(self) -> None:
        """Keep what entry points name where code that was used mentions their group: which of them it loads may depend on its input."""
        named = self._entry_points()
        used = [file for path, file in self._bundle.items() if file.kind in _CODE and path not in self._idle]
        groups = tuple(sorted(named))
        facts = self._context.examine(f"groups:{groups}", [*self._scripts, *used], partial(_groups_in, groups=groups)) if groups else {}
        for path, found in sorted(facts.items()):
            for group in found:
                for target in named.pop(group, ()):
                    self.keep(target, f"entry point of {group!r}, a group that {path} mentions")
                    self._plugins.add(target)

    def _entry_points(self) -> dict[str, list[str]]:
        """Return which of the files that are to go provide the entry points of each group."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        for file in self._bundle.values():
            if basename(file.path) == "entry_points.txt":
                with suppress(configparser.Error):
                    for group, _, module in entry_points(file):
                        found[group] += [path for path in _loaded(self._modules.find(module)) if path in self._going]
        return {group: paths for group, paths in found.items() if paths and group not in _STARTED}


def _loaded(paths: Iterable[str]) -> list[str]:
    """Return which of the files that provide a module Python loads: what is in an executable comes first."""
    found = list(paths)
    return [path for path in found if is_in_pyz(path)] or found


def _groups_in(file: File, *, groups: Sequence[str]) -> Json:
    code = file.read()
    return [group for group in groups if group.encode() in code]

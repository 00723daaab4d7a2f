"""Report native libraries that nothing in a bundle needs, names or composes the name of; leave them out when asked to."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from posixpath import basename, dirname
from typing import ClassVar

from hatch_mlbundle.binaries.linking import Linking, examine_linking
from hatch_mlbundle.bundles.scripts import scripts_in
from hatch_mlbundle.importpaths import ImportPaths
from hatch_mlbundle.librarynames import Wanted, names_in, names_in_code, wanted_for
from hatch_mlbundle.links import resolve
from hatch_mlbundle.model import Bundle, Change, Drop, File, Finding, Kind
from hatch_mlbundle.optimizer import Context, Json, Optimizer, Options, Risk, option
from hatch_mlbundle.units import format_size

_PLACES = re.compile(r"lib|lib64|.*\.libs")
"""Names of folders whose libraries are found by the linker or by name. Those in other folders may be plug-ins, found by listing."""
_OPENED_UNNAMED = re.compile(r"(?:libpython|libgcc_s|libnss_|ld-).*")
"""What the bootloader and the C library open by themselves."""
_CODE = (Kind.PYTHON, Kind.BYTECODE, Kind.FROZEN)
_NATIVE = (Kind.ELF, Kind.PE, Kind.MACHO)
_DATA = (Kind.DATA, Kind.OTHER)


@dataclass(frozen=True, kw_only=True)
class UnusedLibrariesOptions(Options):
    """Whether to do more than report."""

    remove: bool = option("Leave the libraries out; otherwise they are reported only.", default=False)


class UnusedLibraries(Optimizer[UnusedLibrariesOptions]):
    """Reports ELF libraries that no program, extension module or needed library needs and no file names; can leave them out."""

    name = "unused_libraries"
    version = "1"
    risk: ClassVar[Risk] = "medium"
    artifacts = ("folder", "frozen")
    options_type = UnusedLibrariesOptions

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        """Yield a Drop for each unused library and each link to it where `remove` is set, largest first; else report them."""
        elves = bundle.of_kind(Kind.ELF, Kind.FROZEN)
        facts = context.examine(f"{self.name}: linking", elves, lambda file: examine_linking(context.local(file)))
        linking = {path: Linking.from_json(fact) for path, fact in facts.items() if fact is not None}
        graph = _Graph(bundle, linking)
        suspects = [path for path in graph.unreached() if context.selects(path)]
        if suspects:
            self._follow_names(bundle, graph, suspects, context)
        unused = sorted(set(graph.unreached()) & {*suspects}, key=lambda path: (-bundle[path].size, path))
        if self.options.remove:
            for path in unused:
                yield from (Drop(path=each, reason="no file that stays needs or names it") for each in (path, *graph.links_to(path)))
        elif unused:
            self._report([bundle[path] for path in unused], context)

    def _follow_names(self, bundle: Bundle, graph: _Graph, suspects: Sequence[str], context: Context) -> None:
        """Reach the libraries that some file names: as a whole, without prefix and suffix, or by composing names in their package."""
        wanted = {path: wanted_for(graph.names_of(path)) for path in suspects}
        parts = tuple(sorted({part for each in wanted.values() for part in each.parts}))
        bares = tuple(sorted({each.bare for each in wanted.values() if each.bare}))
        files = [file for file in bundle.values() if file.kind in (*_CODE, *_NATIVE) or _is_data(file)]
        facts = context.examine(f"{self.name}: {parts} {bares}", files, partial(_examine_names, parts=parts, bares=bares))
        tops = _Packages(bundle)
        for path in suspects:
            copies = {other for other in suspects if bundle[other].sha256 == bundle[path].sha256}
            if any(other not in copies and _names(fact, wanted[path], other, path, tops) for other, fact in facts.items()):
                graph.reach(path)

    def _report(self, files: Sequence[File], context: Context) -> None:
        listed = ", ".join(f"{file.path} ({format_size(file.size)})" for file in files)
        message = (
            f"nothing needs or names {listed}; try the application without: "
            f"`remove = true` in [tool.mlbundle.{self.name}] leaves out all but what its `exclude` names"
        )
        context.report(Finding(code="MB421", message=message))


class _Graph:
    """Which libraries are reached: from programs, extension modules and plug-ins along what each needs, by file name and SONAME."""

    def __init__(self, bundle: Bundle, linking: Mapping[str, Linking]) -> None:
        self._linking = linking
        self._links: defaultdict[str, list[str]] = defaultdict(list)
        for file in bundle.of_kind(Kind.LINK):
            target = resolve(bundle, file.path)
            if target is not None:
                self._links[target.path].append(file.path)
        self._providers: defaultdict[str, list[str]] = defaultdict(list)
        for path in linking:
            for name in self.names_of(path):
                self._providers[name].append(path)
        modules = ImportPaths(bundle)
        self._reached: set[str] = set()
        for path, each in sorted(linking.items()):
            if each.executable or each.extension or not self._is_found_by_name(path, modules):
                self.reach(path)

    def names_of(self, path: str) -> list[str]:
        """Return the names by which a library can be asked for: its file's, its links', its SONAME."""
        soname = self._linking[path].soname
        return sorted({basename(path), *map(basename, self._links[path]), *([soname] if soname else [])})

    def links_to(self, path: str) -> list[str]:
        """Return the links that lead to a library."""
        return sorted(self._links[path])

    def reach(self, path: str) -> None:
        """Take a library for used, and what it needs."""
        waiting = [path]
        while waiting:
            path = waiting.pop()
            if path not in self._reached:
                self._reached.add(path)
                waiting += [other for name in self._linking[path].needed for other in self._providers[basename(name)]]

    def unreached(self) -> Iterator[str]:
        """Yield the libraries that were not reached, sorted."""
        return (path for path in sorted(self._linking) if path not in self._reached)

    def _is_found_by_name(self, path: str, modules: ImportPaths) -> bool:
        folder = dirname(path)
        place = folder in modules.roots or _PLACES.fullmatch(basename(folder)) is not None
        return place and ".so" in basename(path) and _OPENED_UNNAMED.fullmatch(basename(path)) is None


class _Packages:
    """Tells which package a file belongs to: `numpy.libs` is numpy's."""

    def __init__(self, bundle: Bundle) -> None:
        self._modules = ImportPaths(bundle)

    def same(self, one: str, other: str) -> bool:
        """Say whether two files belong to one package."""
        first, second = (self._modules.top_level(path).removesuffix(".libs").removesuffix(".py") for path in (one, other))
        return first == second


def _names(fact: Json, wanted: Wanted, other: str, path: str, packages: _Packages) -> bool:
    if set(wanted.parts) & set(fact["names"]) or wanted.bare in fact["bares"]:
        return True
    return bool(fact["composes"]) and packages.same(other, path)


def _is_data(file: File) -> bool:
    """Say whether a file may tell a program what to open; lists of installed files name every library."""
    return file.kind in _DATA or basename(file.path) == "entry_points.txt"


def _examine_names(file: File, *, parts: Sequence[str], bares: Sequence[str]) -> Json:
    if file.kind is Kind.FROZEN:
        code = b"".join(script.read() for script in scripts_in(file))
        return names_in_code(code, parts, bares, compiled=True)
    if file.kind in _CODE:
        return names_in_code(file.read(), parts, bares, compiled=file.kind is Kind.BYTECODE)
    return {"names": names_in(file.content, parts), "bares": [], "composes": False}

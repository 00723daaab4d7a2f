"""Find which of some watched files the rest of a bundle imports or opens, and what those need in their turn."""

from __future__ import annotations

import configparser
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from posixpath import basename, dirname, join, normpath

from .bytecode import examine_bytecode
from .entrypoints import entry_points
from .importpaths import ImportPaths, companion_of, installed, module_of
from .model import Bundle, File, Kind
from .optimizer import Context, Json
from .pysource import Import, Literal, References, examine_names, examine_references

_NATIVE = (Kind.ELF, Kind.PE, Kind.MACHO)
_DOTTED = re.compile(r"\.*[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")


class Usage:
    """What the watched files are used for.

    `kept` says, by path, who needs it; `unread` which modules seem to need some but could not be parsed, and why. `folders` are
    the watched folders, as installed paths: naming one of them whole, as test runners do, uses none of its files. A reference
    outside the watched files counts if it holds one of `words`, in any case; inside one that is kept all count, since it need
    not name its own folder.
    """

    def __init__(self, bundle: Bundle, modules: ImportPaths, watched: Iterable[str], folders: Iterable[str], words: Sequence[str]) -> None:
        self.kept: dict[str, str] = {}
        self.unread: dict[str, str] = {}
        self._bundle, self._modules, self._words = bundle, modules, tuple(words)
        self._watched = frozenset(watched)
        self._folders = frozenset(folders)
        self._by_installed = {installed(path): path for path in sorted(self._watched)}
        self._inside: dict[str, list[str]] = defaultdict(list)
        self._by_basename: dict[str, list[str]] = defaultdict(list)
        self._index()
        self._fresh: list[str] = []
        self._using: set[str] = set()

    def _index(self) -> None:
        self._companions: dict[str, list[str]] = defaultdict(list)
        for place, path in self._by_installed.items():
            folder = dirname(place)
            while any(folder == top or folder.startswith(top + "/") for top in self._folders):
                self._inside[folder].append(path)
                folder = dirname(folder)
            if not self._inside.get(dirname(place)):
                self._by_basename[basename(place)].append(path)
            if module := companion_of(path):
                self._companions[module].append(path)

    def trace(self, context: Context, kept: Mapping[str, str], scripts: Sequence[File] = ()) -> None:
        """Follow every reference from outside the watched files, and from `kept` (by path, with the reasons).

        `scripts` are bytecode files that an executable runs, and that are no part of the bundle.
        """
        for path, reason in sorted(kept.items()):
            self.keep(path, reason)
        others = [file for path, file in sorted(self._bundle.items()) if path not in self._watched]
        self._follow_entry_points(others)
        self._follow_links(others)
        self._follow_native(context, others)
        self._follow_python(context, [*scripts, *(file for file in others if self._is_python(file))], self._words)
        while self._fresh:
            fresh, self._fresh = sorted(self._fresh), []
            self._follow_python(context, [self._bundle[path] for path in fresh if self._is_python(self._bundle[path])], ())

    def _is_python(self, file: File) -> bool:
        return is_source(file) or _is_sourceless(file, self._modules)

    def keep(self, path: str, reason: str) -> None:
        """Keep a watched file, with the packages it lies in, its type stub and its bytecode; the first reason stands."""
        if path not in self._watched or path in self.kept:
            return
        self.kept[path] = reason
        self._fresh.append(path)
        module = module_of(path)
        if module is None:
            return
        for package in self._modules.packages_above(path):
            self.keep(package, f"package of {self._modules.name(path)}, which stays")
        for companion in self._companions.get(module, ()):
            self.keep(companion, f"goes with {path}, which stays")

    def _follow_entry_points(self, files: Iterable[File]) -> None:
        for file in files:
            if basename(file.path) != "entry_points.txt":
                continue
            try:
                for _, name, module in entry_points(file):
                    for path in self._modules.find(module):
                        self.keep(path, f"{file.path} names it: the entry point {name!r}")
            except configparser.Error as error:
                self.unread[file.path] = str(error).splitlines()[0]

    def _follow_links(self, files: Iterable[File]) -> None:
        for file in files:
            if file.link is None:
                continue
            target = normpath(join(dirname(installed(file.path)), file.link)).lstrip("/")  # from the root, as in links.py
            for path in [self._by_installed.get(target, ""), *self._inside.get(target, ())]:
                self.keep(path, f"the link {file.path} points to it")

    def _follow_native(self, context: Context, files: Iterable[File]) -> None:
        """Compiled modules hold the names they import as strings; libraries that auditwheel put aside import nothing."""
        native = [file for file in files if file.kind in _NATIVE and ".libs/" not in file.path]
        for path, names in context.examine(f"names:{self._words}", native, partial(examine_names, words=self._words)).items():
            for name in names:
                for found in self._modules.find(name) or self._modules.find(name.rpartition(".")[0] or "-"):
                    self.keep(found, f"{path} holds the name {name}")

    def _follow_python(self, context: Context, files: Sequence[File], words: Sequence[str]) -> None:
        facts = context.examine(f"references:{tuple(words)}", files, partial(_examine, words=tuple(words)))
        for file in files:
            references = References.from_json(facts[file.path])
            known = len(self.kept)
            for each in references.imports:
                self._follow_import(file.path, each)
            self._using = set()
            for literal in sorted(references.literals, key=lambda literal: literal.use == "file"):
                self._follow_name(file.path, literal, guess=references.error is not None)
                self._follow_path(file.path, literal)
            if references.error and len(self.kept) > known:
                self.unread[file.path] = references.error

    def _follow_import(self, path: str, each: Import) -> None:
        for dotted in (each.module, *(f"{each.module}.{name}".lstrip(".") for name in each.names)):
            found = self._modules.find_beside(path, each.level, dotted) if each.level else self._modules.find(dotted)
            for target in found:
                self.keep(target, f"{_where(path, each)} imports {self._modules.name(target)}")

    def _follow_name(self, path: str, literal: Literal, *, guess: bool) -> None:
        """A string may name a module: whole, relative to its own package, or with a head that is known only at run time."""
        text = literal.text.split(":", 1)[0]
        if literal.use == "file":
            return
        if text.startswith("*."):
            targets = self._named_like(path, text)
        elif _DOTTED.fullmatch(text):
            targets = self._named(path, text, guess=guess)
        else:
            return
        for target in targets:
            self.keep(target, f"{_where(path, literal)} names {self._modules.name(target)}")
            if literal.use == "package":
                self._keep_data(dirname(installed(target)), f"{_where(path, literal)} reads data of {self._modules.name(target)}")
        folder = join(self._modules.root_of(path), text.replace(".", "/"))
        if literal.use == "package" and folder in self._inside:
            self._keep_data(folder, f"{_where(path, literal)} reads data of {text}")

    def _named(self, path: str, text: str, *, guess: bool) -> list[str]:
        level = len(text) - len(text.lstrip("."))
        if level:
            return list(self._modules.find_beside(path, level, text.lstrip(".")))
        found = [*self._modules.find(text), *self._modules.find(text.rpartition(".")[0] or "-")]
        if "." in text or guess or basename(path) == "__init__.py":
            found += self._modules.find_beside(path, 1, text)
        return found

    def _named_like(self, path: str, text: str) -> list[str]:
        tail, top = text[1:], self._modules.top_level(path)
        if "*" in tail.rpartition(".")[2]:
            return []
        return [
            target
            for target in self._by_installed.values()
            if module_of(target) and self._modules.top_level(target) == top and fnmatchcase("." + self._modules.name(target), "*" + tail)
        ]

    def _follow_path(self, path: str, literal: Literal) -> None:
        fragment = re.sub(r"^(\*/|\./|/)+", "", literal.text)
        reason = f"{_where(path, literal)} names {literal.text!r}"
        if not fragment.strip("*./"):
            return
        if "*" in fragment and "/" not in fragment and literal.use != "file":
            return
        for base in self._bases(path, literal.use):
            if self._keep_at(normpath(join(base, fragment)), literal.use, reason):
                return
        for target in self._by_basename.get(basename(fragment), ()):
            if self._modules.top_level(target) == self._modules.top_level(path):
                self.keep(target, reason)

    def _bases(self, path: str, use: str) -> Iterator[str]:
        """The folders that a relative path may start from: the module's own, each one above it, and those it named before."""
        folder, root = dirname(installed(path)), self._modules.root_of(path)
        yield from sorted(self._using)
        if use == "file":
            return
        while len(folder) > len(root):
            yield folder
            folder = dirname(folder)
        yield root

    def _keep_at(self, place: str, use: str, reason: str) -> bool:
        if "*" in place:
            matching = [path for known, path in self._by_installed.items() if fnmatchcase(known, place) and not module_of(path)]
        elif place in self._by_installed:
            matching = [self._by_installed[place]]
        elif place in self._folders:
            self._using.update([place] if use in ("path", "part") else [])
            matching = self._data_only(place) if use == "path" or basename(place) not in _COMMON_WORDS else []
        else:
            matching = [path for path in self._inside.get(place, ()) if not module_of(path)]
        for path in matching:
            self.keep(path, reason)
        return bool(matching)

    def _data_only(self, folder: str) -> list[str]:
        """Return what a folder holds that has no modules: whoever names it may go through it by names that nobody can see."""
        inside = list(self._inside.get(folder, ()))
        return [] if any(module_of(path) for path in inside) else inside

    def _keep_data(self, folder: str, reason: str) -> None:
        for path in self._inside.get(folder, ()):
            if module_of(path) is None and companion_of(path) is None:
                self.keep(path, reason)


_COMMON_WORDS = frozenset({"test", "tests"})
"""Names of folders that, standing alone in a string, mostly mean something else."""


def _examine(file: File, *, words: Sequence[str]) -> Json:
    return examine_bytecode(file, words=words) if file.kind is Kind.BYTECODE else examine_references(file, words=words)


def is_source(file: File) -> bool:
    """Say whether a file is Python source: by its name, or a script of a wheel by its first line."""
    if file.kind is Kind.PYTHON:
        return True
    if ".data/scripts/" not in file.path or file.size > 1 << 20:
        return False
    return re.match(rb"#!.*python", file.read()) is not None


def _is_sourceless(file: File, modules: ImportPaths) -> bool:
    if file.kind is not Kind.BYTECODE:
        return False
    module = module_of(file.path) or companion_of(file.path)
    return module is not None and not any(path.endswith((".py", ".pyw")) for path in modules.provided_by(module))


def _where(path: str, reference: Import | Literal) -> str:
    scope = f" (in {reference.scope})" if reference.scope else ""
    return f"{path}:{reference.line}{scope}" if reference.line else path

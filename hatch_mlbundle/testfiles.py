"""Tell which files of a bundle look like tests, by where they lie and how they are called."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from posixpath import basename, dirname

from .importpaths import ImportPaths, companion_of, installed, is_compiled, module_of
from .model import Bundle, File, Kind

FOLDERS = ("tests", "test", "_tests", "testdata", "test_data", "test-data")
"""Names of folders that hold tests."""
FILES = ("test_*.py", "*_test.py", "conftest.py")
"""Globs of the names of test modules."""
COMPILED = ("_test*", "_*_test", "_*_tests", "_ctest*", "_cytest*")
"""Globs of the names, without suffix, of compiled test modules outside test folders."""
PROGRAMS = ("test_*", "*_test", "*Test")
"""Globs of the names, without `.exe`, of native test programs."""

_WORD = re.compile(r"(?:^|[^a-z])tests?(?:[^a-z]|$)")
_TESTING_NAME = re.compile(r"_*(?:py|unit|doc)?tests?[a-z_]*|[a-z_]*tests?")
_SPLIT = re.compile(r"(?:train|val|valid|dev)(?:[^a-z].*|ing|idation)?")
_LICENCE = re.compile(r"(?:licen[cs]e|copying|copyright|notice|authors|patents)(?:[^a-z].*)?", re.IGNORECASE)
_LIBRARY = re.compile(r"\.(?:so|dylib|pyd|dll|a|o)(?:\.|$)")
_API = frozenset({"testing", "_testing"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A file that looks like a test: `what` says what it is, `folder` is the test folder above it, as an installed path."""

    what: str
    folder: str | None = None
    compiled: bool = False


@dataclass(slots=True)
class Suspects:
    """The files that look like tests, the modules among them to be read for tests of their own, and what was spared, with the reason."""

    candidates: dict[str, Candidate] = field(default_factory=dict)
    unsure: list[str] = field(default_factory=list)
    spared: dict[str, str] = field(default_factory=dict)


def is_licence(path: str) -> bool:
    """Say whether a file's name is one under which licences and notices go."""
    return _LICENCE.fullmatch(basename(path)) is not None


def find_suspects(
    bundle: Bundle,
    modules: ImportPaths,
    folders: Sequence[str],
    files: Sequence[str],
    compiled: Sequence[str],
    programs: Sequence[str] = (),
) -> Suspects:
    """Return what looks like a test: all of a test folder, and by the globs `files`, `compiled` and `programs` what lies elsewhere."""
    return _Search(bundle, modules, folders, files, compiled, programs).run()


class _Search:
    def __init__(
        self,
        bundle: Bundle,
        modules: ImportPaths,
        folders: Sequence[str],
        files: Sequence[str],
        compiled: Sequence[str],
        programs: Sequence[str],
    ) -> None:
        self.bundle, self.modules, self.folders, self.files, self.compiled = bundle, modules, frozenset(folders), files, compiled
        self.programs = programs
        self.suspects = Suspects()
        self.usable = [file for path, file in sorted(bundle.items()) if not _is_untouchable(file)]
        self.subfolders: dict[str, set[str]] = defaultdict(set)
        for file in self.usable:
            parts = installed(file.path).split("/")
            for depth in range(1, len(parts)):
                self.subfolders["/".join(parts[: depth - 1])].add(parts[depth - 1])

    def run(self) -> Suspects:
        by_folder: dict[str, list[File]] = defaultdict(list)
        for file in self.usable:
            if self._is_for_testing(file.path):
                continue
            folder = self._test_folder(installed(file.path))
            if folder is not None:
                by_folder[folder].append(file)
            else:
                self._take_by_name(file)
        for folder, members in by_folder.items():
            self._take_folder(folder, members)
        self._spare_unseen()
        return self.suspects

    def _is_for_testing(self, path: str) -> bool:
        """A distribution whose purpose is testing (pytest, testtools, or `tests` itself when it is called so) stays whole."""
        top = basename(self.modules.top_level(path)).lower()
        if top in self.folders:
            return self.bundle[path].owner.lower() == top and top in self._distributions(path)
        return _TESTING_NAME.fullmatch(top) is not None

    def _distributions(self, path: str) -> set[str]:
        root = self.modules.root_of(path)
        return {m[1].lower() for folder in self._metadata() if dirname(folder) == root and (m := re.match(r"([^-]+)-", basename(folder)))}

    def _metadata(self) -> set[str]:
        return {dirname(path) for path in self.bundle if dirname(path).endswith((".dist-info", ".egg-info"))}

    def _test_folder(self, path: str) -> str | None:
        root = self.modules.root_of(path)
        parts = dirname(path).split("/")
        for depth in range(len(root.split("/")) if root else 0, len(parts)):
            if parts[depth] in self.folders:
                return "/".join(parts[: depth + 1])
        return None

    def _take_by_name(self, file: File) -> None:
        """Outside test folders a name is a hint alone; a folder `testing` is an API for the tests of others."""
        path = installed(file.path)
        if _API & set(dirname(path).split("/")):
            return
        name = basename(path)
        module = module_of(path) or companion_of(path)
        stem = basename(module) if module else ""
        if is_compiled(path) and any(fnmatchcase(stem, glob) for glob in self.compiled):
            what = f"compiled test module {self.modules.name(path)}"
            self.suspects.candidates[file.path] = Candidate(what=what, compiled=True)
        elif self._is_test_program(file):
            self.suspects.candidates[file.path] = Candidate(what=f"test program {name}")
        elif file.kind is Kind.PYTHON and any(fnmatchcase(name, glob) for glob in self.files):
            self.suspects.candidates[file.path] = Candidate(what=f"test module {self.modules.name(path)}, outside a test folder")
            if name != "conftest.py":
                self.suspects.unsure.append(file.path)

    def _is_test_program(self, file: File) -> bool:
        """Programs lie in packages; what stands at a root, or among the scripts of a wheel, a user starts."""
        path = installed(file.path)
        native = file.kind in (Kind.ELF, Kind.PE, Kind.MACHO) and _LIBRARY.search(path) is None
        inside = dirname(path) != self.modules.root_of(path) and ".data/" not in path
        return native and inside and any(fnmatchcase(basename(path).removesuffix(".exe"), glob) for glob in self.programs)

    def _take_folder(self, folder: str, members: list[File]) -> None:
        why_not = self._why_no_test_folder(folder, members)
        for file in members:
            if why_not:
                self.suspects.spared[file.path] = why_not
            elif file.path not in self.suspects.candidates:
                self.suspects.candidates[file.path] = Candidate(what=self._describe(file, folder), folder=folder)

    def _why_no_test_folder(self, folder: str, members: list[File]) -> str | None:
        name = basename(folder)
        code = [file for file in members if module_of(file.path) and (file.size or not basename(file.path).startswith("__init__."))]
        if code:
            named = any(self._is_test_name(file.path) for file in code)
            return None if named else f"folder {name!r} holds no test module: it may be part of the package's API"
        if "include" in folder.split("/"):
            return f"folder {name!r} lies among headers, which may include one another"
        if any(_SPLIT.fullmatch(sibling.lower()) for sibling in self.subfolders[dirname(folder)]):
            return f"folder {name!r} lies beside training data: it may be a split of a data set"
        if name == "test" and 2 * sum(bool(_WORD.search(basename(file.path).lower())) for file in members) < len(members):
            return f"folder {name!r} holds no module, and few of its files are called tests: it may be data"
        return None

    def _is_test_name(self, path: str) -> bool:
        name = basename(path)
        name = name[:-1] if name.endswith(".pyc") else name
        return any(fnmatchcase(name, glob) for glob in self.files) or re.fullmatch(r"tests?\.py", name) is not None

    def _describe(self, file: File, folder: str) -> str:
        package = self.modules.name(folder + "/_").rpartition(".")[0] or basename(folder)
        what = "test module" if module_of(file.path) or companion_of(file.path) else "test data"
        return f"{what} of {package} (folder {basename(folder)!r})"

    def _spare_unseen(self) -> None:
        """Where a package's own modules cannot be read (frozen into an archive), nothing tells what they use."""
        kept = self.suspects.candidates
        code = [file.path for file in self.usable if file.kind is Kind.PYTHON or (file.kind is Kind.BYTECODE and module_of(file.path))]
        tops = {self.modules.top_level(path) for path in code if path not in kept}
        for path in list(kept):
            top = self.modules.top_level(path)
            if top not in tops and basename(top) not in self.folders and top != installed(path):
                del kept[path]
                self.suspects.spared[path] = f"the modules of {basename(top)} are not in sight, so nothing tells whether they use it"


def _is_untouchable(file: File) -> bool:
    parts = file.path.split("/")
    in_metadata = any(part.endswith((".dist-info", ".egg-info")) for part in parts[:-1])
    return file.kind is Kind.METADATA or in_metadata or parts[-1] == "py.typed"

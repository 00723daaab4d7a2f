"""A frozen executable: its modules as files of a bundle, and the same executable with other modules or entries."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from posixpath import join
from typing import TYPE_CHECKING

from hatch_mlbundle.errors import ArtifactError
from hatch_mlbundle.importpaths import PYZ as PYZ_SUFFIX
from hatch_mlbundle.model import Content, File, Kind, MemoryContent

from .carchive import PYZ, SCRIPT, CArchive, Entry, find_carchive, write_cookie, write_table
from .joined import InflatedContent, JoinedContent, RangeContent, sha256_of
from .pyz import NAMESPACE, Pyz, PyzModule, pieces, read_pyz, without
from .shared_file import SharedFile

if TYPE_CHECKING:
    from concurrent.futures import Executor

_LARGEST_MODULE = 1 << 28
"""Bytes of code that no module has."""
_BOOTSTRAP = "pyiboot01_bootstrap"
"""The script of PyInstaller's after which modules can be imported; the bootloader runs scripts in the order of the table."""
_MAGICS = (b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
"""What executables begin with: of Linux, of Windows, of macOS for one processor and for several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Executable:
    """An executable, open for reading, at `path` in its bundle.

    `changed` holds, by their paths in the bundle, the modules that are stored otherwise when it is rebuilt (pyz.stored_code).
    """

    path: str
    file: SharedFile
    archive: CArchive
    pyz: Pyz | None
    changed: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def modules(self) -> list[PyzModule]:
        """The modules that have code."""
        return [module for module in (self.pyz.modules if self.pyz else ()) if module.type != NAMESPACE]

    def path_of(self, module: PyzModule) -> str:
        """Return the path of a module in the bundle."""
        return join(self._module_folder, module.path)

    def paths(self) -> dict[str, PyzModule]:
        """Return the modules that have code by their paths in the bundle."""
        folder = self._module_folder
        return {f"{folder}/{module.path}": module for module in self.modules}

    @property
    def _module_folder(self) -> str:
        folder = "" if self.archive.is_one_file else self.archive.contents_folder
        return join(folder, f"{self.path}{PYZ_SUFFIX}")

    def code_of(self, module: PyzModule) -> InflatedContent:
        """Return a module's code, as marshal wrote it."""
        return InflatedContent(self.file, module.offset, module.stored, _LARGEST_MODULE)

    def files(self, pool: Executor, hashes: Sequence[str] | None = None) -> list[File]:
        """Return the modules as files of the bundle; `hashes` are those of an earlier call, `pool` unpacks and hashes them else."""
        modules = self.modules
        hashes = hashes or list(pool.map(lambda module: sha256_of(self.code_of(module)), modules))
        return [self._file(module, sha256) for module, sha256 in zip(modules, hashes, strict=True)]

    def module_sizes(self) -> Iterator[tuple[str, int, str]]:
        """Yield of each module that has code its path in the bundle, its compressed bytes and its owner."""
        for module in self.modules:
            yield self.path_of(module), module.stored, _owner(module)

    def rebuilt(
        self, modules: Collection[str], members: Iterable[tuple[Entry, Content]] = (), scripts: Iterable[tuple[str, bytes]] = ()
    ) -> JoinedContent:
        """Return the executable with its modules at these paths of the bundle alone, and with `members` and `scripts` besides.

        A script is a name and marshalled code (script_code.py): it runs in `__main__` before run-time hooks and the application's
        own scripts, once modules can be imported. The members' offsets are not looked at. `housing.why_not` must be None.
        """
        entries = [(entry, self._content(entry, modules)) for entry in self.archive.entries]
        first = 1 + max((place for place, (entry, _) in enumerate(entries) if entry.name == _BOOTSTRAP), default=-1)
        return self._rehoused([*entries[:first], *(_script(*each) for each in scripts), *entries[first:], *members])

    def _file(self, module: PyzModule, sha256: str) -> File:
        return File(
            path=self.path_of(module),
            size=module.stored,
            sha256=sha256,
            mode=0o644,
            kind=Kind.BYTECODE,
            owner=_owner(module),
            content=self.code_of(module),
        )

    def _content(self, entry: Entry, paths: Collection[str]) -> Content:
        if entry.type != PYZ or self.pyz is None:
            return RangeContent(self.file, entry.offset, entry.stored)
        gone = {module.path for path, module in self.paths().items() if path not in paths}
        if not gone and not self.changed:
            return RangeContent(self.file, entry.offset, entry.stored)
        changed = {module.path: self.changed[path] for path, module in self.paths().items() if path in self.changed}
        found, size = pieces(self.pyz, without(self.pyz.modules, gone), changed)
        return JoinedContent([MemoryContent(each) if isinstance(each, bytes) else RangeContent(self.file, *each) for each in found], size)

    def _rehoused(self, members: Iterable[tuple[Entry, Content]]) -> JoinedContent:
        start = at = self.archive.start
        entries, contents = [], []
        for entry, content in members:
            stored = content.size if isinstance(content, JoinedContent) else entry.stored
            entries.append(replace(entry, offset=at, stored=stored, size=entry.size if entry.compressed else stored))
            contents.append(content)
            at += stored
        table = write_table(entries, start)
        cookie = write_cookie(self.archive, at - start, len(table))
        package = [*contents, MemoryContent(table + cookie)]
        from .housing import rehouse  # reading needs none of it, and it costs as much time as a small folder

        return rehouse(self.file, self.archive, package, at - start + len(table) + len(cookie))


def _owner(module: PyzModule) -> str:
    return module.name.partition(".")[0]


def _script(name: str, code: bytes) -> tuple[Entry, Content]:
    return Entry(name=name, type=SCRIPT, offset=0, stored=len(code), size=len(code), compressed=False), MemoryContent(code)


def find_executable(file: SharedFile, path: str) -> Executable | None:
    """Return what PyInstaller made at `path` of a bundle, None for any other file; raises ArtifactError where it is damaged."""
    archive = find_carchive(file)
    if archive is None:
        return None
    archives = [entry for entry in archive.entries if entry.type == PYZ]
    if len(archives) > 1:
        raise file.fault("has several PYZ archives, of which PyInstaller makes one")
    return Executable(path=path, file=file, archive=archive, pyz=read_pyz(file, archives[0]) if archives else None)


@contextmanager
def open_executables(folder: Path) -> Iterator[dict[str, Executable]]:
    """Give the executables of a one-folder bundle, by name, open for reading: none where the folder is no such bundle."""
    with ExitStack() as stack:
        found: dict[str, Executable] = {}
        for path in _files(folder):
            if _head(path).startswith(_MAGICS):
                file = stack.enter_context(closing(SharedFile(path)))
                executable = find_executable(file, path.name)
                if executable and not executable.archive.is_one_file and (folder / executable.archive.contents_folder).is_dir():
                    found[path.name] = executable
        yield found


def is_frozen(path: Path) -> bool:
    """Say whether this is a one-folder bundle or a one-file executable of PyInstaller's; a damaged one is, too."""
    try:
        if not path.is_dir():
            with closing(SharedFile(path)) as file:
                return find_carchive(file) is not None
        with open_executables(path) as found:
            return bool(found)
    except ArtifactError:
        return True
    except OSError:  # no folder, or not to be read
        return False


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.is_symlink() and path.is_file())
    except OSError as error:
        raise ArtifactError(str(folder), f"cannot be read: {error.strerror}") from error


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(4)
    except OSError:  # whoever reads the whole folder says so better
        return b""

"""The tables of contents (TOC) of a PyInstaller spec file as a bundle: what is to be collected, before it is collected."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from posixpath import dirname
from typing import TypeAlias

from hatch_mlbundle.bundles.artifact import Side, Written
from hatch_mlbundle.bundles.atomic_folder import replace_folder
from hatch_mlbundle.bundles.compressor import Compressor
from hatch_mlbundle.bundles.folder import plain_side
from hatch_mlbundle.bundles.frozen_owner import check_names, frozen_owner
from hatch_mlbundle.bundles.joined import examined
from hatch_mlbundle.bundles.loader import LOADER, is_loadable, loader_source, modules_in, needs_loader
from hatch_mlbundle.bundles.machine_script import MACHINE_SCRIPT, machine_script
from hatch_mlbundle.bundles.member_names import name_fault
from hatch_mlbundle.bundles.model_script import MODEL_SCRIPT, is_descriptor, model_script
from hatch_mlbundle.bundles.script_code import compiled
from hatch_mlbundle.errors import ArtifactError, MlbundleError
from hatch_mlbundle.identify import identify
from hatch_mlbundle.importpaths import PYZ, SCRIPTS, is_in_pyz
from hatch_mlbundle.model import Add, Bundle, Change, Content, DiskContent, Drop, File, Keep, Kind, MemoryContent
from hatch_mlbundle.optimizer import ArtifactKind

Entry: TypeAlias = tuple[str, str, str]
"""A row of a table: name in the bundle, source (a file; for SYMLINK the target), type (PyInstaller's `building/datastruct.py`)."""

_LEVEL = 6
"""What PyInstaller compresses modules with (`ZlibArchiveWriter`)."""
_NAMESPACE = (None, "", "-")
_LINK = "SYMLINK"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """The tables of one Analysis; they are changed in place.

    `name` is the executable's, `files` are `binaries` and `datas`, `pure` has the modules, and `code` returns one's as marshal
    writes it, None for one that PyInstaller leaves out. `scripts` are what the executable runs: name and code. `fixed` are names of
    files that PyInstaller takes from elsewhere, whatever the tables say: they are no part of the bundle. `run` is the table of the
    scripts, for one more.
    """

    name: str
    files: Sequence[list[Entry]]
    pure: list[Entry]
    code: Callable[[Entry], bytes | None]
    scripts: Sequence[tuple[str, bytes]] = ()
    fixed: frozenset[str] = frozenset()
    run: list[Entry] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Code:
    """A module's code, made when it is asked for: all modules at once would fill the memory."""

    entry: Entry
    make: Callable[[Entry], bytes | None] = field(repr=False, compare=False)

    def chunks(self) -> Iterator[bytes]:
        yield self.make(self.entry) or b""

    def local_path(self) -> Path | None:
        return None


class TablesArtifact:
    """The tables of one spec file, open as an artifact. `pool` hashes what they name.

    `tells` says that the executables are to say, when they start, which machines they have no code for.
    """

    kind: ArtifactKind = "frozen"

    def __init__(self, tables: Sequence[Tables], pool: Executor, *, tells: bool = True) -> None:
        self._tells = tells
        self._tables = tables
        self._pool = pool
        self._scanned = Bundle()
        self._sources: dict[str, str] = {}

    def scan(self) -> Side:
        """Return the files, and the modules with the bytes they will take; raises ArtifactError where one cannot be read."""
        entries: dict[str, Entry] = {}
        for row in (row for tables in self._tables for table in tables.files for row in table):
            entries.setdefault(_posix(row[0]), row)
        for path in {_posix(name) for tables in self._tables for name in tables.fixed} & set(entries):
            del entries[path]
        _check_paths(entries)
        modules = {
            _module_path(tables.name, entry): (tables, entry)
            for tables in self._tables
            for entry in tables.pure
            if entry[1] not in _NAMESPACE
        }
        files = self._pool.map(_file, entries, entries.values())
        code = self._pool.map(_module, modules, modules.values())
        scripts = [_script(tables.name, name, script) for tables in self._tables for name, script in tables.scripts]
        self._scanned = Bundle([*files, *(file for file in code if file), *scripts])
        self._sources = {path: entry[1] for path, entry in entries.items()}
        return plain_side(self._scanned)

    def refuses(self, change: Change) -> str | None:
        """Refuse to change a script, and a module in any way but to leave it out."""
        if isinstance(change, Add) and needs_loader(change.path):
            return self._why_no_loader(change.path)
        if dirname(change.path).endswith(SCRIPTS) and not isinstance(change, Keep):
            return "it is what the executable runs"
        if is_in_pyz(change.path) and not isinstance(change, Drop | Keep):
            return "a module in an executable can only be dropped"
        return None

    def _why_no_loader(self, path: str) -> str | None:
        """Return why the executable cannot be given what loads a packed file at this path, or None."""
        try:
            for tables in self._tables:
                _loader(self._scanned, [path], tables)
        except MlbundleError as error:
            return str(error)
        return None

    def on_disk(self, bundle: Bundle) -> None:
        """Return None: PyInstaller has still to make the executable."""

    @contextmanager
    def rewriting(self, bundle: Bundle, target: Path, compressor: Compressor) -> Iterator[Written]:
        """Put the files that changed into the folder `target`, and, when the body ends without an error, change the tables."""
        changed = {path: file for path, file in bundle.items() if file != self._scanned.get(path) and file.link is None}
        with replace_folder(target) as partial:
            partial.mkdir()
            for file in changed.values():
                _write(file, partial / file.path)
            loaders = list(self._loaders(bundle, partial))
            yield Written(side=plain_side(bundle), path=partial)
        self._change(bundle, {path: str(target / path) for path in changed})
        for tables, name in loaders:
            tables.run.insert(0, (Path(name).stem, str(target / name), "PYSOURCE"))

    def _loaders(self, bundle: Bundle, folder: Path) -> Iterator[tuple[Tables, str]]:
        """Write what loads packed weights, where there are new ones, what finds models outside, and what tells of machines without code:
        scripts for the tables.
        """
        packed = [path for path in bundle if is_loadable(path)]
        new = [path for path in packed if path not in self._scanned]
        for tables in self._tables if new else ():
            try:
                source = _loader(bundle, packed, tables)
            except MlbundleError:
                if any(map(needs_loader, new)):
                    raise
                continue
            yield tables, _write_script(source, f"{tables.name}.scripts/{LOADER}.py", folder)
        for tables in self._tables if any(is_descriptor(path, "") for path in bundle) else ():
            source = model_script(modules_in(bundle, "", tables.name), compiled)
            yield tables, _write_script(source, f"{tables.name}.scripts/{MODEL_SCRIPT}.py", folder)
        for tables in self._tables if self._tells else ():
            telling = machine_script(bundle, "", tables.name, compiled)
            if telling:
                yield tables, _write_script(telling, f"{tables.name}.scripts/{MACHINE_SCRIPT}.py", folder)

    def _change(self, bundle: Bundle, sources: Mapping[str, str]) -> None:
        known: set[str] = set()
        for tables in self._tables:
            tables.pure[:] = [row for row in tables.pure if row[1] in _NAMESPACE or _module_path(tables.name, row) in bundle]
            for table in tables.files:
                known.update(_posix(row[0]) for row in table)
                table[:] = [self._changed(row, bundle, sources) for row in table if row[0] in tables.fixed or _posix(row[0]) in bundle]
        self._tables[0].files[-1].extend((path, source, "DATA") for path, source in sources.items() if path not in known)

    def _changed(self, row: Entry, bundle: Bundle, sources: Mapping[str, str]) -> Entry:
        """Return a row with what became of its file; another file of the same name, of another Analysis, was not looked at."""
        name, source, kind = row
        path = _posix(name)
        if source != self._sources.get(path):
            return row
        file = bundle[path]
        if file.link is not None:
            return (name, file.link, _LINK)
        return (name, sources.get(path, source), kind)


def _write_script(source: str, name: str, folder: Path) -> str:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(source, encoding="utf-8")
    return name


def _loader(bundle: Bundle, packed: Collection[str], tables: Tables) -> str:
    return loader_source(packed, modules_in(bundle, "", tables.name), compiled, tables.name)


def _check_paths(paths: Collection[str]) -> None:
    for path in paths:
        fault = name_fault(path)
        if fault:
            raise ArtifactError(path, f"cannot be the name of a file in a bundle: it {fault}; correct the table")
    check_names(paths)


def _posix(name: str) -> str:
    return name.replace(os.sep, "/")


def _module_path(executable: str, entry: Entry) -> str:
    """Return the path of a module in the bundle, as in a finished folder (executable.py)."""
    package = Path(entry[1]).stem == "__init__"
    return f"{executable}{PYZ}/{entry[0].replace('.', '/')}{'/__init__' if package else ''}.pyc"


def _file(path: str, entry: Entry) -> File:
    _, source, kind = entry
    owner = frozen_owner(path, "")
    if kind == _LINK:
        nothing = MemoryContent(b"")
        sha256 = examined(nothing)[1]
        return File(path=path, size=0, sha256=sha256, mode=0o777, kind=Kind.LINK, owner=owner, content=nothing, link=source)
    content = DiskContent(Path(source))
    try:
        mode = 0o755 if stat.S_IMODE(content.path.stat().st_mode) & 0o111 else 0o644
        size, sha256, head = examined(content)
    except OSError as error:
        raise ArtifactError(source, f"cannot be read: {error.strerror}") from error
    return File(path=path, size=size, sha256=sha256, mode=mode, kind=identify(path, head), owner=owner, content=content)


def _module(path: str, where: tuple[Tables, Entry]) -> File | None:
    tables, entry = where
    content = _Code(entry, tables.code)
    code = tables.code(entry)
    if code is None:
        return None
    return _compiled(path, code, entry[0].partition(".")[0], content)


def _script(executable: str, name: str, code: bytes) -> File:
    return _compiled(f"{executable}{SCRIPTS}/{name}.pyc", code, executable, MemoryContent(code))


def _compiled(path: str, code: bytes, owner: str, content: Content) -> File:
    return File(
        path=path,
        size=len(zlib.compress(code, _LEVEL)),
        sha256=examined(MemoryContent(code))[1],
        mode=0o644,
        kind=Kind.BYTECODE,
        owner=owner,
        content=content,
    )


def _write(file: File, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as stream:
        for chunk in file.content.chunks():
            stream.write(chunk)
    target.chmod(file.mode)

"""Read and rewrite the PYZ archive in a frozen executable: its modules, each compressed for itself.

Format: PyInstaller's `archive/writers.py` (`ZlibArchiveWriter`) and `loader/pyimod01_archive.py`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from hatch_mlbundle.importpaths import is_in_pyz

from .carchive import Entry
from .marshal_table import Value, read_table, write_table
from .member_names import clash
from .shared_file import SharedFile

MODULE, PACKAGE, DATA, NAMESPACE = range(4)
"""Types of entries; a namespace package has no code."""

_HEADER = struct.Struct("!4s4si")
_HEADER_SIZE = 17
"""PyInstaller leaves some bytes free behind the 12 of its header."""
_MAGIC = b"PYZ\0"
_LEVEL = 9
_LONGEST_NAME = 1 << 12
_MAX_TABLE = 1 << 25
"""Bytes of a table that no archive has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PyzModule:
    """A module by its dotted name: `stored` bytes, compressed, from `offset` (in the file) on."""

    name: str
    type: int
    offset: int
    stored: int

    @property
    def path(self) -> str:
        """Where its bytecode would lie: `pkg/__init__.pyc`, `pkg/mod.pyc`."""
        path = self.name.replace(".", "/")
        return f"{path}/__init__.pyc" if self.type in (PACKAGE, NAMESPACE) else f"{path}.pyc"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pyz:
    """A PYZ archive of `size` bytes from `offset` (in the file) on: the magic number of its bytecode, and its modules in order."""

    offset: int
    size: int
    bytecode: bytes
    modules: tuple[PyzModule, ...]


def read_pyz(file: SharedFile, entry: Entry) -> Pyz:
    """Return the PYZ archive that is an executable's entry; raises ArtifactError where it is damaged."""
    if entry.compressed or entry.stored < _HEADER_SIZE:
        raise file.damaged("has a PYZ archive that cannot be read")
    magic, bytecode, table = _HEADER.unpack(file.read_at(entry.offset, _HEADER.size))
    if magic != _MAGIC or not _HEADER.size <= table <= entry.stored <= table + _MAX_TABLE:
        raise file.damaged("has a PYZ archive whose header does not add up")
    try:
        rows = read_table(file.read_at(entry.offset + table, entry.stored - table))
        modules = tuple(_modules(rows, entry.offset, table))
    except (TypeError, ValueError) as error:
        raise file.damaged(f"has a PYZ archive whose table cannot be read ({error})") from error
    _check_modules(file, modules)
    return Pyz(offset=entry.offset, size=entry.stored, bytecode=bytecode, modules=modules)


def stored_code(code: bytes) -> bytes:
    """Return a module's marshalled code as an archive holds it."""
    return zlib.compress(code, _LEVEL)


def size_in_bundle(path: str, place: Path) -> int:
    """Return the bytes that a file on disk counts for at `path` of a bundle: of a module in an executable, those it takes in there."""
    return len(stored_code(place.read_bytes())) if is_in_pyz(path) else place.stat().st_size


def pieces(
    pyz: Pyz, modules: Sequence[PyzModule], changed: Mapping[str, bytes] = MappingProxyType({})
) -> tuple[list[tuple[int, int] | bytes], int]:
    """Return a PYZ archive of these modules of `pyz` in pieces, and its bytes; a piece is an offset and size in the file, or new bytes.

    `changed` holds, by a module's path, what is stored in the place of what was (`stored_code`).
    """
    found: list[tuple[int, int] | bytes] = []
    at, rows = _HEADER_SIZE, []
    for module in modules:
        new = changed.get(module.path) if module.type != NAMESPACE else None
        row = replace(module, offset=at, stored=module.stored if new is None else len(new))
        rows.append(row)
        if row.stored:
            found.append((module.offset, module.stored) if new is None else new)
        at += row.stored
    table = write_table([(row.name, (row.type, row.offset, row.stored)) for row in rows])
    header = _HEADER.pack(_MAGIC, pyz.bytecode, at).ljust(_HEADER_SIZE, b"\0")
    return [header, *found, table], at + len(table)


def without(modules: Iterable[PyzModule], paths: Iterable[str]) -> list[PyzModule]:
    """Return the modules whose paths are not among these; a namespace package goes with the last module of its own.

    One that never had any stays: it may hold compiled modules or data.
    """
    modules, gone = list(modules), frozenset(paths)
    kept = [module for module in modules if module.type == NAMESPACE or module.path not in gone]
    empty = packages_above(modules) - packages_above(kept)
    return [module for module in kept if module.type != NAMESPACE or module.name not in empty]


def packages_above(modules: Iterable[PyzModule]) -> set[str]:
    """Return the names of all packages above modules that have code."""
    return {name.rpartition(".")[0] for name in _prefixes(module.name for module in modules if module.type != NAMESPACE)}


def _prefixes(names: Iterable[str]) -> set[str]:
    """Return the names, and those of all packages above them."""
    found: set[str] = set()
    for name in names:
        while name and name not in found:
            found.add(name)
            name = name.rpartition(".")[0]
    return found


def _modules(rows: Value, start: int, table: int) -> Iterator[PyzModule]:
    if not isinstance(rows, list):
        raise TypeError("no list")
    for number, row in enumerate(rows):
        match row:
            case (str(name), (int(type_), int(offset), int(stored))) if _is_dotted(name) and type_ in range(4):
                if not 0 <= offset <= offset + stored <= table:
                    raise ValueError(f"{name!a:.60} lies outside of it")
                yield PyzModule(name=name, type=type_, offset=start + offset, stored=stored)
            case _:
                raise ValueError(f"row {number} describes no module")


def _check_modules(file: SharedFile, modules: Iterable[PyzModule]) -> None:
    """Raise ArtifactError where two modules are one, or share their bytes: the sizes would not add up."""
    coded = [module for module in modules if module.type != NAMESPACE]
    problem = clash(module.path for module in coded)
    if problem:
        raise file.damaged(f"has a PYZ archive that {problem}")
    at = 0
    for module in sorted((each for each in coded if each.stored), key=lambda each: each.offset):
        if module.offset < at:
            raise file.damaged(f"has a PYZ archive whose module {module.name!a} lies in another one")
        at = module.offset + module.stored


def _is_dotted(name: str) -> bool:
    return len(name) < _LONGEST_NAME and name.isprintable() and all(part and not set(part) & set("/\\:") for part in name.split("."))

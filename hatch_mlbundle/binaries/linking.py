"""What an ELF file is to the dynamic linker: its name, what it needs, and where it looks for that (ld.so(8))."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from posixpath import basename, dirname, join, normpath
from typing import Any

from hatch_mlbundle.errors import BinaryError
from hatch_mlbundle.links import resolve
from hatch_mlbundle.model import Bundle

from . import elf_format as fmt
from .elf import Elf, dynamic_symbols, dynamic_values, read_elf
from .reader import Reader

_LOOKS_AT_ITSELF = frozenset({"dladdr", "dladdr1", "dlinfo"})
"""Functions by which a library learns under which path it was loaded."""

_STARTS_MODULE = ("PyInit_", "PyInitU_", "PyModExport_")
"""Beginnings of the function by which Python starts an extension module (PEP 3121, 489, 793)."""

_TELLING = (*_LOOKS_AT_ITSELF, *_STARTS_MODULE)

_ORIGIN = re.compile(r"\$(?:ORIGIN\b|\{ORIGIN\})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Linking:
    """`search` are the entries of RUNPATH, else of RPATH. `executable` says that it is started, not loaded; `extension` that Python
    imports it; `looks_at_itself` that it asks where it was loaded from.
    """

    soname: str | None
    needed: tuple[str, ...]
    search: tuple[str, ...]
    executable: bool
    extension: bool
    looks_at_itself: bool

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Linking:
        """Read what `to_json` wrote."""
        return cls(**{**facts, "needed": tuple(facts["needed"]), "search": tuple(facts["search"])})


def examine_linking(path: Path) -> Any:
    """Return the linking of a file as JSON, None where it is no ELF file that can be read."""
    try:
        with Reader(path) as reader:
            return linking_of(reader, read_elf(reader)).to_json()
    except BinaryError:
        return None


def linking_of(reader: Reader, elf: Elf) -> Linking:
    """Return what the file is to the dynamic linker; raises BinaryError."""
    search = elf.runpath if elf.runpath is not None else elf.rpath
    symbols = [(symbol.name, symbol.defined) for symbol in dynamic_symbols(reader, elf) if symbol.name.startswith(_TELLING)]
    return Linking(
        soname=elf.soname,
        needed=elf.needed,
        search=tuple(filter(None, (search or "").split(":"))),
        executable=is_executable(reader, elf),
        extension=any(defined for name, defined in symbols if name.startswith(_STARTS_MODULE)),
        looks_at_itself=any(not defined for name, defined in symbols if name in _LOOKS_AT_ITSELF),
    )


def is_executable(reader: Reader, elf: Elf) -> bool:
    """Say whether a file is a program, dynamic or static: some libraries name an interpreter, too, but have a SONAME."""
    if elf.header.type == fmt.ET_EXEC or (elf.soname is None and any(part.type == fmt.PT_INTERP for part in elf.segments)):
        return True
    return bool(dynamic_values(reader, elf).get(fmt.DT_FLAGS_1, 0) & fmt.DF_1_PIE)


def found_beside(path: str, linking: Linking, bundle: Bundle) -> dict[str, str | None]:
    """Return what each needed name is found to be from `path` through `$ORIGIN`: the SHA-256 of a file of the bundle, or None."""
    return {name: next(_candidates(path, linking, name, bundle), None) for name in linking.needed}


def _candidates(path: str, linking: Linking, name: str, bundle: Bundle) -> Iterator[str]:
    for entry in linking.search:
        if _ORIGIN.match(entry):
            folder = _ORIGIN.sub(lambda _: dirname(path) or ".", entry)
            file = resolve(bundle, normpath(join(folder, basename(name))))
            if file is not None:
                yield file.sha256

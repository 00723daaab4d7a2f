"""Put into a frozen executable what tells, when it runs, which step left out a module or file that is missing (runtime/missing.py).

It is a script, as PyInstaller's run-time hooks are. The list in it: for each step its name, what to do about a module, what to do about a
file (each one line), and the paths in the bundle, with a NUL byte between them and two between steps; UTF-8, compressed by zlib.
"""

from __future__ import annotations

import marshal
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from typing import TypeAlias

from hatch_mlbundle.importpaths import PYZ as PYZ_SUFFIX
from hatch_mlbundle.importpaths import is_in_pyz, module_of
from hatch_mlbundle.marshalled_code import Code, read_code

from .carchive import SCRIPT, content_of
from .executable import Executable

NOTICE = "pyi_rth_mlbundle_missing"
"""The script's name; the beginning is that of PyInstaller's run-time hooks."""

Scripts: TypeAlias = Sequence[tuple[str, bytes]]
"""What `Executable.rebuilt` takes."""

_SOURCE = Path(__file__).parents[1] / "runtime" / "missing.py"
_FUTURE = "\nfrom __future__ import annotations\n"
"""Would import a module that an application need not have; what it imports is the flag that the compiler is given instead."""
_START = """\
(lambda space: (
    exec(__import__("marshal").loads(__import__("zlib").decompress({code!r})), space),
    space["install"]({contents!r}, {tops!r}, {packed!r}),
))({{"__name__": "mlbundle_missing"}})
"""
_PLAIN_MARSHAL = 2
"""The last version of the format that does not depend on which objects happen to be shared: later ones give other bytes each time."""
_LEVEL = 9
"""How hard zlib compresses, as PyInstaller does."""
_MARK = b"left out:"
"""Begins the list among the constants of a script."""
_LARGEST = 1 << 26
"""Bytes of a script or list that nothing has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """The files that a step left out, and what it says of them: `{path}` and `{module}` stand for the one that is missing."""

    step: str
    module_remedy: str
    file_remedy: str
    paths: tuple[str, ...]


REHEARSAL = LeftOut(step="none", module_remedy="none", file_remedy="none", paths=("",))
"""Stands for every list where it is only to be seen whether an application works with a notice: no file is called so."""


def one_line(text: str) -> str:
    """Return a text as a list can hold it: one line, without NUL bytes."""
    return " ".join(text.replace("\0", " ").split()) or "-"


def with_notice(executable: Executable, left_out: Sequence[LeftOut], present: Collection[str]) -> tuple[Executable, Scripts]:
    """Return the executable without an earlier notice, and the script of a new one that says what the earlier one said, too.

    What is among the paths `present` was not left out after all. Without anything new to tell, or where this Python cannot compile for
    the executable's, the executable is returned as it is, with no script.
    """
    magic = executable.pyz.bytecode if executable.pyz else b""
    new = [each for each in left_out if each.paths]
    if not new or magic != MAGIC_NUMBER:
        return executable, ()
    others = [each for each in executable.archive.entries if (each.name, each.type) != (NOTICE, SCRIPT)]
    bare = replace(executable, archive=replace(executable.archive, entries=tuple(others)))
    told = _united([*read_notice(executable), *new], executable, present)
    return bare, ((NOTICE, _script(executable, told)),) if told else ()


def read_notice(executable: Executable) -> list[LeftOut]:
    """Return what an executable's notice lists, nothing where it has none, or one that cannot be read."""
    for entry in executable.archive.entries:
        if (entry.name, entry.type) == (NOTICE, SCRIPT):
            code = b"".join(content_of(executable.file, entry, _LARGEST).chunks())
            try:
                return list(_sections(code))
            except (ValueError, RecursionError, zlib.error):
                return []
    return []


def _united(left_out: Sequence[LeftOut], executable: Executable, present: Collection[str]) -> list[LeftOut]:
    """Return the lists as one: a list for each step, sorted, without what is there and what concerns other executables alone."""
    paths: dict[tuple[str, str, str], set[str]] = {}
    for each in left_out:
        key = (each.step, each.module_remedy, each.file_remedy)
        paths.setdefault(key, set()).update(path for path in each.paths if path not in present and _concerns(executable, path))
    keys = sorted(key for key, found in paths.items() if found)
    return [LeftOut(step=key[0], module_remedy=key[1], file_remedy=key[2], paths=tuple(sorted(paths[key]))) for key in keys]


def _concerns(executable: Executable, path: str) -> bool:
    return not is_in_pyz(path) or f"/{path}".partition(f"{PYZ_SUFFIX}/")[0].endswith(f"/{executable.path}")


def _script(executable: Executable, left_out: Sequence[LeftOut]) -> bytes:
    contents = f"{folder}/" if (folder := executable.archive.contents_folder) else ""
    tops = sorted({_top(module.removeprefix(contents)) for each in left_out for path in each.paths if (module := module_of(path))})
    source = _SOURCE.read_text(encoding="utf-8").replace(_FUTURE, "\n")
    code = zlib.compress(_marshalled(source, "mlbundle_missing.py"), _LEVEL)
    start = _START.format(code=code, contents=contents, tops=f" {' '.join(tops)} ", packed=_packed(left_out))
    return _marshalled(start, f"{NOTICE}.py")


def _top(module: str) -> str:
    """Return the first part of a module's name; PyInstaller puts compiled modules of the standard library into a folder of their own."""
    folder, _, name = module.rpartition("/")
    return name if folder.endswith("lib-dynload") else module.partition("/")[0]


def _marshalled(source: str, name: str) -> bytes:
    code = compile(source, name, "exec", flags=annotations.compiler_flag, dont_inherit=True)
    return marshal.dumps(code, _PLAIN_MARSHAL)


def _packed(left_out: Iterable[LeftOut]) -> bytes:
    lists = ("\0".join([each.step, each.module_remedy, each.file_remedy, *each.paths]) for each in left_out)
    return _MARK + zlib.compress("\0\0".join(lists).encode("utf-8", "surrogateescape"), _LEVEL)


def _sections(script: bytes) -> Iterator[LeftOut]:
    """Yield the lists in a script; raises ValueError, RecursionError, zlib.error where it is none of ours."""
    packed = next((each for each in _bytes_in(read_code(script)) if each.startswith(_MARK)), None)
    if packed is None:
        return
    unpacked = zlib.decompressobj().decompress(packed[len(_MARK) :], _LARGEST)
    for section in unpacked.decode("utf-8", "surrogateescape").split("\0\0"):
        step, module_remedy, file_remedy, *paths = section.split("\0")
        yield LeftOut(step=step, module_remedy=module_remedy, file_remedy=file_remedy, paths=tuple(paths))


def _bytes_in(code: Code) -> Iterator[bytes]:
    for constant in code.constants:
        if isinstance(constant, bytes):
            yield constant
        elif isinstance(constant, Code):
            yield from _bytes_in(constant)

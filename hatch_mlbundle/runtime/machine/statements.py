"""`mlbundle-machine.json`: which machines libraries have no code for (docs/machine-statement.md), read as far as telling of it needs."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from ..json_table import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .telling import Capability, Claim, Library, Span

FILE_NAME = "mlbundle-machine.json"
IMAGE_FOLDER = "usr/share/mlbundle"
"""Where it is in the root of a container image; paths are relative to that root then."""
GPU_STEP, CPU_STEP = "gpu_code", "cpu_code"
"""The optimizers that take code out."""
FORMAT = "mlbundle-machine"
FORMAT_VERSION = "1.0"
"""Major and minor: a new minor adds keys, a new major changes what there is."""

_NAMES = re.compile(r"mlbundle-machine(?:-\d{1,4})?\.json")
_KNOWN = re.compile("1[.][0-9]{1,9}")
_CAPABILITY = re.compile(r"(\d{1,4})\.(\d{1,4})", re.ASCII)
_ENVIRONMENTS = re.compile("(?:^|/)(?:site|dist)-packages/")
"""Where Python environments have their packages."""
LARGEST = 1 << 24
"""Bytes of a statement that nothing has."""


def is_statement(path: str) -> bool:
    """Say whether a path, with `/`, is that of a statement: `mlbundle-machine-2.json` beside one that could not be changed is one, too."""
    return "mlbundle-machine" in path and _NAMES.fullmatch(path.rpartition("/")[2]) is not None


def numbered(number: int) -> str:
    """Return the name of another statement in the same folder."""
    return f"mlbundle-machine-{number}.json"


def base_of(path: str) -> str:
    """Return the folder that the paths in a statement are relative to: its own, but the one above a dist-info, and an image's root."""
    folder, _, _ = path.rpartition("/")
    if f"/{folder}".endswith(f"/{IMAGE_FOLDER}"):
        return folder[: -len(IMAGE_FOLDER)].rstrip("/")
    return folder.rpartition("/")[0] if folder.endswith(".dist-info") else folder


def claims(folders: Iterable[str | os.PathLike[str]] = ()) -> Iterator[Claim]:
    """Yield what is said in these folders and below; without any, of what a program would load here. What cannot be read is left out."""
    places = tuple(folders)
    found = _readable(statement_paths(places))
    return found if places else loaded_here(found)


def loaded_here(claims: Iterable[Claim]) -> Iterator[Claim]:
    """Yield what is said of libraries that are not hidden by others before them on `sys.path`, and of no other Python environment."""
    folders = import_folders()
    for base, libraries in claims:
        yield base, [row for row in libraries if import_path(base, row[0], folders) is not None]


def import_path(base: str, path: str, folders: Sequence[str]) -> str | None:
    """Return the path of a library below `base` from that of the folders for modules which it is in, or from `base` where it is in none.

    None where a folder before that has the same package or file, and where it is in another Python environment.
    """
    library = f"{_real(base).rstrip('/')}/{path}"
    home = max((folder for folder in folders if library.startswith(f"{folder.rstrip('/')}/")), key=len, default=None)
    relative = path if home is None else library[len(home) :].lstrip("/")
    if _ENVIRONMENTS.search(relative):
        return None
    before = folders[: folders.index(home)] if home else ()
    names = (relative, f"{relative.partition('/')[0]}/__init__.py")
    return None if any(os.path.exists(os.path.join(folder, name)) for folder in before for name in names) else relative


def import_folders() -> list[str]:
    """Return the folders that a program imports modules from, the first one first, each once and without links."""
    frozen = getattr(sys, "_MEIPASS", None)
    places = [*((frozen,) if frozen else ()), *sys.path]
    return list(dict.fromkeys(_real(place) for place in places if place and isinstance(place, str)))


def statement_paths(folders: Iterable[str | os.PathLike[str]] = ()) -> Iterator[str]:
    """Yield the paths of all statements in these folders and below; without any, where a program finds its libraries; each once."""
    places = [os.fspath(folder) for folder in folders]
    found = map(_below, places) if places else map(_in, (*import_folders(), f"/{IMAGE_FOLDER}"))
    return iter(dict.fromkeys(filter(os.path.isfile, chain.from_iterable(found))))  # a pipe would never end


def read_claim(path: str) -> Claim:
    """Return what a statement says; raises OSError, and ValueError where it cannot be right."""
    with open(path, "rb") as stream:
        data = stream.read(LARGEST + 1)
    place = os.path.abspath(path).replace(os.sep, "/")
    return base_of(place) or "/", parse(data, path)


def parse(data: bytes, where: str) -> list[Library]:
    """Return what a statement's text says of libraries; raises ValueError where it cannot be right, or is larger than any is."""
    import json

    try:
        table = Table(json.loads(data if len(data) <= LARGEST else b""))
        if table.get("format", str) != FORMAT:
            raise table.fault("format", f"is not {FORMAT!r}")
        if not _KNOWN.fullmatch(version := table.get("format_version", str)):
            raise table.fault("format_version", f"is {version!r}, this release reads {FORMAT_VERSION}: install a newer hatch-mlbundle")
        return [_library(each) for each in table.tables("libraries")]
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: says nothing of machines that can be read ({error}); get the bundle anew") from error


def _library(table: Table) -> Library:
    gpu, cpu = table.table("gpu"), table.table("cpu")
    targets = [_capability(gpu, "targets", each) for each in gpu.lines("targets")] if gpu else []
    lost = [_span(each) for each in gpu.tables("lost")] if gpu else []
    return _path(table), table.get("size", int), targets, lost, cpu.line("level") if cpu else ""


def _path(table: Table) -> str:
    """Return a library's path, of which one with an odd name must not hide what is said of others."""
    path: str = table.get("path", str)
    if "\0" in path or not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise table.fault("path", f"{path!a} is no path within a folder")
    return path


def _span(table: Table) -> Span:
    below = table.line("below")
    return _capability(table, "first", table.line("first")), _capability(table, "below", below) if below else None


def _capability(table: Table, key: str, text: str) -> Capability:
    match = _CAPABILITY.fullmatch(text)
    if match is None:
        raise table.fault(key, f"has {text!r}, which is no compute capability")
    return int(match[1]), int(match[2])


def _readable(paths: Iterable[str]) -> Iterator[Claim]:
    for path in paths:
        try:
            yield read_claim(path)
        except (OSError, ValueError):
            continue


def _real(folder: str) -> str:
    return os.path.realpath(folder).replace(os.sep, "/")


def _in(place: str) -> list[str]:
    """Return the paths of the statements in a folder, and in the dist-infos there; others are only beside one of the plain name."""
    names = _names(place)
    infos = [os.path.join(place, name) for name in names if name.endswith(".dist-info")]
    told = [info for info in infos if os.path.exists(os.path.join(info, FILE_NAME))]
    return [os.path.join(folder, name) for folder in (place, *told) for name in _names(folder) if is_statement(name)]


def _names(folder: str) -> Sequence[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return ()


def _below(place: str) -> list[str]:
    return sorted(os.path.join(folder, name) for folder, _, names in os.walk(place) for name in names if is_statement(name))

"""The groups of files that serve developers rather than a running application: what belongs to each, and why it can go."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from posixpath import basename, splitext

from .model import File, Kind
from .optimizer import Json
from .testfiles import is_licence

_DOC_SUFFIXES = frozenset(
    f".{each}" for each in ("md", "rst", "html", "css", "js", "svg", "png", "jpg", "gif", "pdf", "txt", "ipynb", "1", "3", "5", "7", "gz")
)
_DOC_FOLDERS = frozenset({"doc", "docs", "man"})
_DOC_NAMES = re.compile(r"(?:readme|changelog|changes|history|contributing|news|todo)(?:\.(?:md|rst|txt))?", re.IGNORECASE)
_CMAKE_NAMES = re.compile(r"CMakeLists\.txt|.*\.(?:cmake|pc)(?:\.in)?|.*\.la", re.IGNORECASE)
_DEBUG_SUFFIXES = frozenset({".pdb", ".dwo", ".dwp", ".debug"})
_AMBIGUOUS_HEADERS = frozenset({".inc", ".mod", ".in"})
_FOR_BUILDS = re.compile(r"(?:^|/)(?:distutils|_distutils|f2py|testing|tests?|setup\.py$)")
_COMPILING = re.compile(
    rb"\bload_inline\b|\bcpp_extension\b|\bnvrtc|\bffi\.verify\(|\bwhich\(\s*['\"](?:gcc|cc|clang|g\+\+|nvcc)['\"]", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One group: `why` says why its files can go, `belongs` what is in it; `compiled` that a run-time compiler may want it."""

    why: str
    belongs: Callable[[File], bool]
    compiled: bool = False


def always_stays(file: File) -> bool:
    """Say whether a file stays whatever group it would be in: metadata, licences and the marker `py.typed`."""
    return is_metadata(file.path) or file.kind is Kind.METADATA or is_licence(file.path) or basename(file.path) == "py.typed"


def is_metadata(path: str) -> bool:
    """Say whether a file lies in a distribution's `*.dist-info` or `*.egg-info`."""
    return any(part.endswith((".dist-info", ".egg-info")) for part in path.split("/")[:-1])


def examine_compiling(file: File) -> Json:
    """Return the first line at which a module shows that it compiles code while it runs, 0 where none does.

    What only builds extension modules for a wheel (distutils, f2py) does not count: it serves no running application.
    """
    if _FOR_BUILDS.search(file.path):
        return 0
    source = file.read()
    match = _COMPILING.search(source)
    return source.count(b"\n", 0, match.start()) + 1 if match else 0


def examine_stub_reader(file: File) -> Json:
    """Say whether a module reads its own type stub when it is imported, as lazy_loader's `attach_stub` does."""
    return b"attach_stub" in file.read()


def _is_header(file: File) -> bool:
    """Besides the suffixes of C and C++: what has none below `include`, as Eigen's and the standard library's headers do."""
    in_include = "include" in file.path.split("/")[:-1]
    suffix = splitext(file.path)[1].lower()
    if file.kind is Kind.HEADER:
        return in_include or suffix not in _AMBIGUOUS_HEADERS
    return in_include and not suffix and file.kind is Kind.OTHER


def _is_doc(file: File) -> bool:
    if file.kind in (Kind.PYTHON, Kind.ELF, Kind.PE, Kind.MACHO):
        return False
    name, folders = basename(file.path), file.path.lower().split("/")[:-1]
    return _DOC_NAMES.fullmatch(name) is not None or (bool(_DOC_FOLDERS & set(folders)) and splitext(name)[1].lower() in _DOC_SUFFIXES)


def _is_debug(file: File) -> bool:
    folders = file.path.split("/")[:-1]
    return splitext(file.path)[1].lower() in _DEBUG_SUFFIXES or any(part.endswith(".dSYM") or part == ".build-id" for part in folders)


def _is_cmake(file: File) -> bool:
    return _CMAKE_NAMES.fullmatch(basename(file.path)) is not None


def _has_kind(kind: Kind) -> Callable[[File], bool]:
    return lambda file: file.kind is kind


GROUPS: Mapping[str, Group] = {
    "headers": Group(why="headers are read by compilers", belongs=_is_header, compiled=True),
    "static-libs": Group(why="static libraries are read by linkers", belongs=_has_kind(Kind.STATIC_LIBRARY), compiled=True),
    "cmake": Group(why="read by CMake, pkg-config and libtool, when other software is built", belongs=_is_cmake),
    "type-stubs": Group(why="stubs are read by type checkers", belongs=_has_kind(Kind.TYPE_STUB)),
    "bytecode": Group(why="Python makes it anew from the source beside it", belongs=_has_kind(Kind.BYTECODE)),
    "docs": Group(why="documentation is read by people", belongs=_is_doc),
    "debug-files": Group(why="debug data is read by debuggers", belongs=_is_debug),
    "sources": Group(why="sources of compiled code are read by compilers", belongs=_has_kind(Kind.SOURCE), compiled=True),
}
"""Every group by its name."""

"""Which sources of a bundle stay because something may read them while it runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from posixpath import dirname

from hatch_mlbundle.model import Bundle, File, Kind
from hatch_mlbundle.optimizer import Context, Json

from .sources import READING, SOURCE_READERS, SourceReaders


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Sources that might go: the dotted name of each by its path, and its path below the folder of its top-level package.

    `modules` returns the paths of all files that provide modules of a package, among them what may read sources: `may_read` says of each
    whether it might, in a package that is not known.
    """

    names: Mapping[str, str]
    below: Mapping[str, str]
    modules: Callable[[str], Iterable[str]]
    may_read: Callable[[File], Json]


def has_reading_words(file: File) -> Json:
    """Say whether a module holds any word by which it might read sources."""
    return READING.search(file.read()) is not None


def why_read(bundle: Bundle, sources: Sources, context: Context) -> dict[str, str]:
    """Return why each source stays, by path; what is not in it, nothing is known to read."""
    by_package: dict[str, list[str]] = defaultdict(list)
    for path, name in sources.names.items():
        by_package[name.partition(".")[0]].append(path)
    read: dict[str, str] = {}
    for package, paths in by_package.items():
        if package in SOURCE_READERS:
            read |= _read_of_known(bundle, sources, SOURCE_READERS[package], paths, context)
        elif reader := _reader_in(bundle, sources, package, context):
            read |= dict.fromkeys(paths, f"{reader} may read sources")
    return read


def _read_of_known(bundle: Bundle, sources: Sources, readers: SourceReaders, paths: Sequence[str], context: Context) -> dict[str, str]:
    words = (*readers.words, *readers.lazy)
    held = context.examine(f"words:{words}", [bundle[path] for path in paths], partial(_words_in, words=words))
    lazy = {dirname(path) for path in paths if path.endswith("/__init__.py") and _holds(held[path], readers.lazy)}
    found = {}
    for path in paths:
        if _is_read(sources.below[path], readers) or _holds(held[path], readers.words) or _lies_in(path, lazy):
            found[path] = readers.why
    return found


def _is_read(path: str, readers: SourceReaders) -> bool:
    return path in readers.files or any(path.startswith(f"{folder}/") for folder in readers.folders)


def _words_in(file: File, *, words: tuple[bytes, ...]) -> Json:
    source = file.read()
    return [word.decode() for word in words if word in source]


def _holds(held: Json, words: tuple[bytes, ...]) -> bool:
    return any(word.decode() in held for word in words)


def _lies_in(path: str, folders: set[str]) -> bool:
    while path := dirname(path):
        if path in folders:
            return True
    return False


def _reader_in(bundle: Bundle, sources: Sources, package: str, context: Context) -> str | None:
    """Return the first module of a package that might read sources."""
    files = [bundle[path] for path in sorted(sources.modules(package)) if bundle[path].kind in (Kind.BYTECODE, Kind.PYTHON)]
    return next((path for path, reads in context.examine("readers", files, sources.may_read).items() if reads), None)

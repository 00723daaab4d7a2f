"""Which Python files of an image its own commands name: what a container starts is no unused test, whatever it is called."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from posixpath import join, normpath

from hatch_mlbundle.model import Bundle

from .running import Running

_WORD = re.compile(r"[\w./-]+")
_PACKAGES = re.compile(r"(?:.*/)?(?:site|dist)-packages(?=/)")
_LARGEST_SCRIPT = 1 << 16
"""Bytes of a script that starts an application."""


def started_files(running: Running, bundle: Bundle) -> frozenset[str]:
    """Return the Python files that the image's commands, or a script that these start, name: by a path, or as a module."""
    words = _words(running.commands)
    for path in {path for word in words for path in _places(word, running.folder) if path in bundle}:
        words |= _words(_script(bundle, path))
    named = {path for word in words for path in _places(word, running.folder)}
    modules = {f"{word.replace('.', '/')}{end}" for word in words for end in (".py", "/__init__.py", "/__main__.py")}
    return frozenset(path for path in bundle if path.endswith(".py") and (path in named or _imported(path, running.folder) & modules))


def _words(texts: Iterable[str]) -> set[str]:
    return {word for text in texts for word in _WORD.findall(text)}


def _script(bundle: Bundle, path: str) -> tuple[str, ...]:
    file = bundle[path]
    data = file.read() if file.link is None and file.size <= _LARGEST_SCRIPT else b""
    return (data.decode("utf-8", "replace"),) if data.startswith(b"#!") else ()


def _places(word: str, folder: str) -> Iterator[str]:
    """Yield the paths that a word may be: from where the container starts, or that of a program."""
    yield from (_plain(join(above, word)) for above in (folder, "/usr/local/bin", "/usr/bin", "/bin"))


def _imported(path: str, folder: str) -> set[str]:
    """Return a path as seen from where Python looks for modules: the installed packages, and the folder that it starts in."""
    packages, here = _PACKAGES.match(path), f"{_plain(folder)}/".lstrip("/")
    starts = [here, f"{packages[0]}/"] if packages else [here]
    return {path[len(start) :] for start in starts if path.startswith(start)}


def _plain(path: str) -> str:
    return normpath(f"/{path}").lstrip("/")

"""Lists folders in the order that MLBUNDLE_LISTING_ORDER says: Python runs this when it starts (documentation of `site`).

File systems list the files of a folder in any order, and mostly in the same one: what depends on it shows on another machine alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import Any

_REVERSED = os.environ.get("MLBUNDLE_LISTING_ORDER") == "reversed"
_listdir, _scandir = os.listdir, os.scandir


class _Scan:
    """What `os.scandir` returns: an iterator that can be closed."""

    def __init__(self, path: Any) -> None:
        with _scandir(path) as entries:
            self._entries = iter(sorted(entries, key=lambda entry: entry.name, reverse=_REVERSED))

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._entries)

    def __enter__(self) -> Iterator[Any]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Forget what was not asked for."""
        self._entries = iter(())


def _sorted_listdir(path: Any = ".") -> list[Any]:
    return sorted(_listdir(path), reverse=_REVERSED)


def _run_the_next() -> None:
    """Run the `sitecustomize` that this one hides."""
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    here = os.path.dirname(os.path.abspath(__file__))
    spec = PathFinder.find_spec("sitecustomize", [path for path in sys.path if os.path.abspath(path or ".") != here])
    if spec and spec.loader:
        spec.loader.exec_module(module_from_spec(spec))


os.listdir = _sorted_listdir
os.scandir = _Scan  # type: ignore[assignment]
_run_the_next()

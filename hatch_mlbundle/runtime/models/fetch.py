"""Fetch one file, whose size and SHA-256 are known, from the first of its sources that gives it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from .descriptor import ModelFile

Told: TypeAlias = Callable[[int], None]
"""Is told how many more bytes are there; negative where some are thrown away again."""


def fetch(file: ModelFile, urls: Sequence[str], descriptor: int, told: Told) -> None:
    """Complete a file that is open for reading and writing, so that it has exactly the bytes it should.

    What an earlier try left in it is hashed and gone on from, where the source can; else it is fetched anew. `urls` are those of this very
    file (transports.py, `url_of`). The file is brought to the disk. Raises ModelUnavailableError, which names each source and what was
    wrong with it: then the file may hold a part to go on from, but never bytes known to be wrong.
    """
    raise NotImplementedError

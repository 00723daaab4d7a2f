"""Globs as in .gitignore, which is how hatch itself reads `include` and `exclude`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence


def matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Return a function that says whether a path (relative, with `/`) matches any of the patterns; the last match decides."""
    from pathspec import GitIgnoreSpec  # costs 15 ms, and who only looks at sizes matches nothing

    return GitIgnoreSpec.from_lines(patterns).match_file


def is_glob(pattern: str) -> bool:
    """Say whether a pattern can be matched at all: `!` cannot, nor what ends in a backslash, nor a range that runs backwards."""
    try:
        matcher([pattern])
    except (ValueError, re.error):
        return False
    return True


def selector(include: Sequence[str], exclude: Sequence[str]) -> Callable[[str], bool]:
    """Return a function that says whether a path is included (by anything, where `include` is empty) and not excluded."""
    included, excluded = matcher(include), matcher(exclude)
    return lambda path: (not include or included(path)) and not (exclude and excluded(path))

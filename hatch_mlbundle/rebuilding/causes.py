"""What two files that should be the same most likely have from their surroundings: told from what differs, where that tells it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .building import Built

_WORDS = re.compile(r"\w+")
_MOMENT = re.compile(r"(?<!\d)(\d{10})(?:\d{3}|\d{6}|\d{9})?(?!\d)")
"""A number of seconds, milli-, micro- or nanoseconds since 1970."""
_DATE = re.compile(r"\d{4}-\d\d-\d\d|\d\d:\d\d(?::\d\d)?|(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]* +\d")
_NEAR = 500 * 86_400
"""Seconds from a build that a time of it may be away: its clock may be ahead."""

ORDER = "the same in another order: that of a set (hash seed) or of a folder (sort it)"
PERMISSIONS = "the umask of who builds"
OWNER = "who builds"
TIME = "a time; take it from SOURCE_DATE_EPOCH"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clue:
    """Something that differs between two surroundings, and what it is in each."""

    cause: str
    first: str
    second: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Clues:
    """All that is known of two surroundings; `began` is when the first build did, in seconds since 1970."""

    clues: Sequence[Clue] = ()
    began: float = 0.0

    def cause(self, first: bytes, second: bytes, lines: tuple[str, str] | None) -> str:
        """Return the cause of a difference between two files, of which these two lines are the first that differ; else an empty text."""
        for clue in self.clues:
            if _holds(first, second, clue, lines):
                return clue.cause
        if lines is None:
            return ""
        if _is_order(first, second, lines):
            return ORDER
        if self._is_time(*lines):
            return TIME
        return ""

    def _is_time(self, first: str, second: str) -> bool:
        moments = [[int(each) for each in _MOMENT.findall(line)] for line in (first, second)]
        if moments[0] != moments[1] and any(abs(each - self.began) < _NEAR for each in (*moments[0], *moments[1])):
            return True
        return _DATE.findall(first) != _DATE.findall(second)


def clues_of(first: Built, second: Built) -> Clues:
    """Return what two builds tell of their surroundings."""
    here, there = first.surroundings.variables, second.surroundings.variables
    found = [
        Clue(cause="the path of the folder that it was built in", first=str(first.project), second=str(second.project)),
        Clue(cause="the path of a folder for temporary files", first=here["TMPDIR"], second=there["TMPDIR"]),
        Clue(cause="the path of the home folder", first=here.get("HOME", ""), second=there.get("HOME", "")),
        Clue(cause="the name of who builds", first=here.get("USER", ""), second=there.get("USER", "")),
    ]
    if second.surroundings.user_id is not None:
        found.append(Clue(cause="the id of who builds", first="", second=str(second.surroundings.user_id)))
    return Clues(clues=[clue for clue in found if clue.second and clue.first != clue.second], began=first.began)


def _holds(first: bytes, second: bytes, clue: Clue, lines: tuple[str, str] | None) -> bool:
    """Say whether each side holds what the clue is there; of a short text the lines that differ must, which more may hold by chance."""
    if lines is not None:
        return clue.second in lines[1] and clue.second not in lines[0] and clue.first in lines[0]
    one, other = clue.first.encode(), clue.second.encode()
    return len(other) > 8 and other in second and other not in first and one in first


def _is_order(first: bytes, second: bytes, lines: tuple[str, str]) -> bool:
    if sorted(_WORDS.findall(lines[0])) == sorted(_WORDS.findall(lines[1])) and len(_WORDS.findall(lines[0])) > 1:
        return True
    return sorted(first.splitlines()) == sorted(second.splitlines())

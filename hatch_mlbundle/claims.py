"""What a step of another distribution hands over, taken only as far as it can be: changes, new files, findings, details."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from .errors import ClaimError, DistrustError, StorageError
from .guard import Guard, error_line
from .model import Add, Bundle, Change, Convert, Drop, Finding, Keep, Link, MemoryContent, Rewrite
from .optimizer import Detail
from .printable import printable

MOST_ADDED = 256 * 10**6
"""Bytes of a new file (`Add`): what is larger is made of other files, by a `Convert`."""

MOST_DETAILS = 10 * 10**6
"""Characters of the JSON that a step may say of one change."""

MOST_FINDINGS = 1000
"""Findings that are told of one call."""

_LONGEST = 1000
"""Characters of a reason or message."""

_LONGEST_KEY = 10**6
"""Characters of a change's `key`, which nobody reads: it may list what is to be done in a file."""

_CODE = re.compile("(?!MB[01])[A-Z]{2,10}[0-9]{3}")
"""A finding's code; those that begin with MB0 and MB1 are for what is told of plugins, not by them."""

_CHANGES = (Drop, Keep, Rewrite, Add, Link, Convert)


def most_changes(bundle: Bundle) -> int:
    """Return how many changes to the bundle no step can mean: a plan without an end must have one."""
    return 10 * len(bundle) + 10_000


def believed(changes: Iterable[Change], bundle: Bundle, guard: Guard) -> tuple[list[Change], list[str]]:
    """Return the changes that can be meant, the bytes of new files read once and for all, and a line on each of the others."""
    taken: list[Change] = []
    refused: list[str] = []
    for change in changes:
        if problem := doubt(change, bundle):
            refused.append(f"a change was refused: {problem}")
        else:
            taken.append(change)
    added = [change for change in taken if isinstance(change, Add)]
    read = dict(zip(map(id, added), guard.map(partial(_read, guard), added), strict=True))
    refused += [each for each in read.values() if isinstance(each, str)]
    whole = [read.get(id(change), change) for change in taken]
    return [each for each in whole if not isinstance(each, str)], refused


def _read(guard: Guard, change: Add) -> Add | str:
    """Return the new file, its bytes read once and for all, or why it is refused."""
    try:
        with guard.inside():
            return _read_once(change)
    except (DistrustError, StorageError):
        raise
    except Exception as error:
        return f"add of {printable(change.path)} was refused: its content cannot be read ({error_line(error)})"


def doubt(change: object, bundle: Bundle) -> str | None:
    """Return why a change cannot be meant as it is, or None. What it would save may be estimated, but not beyond what there is."""
    if type(change) not in _CHANGES:
        return f"{type(change).__name__} is no change that a plugin may ask for"
    fields: dict[str, Any] = {name: getattr(change, name, None) for name in type(change).__dataclass_fields__}  # type: ignore[attr-defined]
    for name, longest in (("path", _LONGEST), ("reason", _LONGEST), ("key", _LONGEST_KEY), ("target", _LONGEST)):
        if name in fields and not _is_text(fields[name], longest):
            return f"its {name} is no line of at most {longest:,} characters"
    if isinstance(change, Add) and not (type(fields["mode"]) is int and 0 <= fields["mode"] <= 0o777):
        return f"its mode is {fields['mode']!r}, not from 0 to 0o777"
    if isinstance(change, Convert) and not all(_are_texts(fields[name]) for name in ("sources", "outputs", "reads")):
        return "its sources, outputs and reads are no tuples of paths"
    if isinstance(change, Convert) and type(fields["may_grow"]) is not bool:
        return "its may_grow is neither True nor False"
    new = change.outputs if isinstance(change, Convert) else (change.path,) if isinstance(change, Add) else ()
    if odd := [path for path in new if path not in bundle and not path.isprintable()]:
        return f"{printable(odd[0])} is no name for a new file"
    return _doubted_saving(change, bundle) if isinstance(change, Rewrite | Convert) else None


def _doubted_saving(change: Rewrite | Convert, bundle: Bundle) -> str | None:
    if change.saves is None:
        return None
    sources = change.sources if isinstance(change, Convert) else (change.path,)
    there = sum(bundle[path].size for path in sources if path in bundle)
    if type(change.saves) is not int or change.saves > there:
        return f"it claims to save {change.saves!r} of {there} bytes"
    return None


def _is_text(value: object, longest: int = _LONGEST) -> bool:
    return type(value) is str and len(value) <= longest and "\0" not in value


def _are_texts(values: object) -> bool:
    return type(values) is tuple and all(map(_is_text, values))


def _read_once(change: Add) -> Add:
    """Return the change with the bytes that its content gives now; raises ClaimError where they have no end, or are none."""
    pieces: list[bytes] = []
    size = 0
    for piece in change.content.chunks():
        if not isinstance(piece, bytes | bytearray | memoryview):
            raise ClaimError(f"gives {type(piece).__name__} for bytes")
        size += len(piece)
        if size > MOST_ADDED:
            raise ClaimError(f"gives more than {MOST_ADDED:,} bytes for one new file")
        pieces.append(bytes(piece))
    return replace(change, content=MemoryContent(b"".join(pieces)))


def checked_finding(finding: Finding, guard: Guard) -> Finding:
    """Return a finding as it can be told; one that is none is told as such (MB126)."""
    problem = _problem(finding)
    if problem is None:
        return finding
    message = getattr(finding, "message", "")
    said = error_line(ValueError(message)).partition(": ")[2] if isinstance(message, str) else ""
    return Finding(code="MB126", message=guard.named(f"reported what is no finding ({problem}): {said or 'no message'}"))


def _problem(finding: Finding) -> str | None:
    if type(finding) is not Finding:
        return f"{type(finding).__name__} is another class"
    code: Any = finding.code
    if not (_is_text(code) and _CODE.fullmatch(code)):
        return f"its code is {code!r:.40}"
    if not (_is_text(finding.message) and finding.message.isprintable() and finding.message):
        return f"its message is no line of 1 to {_LONGEST:,} characters"
    if finding.path is not None and not (_is_text(finding.path) and _is_inside(finding.path)):
        return "its path is none of the bundle"
    return None


def _is_inside(path: str) -> bool:
    return not path.startswith("/") and "\\" not in path and not {"", ".", ".."} & set(path.split("/"))


def checked_details(details: Mapping[str, Detail], paths: Iterable[str]) -> dict[str, Detail]:
    """Return what a step says of the files that it made, as it would come out of a file of JSON; raises ClaimError."""
    if not isinstance(details, Mapping):
        raise ClaimError(f"gives {type(details).__name__} for details")
    return {path: _json(details[path]) for path in paths if path in details and details[path] is not None}


def _json(detail: Detail) -> Detail:
    try:
        text = json.dumps(detail, allow_nan=False)
        value = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise ClaimError(f"gives details that are no JSON ({error_line(error)})") from error
    if not isinstance(value, dict):
        raise ClaimError(f"gives details that are no mapping, but {type(detail).__name__}")
    if len(text) > MOST_DETAILS:
        raise ClaimError(f"gives details of {len(text):,} characters, which are more than {MOST_DETAILS:,}")
    return value

"""Whether a command does the same after as before: one line on the first thing that is not."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from hatch_mlbundle.verify_settings import VerifyCommand

from .evidence import signal_name, telling_line
from .numbers import Tolerance, numeric_difference, shown
from .observation import FILES, Observation
from .process import Bounds, Command, Ended, run

_PIECE = 1 << 20
"""Bytes of a line that are looked at at once."""
_TENSES = {"took": "takes", "wrote": "writes", "had": "has"}
_CONTEXT = 20


def difference(before: Observation, after: Observation, how: VerifyCommand, *, folder: Path | None = None) -> str | None:
    """Return what a command does otherwise than before, in one line that follows its name; None where all is the same.

    It is the first of: a bound overrun, a signal, the exit status, what the comparator says or, without one, the output and the files
    written. Files are compared like the output; where that is ignored, byte for byte. The comparator runs in `folder`, by default
    the current one, within `how.timeout` or 300 seconds; raises TrialError where it cannot be started.
    """
    if after.overrun:
        first, _, rest = after.overrun.partition(" ")
        return f"{_TENSES.get(first, first)} {rest}"
    if after.status != before.status:
        return _ending(before, after)
    if how.comparator:
        return _comparator_says(before, after, how, folder or Path.cwd())
    return _output_differs(before, after, how) or _files_differ(before, after, how)


def _ending(before: Observation, after: Observation) -> str:
    said = telling_line(after)
    because = f": {said}" if said else ""
    name = signal_name(after.status or 0)
    if name is not None:
        return f"crashes: {name}{because}"
    return f"exits with {after.status} instead of {_status(before)}{because}"


def _status(observation: Observation) -> str:
    return str(observation.status) if observation.overrun is None else f"what it did before ({observation.overrun})"


def _output_differs(before: Observation, after: Observation, how: VerifyCommand) -> str | None:
    if how.output == "ignore" or before.output == after.output:
        return None
    return _texts_differ(before.stdout, after.stdout, "its output", how)


def _files_differ(before: Observation, after: Observation, how: VerifyCommand) -> str | None:
    for told, only in (("does not write", before.files.keys() - after.files), ("also writes", after.files.keys() - before.files)):
        if only:
            more = f" and {len(only) - 1:,} others" if len(only) > 1 else ""
            return f"{told} the file {shown(min(only))}{more}"
    for name, state in before.files.items():
        old, new = before.folder / FILES / name, after.folder / FILES / name
        if old.is_symlink() or new.is_symlink():
            if after.files[name] != state:
                return f"writes the file {shown(name)} as another link"
        elif after.files[name].sha256 != state.sha256:
            found = _texts_differ(old, new, f"the file {shown(name)}", how)
            if found:
                return found
    return None


def _texts_differ(before: Path, after: Path, what: str, how: VerifyCommand) -> str | None:
    """Return the first difference of two files that are not the same, or what is beyond the tolerances."""
    if how.output == "numeric" and not (_is_binary(before) or _is_binary(after)):
        tolerance = Tolerance(relative=how.relative_tolerance, absolute=how.absolute_tolerance)
        return numeric_difference(_text_lines(before), _text_lines(after), tolerance, what)
    if _is_binary(before) or _is_binary(after):
        return f"{what} differs from byte {_first_byte(before, after):,} on"
    for number, (old, new) in enumerate(zip_longest(_lines(before), _lines(after)), 1):
        if old != new:
            return _line_differs(number, old, new, what)
    return None


def _line_differs(number: int, old: bytes | None, new: bytes | None, what: str) -> str:
    if new is None:
        return f"{what} ends before line {number}, {shown(_as_text(old or b''))}"
    if old is None:
        return f"{what} has one more line {number}, {shown(_as_text(new))}"
    texts = _as_text(old), _as_text(new)
    if texts[0] == texts[1]:  # only the line end differs
        texts = old.decode(errors="backslashreplace"), new.decode(errors="backslashreplace")
    start = max(0, _common(*texts) - _CONTEXT)
    if start and max(map(len, texts)) > 3 * _CONTEXT:
        texts = f"...{texts[0][start:]}", f"...{texts[1][start:]}"
    return f"line {number} of {what} is {shown(texts[1])} instead of {shown(texts[0])}"


def _comparator_says(before: Observation, after: Observation, how: VerifyCommand, folder: Path) -> str | None:
    places = {"{before}": str(before.folder.absolute()), "{after}": str(after.folder.absolute())}
    arguments = []
    for argument in how.comparator:
        for placeholder, place in places.items():
            argument = argument.replace(placeholder, place)
        arguments.append(argument)
    command = Command(arguments=tuple(arguments), folder=folder, environment=dict(os.environ))
    with tempfile.TemporaryDirectory(prefix="mlbundle-") as scratch:
        ended = run(command, Bounds(seconds=how.timeout or Bounds().seconds), Path(scratch))
        return _verdict(ended)


def _verdict(ended: Ended) -> str | None:
    if ended.status == 0:
        return None
    texts = [path.read_text(encoding="utf-8", errors="replace").strip() for path in (ended.stdout, ended.stderr)]
    said = next((text.splitlines()[-1] for text in texts if text), "")
    how = ended.overrun or f"exit code {ended.status}"
    return f"is not the same to its comparator: {said} ({how})" if said else f"is not the same to its comparator ({how})"


def _is_binary(path: Path) -> bool:
    with path.open("rb") as file:
        return b"\0" in file.read(1 << 13)


def _first_byte(before: Path, after: Path) -> int:
    """Return the number, from 0, of the first byte that differs."""
    at = 0
    with before.open("rb") as old, after.open("rb") as new:
        while (pieces := (old.read(_PIECE), new.read(_PIECE)))[0] == pieces[1] and pieces[0]:
            at += len(pieces[0])
    return at + _common(*pieces)


def _common(before: Sequence[object], after: Sequence[object]) -> int:
    """Return how many items two sequences begin with that are the same."""
    differing = (at for at, (old, new) in enumerate(zip(before, after, strict=False)) if old != new)
    return next(differing, min(len(before), len(after)))


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while line := file.readline(_PIECE):
            yield line


def _text_lines(path: Path) -> Iterator[str]:
    return (line.decode(errors="backslashreplace") for line in _lines(path))


def _as_text(line: bytes) -> str:
    return line.rstrip(b"\r\n").decode(errors="backslashreplace")

"""What the output of a failing run says about the cause: the one line for a person, and the names for the search."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

from .observation import Observation
from .process import Ended

_TAIL = 1 << 16
"""Bytes at the end of an output that are read."""
_FRAMES = 20
"""Frames of tracebacks that count."""
_LONGEST = 300

_CRASHES = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE", "SIGTRAP", "SIGSYS", "SIGKILL")
"""Signals that a shell's exit status (128 and the number) is taken for."""

_RAISED = re.compile(r"(?:[\w.]*(?:Error|Exception|Interrupt|Exit|Warning|NotFound)\b.*|[a-z_]\w*(?:\.\w+)*\.[A-Z]\w*: .*)")
"""The last line of a traceback."""
_LOADER = re.compile(r".*(?:error while loading shared libraries|symbol lookup error|cannot open shared object file|terminate called).*")
_BOOTLOADER = re.compile(r"\[(?:PYI-)?\d+(?::\w+)?\] (?:Failed to execute script|Script:).*")
"""What PyInstaller's bootloader says after the traceback (pyi_main.c, pyi_launch.c)."""

_PATH = r"[^\s'\"`():,;]+"
_NAMES = (
    re.compile(r"No module named ['\"]?(?P<name>[\w.-]+)"),
    re.compile(r"cannot import name ['\"]?(?P<more>\w+)['\"]? from (?:partially initialized module )?['\"](?P<name>[\w.]+)['\"]"),
    re.compile(rf"(?P<name>{_PATH}): cannot open shared object file"),
    re.compile(rf"(?P<name>{_PATH}): undefined symbol"),
    re.compile(
        rf"(?P<name>{_PATH}): (?:invalid ELF header|file too short|wrong ELF class|cannot read file data|ELF load command|version `)"
    ),
    re.compile(rf"not found \(required by (?P<name>{_PATH})\)"),
    re.compile(r"\[Errno \d+\] [^:\n]+: b?'(?P<name>[^'\n]+)'"),
    re.compile(r"No package metadata was found for (?P<distribution>[\w.-]+)"),
    re.compile(r"The '(?P<distribution>[\w.-]+?)(?:[<>=!~ ][^']*)?' distribution was not found"),
    re.compile(r"\b(?P<distribution>[A-Za-z][\w.-]*) ?(?:[<>=~!]=|[<>]) ?\d"),
    re.compile(r"Failed to load \w[\w ]* '(?P<name>[^'\n]+)'"),
    re.compile(rf"(?:file|resource|library|model|named) ['\"]?(?P<name>{_PATH}\.\w{{1,12}})\b", re.IGNORECASE),
)
"""What Python (Lib/importlib, Objects/exceptions.c), glibc's loader (elf/dl-load.c, dl-lookup.c) and PyInstaller's bootloader say."""
_SHOWN_FILE = re.compile(rf"['\"](?P<name>(?:{_PATH}/)?{_PATH}\.\w{{1,12}})['\"]")
_FRAME = re.compile(r'File "(?P<name>[^"\n]+)", line \d+')


def telling_line(run: Observation | Ended) -> str:
    """Return the line of standard error that tells best why a command failed, cut where it is long; "" where it says nothing."""
    lines = [line.strip() for line in _tail(run.stderr).splitlines()]
    said = [line for line in lines if line and not _BOOTLOADER.fullmatch(line)]
    telling = [line for line in said if _RAISED.fullmatch(line) or _LOADER.fullmatch(line)]
    line = telling[-1] if telling else said[-1] if said else ""
    line = "".join(character if character.isprintable() else " " for character in line)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."


def signal_name(status: int) -> str | None:
    """Return the signal that an exit status tells of, itself or as a shell does; None where it tells of none."""
    try:
        name = signal.Signals(-status if status < 0 else status - 128).name
    except ValueError:
        return f"signal {-status}" if status < 0 else None
    return name if status < 0 or name in _CRASHES else None


def named(observation: Observation) -> list[str]:
    """Return what a failing run names: dotted modules, paths, file names, libraries, folders of metadata; the most telling first."""
    return list(dict.fromkeys(name for text in _texts(observation) for name in _all_named(text)))


def frames(observation: Observation) -> list[str]:
    """Return the source files that tracebacks of a failing run name, the last first: what is written in them ran at least."""
    found = [match["name"] for text in _texts(observation) for match in reversed(list(_FRAME.finditer(text)))]
    return list(dict.fromkeys(found))[:_FRAMES]


def _texts(observation: Observation) -> list[str]:
    return [_tail(observation.stderr), _tail(observation.stdout)]


def _all_named(text: str) -> Iterator[str]:
    """Yield names by how much they tell, and of equally telling ones the last first: an error comes after what led to it."""
    for pattern in (*_NAMES, _SHOWN_FILE):
        for match in reversed(list(pattern.finditer(text))):
            yield from _names_of(match)


def _names_of(match: re.Match[str]) -> Iterator[str]:
    groups = match.groupdict()
    if distribution := groups.get("distribution"):
        yield f"{re.sub(r'[-_.]+', '_', distribution)}.dist-info"
        yield distribution
        return
    if groups.get("more"):
        yield f"{groups['name']}.{groups['more']}"
    yield groups["name"].rstrip(".")


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL))
        return file.read(_TAIL).decode(errors="replace")

"""What PyInstaller says: how far it is, why it failed, and what a person should know of."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from hatch_mlbundle.model import Finding

HOOK = "hook for "
"""How a stage begins in which PyInstaller runs one of its hooks."""

_LOGGED = re.compile(r"\d+ (TRACE|DEBUG|INFO|WARNING|DEPRECATION|ERROR|CRITICAL): (.*)")
_STAGES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"Analyzing modules for base_library\.zip"), "the standard library"),
    (re.compile(r"Analyzing (?:hidden import )?'?(.+?)'?"), "imports of {}"),
    (re.compile(r"Processing .*?hook '(?:hook-)?(.+?)\.py'.*"), HOOK + "{}"),
    (re.compile(r"Looking for (?:ctypes DLLs|dynamic libraries)"), "libraries"),
    (re.compile(r"Creating base_library\.zip.*|Building PYZ \(.*\) \S+"), "packing modules"),
    (re.compile(r"Building (?:PKG|EXE) .*"), "making the executable"),
    (re.compile(r"Building COLLECT .*"), "collecting files"),
)
_FRAME = re.compile(r'\s*File "(.+?)", line (\d+)')
_RAISED = re.compile(r"[A-Za-z_][\w.]*(?:: .*)?")
_TOLD = re.compile(r"(?:.*: )?error: (.*)|ERROR: (.*)")
_REFUSED = re.compile(r"\w*Error: \[Errno (\d+)\].*")
_UNRESOLVED = re.compile(r"Library not found: could not resolve '(.+)', dependency of '(.+)'\.?")
_HIDDEN = re.compile(r"""Hidden import ['"](.+)['"] not found!?""")
_MISSING = re.compile(r"missing module named '?([^' ]+)'? - imported by (.*)")
_IMPORTER = re.compile(r"(\S.*?) \(([a-z, -]+)\)(?:, |$)")
_LONGEST = 300


def stage(line: str) -> str | None:
    """Return what PyInstaller works on from this line of its log on, None where the line does not say."""
    logged = _LOGGED.fullmatch(line)
    if logged is None:
        return None
    for pattern, told in _STAGES:
        match = pattern.fullmatch(logged[2].rstrip(" ."))
        if match:
            return told.format(*(Path(each).name for each in match.groups()))
    return None


def failure(lines: Sequence[str], folder: Path) -> str:
    """Return why PyInstaller failed, from the end of its log: its own last error, and where in the project (`folder`) it arose."""
    traceback = max((number for number, line in enumerate(lines) if line.startswith("Traceback (")), default=None)
    said = [line for line in lines if line.strip()]
    if traceback is None:
        told = [match[1] or match[2] for line in said if (match := _TOLD.fullmatch(_message(line)))]
        error = told[-1] if told else (_message(said[-1]) if said else "no message")
        shown = said[-6:] if error.startswith(("SyntaxError", " SyntaxError")) else []
    else:
        shown = list(lines[traceback + 1 :])
        error = next((line for line in shown if _RAISED.fullmatch(line)), said[-1])
    return " ".join(f"{error.strip()}{_place(shown, folder)}".split())[:_LONGEST]


def error_number(lines: Sequence[str]) -> int | None:
    """Return the errno of the OSError that ended PyInstaller, None where another error did."""
    last = next((line for line in reversed(lines) if line.strip()), "")
    match = _REFUSED.fullmatch(last)
    return int(match[1]) if match else None


def findings(lines: Iterable[str], asked: Sequence[str]) -> Iterator[Finding]:
    """Yield findings on libraries that are not on this machine, and on modules that were `asked` for in vain."""
    unresolved: defaultdict[str, list[str]] = defaultdict(list)
    hidden: set[str] = set()
    for line in lines:
        if match := _UNRESOLVED.fullmatch(_message(line)):
            unresolved[match[1]].append(Path(match[2]).name)
        elif (match := _HIDDEN.fullmatch(_message(line))) and match[1] in asked:
            hidden.add(match[1])
    for library, users in sorted(unresolved.items()):
        first, *others = sorted(set(users))
        more = f" and {len(others)} more" if others else ""
        yield Finding(code="MB502", message=f"{library} is not on this machine, and {first}{more} needs it")
    for name in sorted(hidden):
        yield Finding(code="MB503", message=f"hidden-imports names {name}, and there is no such module")


def missing_modules(warnings: str, is_own: Callable[[str], bool]) -> Iterator[Finding]:
    """Yield a finding for each package that the application's own modules import unguarded and that is not installed.

    `warnings` is the text of PyInstaller's warn-NAME.txt; `is_own` tells, by module name or path, the application's modules.
    What libraries lack is no finding: they import a great deal that they can do without.
    """
    found: dict[str, str] = {}
    for line in warnings.splitlines():
        match = _MISSING.fullmatch(line)
        package = match[1].partition(".")[0] if match else ""
        if match is None or package in sys.stdlib_module_names or _is_there(package):
            continue
        for importer, kinds in _IMPORTER.findall(match[2]):
            if kinds == "top-level" and is_own(importer):
                found.setdefault(package, importer)
    for package, importer in sorted(found.items()):
        name = Path(importer).name if "/" in importer or "\\" in importer else importer
        yield Finding(code="MB501", message=f"{name} imports {package}, which is not in the build environment: it will fail when it runs")


def _message(line: str) -> str:
    logged = _LOGGED.fullmatch(line)
    return logged[2] if logged else line


def _place(lines: Sequence[str], folder: Path) -> str:
    """Return where an error arose, ` (app.spec, line 3)`: the innermost place in the project or, of a syntax error, in any file."""
    frames = [match for line in lines if (match := _FRAME.match(line))]
    syntax = any("SyntaxError" in line for line in lines)
    places = [(Path(frame[1]), frame[2]) for frame in frames if not frame[1].startswith("<")]
    own = [(path, line) for path, line in places if not path.is_absolute() or path.is_relative_to(folder)]
    chosen = places[-1:] if syntax else [each for each in own if "site-packages" not in each[0].parts][-1:]
    return "".join(f" ({path.relative_to(folder) if path.is_relative_to(folder) else path}, line {line})" for path, line in chosen)


def _is_there(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return True

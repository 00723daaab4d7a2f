"""Whether this machine's CPU is one that a bundle was made for (docs/cpu-code.md). The standard library only."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_V3 = ("abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave")
_V4 = ("avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl")
LEVELS = {"x86-64-v3": _V3, "x86-64-v4": _V3 + _V4}
"""What the levels of the x86-64 psABI ask for beyond x86-64-v2, as Linux names it (`abm` is LZCNT)."""

USAGE = f"""\
usage: python -m hatch_mlbundle.runtime cpu LEVEL

Whether this machine's CPU is of LEVEL: {" or ".join(LEVELS)}. The exit code is 0
where it is, or where that cannot be told, 1 where it is not, 2 for wrong use."""


def require(level: str) -> None:
    """End the program with one line on standard error, and the exit code 1, where the CPU is below a level; raises ValueError for none."""
    said = problem(level)
    if said:
        raise SystemExit(f"mlbundle: {said}")


def problem(level: str, cpuinfo: str = "/proc/cpuinfo") -> str | None:
    """Return what this machine's CPU lacks of a level, in one line; None where it lacks nothing, or where that cannot be told."""
    if level not in LEVELS:
        raise ValueError(f"{level!r} is no level; there are {' and '.join(LEVELS)}")
    flags = _flags(cpuinfo)
    lacking = [name for name in LEVELS[level] if name not in flags] if flags else []
    if not lacking:
        return None
    return f"this program needs a CPU of level {level}, and this one lacks {', '.join(lacking)}; get a bundle for any x86-64"


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; return its exit code."""
    if arguments[:1] in (["-h"], ["--help"]):
        print(USAGE)  # noqa: T201 - it is a command
        return 0
    if len(arguments) != 1 or arguments[0] not in LEVELS:
        print(f"mlbundle: cpu takes one level: {' or '.join(LEVELS)}", file=sys.stderr)  # noqa: T201
        return 2
    said = problem(arguments[0])
    if said:
        print(f"mlbundle: {said}", file=sys.stderr)  # noqa: T201
    return 1 if said else 0


def _flags(cpuinfo: str) -> frozenset[str]:
    """Return the features of the first processor, none where Linux does not tell."""
    try:
        with open(cpuinfo, encoding="ascii", errors="replace") as lines:
            found = next((line for line in lines if line.startswith("flags")), "")
    except OSError:
        return frozenset()
    return frozenset(found.partition(":")[2].split())

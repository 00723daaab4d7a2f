"""Tell that the libraries of a bundle have no code any more for this machine: for a GPU that would be used, or for its CPU."""

from __future__ import annotations

import os
import sys

from ..cpu import LEVELS
from ..cpu import problem as problem_of_level
from .gpus import Gpu, Visible, visible_gpus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Capability = tuple[int, int]
    Span = tuple[Capability, Capability | None]
    Library = tuple[str, int, Sequence[Capability], Sequence[Span], str]
    Claim = tuple[str, Iterable[Library]]

SWITCH = "MLBUNDLE_MACHINE_CHECK"
"""The environment variable that is `off` for who wants to be told nothing."""


def tell(claims: Iterable[Claim]) -> bool:
    """Print what there is to say to standard error, a line each for the GPUs and the CPU; return whether there was any. Never raise.

    A claim is a folder, and what is said of libraries below it: path, bytes, the GPUs that it was made for, those that lost code, from
    a compute capability to before another, None for no end, and the level of the CPUs that it was made for, empty for any.
    """
    said = _problems(claims)
    for line in said:
        _print(line)
    return bool(said)


def tell_at_start(claims: Iterable[Claim]) -> None:
    """Do so when a frozen application starts, whose folders are named from that of its contents; not in each process that it starts.

    Where there is no code for the CPU, it ends: what it would compute with is not there.
    """
    if _is_worker(sys.argv) or _is_off():
        return
    root = str(sys._MEIPASS)  # type: ignore[attr-defined]
    rows = standing((os.path.join(root, folder), libraries) for folder, libraries in claims)
    cpu = _without_fail(lambda: cpu_problem(rows))
    if cpu:
        _print(f"{cpu}, or start it all the same with {SWITCH}=off")
        sys.exit(1)
    _print(_without_fail(lambda: _gpu_problem_here(rows)))


def standing(claims: Iterable[Claim]) -> list[Library]:
    """Return what is said of libraries that are there as they were: of others it is no longer true."""
    return [row for root, libraries in claims for row in libraries if _is_there(root, row)]


def gpu_problem(rows: Sequence[Library], visible: Visible) -> str | None:
    """Return what is to be told of the GPUs, in one line, None where they lack nothing."""
    lacking = [gpu for gpu in visible.gpus if any(_is_in(gpu.capability, row[3]) for row in rows)]
    if not lacking or (not visible.sure and len(lacking) < len(visible.gpus)):
        return None
    found = [row for row in rows if any(_is_in(gpu.capability, row[3]) for gpu in lacking)]
    targets = {target for row in found for target in row[2] if not any(_is_in(target, other[3]) for other in found)}
    made_for = f"compute capability {listed(map(_text, sorted(targets)))}" if targets else "no GPU"
    wanted = listed(map(_text, sorted({gpu.capability for gpu in lacking})))
    return (
        f"this bundle lacks code for {named(lacking)}: it was made for {made_for} ({_first(found)});"
        f" get one for {wanted}, or choose another GPU with CUDA_VISIBLE_DEVICES"
    )


def cpu_problem(rows: Sequence[Library]) -> str | None:
    """Return what is to be told of the CPU, in one line, None where it lacks nothing."""
    needed = [level for level in LEVELS if any(row[4] == level for row in rows)]
    return problem_of_level(needed[-1]) if needed else None


def named(gpus: Iterable[Gpu]) -> str:
    """Return how GPUs are told of: by their numbers, names and compute capabilities, those that are alike together."""
    alike: dict[tuple[str, Capability], list[str]] = {}
    for gpu in gpus:
        alike.setdefault((gpu.name, gpu.capability), []).append(str(gpu.number))
    return listed(f"{'GPUs' if have[1:] else 'GPU'} {listed(have)} ({name}, {_text(able)})" for (name, able), have in alike.items())


def listed(texts: Iterable[str]) -> str:
    """Return texts as a sentence has them."""
    *most, last = texts
    return f"{', '.join(most)} and {last}" if most else last


def _problems(claims: Iterable[Claim]) -> list[str]:
    if _is_off():
        return []
    rows = standing(claims)
    said = (_without_fail(lambda: _gpu_problem_here(rows)), _without_fail(lambda: cpu_problem(rows)))
    return [each for each in said if each]


def _is_off() -> bool:
    return os.environ.get(SWITCH, "").lower() in ("off", "0")


def _without_fail(problem: Callable[[], str | None]) -> str | None:
    try:
        return problem()
    except Exception:  # nobody asked, and the application may need neither
        return None


def _gpu_problem_here(rows: Sequence[Library]) -> str | None:
    return gpu_problem(rows, visible_gpus()) if any(row[3] for row in rows) else None


def _print(line: str | None) -> None:
    """Print a line to standard error, or nothing where that cannot be: what is left in Python's buffers would change the exit code."""
    raw = getattr(getattr(sys.stderr, "buffer", None), "raw", None)
    try:
        if line and raw is not None:
            raw.write(f"mlbundle: {line}{os.linesep}".encode(sys.stderr.encoding, "backslashreplace"))
        elif line and sys.stderr is not None:
            print(f"mlbundle: {line}", file=sys.stderr)  # noqa: T201 - where CUDA's own error would go
    except Exception:  # noqa: S110 - a full disk, a pipe that nobody reads, a stream of the application's own: none is to stop it
        pass


def _is_worker(arguments: Sequence[str]) -> bool:
    """Say whether multiprocessing started this process (`spawn.is_forking`; PyInstaller's pyi_rth_multiprocessing.py)."""
    return arguments[1:2] == ["--multiprocessing-fork"] or (arguments[-2:-1] == ["-c"] and "from multiprocessing." in arguments[-1])


def _is_there(root: str, row: Library) -> bool:
    try:
        return os.stat(os.path.join(root, row[0])).st_size == row[1]
    except (OSError, ValueError):
        return False


def _is_in(gpu: Capability, spans: Iterable[Span]) -> bool:
    return any(first <= gpu and (end is None or gpu < end) for first, end in spans)


def _first(rows: Sequence[Library]) -> str:
    path = rows[0][0] if rows[0][0].isprintable() else ascii(rows[0][0])
    return f"{path} and {len(rows) - 1:,} more" if len(rows) > 1 else path


def _text(capability: Capability) -> str:
    return f"{capability[0]}.{capability[1]}"

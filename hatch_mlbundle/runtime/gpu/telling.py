"""Tell that the libraries of a bundle have no code any more for a GPU that would be used."""

from __future__ import annotations

import os
import sys

from .devices import Gpu, Visible, visible_gpus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Capability = tuple[int, int]
    Span = tuple[Capability, Capability | None]
    Library = tuple[str, int, Sequence[Capability], Sequence[Span]]
    Claim = tuple[str, Iterable[Library]]

SWITCH = "MLBUNDLE_GPU_CHECK"
"""The environment variable that is `off` for who wants to be told nothing."""


def tell(claims: Iterable[Claim]) -> bool:
    """Print a line to standard error where there is something to say, and return whether there was; never raise.

    A claim is a folder, and what is said of libraries below it: path, bytes, the GPUs that it was made for, and those that lost code, from
    a compute capability to before another, None for no end.
    """
    try:
        if os.environ.get(SWITCH, "").lower() in ("off", "0"):
            return False
        said = problem(claims, visible_gpus())
        if said and sys.stderr is not None:
            print(f"mlbundle: {said}", file=sys.stderr)  # noqa: T201 - where CUDA's own error would go
        return said is not None
    except Exception:  # nobody asked, and the application may need no GPU
        return False


def tell_at_start(claims: Iterable[Claim]) -> None:
    """Do so when a frozen application starts, whose folders are named from that of its contents; not in each process that it starts."""
    if not _is_worker(sys.argv):
        root = str(sys._MEIPASS)  # type: ignore[attr-defined]
        tell([(os.path.join(root, folder), libraries) for folder, libraries in claims])


def problem(claims: Iterable[Claim], visible: Visible) -> str | None:
    """Return what is to be told of the GPUs, in one line, None where they lack nothing.

    What is said of a library that is gone, or has other bytes now, counts for nothing.
    """
    rows = [row for root, libraries in claims for row in libraries if _is_there(root, row)]
    lacking = [gpu for gpu in visible.gpus if any(_is_in(gpu.capability, lost) for *_, lost in rows)]
    if not lacking or (not visible.sure and len(lacking) < len(visible.gpus)):
        return None
    found = [row for row in rows if any(_is_in(gpu.capability, row[3]) for gpu in lacking)]
    targets = {target for row in found for target in row[2] if not any(_is_in(target, other[3]) for other in found)}
    made_for = f"compute capability {listed(map(_text, sorted(targets)))}" if targets else "no GPU"
    others = f" and {len(found) - 1:,} more" if len(found) > 1 else ""
    wanted = listed(map(_text, sorted({gpu.capability for gpu in lacking})))
    return (
        f"this bundle lacks code for {listed(map(named, lacking))}: it was made for {made_for} ({found[0][0]}{others});"
        f" get one for {wanted}, or choose another GPU with CUDA_VISIBLE_DEVICES"
    )


def named(gpu: Gpu) -> str:
    """Return how a GPU is told of: its number, name and compute capability."""
    return f"GPU {gpu.number} ({gpu.name}, {_text(gpu.capability)})"


def listed(texts: Iterable[str]) -> str:
    """Return texts as a sentence has them."""
    *most, last = texts
    return f"{', '.join(most)} and {last}" if most else last


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


def _text(capability: Capability) -> str:
    return f"{capability[0]}.{capability[1]}"

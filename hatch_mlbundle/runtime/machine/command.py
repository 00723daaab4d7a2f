"""Say whether a bundle has code for this machine: `python -m hatch_mlbundle.runtime machine`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from .gpus import Visible, visible_gpus
from .statements import loaded_here, read_claim, statement_paths
from .telling import cpu_problem, gpu_problem, named, standing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .telling import Library

USAGE = """\
usage: python -m hatch_mlbundle.runtime machine [FOLDER ...]

Whether there is code for this machine's GPUs and CPU in the folders and all
below them; without any, where Python finds its packages. The exit code is 0
where nothing was taken out that they need, 1 where something was, 2 for wrong
use, and for what cannot be read."""


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; return its exit code."""
    if arguments[:1] in (["-h"], ["--help"]):
        print(USAGE)  # noqa: T201 - it is a command
        return 0
    missing = [folder for folder in arguments if not os.path.isdir(folder)]
    if missing:
        return _complain(f"{missing[0]}: is no folder", 2)
    try:
        claims = [read_claim(path) for path in statement_paths(arguments)]
        rows, visible = standing(claims if arguments else loaded_here(claims)), visible_gpus()
    except (OSError, ValueError) as error:
        return _complain(str(error), 2)
    problems = [said for said in (gpu_problem(rows, visible), cpu_problem(rows)) if said]
    for said in problems:
        _complain(said, 1)
    if not problems:
        print(_all_right(rows, visible))  # noqa: T201
    return 1 if problems else 0


def _all_right(rows: Sequence[Library], visible: Visible) -> str:
    if not any(row[3] for row in rows):
        return "there is code for this CPU" if any(row[4] for row in rows) else "nothing says that code was taken out"
    if not visible.gpus:
        return "GPU code was taken out; CUDA would see no GPU here"
    if gpu_problem(rows, Visible(visible.gpus)):
        return "some GPUs lack code; set CUDA_DEVICE_ORDER=PCI_BUS_ID to tell whether CUDA_VISIBLE_DEVICES names one of them"
    return f"there is code for {named(visible.gpus)}"


def _complain(line: str, code: int) -> int:
    print(f"mlbundle: {line}", file=sys.stderr, flush=True)  # noqa: T201
    return code

"""Say whether a bundle has code for the GPUs of this machine: `python -m hatch_mlbundle.runtime gpu`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from .devices import Visible, visible_gpus
from .statements import read_claim, statement_paths
from .telling import listed, named, problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .telling import Claim

USAGE = """\
usage: python -m hatch_mlbundle.runtime gpu [FOLDER ...]

Whether there is code for the GPUs of this machine in the folders and all
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
    except (OSError, ValueError) as error:
        return _complain(str(error), 2)
    visible = visible_gpus()
    if said := problem(claims, visible):
        return _complain(said, 1)
    print(_all_right(claims, visible))  # noqa: T201
    return 0


def _all_right(claims: Sequence[Claim], visible: Visible) -> str:
    if not claims:
        return "nothing says that GPU code was taken out"
    if not visible.gpus:
        return "GPU code was taken out; CUDA would see no GPU here"
    if problem(claims, Visible(visible.gpus)):
        return "some GPUs lack code; set CUDA_DEVICE_ORDER=PCI_BUS_ID to tell whether CUDA_VISIBLE_DEVICES names one of them"
    return f"there is code for {listed(map(named, visible.gpus))}"


def _complain(line: str, code: int) -> int:
    print(f"mlbundle: {line}", file=sys.stderr, flush=True)  # noqa: T201
    return code

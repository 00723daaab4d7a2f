"""`mlbundle explore`."""

from __future__ import annotations

from pathlib import Path

from .command_options import Commands, add_command, add_json, add_work_options, positive
from .late import late

_actions = late(f"{__package__}.commands")


def add_to(commands: Commands) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "explore",
        _actions.explore,
        "Make and try every choice for an artifact, each step alone and all together, one file and archives: its size, its time to start, "
        "its memory, and whether it still works. The artifact stays as it is.",
        examples={
            "mlbundle explore dist/app": "by the commands in [tool.mlbundle.verify]",
            "mlbundle explore --repeat 1 dist/app -- {bundle}/app --version": "by one command; {bundle} is where the artifact is put",
        },
        usage="mlbundle explore [options] artifact [-- PROGRAM [ARGUMENT ...]]",
    )
    parser.add_argument("artifact", type=Path, help="a wheel, a frozen bundle or any folder")
    parser.add_argument("--repeat", type=positive, default=3, metavar="N", help="runs of each command, whose medians count (default 3)")
    parser.add_argument("--archives", action="store_true", help="pack the result into every format there is, not only those in `archive`")
    reports = parser.add_argument_group("reports")
    add_json(reports, "everything in exact numbers, as JSON")
    reports.add_argument("-o", "--output", type=Path, metavar="FILE", help="write that JSON into a file, too")
    add_work_options(parser)

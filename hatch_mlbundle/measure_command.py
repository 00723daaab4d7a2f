"""`mlbundle measure`."""

from __future__ import annotations

from .command_options import Commands, add_command, add_json, count, positive, seconds
from .late import late

_actions = late(f"{__package__}.commands")


def add_to(commands: Commands) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "measure",
        _actions.measure,
        "Measure how long a command takes from start to exit, and its peak memory.",
        examples={
            "mlbundle measure -- dist/app/app --help": "the median of five runs",
            "mlbundle measure --against old/app/app -- dist/app/app --help": "two programs in turn, with the same arguments",
        },
        usage="mlbundle measure [options] -- PROGRAM [ARGUMENT ...]",
    )
    parser.add_argument(
        "command", nargs="+", metavar="PROGRAM [ARGUMENT ...]", help="what to run, in the current folder; it has to exit with 0"
    )
    parser.add_argument("--against", metavar="PROGRAM", help="measure this program, too, with the same arguments, in turn with the first")
    parser.add_argument("--runs", type=positive, default=5, metavar="N", help="runs that are measured (default 5)")
    parser.add_argument("--warmup", type=count, default=1, metavar="N", help="runs before them that are not (default 1)")
    parser.add_argument("--timeout", type=seconds, default=300.0, metavar="S", help="seconds a run may take (default 300)")
    add_json(parser.add_argument_group("reports"), "the same as JSON: seconds and bytes")

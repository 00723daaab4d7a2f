"""`mlbundle compare`."""

from __future__ import annotations

from pathlib import Path

from .command_options import SUBJECT, Commands, add_command, add_report_options, add_work_options
from .late import late

_actions = late(f"{__package__}.report_commands")


def add_to(commands: Commands) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "compare",
        _actions.compare_two,
        "Show how one artifact differs from another: what grew, shrank, came, went or moved, and which dependencies changed.",
        examples={
            "mlbundle compare old/app dist/app": "two folders, wheels, images, or one of each",
            "mlbundle compare app-1.0.mlbundle.json dist/app": "the manifest of a release will do, so that the release need not be kept",
        },
    )
    parser.add_argument("before", type=Path, help=SUBJECT)
    parser.add_argument("after", type=Path, help="another one, of whatever sort")
    add_report_options(parser)
    add_work_options(parser)

"""`mlbundle cache`."""

from __future__ import annotations

from .command_options import Commands, add_command, add_json, add_project_options
from .late import late

_actions = late(f"{__package__}.commands")


def add_to(commands: Commands) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "cache",
        _actions.cache,
        "Show how much the cache of finished results holds, or empty it.",
        examples={
            "mlbundle cache": "where it is, and how full",
            "mlbundle cache clear": "take everything out: the next builds do all work anew",
        },
    )
    parser.add_argument(
        "action",
        nargs="?",
        choices=("show", "prune", "clear"),
        default="show",
        help="show it (what happens unless said otherwise), prune it to its limit, or clear it",
    )
    add_json(parser)
    add_project_options(parser)

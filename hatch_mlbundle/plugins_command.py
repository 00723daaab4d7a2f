"""`mlbundle plugins`."""

from __future__ import annotations

from .command_options import Commands, add_command, add_json
from .late import late

_actions = late(f"{__package__}.commands")


def add_to(commands: Commands) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "plugins",
        _actions.plugins,
        "List the optimizers that there are, with their options.",
        examples={"mlbundle plugins": "ours, and those of every plugin that is installed"},
    )
    how = parser.add_mutually_exclusive_group()
    add_json(how)
    how.add_argument("--names", action="store_true", help="only their names, one a line")
    parser.set_defaults(quiet=False)

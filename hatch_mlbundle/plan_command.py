"""`mlbundle plan`."""

from __future__ import annotations

from pathlib import Path

from .command_options import ARTIFACT, Commands, add_command, add_json, add_top, add_work_options
from .late import late

_actions = late(f"{__package__}.commands")


def add_to(commands: Commands) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "plan",
        _actions.plan,
        "Say what optimize would do with an artifact, and why, file by file; change nothing.",
        examples={
            "mlbundle plan dist/*.whl": "the steps that the project configures, ten changes of each",
            "mlbundle plan -O strip --top 100 dist/app": "one step by itself, and more of its changes",
        },
    )
    parser.add_argument("artifact", type=Path, help=ARTIFACT)
    reports = parser.add_argument_group("reports")
    add_json(reports, "every change, as JSON")
    add_top(reports, "changes to show for each step")
    add_work_options(parser)

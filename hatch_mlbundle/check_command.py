"""`mlbundle check`."""

from __future__ import annotations

from pathlib import Path

from .command_options import SUBJECT, Commands, add_command, add_report_options, add_work_options, report
from .late import late

_actions = late(f"{__package__}.report_commands")


def add_to(commands: Commands) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "check",
        _actions.check,
        "Hold an artifact against the limits in [tool.mlbundle.budget] of the project.",
        examples={
            "mlbundle check dist/app": "each limit, and what takes the space where one is exceeded",
            "mlbundle check dist/app --baseline old/app --junit sizes.xml": "growth is counted from another one; CI shows the test cases",
        },
        exits=("within every limit", "over at least one", "wrong use, configuration or input"),
    )
    parser.add_argument("artifact", type=Path, help=SUBJECT)
    parser.add_argument("--baseline", type=Path, metavar="BASE", help="what growth is counted from, instead of the configured manifest")
    files = parser.add_argument_group("files for continuous integration")
    files.add_argument("--junit", type=report, metavar="FILE", help="write the limits as JUnit test cases")
    files.add_argument("--sarif", type=report, metavar="FILE", help="write breaches and findings as SARIF")
    files.add_argument("--manifest", type=report, metavar="FILE", help="write the manifest, which a later check can take as its baseline")
    add_report_options(parser)
    add_work_options(parser)

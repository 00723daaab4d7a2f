"""`mlbundle analyze`."""

from __future__ import annotations

from pathlib import Path

from .command_options import SUBJECT, Commands, add_command, add_report_options, add_work_options, report
from .late import late

_actions = late(f"{__package__}.report_commands")


def add_to(commands: Commands) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "analyze",
        _actions.analyze,
        "Show what takes the space in an artifact: by distribution, kind and file, with duplicates, and what is inside models and "
        "libraries. The artifact stays as it is.",
        examples={
            "mlbundle analyze --suggest dist/*.whl": "with what each step would save that does not run yet",
            "mlbundle analyze dist/app --html report.html": "a page to zoom and search in",
        },
    )
    parser.add_argument("artifact", type=Path, help=SUBJECT)
    parser.add_argument("--suggest", action="store_true", help="say what steps that are not in `optimizers` would save")
    parser.add_argument("--advice", action="store_true", help="of a container image: say line by line how it gets smaller, for and against")
    parser.add_argument("--no-hashes", dest="hashes", action="store_false", help="only look at sizes: quick, but duplicates stay unknown")
    pictures = parser.add_argument_group("pictures")
    pictures.add_argument("--svg", type=report, metavar="FILE", help="write the treemap as a picture")
    pictures.add_argument("--png", type=report, metavar="FILE", help="the same as PNG (needs Pillow)")
    add_report_options(parser)
    add_work_options(parser)

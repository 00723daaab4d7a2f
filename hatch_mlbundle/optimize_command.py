"""`mlbundle optimize`."""

from __future__ import annotations

from pathlib import Path

from .command_options import ARTIFACT, Commands, add_command, add_work_options
from .late import late

_actions = late(f"{__package__}.commands")


def add_to(commands: Commands) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "optimize",
        _actions.optimize,
        "Make wheels, frozen bundles, folders or container images small, as [tool.mlbundle] of the project says. An artifact is replaced "
        "only by a complete one; its manifest, which tells what was done to each file, is written beside it.",
        examples={
            "mlbundle optimize dist/*.whl": "in place, whatever built them",
            "mlbundle optimize dist/app -o small": "keep the original; nothing may be at the new place",
        },
        exits=("done", "a budget, a verification or a strict finding failed: nothing was replaced", "wrong use, configuration or input"),
    )
    parser.add_argument("artifacts", type=Path, nargs="+", metavar="artifact", help=ARTIFACT)
    parser.add_argument("-o", "--output", type=Path, metavar="OUT", help="where the result goes (without it, it replaces the artifact)")
    checks = parser.add_argument_group("checks")
    checks.add_argument("--strict", action="store_true", help="fail, and replace nothing, where there is a finding")
    checks.add_argument("--no-verify", action="store_true", help="do without the commands in [tool.mlbundle.verify]")
    checks.add_argument("--no-budget", action="store_true", help="do without the limits in [tool.mlbundle.budget]; the manifest says so")
    add_work_options(parser)

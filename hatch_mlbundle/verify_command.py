"""`mlbundle verify`."""

from __future__ import annotations

from pathlib import Path

from .command_options import Commands, add_command, add_json, add_quiet, add_top, positive
from .late import late

_actions = late(f"{__package__}.verify_artifact")


def add_to(commands: Commands) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "verify",
        _actions.verify,
        "Prove that an artifact is the one that a manifest describes: its own bytes, each file in it, and what lies beside it.",
        examples={
            "mlbundle verify old/app app-1.0.mlbundle.json": "by the manifest of a release; without it, by the one beside the artifact",
            "mlbundle verify old/app app-1.0.mlbundle.json --complete -q": "for a script: everything is there, and nothing else",
        },
        exits=("it is the one", "it is another one, or damaged", "the manifest proves nothing, or something cannot be read"),
    )
    parser.add_argument("artifact", type=Path, help="a wheel, a frozen bundle, what that was packed into, any folder, or a container image")
    parser.add_argument("manifest", type=Path, nargs="?", help="its manifest (default: ARTIFACT.mlbundle.json beside it)")
    parser.add_argument("--complete", action="store_true", help="fail, too, where something that belongs beside the artifact is not there")
    add_top(parser, "differences to show")
    add_json(parser, "every difference, as JSON")
    parser.add_argument("--workers", type=positive, metavar="N", help="threads that read at once (default: one a core)")
    add_quiet(parser)

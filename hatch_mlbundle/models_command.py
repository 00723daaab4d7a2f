"""`mlbundle models`."""

from __future__ import annotations

from pathlib import Path

from .command_options import Commands, add_command
from .late import late

_actions = late(f"{__package__}.model_commands")


def add_to(commands: Commands) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "models",
        _actions.models,
        "List, fetch or check the models that lie outside artifacts, or prune the store that applications share.",
        examples={
            "mlbundle models list": "what the store holds",
            "mlbundle models warm dist/app": "fetch what an application needs, before its first start",
        },
        exits=("done", "a model is damaged, or in none of its places", "wrong use or input"),
    )
    parser.add_argument(
        "action",
        choices=("list", "warm", "verify", "prune"),
        help="what to do: list them, fetch them (warm), check their bytes (verify), or remove what no artifact named tells of (prune)",
    )
    parser.add_argument(
        "subjects",
        type=Path,
        nargs="*",
        metavar="artifact",
        help="a mlbundle.models.json, a wheel, a frozen bundle or a folder that has one",
    )
    parser.set_defaults(quiet=False)

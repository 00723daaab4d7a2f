"""`python -m hatch_mlbundle.ci COMMAND`, from any folder: everything else comes from environment variables (docs/ci.md)."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from hatch_mlbundle.errors import MlbundleError

from . import github, gitlab

COMMANDS: Mapping[str, Callable[[Mapping[str, str]], int]] = {
    "github-prepare": github.prepare,
    "github-check": github.check,
    "github-comment": github.comment,
    "gitlab": gitlab.check,
}


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> int:
    """Run a command and return its exit code; a fault is told in a line."""
    parser = argparse.ArgumentParser(prog="python -m hatch_mlbundle.ci", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    command = COMMANDS[parser.parse_args(arguments).command]
    try:
        return command(environment)
    except MlbundleError as error:
        print(error.told(), file=sys.stderr)  # noqa: T201
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())

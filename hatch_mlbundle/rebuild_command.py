"""`mlbundle rebuild`."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from .adapters.project import has_frozen_target
from .errors import ConfigurationError, NotReproducibleError
from .invocation import check_path, progress_of
from .rebuilding.building import Target
from .rebuilding.rebuild import Request
from .rebuilding.rebuild import rebuild as carry_out
from .standard_output import standard_output


def rebuild(options: argparse.Namespace) -> None:
    """Build a project again, and say whether the same comes of it; raises NotReproducibleError where it does not."""
    if not (options.check or options.against):
        raise ConfigurationError(["mlbundle rebuild: needs --check, to build twice, or --against ARTIFACT, to compare with a finished one"])
    request = Request(
        project=options.project,
        targets=_targets(options),
        twice=options.check,
        against=options.against,
        isolated=options.isolated,
        why=options.why,
        keep=options.keep,
        seconds=options.timeout,
    )
    with progress_of(options) as progress:
        verdict = carry_out(request, progress)
    from .reports.rebuilds import rebuild_fault, rebuild_report

    with standard_output():
        if options.json:
            sys.stdout.write(json.dumps({"reproducible": verdict.reproducible, **asdict(verdict)}, indent=2) + "\n")
        elif not options.quiet:
            sys.stdout.write(rebuild_report(verdict, options.against))
    if not verdict.reproducible:
        raise NotReproducibleError(rebuild_fault(verdict))


def _targets(options: argparse.Namespace) -> tuple[Target, ...]:
    """Return what is to be built: what is asked for, what the finished artifact is, else all that makes up a release."""
    check_path(options.project)
    against: Path | None = options.against
    if options.target:
        return tuple(dict.fromkeys(options.target))
    if against is None:
        return ("sdist", "wheel", *(("frozen",) if has_frozen_target(options.project) else ()))
    if not against.exists():
        raise ConfigurationError([f"--against: {against}: does not exist; name a finished artifact"])
    return ("wheel",) if against.suffix == ".whl" else ("sdist",) if against.name.endswith(".tar.gz") else ("frozen",)

"""What each command of `mlbundle` does with its parsed options.

The reports, and rich with them, are imported where something is drawn, and what runs commands where some are run: they cost as much
time as a small wheel does.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeAlias

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from . import application
from .atomic import make_folder, replace_atomically
from .beside import saved_manifest_path
from .bundles.atomic_folder import recover
from .bundles.folder import check_target
from .bundles.images.layouts import is_layout
from .bundles.images.tar_layout import may_be_tar
from .errors import ArtifactError, BudgetError, MlbundleError
from .invocation import check_apart, check_path, config_of, job_of, project_of
from .job import cache_of
from .model import Change
from .plugins import load_registry, optimizer_entries
from .printable import printable
from .standard_output import standard_output
from .units import format_size

Action: TypeAlias = Callable[[argparse.Namespace], None]


def plan(options: argparse.Namespace) -> None:
    """Show what `optimize` would do."""
    with job_of(options, options.artifact) as job:
        planned = application.plan_for(job, options.artifact)
    if options.json:
        _print_json([{"optimizer": each.stage.name, "changes": [_change(change) for change in each.changes]} for each in planned.stages])
    elif not options.quiet:
        from .reports.terminal import plan_report, show

        show(plan_report(options.artifact.name, planned.before.bundle, planned.stages, planned.findings, top=options.top))


def optimize(options: argparse.Namespace) -> None:
    """Make artifacts small, and show what was saved."""
    several = len(options.artifacts) > 1
    for artifact in options.artifacts:
        output = output_for(artifact, options.output, several=several)
        with job_of(options, artifact) as job:
            try:
                result = application.optimize(job, artifact, output)
            except BudgetError as error:  # its lines are about limits alone
                raise error.of(printable(artifact.name)) if several else error from None
        if not options.quiet:
            from .reports.terminal import show, summary

            show(summary(result.manifest, saved_manifest_path(job, output or artifact), result.verification))


def explore(options: argparse.Namespace) -> None:
    """Make and try every choice for an artifact, and show what each comes to."""
    from . import explore as exploring

    if options.output:
        check_apart(options.output, options.artifact)
    with job_of(options, options.artifact) as job:
        explored = exploring.explore(job, options.artifact, command=options.command, repeat=options.repeat)
    if options.output:
        with replace_atomically(options.output) as stream:
            stream.write(explored.to_json().encode(errors="backslashreplace"))
    if options.json:
        _print(explored.to_json())
    elif not options.quiet:
        from .reports.exploration import exploration_report
        from .reports.terminal import show

        show(exploration_report(explored))


def plugins(options: argparse.Namespace) -> None:
    """List the optimizers and their options; on standard error, what is wrong with installed plugins."""
    registry = load_registry()
    if options.names:
        _print("".join(f"{name}\n" for name in registry))
        return
    entries = optimizer_entries(registry)
    if options.json:
        _print_json([asdict(entry) for entry in entries])
    else:
        from .reports.options import options_report
        from .reports.terminal import show

        show(options_report(entries))
    for finding in registry.findings:
        sys.stderr.write(f"{MlbundleError(finding.line()).told()}\n")


def cache(options: argparse.Namespace) -> None:
    """Show, prune or clear the cache."""
    found = cache_of(config_of(options, load_registry()), project_of(options))
    limit = {"show": None, "prune": found.max_size, "clear": 0}[options.action]
    removed = 0 if limit is None else found.prune(limit)
    usage = found.usage()
    if options.json:
        _print_json({**asdict(usage), "folder": str(usage.folder), "limit": found.max_size, "removed": removed})
    elif not options.quiet:
        told = f"{usage.folder}: {usage.entries:,} results, {format_size(usage.size)} of {format_size(found.max_size)}"
        _print(f"{told}; {format_size(removed)} removed\n" if removed else f"{told}\n")


def measure(options: argparse.Namespace) -> None:
    """Measure the time and memory of a command, or of two programs with the same arguments."""
    from .trials.measure import measure_in_turn
    from .trials.process import Bounds, Command

    program, *arguments = options.command
    programs = [program] if options.against is None else [program, options.against]
    commands = [Command(arguments=(each, *arguments), folder=Path.cwd(), environment=dict(os.environ)) for each in programs]
    bounds = Bounds(seconds=options.timeout)
    measured = list(zip(programs, measure_in_turn(commands, bounds, options.runs, warmup=options.warmup), strict=True))
    if options.json:
        _print_json([{"program": name, **asdict(each)} for name, each in measured])
    else:
        from .reports.measurements import measurements_report
        from .reports.terminal import show

        show(measurements_report(measured))


def output_for(artifact: Path, output: Path | None, *, several: bool) -> Path | None:
    """Return where an artifact's result goes, given `--output`: a wheel's or image's name, or a folder; None is in place.

    Raises ArtifactError where a folder may not go there, StorageError where there can be no such folder.
    """
    check_path(artifact)
    recover(artifact.resolve())  # a folder that a killed process moved aside is to be told from a file
    into, is_image = None, _is_image(artifact)
    if output and (several or not (is_image or artifact.is_dir() or output.suffix == ".whl")):
        into, output = output, output / (artifact.name or artifact.resolve().name)
    if artifact.is_dir() and not is_image:
        check_target(artifact, output or artifact)
    elif output and not is_image and _project_of(output) != _project_of(artifact):
        raise ArtifactError(str(output), f"is no name for {artifact.name}, whose name and version must stay; give a folder instead")
    if into:
        make_folder(into)
    return output


def _is_image(artifact: Path) -> bool:
    """Say whether something may be a container image: a layout in a folder, or a tar file."""
    if artifact.is_dir():
        return is_layout(artifact)
    return artifact.suffix != ".whl" and artifact.is_file() and may_be_tar(artifact)


def _project_of(wheel: Path) -> tuple[object, ...] | None:
    try:
        return parse_wheel_filename(wheel.name)[:2]
    except InvalidWheelFilename:
        return None


def _print_json(value: Any) -> None:
    _print(json.dumps(value, indent=2) + "\n")


def _print(text: str) -> None:
    with standard_output():
        sys.stdout.write(text)


def _change(change: Change) -> dict[str, Any]:
    told = {field.name: getattr(change, field.name) for field in fields(change) if field.name not in ("content", "files", "key", "render")}
    return {"action": type(change).__name__.lower(), **told}

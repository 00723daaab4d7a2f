"""Run a command on the untouched artifact and see which of its files it uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hatch_mlbundle.bundles.executable import open_executables
from hatch_mlbundle.errors import MissingProgramError, TraceError
from hatch_mlbundle.importpaths import installed
from hatch_mlbundle.model import Bundle
from hatch_mlbundle.tracing.trace import FOLDER, Seen, traced_folder, traced_python, traced_run
from hatch_mlbundle.trials.observation import Observation
from hatch_mlbundle.verify_settings import VerifyCommand

from .runner import Runner


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """What a command did, and the paths of the bundle that it was seen to use: none where it could not be watched."""

    observation: Observation
    used: frozenset[str]


def tracer(runner: Runner) -> Callable[[Bundle, VerifyCommand], Traced]:
    """Return what runs a command on a bundle and watches it."""
    return lambda bundle, command: _traced(runner, bundle, command)


def _traced(runner: Runner, bundle: Bundle, command: VerifyCommand) -> Traced:
    if runner.subject.root:  # what would watch it is not there
        return Traced(observation=runner.run(bundle, command), used=frozenset())
    runner.subject.become(bundle)

    def run(variables: Mapping[str, str]) -> Observation:
        return runner.run_untended(bundle, command, variables, variables.get(FOLDER))

    try:
        observation, seen = _watched(runner, run)
    except (TraceError, MissingProgramError):  # it cannot be watched: a guess less for the search, should there be one
        observation, seen = None, None
    finally:
        runner.tend(command)
    if observation is None or seen is None:
        return Traced(observation=runner.run(bundle, command), used=frozenset())
    by_place = {installed(path): path for path in bundle}
    return Traced(observation=observation, used=frozenset(by_place.get(path, path) for path in seen.used))


def _watched(runner: Runner, run: Callable[[Mapping[str, str]], Observation]) -> tuple[Observation, Seen]:
    tree, environment = runner.subject.stand.root, runner.subject.environment
    if environment is not None:
        return traced_python([environment.site_packages], run)
    with open_executables(tree) as executables:
        is_frozen = bool(executables)
    return traced_run(tree, run) if is_frozen else traced_folder(tree, run)

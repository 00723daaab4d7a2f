"""What steps that were not run would save: each is planned by itself on the artifact as it is, and nothing is changed."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .accuracy_settings import AccuracySettings
from .budget_settings import BudgetSettings
from .bundles.artifact import Side
from .config import DEFAULT_OPTIMIZERS, Config
from .errors import MissingLibraryError, MissingProgramError, MlbundleError
from .job import prepare
from .manifest import Saved, SuggestionRow
from .model import Add, Change, Convert, Drop, Finding, Keep, Leave, Link, Rewrite, Tell
from .optimizer import ArtifactKind
from .pipeline import Services, Stage, plan
from .plugins import Registry

_LAST = ("pack_weights", "externalize", "gpu_code", "upx")
"""Steps behind which others find nothing: what they make is compressed, gone, or for no other program to touch."""
_WIDTH = 78


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A step to plan by itself, and the lines that let it run."""

    stage: Stage
    configuration: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """The steps to plan, and what there is to say of those that cannot be."""

    steps: tuple[Trial, ...]
    findings: tuple[Finding, ...]


def find_trials(config: Config, every: Config, registry: Registry, project: Path, *, table: str, artifact: str) -> Trials:
    """Return a trial of each optimizer: `config` is the project's, `every` is the same with all optimizers there are as its steps.

    `table` is the TOML path of the table whose `optimizers` count, `artifact` the file name. What needs options to do anything is
    left out; of what needs a program or library that is not there, a finding tells.
    """
    steps, findings = [], []
    configured = [step.name for step in config.steps]
    settings = replace(every.settings, accuracy=AccuracySettings(), budget=BudgetSettings())  # both are of results
    for step in every.steps:
        try:
            job = prepare(replace(every, settings=settings, steps=(step,)), registry, project=project)
        except (MissingProgramError, MissingLibraryError) as error:
            findings.append(_unknown(step.name, str(error)))
        except MlbundleError:  # options of its own are needed first
            continue
        else:
            lines = _command(artifact) if step.name in configured else _lines(table, config.settings.optimizers, step.name)
            steps += [Trial(stage=stage, configuration=lines) for stage in job.stages]
            findings += [_unknown(step.name, finding.message) for finding in job.findings if finding.optimizer == step.name]
    return Trials(steps=tuple(steps), findings=tuple(findings))


def suggest(trials: Trials, side: Side, kind: ArtifactKind, services: Services) -> tuple[tuple[SuggestionRow, ...], tuple[Finding, ...]]:
    """Return what each step that is for such an artifact would save, the largest first, and why it is not known of some.

    A step that only tells by doing it what it saves is not among them.
    """
    rows, findings = [], list(trials.findings)
    for trial in trials.steps:
        if kind not in trial.stage.optimizer.artifacts:
            continue
        (planned,), found = plan(side.bundle, [trial.stage], services)
        findings += [_unknown(trial.stage.name, finding.message) for finding in found if finding.code.startswith(("MB101", "MB12"))]
        row = _row(trial, planned.changes, side)
        if row.saved.installed > 0:
            rows.append(row)
    return tuple(sorted(rows, key=lambda row: (-row.saved.installed, row.optimizer))), tuple(findings)


def _row(trial: Trial, changes: Sequence[Change], side: Side) -> SuggestionRow:
    made = [change for change in changes if not isinstance(change, Keep)]
    compressed = side.account.compressed
    drops = [change.path for change in made if isinstance(change, Drop)]
    told = compressed is not None and len(drops) == len(made)
    return SuggestionRow(
        optimizer=trial.stage.name,
        lossless=trial.stage.optimizer.lossless,
        files=len({path for change in made for path in _changed(change)}),
        saved=Saved(
            installed=sum(_saves(change, side) for change in made),
            compressed=sum(compressed[path] for path in drops) if told and compressed is not None else None,
        ),
        configuration=trial.configuration,
    )


def _saves(change: Change, side: Side) -> int:
    match change:
        case Drop() | Link():
            return side.bundle[change.path].size
        case Leave():
            return sum(side.bundle[path].size for path in change.paths)
        case Rewrite() | Convert():
            return change.saves or 0
        case Add():
            return -sum(len(chunk) for chunk in change.content.chunks())
    return 0


def _changed(change: Change) -> Iterable[str]:
    match change:
        case Convert():
            return change.sources
        case Leave():
            return change.paths
        case Add() | Tell():
            return ()
    return (change.path,)


def _unknown(name: str, why: str) -> Finding:
    return Finding(code="MB813", optimizer=name, message=f"what it would save is not known: {why}")


def _command(artifact: str) -> str:
    """Return what runs a step that is configured already, as a comment of TOML: there are no lines to add."""
    name = shlex.quote(artifact) if artifact.isprintable() else ascii(artifact)
    return f"# nothing to add: mlbundle optimize {name}"


def _lines(table: str, names: Sequence[str], new: str) -> str:
    """Return the lines of TOML with which a step runs, too, in its place among those that do."""
    place = next((number for number, name in enumerate(names) if _rank(name) > _rank(new)), len(names))
    listed = [f'"{name}"' for name in (*names[:place], new, *names[place:])]
    line = f"optimizers = [{', '.join(listed)}]"
    if len(line) > _WIDTH:
        inner = textwrap.fill(", ".join(listed) + ",", _WIDTH, initial_indent="  ", subsequent_indent="  ")
        line = f"optimizers = [\n{inner}\n]"
    return f"[{table}]\n{line}"


def _rank(name: str) -> int:
    if name in DEFAULT_OPTIMIZERS:
        return DEFAULT_OPTIMIZERS.index(name)
    return len(DEFAULT_OPTIMIZERS) + (1 + _LAST.index(name) if name in _LAST else 0)

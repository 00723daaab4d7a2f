"""A configuration ready to be carried out: its optimizers made, their programs found."""

from __future__ import annotations

import platform
import zlib
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .accuracy.evaluator import Evaluator
from .binaries.library_pruning import Wanted
from .budget_baseline import Baseline, read_baseline
from .bundles.archives.pack import archive_libraries
from .bundles.compressor import LIBDEFLATE
from .cache import Cache, default_folder
from .config import TABLE, Config, Step, options_to_dict
from .contents.removable import EACH
from .contents.rows import Inspecting
from .errors import ConfigurationError, DistrustError, MlbundleError, StrangeError
from .guard import OURS, Caution, error_line
from .manifest import ToolRow
from .model import Finding
from .optimizer import ArtifactKind, Json, Optimizer, Options
from .optimizers.gpu_code import GpuCode, GpuCodeOptions, wanted_of
from .pipeline import Stage
from .plugins import Registered, Registry
from .progress import Progress, Silence

if TYPE_CHECKING:
    from .accuracy.judge import Inquiry

T = TypeVar("T")

_SECONDS = 60.0
"""Seconds that it may take to make an evaluator."""

_HARMLESS = ("enabled", "include", "exclude", "timeout")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A configuration ready to be carried out on any number of artifacts: its optimizers made, their programs found.

    `project` is the folder that relative paths of the configuration start from; `inquiry` is what is asked of changed models, None
    where nothing is; `inspecting` is what tells what files are made of; `baseline` is what growth is counted from, None where there
    is none; `wanted` is the GPU code that is wanted, for what is told of libraries; `findings` are of plugins that cannot be used, and
    what they should have brought was left out.
    """

    config: Config
    stages: tuple[Stage, ...]
    tools: tuple[ToolRow, ...]
    project: Path
    progress: Progress
    inquiry: Inquiry | None = None
    inspecting: tuple[Inspecting, ...] = ()
    baseline: Baseline | None = None
    wanted: Wanted = EACH
    findings: tuple[Finding, ...] = ()

    def stages_for(self, kind: ArtifactKind) -> list[Stage]:
        """Return the stages that are for such an artifact."""
        return [stage for stage in self.stages if kind in stage.optimizer.artifacts]

    def tools_used(self) -> tuple[ToolRow, ...]:
        """Return what decided the results, with the programs that were found only on the way."""
        found = {name: version for stage in self.stages for name, version in programs_of(stage).items()}
        return tool_rows({**{tool.name: tool.version for tool in self.tools}, **found})

    @property
    def lasting(self) -> bool:
        """Whether the same input gives the same result another time, as far as can be told."""
        return all(stage.lasting for stage in self.stages)

    def cache(self) -> Cache | None:
        """Return the cache, None where it is switched off."""
        return cache_of(self.config, self.project) if self.config.settings.cache.enabled else None


def prepare(config: Config, registry: Registry, *, project: Path | None = None, progress: Progress | None = None) -> Job:
    """Make the optimizers, find their programs and read their files, so that what is missing is told before any work.

    Raises MissingProgramError, MissingLibraryError, ProfileError, AccuracyError, ManifestError, ConfigurationError.
    """
    stages: list[Stage] = []
    programs: dict[str, str] = {}
    findings = list(registry.findings)
    project = project or Path.cwd()
    inquiry, asked = _inquiry(config, registry, project, findings)
    for step in config.steps:
        try:
            made = _made(registry[step.name], step, project)
        except _UnusableError as error:
            findings.append(Finding(code="MB109", message=f"{error}; the step was left out", optimizer=step.name))
            continue
        measured = [] if made.optimizer.lossless or inquiry is None else [asked]
        programs.update(made.programs)
        stages.append(_stage(registry[step.name], step, made, measured))
    return Job(
        config=config,
        stages=tuple(stages),
        tools=tool_rows({**programs, **(inquiry.programs if inquiry else {}), **archive_libraries(config.settings.archive)}),
        project=project,
        progress=progress or Silence(),
        inquiry=inquiry,
        inspecting=registry.inspectors,
        baseline=_baseline(config, project),
        wanted=_wanted(config),
        findings=tuple(findings),
    )


class _UnusableError(Exception):
    """A plugin that fails before there is any work, as it may not: it is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """An optimizer, the programs that it will run, and the digests of the files that its options name."""

    optimizer: Optimizer[Any]
    programs: Mapping[str, str]
    inputs: Mapping[str, str]


def _made(registered: Registered, step: Step, project: Path) -> _Made:
    def make() -> _Made:
        optimizer = registered.optimizer(step.options)
        if not isinstance(optimizer.options, Options) or deepcopy(optimizer.options) != optimizer.options:
            raise TypeError("its options are none, or no longer the same when copied")
        programs, inputs = dict(optimizer.programs()), dict(optimizer.inputs(project))
        if not all(isinstance(each, str) for names in (programs, inputs) for pair in names.items() for each in pair):
            raise TypeError("programs() or inputs() gives something else than strings")
        return _Made(optimizer=optimizer, programs=programs, inputs=inputs)

    return _of_plugin(registered.distribution, step.options.timeout, make)


def _of_plugin(distribution: str, seconds: float, function: Callable[[], T]) -> T:
    """Return what a plugin's function does before any work; raises _UnusableError for what it may not raise."""
    if distribution == OURS:
        return function()
    guard = Caution(distribution, seconds=seconds)
    try:
        return guard.call(function)
    except (DistrustError, StrangeError) as error:
        raise _UnusableError(guard.named(f"cannot be set up ({error_line(error)})")) from error
    except MlbundleError:
        raise
    except Exception as error:
        raise _UnusableError(guard.named(f"cannot be set up ({error_line(error)})")) from error


def _stage(registered: Registered, step: Step, made: _Made, measured: list[Json]) -> Stage:
    return Stage(
        optimizer=made.optimizer,
        distribution=registered.distribution,
        version=registered.distribution_version,
        identity=[*_identity(registered, step.options, made.programs), dict(made.inputs), *measured],
        lasting=measured != [None],
    )


def programs_of(stage: Stage) -> dict[str, str]:
    """Return the programs that a step's results were made with; nothing where a plugin no longer says."""
    try:
        return _of_plugin(stage.distribution, stage.optimizer.options.timeout, lambda: dict(stage.optimizer.programs()))
    except _UnusableError:
        return {}


def remedy_of(stage: Stage, path: str, module: str | None) -> str:
    """Return what a step says to do about a file that is missed: what any says where a plugin's own does not serve."""

    def ask() -> str:
        told: object = stage.optimizer.remedy(path, module)
        if not isinstance(told, str):
            raise TypeError("remedy() gives no string")
        return told

    try:
        return _of_plugin(stage.distribution, stage.optimizer.options.timeout, ask)
    except (_UnusableError, MlbundleError):
        return Optimizer.remedy(stage.optimizer, path, module)


def _inquiry(config: Config, registry: Registry, project: Path, findings: list[Finding]) -> tuple[Inquiry | None, Json]:
    """Return what is asked of changed models, None where no step is lossy, and what decides the answers, None where that cannot be told.

    Adds a finding for each evaluator that cannot be used.
    """
    if not config.settings.accuracy.wanted or all(registry[step.name].optimizer.lossless for step in config.steps):
        return None, None
    from .accuracy.judge import inquire  # what runs commands costs more time than a small wheel does

    settings = config.settings.accuracy
    evaluators = {} if settings.command else dict(_evaluators(registry, findings))
    _check_evaluator(settings.evaluator, evaluators, registry)
    inquiry = inquire(settings, evaluators, project, f"{TABLE}.accuracy")
    if inquiry.identity is None:
        return inquiry, None
    origins = [[name, each.distribution, each.distribution_version] for name, each in registry.evaluators.items()]
    return inquiry, [inquiry.identity, origins]


def _baseline(config: Config, project: Path) -> Baseline | None:
    budget = config.settings.budget
    return read_baseline(project / budget.baseline) if budget.enabled and budget.baseline else None


def _wanted(config: Config) -> Wanted:
    """Return the GPU code that is to stay, as `gpu_code` is set up, whether it runs or not; raises ConfigurationError."""
    options = config.options.get(GpuCode.name)
    return wanted_of(options) if isinstance(options, GpuCodeOptions) and options.targets else EACH


def _evaluators(registry: Registry, findings: list[Finding]) -> Iterator[tuple[str, Evaluator]]:
    """Yield the evaluators that can be made, by name; add a finding for each other one."""
    for name, each in registry.evaluators.items():

        def make(cls: type[Evaluator] = each.evaluator) -> Evaluator:
            evaluator = cls()
            evaluator.programs()
            return evaluator

        try:
            yield name, _of_plugin(each.distribution, _SECONDS, make)
        except _UnusableError as error:
            findings.append(Finding(code="MB109", message=f"{error}; its evaluator {name!r} was left out"))


def _check_evaluator(name: str, evaluators: Mapping[str, Evaluator], registry: Registry) -> None:
    """Raise ConfigurationError where an evaluator that is named is not there for a plugin's fault."""
    reason = registry.why_missing(name) if name and name not in evaluators else None
    if reason:
        raise ConfigurationError([f"{TABLE}.accuracy.evaluator: there is no evaluator {name!r}; {reason}"])


def cache_of(config: Config, project: Path) -> Cache:
    """Return the configured cache, whether it is switched on or not; its folder is relative to `project`."""
    settings = config.settings.cache
    folder = project / Path(settings.folder).expanduser() if settings.folder else default_folder()
    return Cache(folder, settings.max_size)


def tool_rows(programs: Mapping[str, str]) -> tuple[ToolRow, ...]:
    """Return the libraries that every result depends on, and these programs, sorted by name."""
    ours = {"deflate": LIBDEFLATE, "python": platform.python_version(), "zlib": zlib.ZLIB_RUNTIME_VERSION}
    return tuple(ToolRow(name=name, version=version) for name, version in sorted({**ours, **programs}.items()))


def _identity(registered: Registered, options: Options, programs: Mapping[str, str]) -> Json:
    """Return what decides an optimizer's results. Which files it may change does not: that decides whether they come to be."""
    decisive = {key: value for key, value in options_to_dict(options).items() if key not in _HARMLESS}
    optimizer = registered.optimizer
    return [optimizer.name, optimizer.version, registered.distribution, registered.distribution_version, decisive, dict(programs)]

"""A configuration ready to be carried out: its optimizers made, their programs found."""

from __future__ import annotations

import platform
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .accuracy.evaluator import Evaluator
from .budget_baseline import Baseline, read_baseline
from .bundles.archives.pack import archive_libraries
from .bundles.compressor import LIBDEFLATE
from .cache import Cache, default_folder
from .config import TABLE, Config, options_to_dict
from .contents.rows import Inspecting
from .errors import ConfigurationError
from .manifest import ToolRow
from .optimizer import ArtifactKind, Json, Options
from .pipeline import Stage
from .plugins import Registered, RegisteredEvaluator, Registry
from .progress import Progress, Silence

if TYPE_CHECKING:
    from .accuracy.judge import Inquiry

_HARMLESS = ("enabled", "include", "exclude")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A configuration ready to be carried out on any number of artifacts: its optimizers made, their programs found.

    `project` is the folder that relative paths of the configuration start from; `inquiry` is what is asked of changed models, None
    where nothing is; `inspecting` is what tells what files are made of; `baseline` is what growth is counted from, None where there
    is none.
    """

    config: Config
    stages: tuple[Stage, ...]
    tools: tuple[ToolRow, ...]
    project: Path
    progress: Progress
    inquiry: Inquiry | None = None
    inspecting: tuple[Inspecting, ...] = ()
    baseline: Baseline | None = None

    def stages_for(self, kind: ArtifactKind) -> list[Stage]:
        """Return the stages that are for such an artifact."""
        return [stage for stage in self.stages if kind in stage.optimizer.artifacts]

    def tools_used(self) -> tuple[ToolRow, ...]:
        """Return what decided the results, with the programs that were found only on the way."""
        found = {name: version for stage in self.stages for name, version in stage.optimizer.programs().items()}
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
    project = project or Path.cwd()
    inquiry, asked = _inquiry(config, registry, project)
    for step in config.steps:
        registered = registry[step.name]
        optimizer = registered.optimizer(step.options)
        needed = dict(optimizer.programs())
        measured = [] if optimizer.lossless or inquiry is None else [asked]
        programs.update(needed)
        stages.append(
            Stage(
                optimizer=optimizer,
                distribution=registered.distribution,
                version=registered.distribution_version,
                identity=[*_identity(registered, step.options, needed), dict(optimizer.inputs(project)), *measured],
                lasting=measured != [None],
            )
        )
    return Job(
        config=config,
        stages=tuple(stages),
        tools=tool_rows({**programs, **(inquiry.programs if inquiry else {}), **archive_libraries(config.settings.archive)}),
        project=project,
        progress=progress or Silence(),
        inquiry=inquiry,
        inspecting=registry.inspectors,
        baseline=_baseline(config, project),
    )


def _inquiry(config: Config, registry: Registry, project: Path) -> tuple[Inquiry | None, Json]:
    """Return what is asked of changed models, None where no step is lossy, and what decides the answers, None where that cannot be told."""
    if not config.settings.accuracy.wanted or all(registry[step.name].optimizer.lossless for step in config.steps):
        return None, None
    from .accuracy.judge import inquire  # what runs commands costs more time than a small wheel does

    settings = config.settings.accuracy
    evaluators = {} if settings.command else {name: _evaluator(each) for name, each in registry.evaluators.items()}
    inquiry = inquire(settings, evaluators, project, f"{TABLE}.accuracy")
    if inquiry.identity is None:
        return inquiry, None
    origins = [[name, each.distribution, each.distribution_version] for name, each in registry.evaluators.items()]
    return inquiry, [inquiry.identity, origins]


def _baseline(config: Config, project: Path) -> Baseline | None:
    budget = config.settings.budget
    return read_baseline(project / budget.baseline) if budget.enabled and budget.baseline else None


def _evaluator(registered: RegisteredEvaluator) -> Evaluator:
    try:
        evaluator = registered.evaluator()
        evaluator.programs()
    except Exception as error:
        told = " ".join(f"{type(error).__name__}: {error}".split())
        name = registered.evaluator.name
        raise ConfigurationError([f"plugin {registered.distribution}: evaluator {name!r} cannot be made ({told}); uninstall it"]) from error
    return evaluator


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

"""What an optimizer is: it plans changes to a bundle, and makes single files anew when the pipeline asks it to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeAlias, TypeVar, get_args

from .model import Bundle, Change, Convert, File, Finding
from .schema import Glob

Json: TypeAlias = Any
"""What the json module reads and writes: None, bool, int, float, str, lists and string-keyed dicts of these."""

Detail: TypeAlias = Mapping[str, Json]
"""What the manifest says of how a file was made anew, by key. What was done to each tensor is under `tensors`, a list of mappings with
`name`, `shape`, `before` and `after` (how it is stored), `size` (bytes: before, after), `sqnr` (dB; None where it is exact)."""

ArtifactKind: TypeAlias = Literal["wheel", "folder", "frozen", "image"]
"""A wheel, any folder, what PyInstaller made (a folder with frozen executables, or the tables of a spec file), or a container image: then
the bundle is a whole root file system, of which steps may change little (Context.selects)."""

EVERY_KIND: tuple[ArtifactKind, ...] = get_args(ArtifactKind)
"""All kinds of artifact, for an optimizer's `artifacts`."""

Risk: TypeAlias = Literal["none", "low", "medium", "high"]
"""What may break by a step that is not verified: nothing; what was never seen to; what the application reaches in ways that cannot be
seen (low: rarely, medium: sometimes); what works on one machine and not on another."""


def option(doc: str, *, default: Any) -> Any:
    """Return a dataclass field for one option; `doc` is the sentence that the reference shows for it."""
    return field(default=default, metadata={"doc": doc})


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options that every optimizer has; its own are added in a subclass.

    In TOML a field's name is written with hyphens. Every field has a default. Its type may be bool, int, float, str, `Size`
    or `Glob` (schema.py), a Literal of strings, a dataclass of such fields, a tuple[X, ...] of one of these, or one of these or None.
    """

    enabled: bool = option("Whether the optimizer runs at all.", default=True)
    include: tuple[Glob, ...] = option("Globs (as in .gitignore) of the files it may change; empty means every file.", default=())
    exclude: tuple[Glob, ...] = option("Globs of files it must leave as they are; stronger than `include`.", default=())
    timeout: float = option(
        "Seconds that one call into an optimizer of another distribution may take, measuring of accuracy not counted; what takes longer is "
        "given up, and the step left out.",
        default=3600.0,
    )


OptionsT = TypeVar("OptionsT", bound=Options)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """How a changed model does on the user's samples, by the metric of [tool.mlbundle.accuracy]; `keeps` says whether within its bound.

    `value` is NaN where outputs are no longer finite numbers; `worst` is the value of the worst sample, None where there are none.
    """

    metric: str
    value: float
    keeps: bool
    worst: float | None = None


SearchBy: TypeAlias = Literal["tensor", "model", "off"]
"""How the smallest result within the bound of accuracy is searched for (accuracy/search.py): with some tensors stored more finely than
others; with one setting for the whole model; not at all: what the options say is measured, and kept only where it keeps the bound.
"""


class Judge(Protocol):
    """What [tool.mlbundle.accuracy] sets up: measures a changed model against the original."""

    @property
    def search(self) -> SearchBy:
        """How the smallest result within the bound is to be searched for."""

    def measure(self, original: Path, candidate: Path) -> Measured | None:
        """Return how `candidate` does; both are a model's file (ONNX), or the root of its folder (transformers, sentence-transformers).

        None where nothing that is installed can run such a model, which is told as a finding. Raises AccuracyError where it
        cannot be run or the samples do not fit it.
        """


class Context(Protocol):
    """What the pipeline offers an optimizer while it plans and works."""

    @property
    def judge(self) -> Judge | None:
        """What measures accuracy; None where [tool.mlbundle.accuracy] asks for nothing."""

    @property
    def artifact(self) -> ArtifactKind:
        """What sort of artifact the bundle is of."""

    def selects(self, path: str) -> bool:
        """Say whether the step's `include` and `exclude` let this file be changed; changes to others are ignored."""

    def examine(self, name: str, files: Sequence[File], examiner: Callable[[File], Json]) -> Mapping[str, Json]:
        """Return `examiner(file)` for each of the files, by path: on all cores, and from the cache where nothing changed.

        `examiner` must depend on the file's bytes and the options alone; `name` tells one optimizer's examiners apart.
        """

    def local(self, file: File) -> Path:
        """Return a path on disk that holds the file's bytes, read-only, in a tree laid out as the bundle is."""

    def report(self, finding: Finding) -> None:
        """Add a finding; its `optimizer` is filled in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One `Rewrite` to carry out: read `source`, write `target`.

    `source` lies in a tree laid out as the bundle is, and `target` is a free name in the same folder, so that a library
    finds its neighbours from either. `companions` is an empty folder for files that belong beside the artifact, not in it.
    """

    file: File
    source: Path
    target: Path
    companions: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertTask:
    """One `Convert` to carry out: read `sources` (also what the change only `reads`), write into the empty folder `target`.

    `sources` gives the path on disk of each, in a tree laid out as the bundle is; read-only. Each output goes to `target / its path`,
    or nowhere. `scratch` is an empty folder for the work between.
    """

    change: Convert
    sources: Mapping[str, Path]
    target: Path
    scratch: Path


class Optimizer(ABC, Generic[OptionsT]):
    """One kind of slimming. `name`, a lower-case identifier, is its name in the configuration, `options_type` the dataclass of its options.

    The registry knows the class; the configuration makes the instance. What it plans and makes may depend on the bundle, its
    options, `inputs()` and `programs()` alone: that is what the cache goes by, with `version`, which is to be raised whenever a
    result may differ. A lossy optimizer (`lossless = False`) runs only when it is named in the configuration. `risk` is what may
    break by it where nothing is verified (docs/verification.md). `artifacts` are the kinds of artifact that it is for; on
    others the step is left out.
    """

    name: ClassVar[str]
    version: ClassVar[str]
    lossless: ClassVar[bool] = True
    risk: ClassVar[Risk] = "low"
    artifacts: ClassVar[tuple[ArtifactKind, ...]] = ("wheel", "folder", "frozen")
    options_type: ClassVar[type[Options]] = Options

    def __init__(self, options: OptionsT) -> None:
        self.options = options

    def programs(self) -> Mapping[str, str]:
        """Return the external programs it will run, name to version; raises MissingProgramError. Asked before any work."""
        return {}

    def inputs(self, project: Path) -> Mapping[str, str]:
        """Read the files that the options name, relative to `project`, and return the SHA-256 of each, by name; raises MlbundleError.

        Asked before any work.
        """
        return {}

    def remedy(self, path: str, module: str | None) -> str:
        """Return what to do about a file that this step left out and that is missed; `module` is the dotted name of what it provides.

        Applications tell it when they run (runtime/missing.py). It may hold `path` and `module`, but not depend on them otherwise.
        """
        return f'add "/{path}" to `exclude` in [tool.mlbundle.{self.name}]'

    @abstractmethod
    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        """Yield the changes to make, each with its reason; change nothing."""

    def rewrite(self, task: Task, context: Context) -> Detail | None:
        """Write `task.target`, or leave it absent where nothing can be gained; raises MlbundleError to keep the original.

        A KeptError says why without a finding; any other is one. What it returns goes into the manifest's `details`.
        Called from several threads at once, for each `Rewrite` that `plan` yielded.
        """
        raise NotImplementedError(f"{self.name} plans rewrites but does not carry them out")

    def convert(self, task: ConvertTask, context: Context) -> Mapping[str, Detail]:
        """Write the outputs of a `Convert` that `plan` yielded, or none where nothing can be gained; raises as `rewrite` does.

        What it returns, by an output's path, goes into the manifest's `details`. The outputs are taken where they are smaller, all
        together, than the sources; what proves them sound is done here, too: an UnsoundResultError keeps the sources.
        """
        raise NotImplementedError(f"{self.name} plans conversions but does not carry them out")

    def check(self, task: Task, context: Context) -> None:
        """Prove that `task.target` serves as well as `task.source`; raises UnsoundResultError where it does not."""

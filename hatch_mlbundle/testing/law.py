"""A law that every optimizer has to keep, and the error where one does not."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from hatch_mlbundle.model import Bundle, File
from hatch_mlbundle.optimizer import ArtifactKind, Optimizer
from hatch_mlbundle.plugin_checks import optimizer_problem
from hatch_mlbundle.testing.given import bundle_from
from hatch_mlbundle.testing.running import Run, Source, Table, default_artifact, read, run

Equivalent: TypeAlias = Callable[[File, File], bool]
"""Says whether a file that was made anew serves as well as the one before: the author's own proof."""


_SECONDS = 60
"""Seconds that one call into the optimizer may take, where the options do not say: the files here are small."""

_HELP = "(docs/writing-an-optimizer.md says why, and what helps)"


class BrokenLawError(AssertionError):
    """An optimizer breaks laws: `optimizer` is its class's name, `broken` what it did by the name of each law."""

    def __init__(self, optimizer: str, broken: Mapping[str, str]) -> None:
        self.optimizer, self.broken = optimizer, dict(broken)
        if len(broken) == 1:
            ((name, what),) = broken.items()
            super().__init__(f"{optimizer} breaks the law {name!r}: {what}\n{_HELP}")
        else:
            names, lines = " and ".join(map(repr, broken)), (f"  {name}: {what}" for name, what in broken.items())
            super().__init__("\n".join([f"{optimizer} breaks the laws {names}:", *lines, _HELP]))


@dataclass(frozen=True, kw_only=True)
class Case:
    """An optimizer, and the input on which the laws are tried."""

    optimizer: type[Optimizer[Any]]
    bundle: Bundle
    options: Table = field(default_factory=dict)
    artifact: ArtifactKind = "folder"
    project: Path | None = None
    equivalent: Equivalent | None = None

    @cached_property
    def plain(self) -> Run:
        """The run over the bundle as it is, nothing around it varied."""
        return self.run(self.bundle)

    def run(self, bundle: Bundle, options: Table | None = None, *, workers: int = 1, cache: Path | None = None) -> Run:
        """Run the optimizer over `bundle`, with `options` laid over the case's."""
        table = {"timeout": _SECONDS, **self.options, **(options or {})}
        return run(self.optimizer, bundle, table, artifact=self.artifact, project=self.project, workers=workers, cache=cache)


class Law(Protocol):
    """Tries a law on an optimizer with some files; raises BrokenLawError, an AssertionError, where it does not keep it.

    The arguments are those of `run`; `equivalent` says whether a file made anew serves as well as the one before.
    """

    @property
    def law(self) -> str:
        """The law's name."""

    @property
    def check(self) -> Callable[[Case], None]:
        """Tries it on a case."""

    def __call__(
        self,
        optimizer: type[Optimizer[Any]],
        files: Source,
        options: Table | None = None,
        *,
        artifact: ArtifactKind | None = None,
        project: Path | None = None,
        equivalent: Equivalent | None = None,
    ) -> None:
        """Try it."""


LAWS: dict[str, Law] = {}
"""Each law by its name, in the order in which they are tried."""


def law(check: Callable[[Case], None]) -> Law:
    """Make an `assert_NAME` of a function that tries the law NAME on a case."""
    name = check.__name__.removeprefix("assert_")

    def assert_law(*arguments: Any, **keywords: Any) -> None:
        __tracebackhide__ = True  # pytest shows the author's own line
        check(case_of(*arguments, **keywords))

    for attribute in ("__doc__", "__module__", "__name__", "__qualname__"):
        setattr(assert_law, attribute, getattr(check, attribute))
    signature = inspect.signature(case_of).replace(return_annotation=None)
    vars(assert_law).update(law=name, check=check, __signature__=signature)
    made: Law = assert_law  # type: ignore[assignment]
    LAWS[name] = made
    return made


def case_of(
    optimizer: type[Optimizer[Any]],
    files: Source,
    options: Table | None = None,
    *,
    artifact: ArtifactKind | None = None,
    project: Path | None = None,
    equivalent: Equivalent | None = None,
) -> Case:
    """Return the case; raises TypeError for what is no optimizer, BrokenLawError for what cannot be registered, and as `run` does."""
    cls: object = optimizer
    if not (inspect.isclass(cls) and issubclass(cls, Optimizer)):
        raise TypeError(f"the laws are for the class of an optimizer, not for {optimizer!r}")
    if problem := optimizer_problem(optimizer):
        raise BrokenLawError(optimizer.__name__, {"documented": problem})
    kind = artifact or default_artifact(optimizer)
    if isinstance(files, Path):
        bundle, kind = read(files)
    else:
        bundle = files if isinstance(files, Bundle) else bundle_from(files)
    return Case(optimizer=optimizer, bundle=bundle, options=options or {}, artifact=kind, project=project, equivalent=equivalent)


def broken(name: str, case: Case, what: str) -> BrokenLawError:
    """Return the error for a law that the case's optimizer breaks."""
    return BrokenLawError(case.optimizer.__name__, {name: what})


def assert_laws(
    optimizer: type[Optimizer[Any]],
    files: Source,
    options: Table | None = None,
    *,
    artifact: ArtifactKind | None = None,
    project: Path | None = None,
    equivalent: Equivalent | None = None,
    without: Mapping[str, str] | None = None,
) -> None:
    """Try every law, and raise one BrokenLawError that tells of all that are broken; also where the optimizer changes none of the files.

    `without` names laws that are left out, each with the reason: for what an optimizer is there to do.
    """
    __tracebackhide__ = True
    left_out = without or {}
    if strange := next((name for name in left_out if name not in LAWS), None):
        raise ValueError(f"there is no law {strange!r}; there are: {', '.join(LAWS)}")
    case = case_of(optimizer, files, options, artifact=artifact, project=project, equivalent=equivalent)
    found: dict[str, str] = {}
    for each in (each for name, each in LAWS.items() if name not in left_out):
        try:
            each.check(case)
        except BrokenLawError as error:
            found |= error.broken
    if found:
        raise BrokenLawError(optimizer.__name__, found)
    if not (case.plain.changed or case.plain.findings):
        raise AssertionError(f"{optimizer.__name__} changes none of the files given, and says nothing of them: give some that it acts on")

"""What a person is told when something is wrong: one line, and the exit code that goes with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from .model import Finding
from .printable import printable


class MlbundleError(Exception):
    """A fault with one clear line: what is wrong, where, and what to do.

    `exit_code` is 1 where a finding or a limit failed the build, 2 where the use, the configuration or the input is wrong;
    3 stands for our own bugs, which are no MlbundleError.
    """

    exit_code: ClassVar[int] = 2

    def told(self) -> str:
        """Return the message as a person sees it: each line says that it is ours, and nothing in it moves a terminal's cursor."""
        return "\n".join(f"mlbundle: {printable(line)}" for line in str(self).split("\n"))


class ConfigurationError(MlbundleError):
    """`[tool.mlbundle]` or a command line cannot be used; every fault of it is in `faults`, each with its TOML path."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(faults))


class ArtifactError(MlbundleError):
    """An artifact (wheel, folder, ...) that is damaged, hostile or not what it claims to be."""

    def __init__(self, artifact: str, problem: str) -> None:
        self.artifact = artifact
        self.problem = problem
        super().__init__(f"{printable(artifact)}: {problem}")


class BinaryError(MlbundleError):
    """A native library or executable whose headers cannot be believed."""


class ModelError(MlbundleError):
    """A model file that is damaged, hostile, or not what it claims to be."""


class AccuracyError(MlbundleError):
    """A model cannot be run on the samples of [tool.mlbundle.accuracy], or the user's command gives no number."""


class UnsoundResultError(MlbundleError):
    """A rewritten file failed its check; the pipeline keeps the original and reports why."""


class KeptError(MlbundleError):
    """A rewrite that is left undone for a reason that is no fault: the pipeline keeps the original, and reports nothing."""


class MissingProgramError(MlbundleError):
    """An external program that the configuration names is not on this machine."""


class MissingLibraryError(MlbundleError):
    """An optional Python library that the configuration needs is not installed, or not as it is needed."""


class ProgramError(MlbundleError):
    """An external program failed, crashed or ran out of time."""


class TrialError(MlbundleError):
    """A command of the user's cannot be run: its program is not there or cannot be started, or there is no jail for it."""


class FailedRunError(MlbundleError):
    """A command of the user's that has to succeed did not."""

    exit_code: ClassVar[int] = 1


class ManifestError(MlbundleError):
    """A manifest that cannot be read, or whose major format version this release does not know."""


class MismatchError(MlbundleError):
    """An artifact is not the one that its manifest describes."""

    exit_code: ClassVar[int] = 1


class ProfileError(MlbundleError):
    """A profile that is not there, cannot be read, or whose major format version this release does not know."""


class TraceError(MlbundleError):
    """A run that cannot be traced, or of which nothing was recorded."""


class StrangeError(MlbundleError):
    """Code of another distribution raised what is no error: what ends a thread or the process."""


class DistrustError(MlbundleError):
    """Code of another distribution did what it may not: nothing that came of it is taken. `code` is its finding's."""

    code: ClassVar[str]


class HangError(DistrustError):
    """It took longer than it may, and was given up."""

    code: ClassVar[str] = "MB121"


class TrespassError(DistrustError):
    """It tried to write where it may not."""

    code: ClassVar[str] = "MB122"


class SpoiltError(DistrustError):
    """It changed files that it was given to read."""

    code: ClassVar[str] = "MB123"


class ClaimError(DistrustError):
    """What it hands over cannot be taken: it is of no use, or without end."""

    code: ClassVar[str] = "MB125"


class StorageError(MlbundleError):
    """The file system refused: disk full, permission denied, read-only."""


class ModelStoreError(MlbundleError):
    """A model outside an artifact is damaged, or is in none of its places and cannot be fetched: a line for each."""

    exit_code: ClassVar[int] = 1


class VerificationError(MlbundleError):
    """A verify command fails on the untouched artifact, cannot be run, or behaves otherwise on the result with `on-failure = "error"`."""

    exit_code: ClassVar[int] = 1


class FindingsError(MlbundleError):
    """`strict = true`, and there are findings: a line for each."""

    exit_code: ClassVar[int] = 1

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join([*(finding.line() for finding in findings), "strict = true makes findings fail: nothing was replaced"]))


class RebuildError(MlbundleError):
    """A project that cannot be built, or is none."""


class NotReproducibleError(MlbundleError):
    """A project gives another artifact when it is built again."""

    exit_code: ClassVar[int] = 1


class BudgetError(MlbundleError):
    """An artifact is over its budget: a line for each limit that is exceeded."""

    exit_code: ClassVar[int] = 1

    def __init__(self, breaches: Sequence[str]) -> None:
        self.breaches = tuple(breaches)
        super().__init__("\n".join(breaches))

    def of(self, artifact: str) -> BudgetError:
        """Return the same, each line with the artifact that it is about."""
        return BudgetError([f"{artifact}: {breach}" for breach in self.breaches])


def without_path(message: object, *paths: Path) -> str:
    """Return a message without the paths that it begins with: those on disk mean nothing to a reader."""
    text = str(message)
    for path in paths:
        text = text.removeprefix(f"{path}: ").removeprefix(f"{printable(str(path))}: ")
    return text


@contextmanager
def unsound_without_path(*paths: Path) -> Iterator[None]:
    """Let an UnsoundResultError from within go on `without_path`."""
    try:
        yield
    except UnsoundResultError as error:
        raise UnsoundResultError(without_path(error, *paths)) from error

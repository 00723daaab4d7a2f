"""What an optimizer does while the pipeline runs it, and what the pipeline would swallow: the errors that come out of it."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hatch_mlbundle.canonical import sha256_of_file
from hatch_mlbundle.errors import MlbundleError
from hatch_mlbundle.model import Bundle, Change
from hatch_mlbundle.optimizer import Context, ConvertTask, Detail, Optimizer, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Misdeed:
    """What an optimizer must not do: `where` is the method, `path` the file that it was about, `what` happened."""

    where: str
    path: str | None
    what: str

    def __str__(self) -> str:
        return f"{self.where}{f' of {self.path}' if self.path else ''} {self.what}"


@dataclass(slots=True)
class Watch:
    """What was seen of an optimizer: all changes that it asked for, granted or not, and its misdeeds."""

    plan: list[Change] = field(default_factory=list)
    misdeeds: list[Misdeed] = field(default_factory=list)

    @contextmanager
    def over(self, where: str, path: str | None = None, sources: Sequence[Path] = ()) -> Iterator[None]:
        """See to it that what goes on inside raises nothing but MlbundleError, and leaves the files at `sources` as they are."""
        before = [sha256_of_file(source) for source in sources]
        try:
            yield
        except MlbundleError:
            raise
        except (Exception, SystemExit) as error:
            if all(source.exists() for source in sources):  # else the call was given up, and its folder is gone
                self.misdeeds.append(Misdeed(where=where, path=path, what=f"raised {_told(error)}"))
            raise
        finally:
            if any(source.exists() and sha256_of_file(source) != digest for source, digest in zip(sources, before, strict=True)):
                self.misdeeds.append(Misdeed(where=where, path=path, what="wrote to the file that it was to read"))


def watched(optimizer: type[Optimizer[Any]], watch: Watch) -> type[Optimizer[Any]]:
    """Return the same optimizer, under `watch`: a subclass that the pipeline takes for it."""

    class Watched(optimizer):  # type: ignore[misc, valid-type]
        def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
            with watch.over("plan()"):
                changes = list(super().plan(bundle, context))
            watch.plan += changes
            return changes

        def rewrite(self, task: Task, context: Context) -> Detail | None:
            with watch.over("rewrite()", task.file.path, [task.source]):
                detail: Detail | None = super().rewrite(task, context)
            return detail

        def convert(self, task: ConvertTask, context: Context) -> Mapping[str, Detail]:
            with watch.over("convert()", task.change.path, list(task.sources.values())):
                details: Mapping[str, Detail] = super().convert(task, context)
            return details

        def check(self, task: Task, context: Context) -> None:
            with watch.over("check()", task.file.path, [task.source]):
                super().check(task, context)

    for attribute in ("__doc__", "__module__", "__name__", "__qualname__"):
        setattr(Watched, attribute, getattr(optimizer, attribute))
    return Watched


def _told(error: BaseException) -> str:
    """Return an error on one line, with the last place in it that is the author's own."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_own(Path(frame.filename))] or frames
    place = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    return " ".join(f"{type(error).__name__}: {error}".split()) + place


def _is_own(path: Path) -> bool:
    """Say whether code is neither ours nor Python's own; what is installed lies in a folder of Python's."""
    installed = "site-packages" in path.parts
    return "hatch_mlbundle" not in path.parts and (installed or not path.is_relative_to(sysconfig.get_path("stdlib")))

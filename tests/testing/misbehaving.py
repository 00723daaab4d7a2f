"""Optimizers that break one law each, and one that keeps them all: other processes import them from here."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hatch_mlbundle.api import (
    Add,
    Bundle,
    Change,
    Context,
    Detail,
    Drop,
    Finding,
    MemoryContent,
    ModelError,
    Optimizer,
    Options,
    Rewrite,
    Task,
    option,
)

REASON = "white space at the ends of lines means nothing here"


@dataclass(frozen=True, kw_only=True)
class TrimOptions(Options):
    """What to trim."""

    suffix: str = option("The suffix of the files to trim.", default=".txt")


class Trim(Optimizer[TrimOptions]):
    """Takes white space off the ends of lines."""

    name = "trim"
    version = "1"
    options_type = TrimOptions

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        for path in sorted(bundle):
            if path.endswith(self.options.suffix) and bundle[path].link is None:
                yield Rewrite(path=path, reason=REASON)

    def rewrite(self, task: Task, context: Context) -> Detail | None:
        data = task.source.read_bytes()
        try:
            data.decode()
        except UnicodeDecodeError:
            raise ModelError("is no UTF-8") from None
        task.target.write_bytes(b"\n".join(line.rstrip() for line in data.split(b"\n")))
        return None


class NoDocstring(Trim):
    pass


@dataclass(frozen=True, kw_only=True)
class Undocumented(TrimOptions):
    deeply: bool = False


class UndocumentedOption(Trim):
    """Has an option without a word."""

    options_type = Undocumented


class BadName(Trim):
    """Has a name that no table can have."""

    name = "Trim It"


class Terse(Trim):
    """Gives one word for a reason."""

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        return [dataclasses.replace(change, reason="optimized") for change in super().plan(bundle, context)]


class Careless(Terse):
    options_type = Undocumented


class Silent(Trim):
    """Gives no reason."""

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        return [dataclasses.replace(change, reason="") for change in super().plan(bundle, context)]


class Boastful(Trim):
    """Expects to save more than there is."""

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        return [Rewrite(path=change.path, reason=change.reason, saves=10**6) for change in super().plan(bundle, context)]


class Meddling(Trim):
    """Drops a file that is not there."""

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        yield from super().plan(bundle, context)
        yield Drop(path="no/such.file", reason="nobody needs what is not there")


class Mumbling(Trim):
    """Reports under a code that is none."""

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        context.report(Finding(code="trimmed", message="it was trimmed"))
        return super().plan(bundle, context)


class Unspeakable(Trim):
    """Says of a file what no manifest can hold."""

    def rewrite(self, task: Task, context: Context) -> Detail | None:
        super().rewrite(task, context)
        return {"gain": float("nan")}


class Clumsy(Trim):
    """Writes to the file that it was to read."""

    def rewrite(self, task: Task, context: Context) -> Detail | None:
        super().rewrite(task, context)
        source = Path(task.source)
        data = source.read_bytes()
        source.unlink()
        source.write_bytes(data + b" ")
        return None


class Growing(Trim):
    """Adds more than it takes away."""

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        yield from super().plan(bundle, context)
        if "trimmed.log" not in bundle and context.selects("trimmed.log"):
            yield Add(path="trimmed.log", reason="a log of what was trimmed", content=MemoryContent(bytes(1000)))


class Creeping(Trim):
    """Takes a byte off the end each time."""

    def rewrite(self, task: Task, context: Context) -> Detail | None:
        super().rewrite(task, context)
        task.target.write_bytes(task.target.read_bytes()[:-1])
        return None


class Hashing(Trim):
    """Goes by the order of a set of strings."""

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        changes = {change.path: change for change in super().plan(bundle, context)}
        return [dataclasses.replace(changes[path], key="-".join({"spring", "summer", "autumn", "winter"})) for path in changes]


class FirstCome(Trim):
    """Trims the first file alone."""

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        first = next((path for path in bundle if path.endswith(".txt")), None)
        return [change for change in super().plan(bundle, context) if change.path == first]


class Stamping(Trim):
    """Writes the year, more or less, into its result."""

    def rewrite(self, task: Task, context: Context) -> Detail | None:
        super().rewrite(task, context)
        kept = [line for line in task.target.read_bytes().split(b"\n") if not line.startswith(b"# ")]
        task.target.write_bytes(b"# %d\n" % (time.time() // 30_000_000) + b"\n".join(kept))
        return None


class Overreaching(Trim):
    """Adds a file whatever the configuration excludes."""

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        yield from super().plan(bundle, context)
        if "mark" not in bundle:
            yield Add(path="mark", reason="says that this was trimmed", content=MemoryContent(b""))


class Labelling(Trim):
    """Writes the file's own name into its result, and keeps that from the cache."""

    def rewrite(self, task: Task, context: Context) -> Detail | None:
        super().rewrite(task, context)
        lines = task.target.read_bytes().split(b"\n")
        task.target.write_bytes(b"\n".join([task.file.path[:3].encode(), *lines[1:]]))
        return None


def local() -> type[Trim]:
    """Return a class that nobody else can import."""

    class Local(Trim):
        """Is made in a function."""

    return Local


class Forgetful(Trim):
    """Keeps the file at work in an attribute."""

    def rewrite(self, task: Task, context: Context) -> Detail | None:
        self.task = task
        time.sleep(0.005)
        if self.task is not task:
            return None
        return super().rewrite(task, context)


class Trusting(Trim):
    """Takes for granted that text has a first line that says something."""

    def rewrite(self, task: Task, context: Context) -> Detail | None:
        task.source.read_bytes().splitlines()[0]
        return super().rewrite(task, context)


class Exacting(Trim):
    """Refuses the whole bundle for one file."""

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        for change in super().plan(bundle, context):
            if b"\0" in bundle[change.path].read():
                raise ModelError(f"{change.path} is no text")
            yield change


class Trespassing(Trim):
    """Leaves a log in the folder that it was started in."""

    def rewrite(self, task: Task, context: Context) -> Detail | None:
        Path("trim.log").write_text("trimmed")
        return super().rewrite(task, context)


class Endless(Trim):
    """Waits for a line that never comes."""

    def rewrite(self, task: Task, context: Context) -> Detail | None:
        while not task.source.read_bytes():
            time.sleep(0.01)
        return super().rewrite(task, context)


class Quitting(Trim):
    """Ends the process where it does not know on."""

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        if not bundle:
            raise SystemExit(2)
        return super().plan(bundle, context)


class Harmful(Trim):
    """Cuts files that hold a NUL byte there."""

    def rewrite(self, task: Task, context: Context) -> Detail | None:
        data = task.source.read_bytes()
        if b"\0" in data:
            task.target.write_bytes(data.partition(b"\0")[0])
            return None
        return super().rewrite(task, context)


class Idle(Trim):
    """Has nothing to do here."""

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        return []

"""`[tool.mlbundle.budget]`: how large an artifact may be, and how much it may grow."""

from __future__ import annotations

from dataclasses import dataclass

from .budget_presets import PresetName
from .optimizer import option
from .schema import Amount, Glob, Size


@dataclass(frozen=True, kw_only=True)
class SizeLimits:
    """The limits that a whole artifact and a part of it have in common; one that is not set is none."""

    installed: Size | None = option("Bytes of the files as installed, at most.", default=None)
    compressed: Size | None = option("Bytes that they take in the artifact, at most; of a wheel as a whole, its own size.", default=None)
    installed_growth: Size | None = option("Bytes that may come to `installed` since the baseline.", default=None)
    installed_growth_percent: float | None = option("The same as a share of what the baseline has.", default=None)
    compressed_growth: Size | None = option("Bytes that may come to `compressed` since the baseline.", default=None)
    compressed_growth_percent: float | None = option("The same as a share of what the baseline has.", default=None)


@dataclass(frozen=True, kw_only=True)
class BudgetRule(SizeLimits):
    """The limits of a part of the artifact, which one of `owner`, `kind` and `files` selects."""

    name: str = option("What messages call it; empty means what it selects.", default="")
    owner: str = option(
        "Selects the files of this distribution or top-level package, however its name is written, with its metadata and `NAME.libs`.",
        default="",
    )
    kind: str = option("Selects the files of this kind, as `mlbundle analyze` names it: `elf`, `model`, `python`, ...", default="")
    files: Glob = option("Selects the files that this glob (as in .gitignore) matches.", default=Glob(""))
    count: int | None = option("The number of files, at most.", default=None)

    @property
    def title(self) -> str:
        """What messages call it."""
        return self.name or self.owner or (f"kind {self.kind}" if self.kind else self.files)


@dataclass(frozen=True, kw_only=True)
class BudgetOverride:
    """A limit that may be exceeded for now, and why."""

    limit: str = option('The limit, by the name that a breach is told by, like "installed" or "torch: installed".', default="")
    reason: str = option("Why, and until when; it goes into the manifest. One word is no reason.", default="")
    up_to: Amount | None = option("What is allowed instead, in the unit of the limit; unset means anything.", default=None)


@dataclass(frozen=True, kw_only=True)
class BudgetSettings(SizeLimits):
    """The limits of the whole artifact, and of parts of it."""

    enabled: bool = option("Whether builds are held to the limits.", default=True)
    preset: tuple[PresetName, ...] = option("Limits that others set, by name.", default=())
    files: int | None = option("The number of files, at most.", default=None)
    download: Size | None = option(
        "Bytes of the largest file that is uploaded, at most: the wheel itself, the one-file executable, each archive.", default=None
    )
    startup: float | None = option("Seconds from start to exit of the slowest command in [tool.mlbundle.verify], at most.", default=None)
    peak_memory: Size | None = option("Bytes of memory of the command that takes the most, at most.", default=None)
    baseline: str = option("A manifest, relative to the project, that growth is counted from; empty means none.", default="")
    rules: tuple[BudgetRule, ...] = option("Limits of parts of the artifact, each a table.", default=())
    overrides: tuple[BudgetOverride, ...] = option("Limits that may be exceeded for now, each a table.", default=())

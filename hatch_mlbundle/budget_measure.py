"""Measure what each limit of the budget is about: in an artifact's manifest, since the baseline, or by its verification."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .budget_groups import Group, group_of, project_name, uploads
from .budget_limits import Limit
from .budget_presets import Preset
from .budget_settings import BudgetRule
from .manifest import Manifest
from .printable import shortened
from .releases import owner_name
from .schema import suggestion
from .units import format_size

_TOLD = 3
"""How many owners or files a breach names."""

_NAME = 60
"""The most characters that such a name has."""

_COMPRESSES_NOTHING = "a folder compresses nothing; `archive` packs it, and `download` limits what it is packed into"

_NOT_FOR_IMAGES = "is no limit for container images; set `download` or `installed`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """What the slowest command took from start to exit, in seconds, and the largest one of memory, in bytes."""

    seconds: float
    peak_memory: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a limit measures, None where there is nothing to be measured, which `note` explains.

    `unmatched` says what to do about a rule that selects nothing, `""` where it selects something.
    """

    actual: float | None
    note: str = ""
    unmatched: str = ""


@dataclass(slots=True, kw_only=True)
class Measuring:
    """One artifact, the baseline and the measurements; `place` is where the configuration has the baseline."""

    manifest: Manifest
    baseline: Manifest | None
    performance: Performance | None
    place: str
    _groups: dict[tuple[BudgetRule | None, bool], Group] = field(default_factory=dict)

    def read(self, limit: Limit) -> Reading:
        """Return what a limit measures."""
        if limit.preset:
            others = limit.name != "download" and self.manifest.artifact.kind == "image"
            return Reading(actual=None, note=_NOT_FOR_IMAGES) if others else self._preset(limit.preset)
        if limit.varying:
            return self._varying(limit)
        reading = self._growth(limit) if limit.growth else self._size(limit)
        hint = self._unmatched(limit.rule) if limit.rule else ""
        return Reading(actual=reading.actual, note=reading.note or hint, unmatched=hint)

    def most(self, limit: Limit) -> str:
        """Return what counts most for a limit that is exceeded: what grew most since the baseline, else what is largest."""
        if limit.varying or (limit.preset and limit.sized == "compressed" and not self.manifest.compresses):
            return self.read(limit).note
        by_path = limit.rule is not None and bool(limit.rule.owner)
        now = self._group(limit.rule).parts(limit.sized, by_path=by_path)
        if self._comparable(limit):
            former = self._group(limit.rule, before=True).parts(limit.sized, by_path=by_path)
            grown = {name: now.get(name, 0) - former.get(name, 0) for name in (*now, *former)}
            if told := _largest(grown, limit, "+"):
                return told
        return _largest(now, limit, "")

    def _preset(self, preset: Preset) -> Reading:
        if preset.measured == "installed":
            return Reading(actual=self.manifest.artifact.after.installed)
        wanted = preset.measured
        found = [(size, name) for name, form, size in uploads(self.manifest) if wanted in ("uploads", form)]
        if not found:
            return Reading(actual=None, note=preset.remedy)
        size, name = max(found)
        return Reading(actual=size, note="" if self.manifest.compresses else shortened(name, _NAME))

    def _varying(self, limit: Limit) -> Reading:
        if self.performance is None:
            return Reading(actual=None, note="nothing was run; set commands in [tool.mlbundle.verify] and build")
        return Reading(actual=self.performance.seconds if limit.name == "startup" else self.performance.peak_memory)

    def _size(self, limit: Limit) -> Reading:
        size = self._group(limit.rule).size(limit.sized)
        return Reading(actual=size, note=_COMPRESSES_NOTHING if size is None else "")

    def _growth(self, limit: Limit) -> Reading:
        if self.baseline is None:
            return Reading(actual=None, note=_missing(self.place))
        if self.baseline.artifact.kind != self.manifest.artifact.kind:
            return Reading(actual=None, note=mismatch(self.manifest, self.baseline))
        now, former = (self._group(limit.rule, before=before).size(limit.sized) for before in (False, True))
        if now is None or former is None:
            return Reading(actual=None, note=_COMPRESSES_NOTHING)
        if limit.unit != "percent":
            return Reading(actual=now - former)
        if former:
            return Reading(actual=100 * (now - former) / former)
        if now == 0:
            return Reading(actual=0.0)
        absolute = limit.key.rpartition(".")[2].removesuffix("-percent")
        return Reading(actual=None, note=f"the baseline has none of it, and {format_size(now)} are no share of nothing; set `{absolute}`")

    def _unmatched(self, rule: BudgetRule) -> str:
        """Return what to say of a rule that selects nothing, neither now nor in the baseline, and `""` of any other."""
        if self._group(rule).files or (self.baseline and self._group(rule, before=True).files):
            return ""
        if not rule.owner:
            return "selects no file; correct it, or delete the rule"
        owners = {owner_name(row.owner): row.owner for row in self.manifest.files if row.after}
        near = suggestion(owner_name(rule.owner), owners)
        return f"no file belongs to {rule.owner!r}{near or '; correct it, or delete the rule'}"

    def _comparable(self, limit: Limit) -> bool:
        if self.baseline is None or self.baseline.artifact.kind != self.manifest.artifact.kind:
            return False
        return limit.sized != "compressed" or self.baseline.compresses

    def _group(self, rule: BudgetRule | None, *, before: bool = False) -> Group:
        """Return the group that a rule selects; each is made once, for globs take their time."""
        manifest = self.baseline if before and self.baseline else self.manifest
        key = rule, before
        if key not in self._groups:
            self._groups[key] = group_of(manifest, rule)
        return self._groups[key]


def mismatch(manifest: Manifest, baseline: Manifest) -> str:
    """Return why a baseline is that of something else, `""` where it is not: of another kind, or another project's."""
    ours, theirs = manifest.artifact, baseline.artifact
    if ours.kind != theirs.kind:
        return f"the baseline, {shortened(theirs.name, _NAME)}, is of kind {theirs.kind!r}, the artifact {ours.kind!r}"
    if project_name(ours) != project_name(theirs):
        return (
            f"the baseline is that of {shortened(theirs.name, _NAME)}, not of {shortened(ours.name, _NAME)}; growth is counted all the same"
        )
    return ""


def _missing(place: str) -> str:
    if not place:
        return "there is no baseline; name a manifest in `baseline`, or by --baseline"
    return f"there is no baseline yet; copy the manifest of a release to {shortened(place, _NAME)}"


def _largest(sizes: Mapping[str, int], limit: Limit, sign: str) -> str:
    """Return the largest of some parts that count at all, like `torch +14.2 MB, numpy +1.1 MB`."""
    ordered = sorted(((size, name) for name, size in sizes.items() if size > 0), key=lambda each: (-each[0], each[1]))
    told = ((name, f"{size:,}" if limit.sized == "files" else format_size(size)) for size, name in ordered[:_TOLD])
    return ", ".join(f"{shortened(name, _NAME)} {sign}{size}" for name, size in told)

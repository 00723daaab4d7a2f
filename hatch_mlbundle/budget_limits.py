"""The limits that `[tool.mlbundle.budget]` sets, each under the name that a breach is told by, and what is wrong with them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath, PureWindowsPath
from typing import Literal, TypeAlias

from .budget_presets import PRESETS, Preset, upload
from .budget_settings import BudgetOverride, BudgetRule, BudgetSettings, SizeLimits
from .manifest import Unit
from .model import Kind
from .schema import suggestion
from .units import parse_size

Sized: TypeAlias = Literal["installed", "compressed", "files"]
"""What of a group of files is counted."""

_SIZES: Mapping[str, tuple[Sized, bool, Unit]] = {
    "installed": ("installed", False, "bytes"),
    "compressed": ("compressed", False, "bytes"),
    "files": ("files", False, "files"),
    "count": ("files", False, "files"),
    "installed-growth": ("installed", True, "bytes"),
    "installed-growth-percent": ("installed", True, "percent"),
    "compressed-growth": ("compressed", True, "bytes"),
    "compressed-growth-percent": ("compressed", True, "percent"),
}
"""Each limit on files: what it counts, whether only what came to it since the baseline, and its unit."""

VARYING: Mapping[str, Unit] = {"startup": "seconds", "peak-memory": "bytes"}
"""The limits on what differs from run to run, and has no place in a manifest."""

_LEAST_WORDS = 2

_MOST = 10**12
"""The most files, percent or seconds that a limit is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One limit: its name, its TOML path in the table, what it allows, and the reason and bound (`up_to`) of its override.

    `sized` and `growth` say what is counted, of the files that `rule` selects (None: the whole). A `preset` measures what it is about
    itself; then `sized` is what that depends on. `varying` limits are on what a verification measures.
    """

    name: str
    key: str
    unit: Unit
    allowed: float
    sized: Sized = "installed"
    growth: bool = False
    rule: BudgetRule | None = None
    preset: Preset | None = None
    varying: bool = False
    reason: str | None = None
    up_to: float | None = None


def limits_of(settings: BudgetSettings) -> tuple[Limit, ...]:
    """Return the limits: presets, those of the whole, those of parts. The settings must be without faults."""
    overrides = {each.limit: each for each in settings.overrides}
    return tuple(_overridden(limit, overrides.get(limit.name)) for limit in _limits(settings))


def amount(text: str, unit: Unit) -> float:
    """Return a bound as it is written in TOML, in the unit of its limit; raises ValueError."""
    if unit == "bytes":
        return parse_size(text)
    number = float(text)
    if not math.isfinite(number) or number < 0 or (unit == "files" and number != int(number)):
        raise ValueError(text)
    return int(number) if unit == "files" else number


def budget_faults(settings: BudgetSettings, path: str) -> Iterator[str]:
    """Yield a line for every value that cannot be, with its TOML path below `path`."""
    yield from _number_faults(settings, path)
    yield from _baseline_faults(settings.baseline, path)
    titles: list[str] = []
    for position, rule in enumerate(settings.rules):
        yield from _rule_faults(rule, titles, f"{path}.rules[{position}]")
        titles.append(rule.title)
    limits = {limit.name: limit for limit in _limits(settings)}
    for position, override in enumerate(settings.overrides):
        earlier = [each.limit for each in settings.overrides[:position]]
        yield from _override_faults(override, limits, earlier, f"{path}.overrides[{position}]")


def _limits(settings: BudgetSettings) -> Iterator[Limit]:
    """Yield the limits as if none were overridden."""
    for position, preset in enumerate(settings.preset):
        yield _preset_limit(preset, f"preset[{position}]", PRESETS[preset])
    yield from _sizes(settings, None)
    if settings.download is not None:
        yield _preset_limit("download", "download", upload(settings.download))
    for name, unit in VARYING.items():
        value = getattr(settings, name.replace("-", "_"))
        if value is not None:
            yield Limit(name=name, key=name, unit=unit, allowed=value, varying=True)
    for position, rule in enumerate(settings.rules):
        yield from _sizes(rule, rule, f"{rule.title}: ", f"rules[{position}].")


def _preset_limit(name: str, key: str, preset: Preset) -> Limit:
    sized: Sized = "installed" if preset.measured == "installed" else "compressed"
    return Limit(name=name, key=key, unit="bytes", allowed=preset.allowed, sized=sized, preset=preset)


def _sizes(table: SizeLimits, rule: BudgetRule | None, prefix: str = "", place: str = "") -> Iterator[Limit]:
    for key, (sized, growth, unit) in _SIZES.items():
        value = getattr(table, key.replace("-", "_"), None) if key != ("files" if rule else "count") else None
        if value is not None:
            yield Limit(name=prefix + key, key=place + key, unit=unit, allowed=value, sized=sized, growth=growth, rule=rule)


def _overridden(limit: Limit, override: BudgetOverride | None) -> Limit:
    if override is None:
        return limit
    up_to = None if override.up_to is None else amount(override.up_to, limit.unit)
    return replace(limit, reason=" ".join(override.reason.split()), up_to=up_to)


def _number_faults(settings: BudgetSettings | BudgetRule, path: str) -> Iterator[str]:
    for key in ("files", "count", "startup", "installed_growth_percent", "compressed_growth_percent"):
        value = getattr(settings, key, None)
        if isinstance(value, int | float) and not 0 <= value <= _MOST:
            told = "0 or more" if not value >= 0 else f"at most {_MOST:,}"
            yield f"{path}.{key.replace('_', '-')}: must be {told}, not {str(value)[:40]}"


def _baseline_faults(baseline: str, path: str) -> Iterator[str]:
    if PurePosixPath(baseline).is_absolute() or PureWindowsPath(baseline).is_absolute():
        yield f"{path}.baseline: must be relative to the project, not {baseline!r}"
    elif baseline and (PurePosixPath(baseline).suffix != ".json" or "\0" in baseline):
        yield f"{path}.baseline: must be a manifest (.json), not {baseline!r}"


def _rule_faults(rule: BudgetRule, titles: list[str], path: str) -> Iterator[str]:
    yield from _number_faults(rule, path)
    selectors = [key for key in ("owner", "kind", "files") if getattr(rule, key).strip()]
    kinds = [kind.value for kind in Kind]
    if len(selectors) != 1:
        told = f"not {' and '.join(selectors)}" if selectors else "to say what it is about"
        yield f"{path}: needs exactly one of owner, kind and files, {told}"
    elif rule.kind and rule.kind not in kinds:
        yield f"{path}.kind: unknown kind {rule.kind!r}{suggestion(rule.kind, kinds)}"
    if not rule.title.isprintable():
        yield f"{path}.name: must be of printable characters, not {rule.title!r}"
    elif selectors and rule.title in titles:
        yield f"{path}: rules[{titles.index(rule.title)}] is called {rule.title!r}, too; give this one another `name`"
    if not any(True for _ in _sizes(rule, rule)):
        yield f"{path}: sets no limit; add one, like installed = '500 MB'"


def _override_faults(override: BudgetOverride, limits: Mapping[str, Limit], earlier: list[str], path: str) -> Iterator[str]:
    limit = limits.get(override.limit)
    if limit is None:
        told = f"unknown limit {override.limit!r}" if override.limit else "must name a limit, like 'installed'"
        yield f"{path}.limit: {told}{suggestion(override.limit, limits) if override.limit else ''}"
    elif override.limit in earlier:
        yield f"{path}.limit: {override.limit!r} is overridden twice"
    if not _is_reason(override.reason):
        told = f"not {override.reason!r}" if override.reason.strip() else "it is missing"
        yield f"{path}.reason: must say why in words that others understand; {told}"
    if limit is not None and override.up_to is not None:
        yield from _bound_faults(limit, override.up_to, f"{path}.up-to")


def _is_reason(text: str) -> bool:
    """Say whether a text can be a reason: `todo` and `x` are none. Scripts that put no spaces between words are taken as they are."""
    words = text.split()
    return len(words) >= _LEAST_WORDS or (bool(words) and not text.isascii())


def _bound_faults(limit: Limit, text: str, path: str) -> Iterator[str]:
    try:
        value = amount(text, limit.unit)
    except ValueError:
        like = {
            "bytes": "a size like '250 MB'",
            "files": "a number of files",
            "percent": "a number of percent",
            "seconds": "a number of seconds",
        }
        yield f"{path}: must be {like[limit.unit]} as the limit is, not {text!r}"
        return
    if value <= limit.allowed:
        yield f"{path}: must be more than {limit.name!r} itself allows, not {text!r}"

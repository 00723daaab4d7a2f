"""`[tool.mlbundle]`: what is to be done, in which order, within which limits. Every fault is told at once."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

from .accuracy_settings import AccuracySettings, accuracy_faults
from .budget_limits import budget_faults
from .budget_settings import BudgetSettings
from .errors import ConfigurationError
from .image_settings import ImageSettings
from .model import Finding
from .optimizer import Options, option
from .schema import Size, read_fields, read_table, suggestion, toml_names, unknown_key
from .verify_settings import VerifySettings, range_faults

TABLE = "tool.mlbundle"
"""The TOML path of the table that every adapter reads."""

OptionTypes: TypeAlias = Mapping[str, type[Options]]
"""The optimizers that there are: by name, the class of their options."""

DEFAULT_OPTIMIZERS = ("exclude_modules", "python_sources", "test_data", "exclude", "strip", "deduplicate")

ReportFormat: TypeAlias = Literal["html", "markdown"]
"""The reports that a build can write beside its manifest."""

ArchiveFormat: TypeAlias = Literal["tar.zst", "tar.gz", "zip"]
"""The archives that can be made of a folder."""

_CODE = re.compile("[A-Z]{2,10}[0-9]{0,3}")

_LONGEST_TIMEOUT = 10.0**7
"""Seconds; threads cannot be waited for much longer."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds on what an archive may unpack to, so that a hostile one cannot fill the disk."""

    max_ratio: int = option("Unpacked bytes for each packed byte, at most.", default=200)
    max_size: Size = option("Unpacked bytes of the whole archive, at most.", default=100 * 10**9)


@dataclass(frozen=True, kw_only=True)
class CacheSettings:
    """Where finished results are kept from one build to the next."""

    enabled: bool = option("Whether results are kept and used again.", default=True)
    folder: str = option(
        "The cache's folder, relative to the project; empty means MLBUNDLE_CACHE_DIR, else the user's cache folder.", default=""
    )
    max_size: Size = option("Bytes it may hold; the results used least recently go first.", default=5 * 10**9)


@dataclass(frozen=True, kw_only=True)
class PackingSettings:
    """How archives are compressed; the higher the level, the smaller and slower."""

    zstd_level: int = option("Level of `tar.zst`, 1 to 22.", default=18)
    zstd_window: int = option(
        "Long-distance matching in `tar.zst` over 2 to this power bytes, 10 to 31; 0 means none. Above 27, unpacking needs `zstd --long`.",
        default=0,
    )
    gzip_level: int = option("Level of `tar.gz`, 1 to 9.", default=6)
    zip_level: int = option("Level of `zip`, 1 to 12.", default=6)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The keys of `[tool.mlbundle]` that belong to no optimizer."""

    optimizers: tuple[str, ...] = option("The optimizers to run, in this order.", default=DEFAULT_OPTIMIZERS)
    strict: bool = option("Whether a finding fails the build.", default=False)
    ignore: tuple[str, ...] = option("Codes of findings to leave out, or the beginnings of codes.", default=())
    manifest: bool = option("Whether the size manifest is written.", default=True)
    reports: tuple[ReportFormat, ...] = option("Reports to write beside the manifest, for a person: `html`, `markdown`.", default=())
    manifest_folder: str = option("The manifest's folder, relative to the project; empty means beside the artifact.", default="")
    workers: int = option("Threads that work at once; 0 means one a core.", default=0)
    compression_level: int = option("How hard changed files are deflated: 1 is fastest, 12 smallest.", default=6)
    allow_signed: bool = option("Whether a signed wheel is changed; its signature, which then no longer fits, is left out.", default=False)
    archive: tuple[ArchiveFormat, ...] = option("Archives to make of a folder or frozen bundle, beside it.", default=())
    runtime_messages: bool = option(
        "Whether frozen executables say, when a module or file is missing, which step left it out and how to keep it, and when they start, "
        "what of the machine they have no code for (docs/machine-statement.md).",
        default=True,
    )
    record: bool = option("Whether a wheel that changed gets a record of what was done to it (docs/provenance.md).", default=True)
    sbom: bool = option(
        "Whether there is an SBOM of what is in the result: inside a wheel that changed, beside a frozen bundle or a folder "
        "(docs/provenance.md). Those that a wheel has are kept right anyway.",
        default=False,
    )
    packing: PackingSettings = option("How archives are compressed.", default=PackingSettings())
    limits: Limits = option("Bounds on what is unpacked.", default=Limits())
    verify: VerifySettings = option("The commands that prove that the result still works.", default=VerifySettings())
    accuracy: AccuracySettings = option("How far lossy steps may lead, measured on samples.", default=AccuracySettings())
    budget: BudgetSettings = option("How large the result may be, and how much it may grow.", default=BudgetSettings())
    image: ImageSettings = option("What may be changed in a container image, and how it is written.", default=ImageSettings())
    cache: CacheSettings = option("The cache of results.", default=CacheSettings())


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One optimizer with its options."""

    name: str
    options: Options


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A configuration that can be carried out: `steps` are the enabled optimizers in order; `idle` are set up but not listed.

    `options` are those of every optimizer that there is, whether it runs or not.
    """

    settings: Settings
    steps: tuple[Step, ...]
    idle: tuple[str, ...] = ()
    options: Mapping[str, Options] = field(default_factory=dict)

    @property
    def workers(self) -> int:
        """Threads that work at once."""
        return self.settings.workers or available_cores()


def available_cores() -> int:
    """Return the number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def read_config(
    table: object,
    known: OptionTypes,
    *,
    overlay: Mapping[str, object] | None = None,
    overlay_path: str = TABLE,
    why_missing: Callable[[str], str | None] = lambda _: None,
) -> Config:
    """Return the configuration of `[tool.mlbundle]` with `overlay`, an adapter's own table at `overlay_path`, laid over it key by key.

    `why_missing` tells the fault of a plugin for which an optimizer may be missing. Raises ConfigurationError with every fault, each with
    its TOML path.
    """
    if not isinstance(table, Mapping):
        raise ConfigurationError([f"{TABLE}: must be a table"])
    over = overlay or {}
    merged = {**table, **over}

    def locate(key: str) -> str:
        return f"{overlay_path if key in over else TABLE}.{key}"

    allowed = [*toml_names(Settings), *known]
    unknown = [key for key in merged if key not in allowed]
    faults = [unknown_key(locate(key), key, allowed, "key or optimizer") + _because(why_missing(key)) for key in unknown]
    settings = _settings(merged, locate, faults)
    options = {name: read_table(cls, merged.get(name, {}), locate(name), faults) for name, cls in known.items()}
    faults += _order_faults(_strings(merged.get("optimizers")), known, locate("optimizers"), why_missing)
    faults += _timeout_faults(options, locate)
    if faults:
        raise ConfigurationError(faults)
    steps = tuple(Step(name=name, options=options[name]) for name in settings.optimizers if options[name].enabled)
    idle = tuple(name for name in known if name in merged and name not in settings.optimizers)
    return Config(settings=settings, steps=steps, idle=idle, options=options)


def read_settings(table: object, *, overlay: Mapping[str, object] | None = None, overlay_path: str = TABLE) -> Settings | None:
    """Return the settings of a configuration that says nothing of optimizers, read and refused as `read_config` does it.

    None where it names some or sets some up: whether it may cannot be told without them.
    """
    over = overlay or {}
    if not isinstance(table, Mapping) or {*table, *over} - ({*toml_names(Settings)} - {"optimizers"}):
        return None
    faults: list[str] = []
    settings = _settings({**table, **over}, lambda key: f"{overlay_path if key in over else TABLE}.{key}", faults)
    if faults:
        raise ConfigurationError(faults)
    return settings


def selected(settings: Settings, findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings that are not ignored."""
    return tuple(finding for finding in findings if not (settings.ignore and finding.code.startswith(settings.ignore)))


def options_to_dict(options: Any) -> dict[str, Any]:
    """Return options as they would stand in TOML: names with hyphens, tuples as lists."""
    return {key.replace("_", "-"): _plain(value) for key, value in asdict(options).items()}


def decisive_settings(config: Config) -> dict[str, Any]:
    """Return the settings that the result depends on, as they would stand in TOML."""
    settings = options_to_dict(config.settings)
    decisive = {key: settings[key] for key in ("strict", "ignore", "compression-level", "allow-signed")}
    if config.settings.archive:
        decisive |= {key: settings[key] for key in ("archive", "packing")}
    if not config.settings.runtime_messages:
        decisive["runtime-messages"] = False
    decisive |= {key: settings[key] for key in ("record", "sbom") if settings[key] != (key == "record")}
    accuracy = config.settings.accuracy
    if config.settings.image != ImageSettings():
        decisive["image"] = settings["image"]
    if accuracy.wanted:
        key, bound = accuracy.bound
        set_up = {name: value for name, value in settings["accuracy"].items() if value is not None and name != "timeout"}
        decisive["accuracy"] = {**set_up, key: bound}
    if config.settings.budget != BudgetSettings():
        decisive["budget"] = _filled(settings["budget"])
    return {"optimizers": [step.name for step in config.steps], **decisive}


def _settings(merged: Mapping[str, Any], locate: Callable[[str], str], faults: list[str]) -> Settings:
    """Return the settings, and add to `faults` whatever is wrong with them."""
    settings = read_fields(Settings, merged, locate, faults)
    faults += [*_range_faults(settings, locate), *range_faults(settings.verify, locate("verify"))]
    faults += accuracy_faults(settings.accuracy, locate("accuracy"))
    faults += [each for each in budget_faults(settings.budget, locate("budget")) if not _follows(each, faults)]
    faults += _twice_faults(_strings(merged.get("archive")), locate("archive"))
    faults += _twice_faults(_strings(merged.get("reports")), locate("reports"))
    if settings.reports and not settings.manifest:
        faults.append(f"{locate('reports')}: are written beside the manifest; set manifest = true, or leave them out")
    faults += _twice_faults(_strings(_item(merged.get("budget"), "preset")), f"{locate('budget')}.preset")
    faults += _code_faults(_strings(merged.get("ignore")), locate("ignore"))
    return settings


def _filled(value: Any) -> Any:
    """Return a table, and those in its lists, without the keys that are not set."""
    if isinstance(value, dict):
        return {key: _filled(each) for key, each in value.items() if each not in (None, "", [])}
    return [_filled(each) for each in value] if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key.replace("_", "-"): _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, tuple | list) else value


def _follows(fault: str, faults: Sequence[str]) -> bool:
    """Say whether a fault is told of a table whose key has one already: then that is the cause."""
    path = fault.partition(": ")[0]
    return any(other.startswith(f"{path}.") for other in faults)


def _range_faults(settings: Settings, locate: Callable[[str], str]) -> list[str]:
    packing = settings.packing
    faults = []
    if settings.workers < 0:
        faults.append(f"{locate('workers')}: must be 0 or more, not {settings.workers}")
    if settings.limits.max_ratio < 1:
        faults.append(f"{locate('limits')}.max-ratio: must be 1 or more, not {settings.limits.max_ratio}")
    levels = {
        locate("compression-level"): (settings.compression_level, 12),
        f"{locate('packing')}.zstd-level": (packing.zstd_level, 22),
        f"{locate('packing')}.gzip-level": (packing.gzip_level, 9),
        f"{locate('packing')}.zip-level": (packing.zip_level, 12),
    }
    faults += [f"{path}: must be from 1 to {most}, not {level}" for path, (level, most) in levels.items() if not 1 <= level <= most]
    image, most = settings.image, {"gzip": 9, "zstd": 22, "none": 0}[settings.image.compression]
    if image.level and not 0 <= image.level <= most:
        faults.append(f"{locate('image')}.level: must be 0, or from 1 to {most} for {image.compression}, not {image.level}")
    if packing.zstd_window and not 10 <= packing.zstd_window <= 31:
        faults.append(f"{locate('packing')}.zstd-window: must be 0, or from 10 to 31, not {packing.zstd_window}")
    return faults


def _twice_faults(formats: Mapping[int, str], path: str) -> list[str]:
    values = list(formats.values())
    return [
        f"{path}[{position}]: {name!r} is listed twice" for place, (position, name) in enumerate(formats.items()) if name in values[:place]
    ]


def _item(table: object, key: str) -> object:
    return table.get(key) if isinstance(table, Mapping) else None


def _strings(listed: object) -> dict[int, str]:
    """Return the strings of a list by their places in it; what else may stand there is the schema's fault to find."""
    items = listed if isinstance(listed, list) else []
    return {position: each for position, each in enumerate(items) if isinstance(each, str)}


def _timeout_faults(options: Mapping[str, Options], locate: Callable[[str], str]) -> list[str]:
    must = "must be more than 0 and at most"
    return [
        f"{locate(name)}.timeout: {must} {_LONGEST_TIMEOUT:g}, not {each.timeout:g}"
        for name, each in options.items()
        if not 0 < each.timeout <= _LONGEST_TIMEOUT
    ]


def _because(reason: str | None) -> str:
    return f"; {reason}" if reason else ""


def _order_faults(names: Mapping[int, str], known: OptionTypes, path: str, why_missing: Callable[[str], str | None]) -> list[str]:
    faults = []
    seen: set[str] = set()
    for position, name in names.items():
        if name not in known:
            faults.append(f"{path}[{position}]: unknown optimizer {name!r}{suggestion(name, known)}{_because(why_missing(name))}")
        elif name in seen:
            faults.append(f"{path}[{position}]: {name!r} is listed twice")
        seen.add(name)
    return faults


def _code_faults(codes: Mapping[int, str], path: str) -> list[str]:
    must = "must be the code of a finding or its beginning, like 'MB103' or 'MB1'"
    return [f"{path}[{position}]: {must}, not {code!r}" for position, code in codes.items() if not _CODE.fullmatch(code)]

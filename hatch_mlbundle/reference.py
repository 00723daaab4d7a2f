"""What can be configured, read from the code itself: for `mlbundle plugins` and the documentation."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, get_type_hints

from .optimizer import Options
from .plugins import Registered, Registry
from .schema import describe_type


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionEntry:
    """One option: its name and type as in TOML, its default, and a sentence on what it does."""

    name: str
    type: str
    default: Any
    doc: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerEntry:
    """One optimizer: `summary` is the first line of its documentation, `options` are those that not every optimizer has."""

    name: str
    distribution: str
    version: str
    lossless: bool
    summary: str
    options: tuple[OptionEntry, ...]


def optimizer_entries(registry: Registry) -> list[OptimizerEntry]:
    """Return an entry for each optimizer, in the registry's order."""
    return [_entry(registry[name]) for name in registry]


def option_entries(cls: type, without: Sequence[str] = ()) -> tuple[OptionEntry, ...]:
    """Return an entry for each field of an options dataclass but those named in `without`."""
    hints = get_type_hints(cls)
    return tuple(
        OptionEntry(
            name=field.name.replace("_", "-"),
            type=describe_type(hints[field.name]),
            default=None if field.default is MISSING else field.default,
            doc=field.metadata.get("doc", ""),
        )
        for field in fields(cls)
        if field.name not in without
    )


def _entry(registered: Registered) -> OptimizerEntry:
    optimizer = registered.optimizer
    common = [field.name for field in fields(Options)]
    return OptimizerEntry(
        name=optimizer.name,
        distribution=registered.distribution,
        version=registered.distribution_version,
        lossless=optimizer.lossless,
        summary=(inspect.getdoc(optimizer) or "").partition("\n")[0],
        options=option_entries(optimizer.options_type, without=common),
    )

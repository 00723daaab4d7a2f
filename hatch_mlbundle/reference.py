"""What can be configured, read from the code itself: for `mlbundle plugins` and the documentation."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, get_type_hints

from .optimizer import Optimizer, Options, Risk
from .schema import describe_type, to_toml


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionEntry:
    """One option: its name, type and default as in TOML, and a sentence on what it does."""

    name: str
    type: str
    default: Any
    doc: str

    @property
    def written_default(self) -> str:
        """The default as it would be written, `unset` where that is None."""
        return "unset" if self.default is None else json.dumps(self.default, ensure_ascii=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerEntry:
    """One optimizer: `summary` is the first line of its documentation, `options` are those that not every optimizer has."""

    name: str
    distribution: str
    version: str
    lossless: bool
    risk: Risk
    summary: str
    options: tuple[OptionEntry, ...]


def optimizer_entry(optimizer: type[Optimizer[Any]], distribution: str, version: str) -> OptimizerEntry:
    """Return the entry of an optimizer that comes from this version of a distribution."""
    common = [field.name for field in fields(Options)]
    return OptimizerEntry(
        name=optimizer.name,
        distribution=distribution,
        version=version,
        lossless=optimizer.lossless,
        risk=optimizer.risk,
        summary=(inspect.getdoc(optimizer) or "").partition("\n")[0],
        options=option_entries(optimizer.options_type, without=common),
    )


def option_entries(cls: type, without: Sequence[str] = ()) -> tuple[OptionEntry, ...]:
    """Return an entry for each field of an options dataclass but those named in `without`."""
    hints, defaults = get_type_hints(cls), cls()
    return tuple(
        OptionEntry(
            name=field.name.replace("_", "-"),
            type=describe_type(hints[field.name]),
            default=to_toml(hints[field.name], getattr(defaults, field.name)),
            doc=field.metadata.get("doc", ""),
        )
        for field in fields(cls)
        if field.name not in without
    )

"""Find the optimizers, evaluators and inspectors: ours and those of installed distributions, through pluggy hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, Protocol, TypeVar

from . import __version__, hookspecs
from .accuracy.evaluator import Evaluator
from .contents.rows import Inspecting
from .guard import OURS as OURS
from .model import Finding
from .optimizer import Optimizer, Options
from .optimizers import builtin
from .plugin_offer import Fault, Offer, offer_of, offers
from .reference import OptimizerEntry, optimizer_entry

_SECONDS = 60.0
"""Seconds that a plugin may take to be imported, and to say what it registers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """An optimizer class, and the distribution that it comes from."""

    optimizer: type[Optimizer[Any]]
    distribution: str
    distribution_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredEvaluator:
    """A class that runs models, and the distribution that it comes from."""

    evaluator: type[Evaluator]
    distribution: str
    distribution_version: str


class Registry(Mapping[str, Registered]):
    """The optimizers that can be named in a configuration, by name.

    `evaluators` are what can run models, by name, sorted; `inspectors` what can tell what files are made of, ours first, then by name.
    Of two of one name ours is taken, or neither. `faults` are of what could not be loaded or cannot be used, with these.
    """

    def __init__(
        self,
        registered: Iterable[Registered],
        evaluators: Iterable[RegisteredEvaluator] = (),
        inspectors: Iterable[Inspecting] = (),
        faults: Iterable[Fault] = (),
    ) -> None:
        clashes: list[Fault] = []
        self._by_name = _unique("optimizer", registered, lambda each: each.optimizer, clashes)
        found = _unique("evaluator", evaluators, lambda each: each.evaluator, clashes)
        told = _unique("inspector", inspectors, lambda each: type(each.inspector), clashes).values()
        self.evaluators: Mapping[str, RegisteredEvaluator] = dict(sorted(found.items()))
        self.inspectors = tuple(sorted(told, key=lambda each: (each.distribution != OURS, each.inspector.name)))
        self.faults = (*faults, *clashes)

    def __getitem__(self, name: str) -> Registered:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is to be told of plugins that could not be loaded, or clash."""
        return tuple(Finding(code=fault.code, message=fault.line) for fault in self.faults)

    def option_types(self) -> dict[str, type[Options]]:
        """Return the class of each optimizer's options, by the optimizer's name."""
        return {name: each.optimizer.options_type for name, each in self._by_name.items()}

    def why_missing(self, name: str) -> str | None:
        """Return the fault for which there is no optimizer or evaluator of this name, or may be none; None where it is no plugin's."""
        own = [fault for fault in self.faults if fault.name == name]
        return "; ".join(fault.line for fault in own or self.faults if own or fault.name is None) or None


def load_registry(seconds: float = _SECONDS) -> Registry:
    """Return every optimizer, evaluator and inspector there is; each plugin may take so many seconds to be loaded."""
    found = [offer_of(builtin, OURS, __version__), *offers(entry_points(group=hookspecs.PROJECT), seconds)]
    return Registry(
        (Registered(optimizer=each, **_origin(offer)) for offer in found for each in offer.optimizers),
        (RegisteredEvaluator(evaluator=each, **_origin(offer)) for offer in found for each in offer.evaluators),
        (Inspecting(inspector=each, **_origin(offer)) for offer in found for each in offer.inspectors),
        [fault for offer in found for fault in offer.faults],
    )


def optimizer_entries(registry: Registry) -> list[OptimizerEntry]:
    """Return an entry for each optimizer, in the registry's order."""
    return [optimizer_entry(each.optimizer, each.distribution, each.distribution_version) for each in registry.values()]


def _origin(offer: Offer) -> dict[str, str]:
    return {"distribution": offer.distribution, "distribution_version": offer.version}


class _Origin(Protocol):
    @property
    def distribution(self) -> str: ...


OriginT = TypeVar("OriginT", bound=_Origin)


def _unique(what: str, found: Iterable[OriginT], class_of: Callable[[OriginT], Any], faults: list[Fault]) -> dict[str, OriginT]:
    """Return what was found, by name, without what shares its name with another; add a fault for each that is not taken."""
    by_name: dict[str, list[OriginT]] = {}
    for each in found:
        same = by_name.setdefault(class_of(each).name, [])
        if not any(class_of(other) is class_of(each) for other in same):
            same.append(each)
    taken = {}
    for name, same in by_name.items():
        if len(same) == 1 or same[0].distribution == OURS:
            taken[name] = same[0]
        if len(same) > 1:
            faults.append(Fault(code="MB108", line=_clash(what, name, [each.distribution for each in same]), name=name))
    return taken


def _clash(what: str, name: str, distributions: list[str]) -> str:
    if distributions[0] == OURS:
        others = " and ".join(distributions[1:])
        return f"{what} {name!r} of {others} is not taken, for {OURS} has one of this name; uninstall it, or ask its authors for another"
    if len(set(distributions)) == 1:
        return f"{what} {name!r} is registered twice by {distributions[0]}, so that none is taken; tell its authors, or uninstall it"
    return f"{what} {name!r} is registered by {' and '.join(distributions)}, so that neither's is taken; uninstall all but one"

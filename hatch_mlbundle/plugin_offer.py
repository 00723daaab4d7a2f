"""What an installed distribution registers, and what is wrong with it: loaded within a time limit, whatever it does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint
from itertools import islice
from typing import Any

import pluggy

from . import hookspecs
from .accuracy.evaluator import Evaluator
from .contents.inspector import Inspector
from .guard import Caution, error_line
from .optimizer import Optimizer
from .plugin_checks import evaluator_problem, inspector_problem, optimizer_problem

_MOST = 1000
"""Classes that one hook may give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong with a plugin, in one line, under a finding's code; `name` is that of the thing which is missing for it, if known."""

    code: str
    line: str
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a distribution registers that can be used, and its faults."""

    distribution: str
    version: str
    optimizers: tuple[type[Optimizer[Any]], ...] = ()
    evaluators: tuple[type[Evaluator], ...] = ()
    inspectors: tuple[Inspector, ...] = ()
    faults: tuple[Fault, ...] = ()


def offers(entry_points: Iterable[EntryPoint], seconds: float) -> Iterator[Offer]:
    """Yield what each plugin registers, in the order of their names; two entry points of one module are one plugin.

    Each may take `seconds`. A plugin that ends the process in C, or by os._exit, cannot be stopped.
    """
    plugins: list[object] = []
    for entry_point in sorted(entry_points, key=lambda each: (_distribution(each)[0], each.name)):
        distribution, version = _distribution(entry_point)
        guard = Caution(distribution, seconds=seconds)
        try:
            plugin = guard.call(entry_point.load)
            if not any(plugin is each for each in plugins):
                plugins.append(plugin)
                yield guard.call(partial(offer_of, plugin, distribution, version))
        except Exception as error:
            line = f"plugin {distribution} cannot be loaded ({error_line(error)}); reinstall or uninstall it"
            yield Offer(distribution=distribution, version=version, faults=(Fault(code="MB106", line=line),))


def offer_of(plugin: Any, distribution: str, version: str) -> Offer:
    """Return what a module (or any object with hooks) registers; raises any error, of pluggy or its own."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(plugin)
    manager.check_pending()
    faults: list[Fault] = []

    def usable(hook: pluggy.HookCaller, problem_of: Callable[[Any], str | None]) -> list[Any]:
        found = []
        for cls in _registered(hook):
            if problem := problem_of(cls):
                line = f"plugin {distribution}: {problem}; tell its authors, or uninstall it"
                faults.append(Fault(code="MB107", line=line, name=str(getattr(cls, "name", ""))))
            else:
                found.append(cls)
        return found

    return Offer(
        distribution=distribution,
        version=version,
        optimizers=tuple(usable(manager.hook.mlbundle_register_optimizers, optimizer_problem)),
        evaluators=tuple(usable(manager.hook.mlbundle_register_evaluators, evaluator_problem)),
        inspectors=tuple(cls() for cls in usable(manager.hook.mlbundle_register_inspectors, inspector_problem)),
        faults=tuple(faults),
    )


def _registered(hook: pluggy.HookCaller) -> Iterator[Any]:
    for implementation in hook.get_hookimpls():
        yield from islice(implementation.function(), _MOST)  # type: ignore[call-overload]


def _distribution(entry_point: EntryPoint) -> tuple[str, str]:
    """Return the distribution's name and version; what is half uninstalled may lack either."""
    metadata: Mapping[str, str] = entry_point.dist.metadata if entry_point.dist else {}  # type: ignore[assignment]
    name, version = ((metadata[key] or "") if key in metadata else "" for key in ("Name", "Version"))
    return name or entry_point.value, version

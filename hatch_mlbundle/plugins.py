"""Find the optimizers: ours and those of installed distributions, through one pluggy hook."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy

from . import __version__, hookspecs
from .errors import ConfigurationError
from .optimizer import Optimizer, Options
from .optimizers import builtin

OURS = "hatch-mlbundle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """An optimizer class, and the distribution that it comes from."""

    optimizer: type[Optimizer[Any]]
    distribution: str
    distribution_version: str


class Registry(Mapping[str, Registered]):
    """The optimizers that can be named in a configuration, by name."""

    def __init__(self, registered: Iterator[Registered]) -> None:
        self._by_name: dict[str, Registered] = {}
        for each in registered:
            other = self._by_name.setdefault(each.optimizer.name, each)
            if other is not each:
                both = f"{other.distribution} and {each.distribution}"
                raise ConfigurationError([f"optimizer {each.optimizer.name!r} is registered by both {both}; uninstall one of them"])

    def __getitem__(self, name: str) -> Registered:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def option_types(self) -> dict[str, type[Options]]:
        """Return the class of each optimizer's options, by the optimizer's name."""
        return {name: each.optimizer.options_type for name, each in self._by_name.items()}


def load_registry() -> Registry:
    """Return every optimizer there is; raises ConfigurationError where an installed plugin is broken or two share a name."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(builtin, name=OURS)
    distributions = {OURS: (OURS, __version__)}
    for entry_point in entry_points(group=hookspecs.PROJECT):
        name = manager.register(_load(entry_point), name=f"{_distribution(entry_point)[0]}:{entry_point.name}")
        distributions[str(name)] = _distribution(entry_point)
    _check_hooks(manager)
    return Registry(_registered(manager, distributions))


def _registered(manager: pluggy.PluginManager, distributions: Mapping[str, tuple[str, str]]) -> Iterator[Registered]:
    implementations = manager.hook.mlbundle_register_optimizers.get_hookimpls()
    for implementation in sorted(implementations, key=lambda each: (each.plugin_name != OURS, each.plugin_name)):
        distribution, version = distributions[implementation.plugin_name]
        try:
            classes: list[Any] = list(implementation.function())  # type: ignore[call-overload]
        except Exception as error:
            raise _broken(distribution, error) from error
        for each in classes:
            _check_class(each, distribution)
            yield Registered(optimizer=each, distribution=distribution, distribution_version=version)


def _load(entry_point: EntryPoint) -> object:
    try:
        return entry_point.load()
    except Exception as error:
        raise _broken(_distribution(entry_point)[0], error) from error


def _distribution(entry_point: EntryPoint) -> tuple[str, str]:
    return (entry_point.dist.name, entry_point.dist.version) if entry_point.dist else (entry_point.value, "")


def _check_hooks(manager: pluggy.PluginManager) -> None:
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise _broken(manager.get_name(error.plugin) or "?", error) from error


def _check_class(cls: object, distribution: str) -> None:
    problem = None
    if not (inspect.isclass(cls) and issubclass(cls, Optimizer)):
        problem = f"{cls!r} is no subclass of hatch_mlbundle.optimizer.Optimizer"
    elif not all(isinstance(getattr(cls, attribute, None), str) for attribute in ("name", "version")):
        problem = f"{cls.__name__} lacks a name or a version"
    elif not issubclass(cls.options_type, Options):
        problem = f"{cls.__name__}.options_type is no subclass of hatch_mlbundle.optimizer.Options"
    elif inspect.isabstract(cls):
        problem = f"{cls.__name__} does not define plan()"
    if problem:
        raise ConfigurationError([f"plugin {distribution}: {problem}; tell its authors, or uninstall it"])


def _broken(distribution: str, error: Exception) -> ConfigurationError:
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return ConfigurationError([f"plugin {distribution} cannot be loaded ({reason}); reinstall or uninstall it"])

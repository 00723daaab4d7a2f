"""Find the optimizers, evaluators and inspectors: ours and those of installed distributions, through pluggy hooks."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy

from . import __version__, hookspecs
from .accuracy.evaluator import Evaluator
from .config import TABLE, Settings
from .contents.inspector import Inspector
from .contents.rows import Inspecting
from .errors import ConfigurationError
from .optimizer import Optimizer, Options
from .optimizers import builtin
from .reference import OptimizerEntry, optimizer_entry
from .schema import check_table, toml_names

OURS = "hatch-mlbundle"

_NAME = re.compile("[a-z][a-z0-9_]*")


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
    """

    def __init__(
        self,
        registered: Iterator[Registered],
        evaluators: Iterable[RegisteredEvaluator] = (),
        inspectors: Iterable[Inspecting] = (),
    ) -> None:
        self._by_name: dict[str, Registered] = {}
        for each in registered:
            other = self._by_name.setdefault(each.optimizer.name, each)
            if other is not each:
                raise _twice("optimizer", each.optimizer.name, other.distribution, each.distribution)
        by_name: dict[str, RegisteredEvaluator] = {}
        for one in evaluators:
            first = by_name.setdefault(one.evaluator.name, one)
            if first is not one:
                raise _twice("evaluator", one.evaluator.name, first.distribution, one.distribution)
        self.evaluators: Mapping[str, RegisteredEvaluator] = dict(sorted(by_name.items()))
        self.inspectors = _in_order(inspectors)

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
    for entry_point in sorted(entry_points(group=hookspecs.PROJECT), key=_plugin_name):
        plugin, name = _load(entry_point), _plugin_name(entry_point)
        if not manager.is_registered(plugin):
            distributions[name] = _distribution(entry_point)
            _register(manager, plugin, name, distributions[name][0])
    _check_hooks(manager)
    registered, evaluators = _registered(manager, distributions), _registered_evaluators(manager, distributions)
    return Registry(registered, evaluators, _registered_inspectors(manager, distributions))


def optimizer_entries(registry: Registry) -> list[OptimizerEntry]:
    """Return an entry for each optimizer, in the registry's order."""
    return [optimizer_entry(each.optimizer, each.distribution, each.distribution_version) for each in registry.values()]


def _registered(manager: pluggy.PluginManager, distributions: Mapping[str, tuple[str, str]]) -> Iterator[Registered]:
    for each, distribution, version in _offered(manager.hook.mlbundle_register_optimizers, distributions):
        _check_class(each, distribution)
        yield Registered(optimizer=each, distribution=distribution, distribution_version=version)


def _registered_evaluators(manager: pluggy.PluginManager, distributions: Mapping[str, tuple[str, str]]) -> Iterator[RegisteredEvaluator]:
    for each, distribution, version in _offered(manager.hook.mlbundle_register_evaluators, distributions):
        problem = _port_problem(each, Evaluator, "fits() and outputs()")
        if problem:
            raise ConfigurationError([f"plugin {distribution}: {problem}; tell its authors, or uninstall it"])
        yield RegisteredEvaluator(evaluator=each, distribution=distribution, distribution_version=version)


def _registered_inspectors(manager: pluggy.PluginManager, distributions: Mapping[str, tuple[str, str]]) -> Iterator[Inspecting]:
    for each, distribution, version in _offered(manager.hook.mlbundle_register_inspectors, distributions):
        problem = _port_problem(each, Inspector, "inspect()")
        if problem:
            raise ConfigurationError([f"plugin {distribution}: {problem}; tell its authors, or uninstall it"])
        try:
            inspector = each()
        except Exception as error:
            raise _broken(distribution, error) from error
        yield Inspecting(inspector=inspector, distribution=distribution, distribution_version=version)


def _in_order(inspectors: Iterable[Inspecting]) -> tuple[Inspecting, ...]:
    by_name: dict[str, Inspecting] = {}
    for each in inspectors:
        other = by_name.setdefault(each.inspector.name, each)
        if other is not each:
            raise _twice("inspector", each.inspector.name, other.distribution, each.distribution)
    return tuple(sorted(by_name.values(), key=lambda each: (each.distribution != OURS, each.inspector.name)))


def _offered(hook: pluggy.HookCaller, distributions: Mapping[str, tuple[str, str]]) -> Iterator[tuple[Any, str, str]]:
    """Yield what each distribution registers through a hook, with its name and version: ours first, then by name."""
    for implementation in sorted(hook.get_hookimpls(), key=lambda each: (each.plugin_name != OURS, each.plugin_name)):
        distribution, version = distributions[implementation.plugin_name]
        try:
            classes: list[Any] = list(implementation.function())  # type: ignore[call-overload]
        except Exception as error:
            raise _broken(distribution, error) from error
        yield from ((each, distribution, version) for each in classes)


def _load(entry_point: EntryPoint) -> object:
    try:
        return entry_point.load()
    except Exception as error:
        raise _broken(_distribution(entry_point)[0], error) from error


def _register(manager: pluggy.PluginManager, plugin: object, name: str, distribution: str) -> None:
    try:
        manager.register(plugin, name=name)
    except (pluggy.PluginValidationError, ValueError) as error:
        raise _broken(distribution, error) from error


def _plugin_name(entry_point: EntryPoint) -> str:
    return f"{_distribution(entry_point)[0]}:{entry_point.name}"


def _distribution(entry_point: EntryPoint) -> tuple[str, str]:
    return (entry_point.dist.name, entry_point.dist.version) if entry_point.dist else (entry_point.value, "")


def _check_hooks(manager: pluggy.PluginManager) -> None:
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise _broken(manager.get_name(error.plugin) or "?", error) from error


def optimizer_problem(cls: Any) -> str | None:
    """Return why a class cannot be registered as an optimizer, or None."""
    return _class_problem(cls) or _name_problem(cls) or _options_problem(cls)


def _check_class(cls: Any, distribution: str) -> None:
    problem = optimizer_problem(cls)
    if problem:
        raise ConfigurationError([f"plugin {distribution}: {problem}; tell its authors, or uninstall it"])


def _port_problem(cls: Any, port: type[Any], methods: str) -> str | None:
    """Return why a class cannot serve as a `port`, whose abstract `methods` it has to define, or None."""
    if not (inspect.isclass(cls) and issubclass(cls, port)):
        return f"{cls!r} is no subclass of {port.__module__}.{port.__qualname__}"
    name, version = (getattr(cls, attribute, None) for attribute in ("name", "version"))
    if not (isinstance(name, str) and isinstance(version, str)):
        return f"{cls.__name__} lacks a name or a version"
    if inspect.isabstract(cls):
        return f"{cls.__name__} does not define {methods}"
    return None if _NAME.fullmatch(name) else f"{cls.__name__}.name is {name!r}, which is no lower-case identifier"


def _class_problem(cls: Any) -> str | None:
    if not (inspect.isclass(cls) and issubclass(cls, Optimizer)):
        return f"{cls!r} is no subclass of hatch_mlbundle.optimizer.Optimizer"
    if not all(isinstance(getattr(cls, attribute, None), str) for attribute in ("name", "version")):
        return f"{cls.__name__} lacks a name or a version"
    return f"{cls.__name__} does not define plan()" if inspect.isabstract(cls) else None


def _name_problem(cls: type[Optimizer[Any]]) -> str | None:
    if not _NAME.fullmatch(cls.name):
        return f"{cls.__name__}.name is {cls.name!r}, which is no lower-case identifier"
    if cls.name.replace("_", "-") in toml_names(Settings):
        return f"{cls.__name__}.name is {cls.name!r}, which is a key of [{TABLE}]"
    return None


def _options_problem(cls: type[Optimizer[Any]]) -> str | None:
    options: Any = cls.options_type
    if not (inspect.isclass(options) and issubclass(options, Options)):
        return f"{cls.__name__}.options_type is no subclass of hatch_mlbundle.optimizer.Options"
    if "__dataclass_fields__" not in vars(options):
        return f"{cls.__name__}.options_type is no dataclass"
    try:
        check_table(options)
        options()
    except Exception as error:
        return f"{cls.__name__}.options_type cannot be used ({_one_line(error)})"
    return None


def _twice(what: str, name: str, one: str, other: str) -> ConfigurationError:
    return ConfigurationError([f"{what} {name!r} is registered by both {one} and {other}; uninstall one of them"])


def _broken(distribution: str, error: Exception) -> ConfigurationError:
    return ConfigurationError([f"plugin {distribution} cannot be loaded ({_one_line(error)}); reinstall or uninstall it"])


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())

"""Why a class that a plugin registers cannot be used."""

from __future__ import annotations

import inspect
import re
from typing import Any, get_args

from .accuracy.evaluator import Evaluator
from .config import TABLE, Settings
from .contents.inspector import Inspector
from .guard import error_line
from .model import Kind
from .optimizer import EVERY_KIND, Optimizer, Options, Risk
from .schema import check_table, toml_names

_NAME = re.compile("[a-z][a-z0-9_]*")


def optimizer_problem(cls: Any) -> str | None:
    """Return why a class is no optimizer, or None."""
    return _port_problem(cls, Optimizer, "plan()") or _name_problem(cls) or _attribute_problem(cls) or _options_problem(cls)


def evaluator_problem(cls: Any) -> str | None:
    """Return why a class is no evaluator, or None."""
    return _port_problem(cls, Evaluator, "fits() and outputs()")


def inspector_problem(cls: Any) -> str | None:
    """Return why a class is no inspector, or None."""
    return _port_problem(cls, Inspector, "inspect()") or _wanted_problem(cls)


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


def _wanted_problem(cls: type[Inspector]) -> str | None:
    kinds: Any = cls.kinds
    suffixes: Any = cls.suffixes
    if not (isinstance(kinds, frozenset) and all(isinstance(each, Kind) for each in kinds)):
        return f"{cls.__name__}.kinds is no frozenset of kinds"
    if not (isinstance(suffixes, frozenset) and all(isinstance(each, str) for each in suffixes)):
        return f"{cls.__name__}.suffixes is no frozenset of strings"
    return None


def _name_problem(cls: type[Optimizer[Any]]) -> str | None:
    if cls.name.replace("_", "-") in toml_names(Settings):
        return f"{cls.__name__}.name is {cls.name!r}, which is a key of [{TABLE}]"
    return None


def _attribute_problem(cls: Any) -> str | None:
    if not isinstance(cls.lossless, bool):
        return f"{cls.__name__}.lossless is neither True nor False"
    if cls.risk not in get_args(Risk):
        return f"{cls.__name__}.risk is {cls.risk!r}, not one of {', '.join(get_args(Risk))}"
    if not (isinstance(cls.artifacts, tuple) and all(each in EVERY_KIND for each in cls.artifacts)):
        return f"{cls.__name__}.artifacts is {cls.artifacts!r}, not a tuple of {', '.join(EVERY_KIND)}"
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
        return f"{cls.__name__}.options_type cannot be used ({error_line(error)})"
    return None

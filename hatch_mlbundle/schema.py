"""Read a TOML table into a dataclass: every fault collected, each with its TOML path, a typo with the nearest right name.

A field's type is one of those in `_NAMES`, a Literal of strings, a dataclass of such fields, a tuple[X, ...] of one of these,
or one of these or None.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

from .globs import is_glob
from .units import LARGEST, parse_size, write_size

Size = NewType("Size", int)
"""A number of bytes; in TOML an integer, or a string like "250 MB"."""

Glob = NewType("Glob", str)
"""A glob as in .gitignore that can be matched (globs.py)."""

Amount = NewType("Amount", str)
"""A size or a number as it is written, `650 MB` or `2.5`: what it counts, and so what it may be, another key says."""

T = TypeVar("T")

_NAMES: dict[Any, tuple[str, str]] = {
    bool: ("true or false", "true or false"),
    int: ("an integer", "integers"),
    float: ("a number", "numbers"),
    str: ("a string", "strings"),
    Size: ("a size", "sizes"),
    Glob: ("a glob", "globs"),
    Amount: ("a size or a number", "sizes or numbers"),
}
"""What a type is called in TOML's terms: one of it, and several."""

_UNIONS = (Union, types.UnionType)


class _WrongTypeError(ValueError):
    pass


def read_table(cls: type[T], table: object, path: str, faults: list[str]) -> T:
    """Return `cls` made from the TOML table at `path`, its field names written with hyphens.

    What is wrong is appended to `faults`, and that field keeps its default.
    """
    if not isinstance(table, Mapping):
        faults.append(f"{path}: must be a table, not {_show(table)}")
        return cls()
    known = toml_names(cls)
    faults += [unknown_key(f"{path}.{key}", key, known) for key in table if key not in known]
    return read_fields(cls, table, lambda key: f"{path}.{key}", faults)


def read_fields(cls: type[T], table: Mapping[str, object], locate: Callable[[str], str], faults: list[str]) -> T:
    """Return `cls` made from those keys of a table that are fields of it; `locate` gives a key's TOML path."""
    hints = get_type_hints(cls)
    values: dict[str, Any] = {}
    for key, name in toml_names(cls).items():
        if key in table:
            try:
                values[name] = _convert(hints[name], table[key], locate(key), faults)
            except _WrongTypeError as error:
                faults.append(f"{locate(key)}: {error}")
    return cls(**values)


def toml_names(cls: type) -> dict[str, str]:
    """Return the names of a dataclass's fields, as written in TOML to as written in Python."""
    return {field.name.replace("_", "-"): field.name for field in fields(cls)}


def unknown_key(path: str, key: str, known: Iterable[str], what: str = "key") -> str:
    """Return the line for a key that nobody reads, with the nearest known one."""
    return f"{path}: unknown {what}{suggestion(key, known)}"


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return `"; did you mean 'strip'?"` for the known name nearest to this one, or `""`."""
    near = difflib.get_close_matches(name.lower().replace("_", "-"), [each.replace("_", "-") for each in known], n=1)
    by_hyphens = {each.replace("_", "-"): each for each in known}
    return f"; did you mean {by_hyphens[near[0]]!r}?" if near else ""


def check_table(cls: type) -> None:
    """Raise TypeError where no table can be read into a dataclass: for a field without a default, or of a type not known here."""
    hints = get_type_hints(cls)
    for field in fields(cls):
        if field.default is MISSING and field.default_factory is MISSING:
            raise TypeError(f"{cls.__name__}.{field.name} has no default")
        try:
            describe_type(hints[field.name])
        except TypeError as error:
            raise TypeError(f"{cls.__name__}.{field.name}: {error}") from error


def describe_type(hint: Any) -> str:
    """Return a field's type in TOML's terms; raises TypeError for one that cannot be read from TOML."""
    origin, parameters = get_origin(hint), get_args(hint)
    if origin in _UNIONS:
        return describe_type(_without_none(hint))
    if origin is tuple and parameters[1:] == (...,):
        return f"list of {_describe(parameters[0])[1]}"
    return _describe(hint)[0]


def to_toml(hint: Any, value: Any) -> Any:
    """Return a field's value as a person would write it in TOML: a size with its unit, a tuple as a list; None stays None."""
    if value is not None and get_origin(hint) in _UNIONS:
        return to_toml(_without_none(hint), value)
    if hint is Size:
        return write_size(value)
    if isinstance(value, tuple):
        return [to_toml(get_args(hint)[0], each) for each in value]
    return value


def _describe(hint: Any) -> tuple[str, str]:
    """Return what one value, and what several, of a type that is no list are called."""
    choices = get_args(hint)
    if get_origin(hint) is Literal and all(isinstance(choice, str) for choice in choices):
        listed = ", ".join(f'"{choice}"' for choice in choices)
        return f"one of {listed}", listed
    if isinstance(hint, type) and is_dataclass(hint):
        check_table(hint)
        return "a table", "tables"
    if hint not in _NAMES:
        raise TypeError(f"{getattr(hint, '__name__', hint) if not choices else hint} cannot be read from TOML")
    return _NAMES[hint]


def _without_none(hint: Any) -> Any:
    """Return X of `X | None`; raises TypeError for any other union."""
    others = [each for each in get_args(hint) if each is not type(None)]
    if len(others) != 1:
        raise TypeError(f"{hint} cannot be read from TOML")
    return others[0]


def _convert(hint: Any, value: object, path: str, faults: list[str]) -> Any:
    origin = get_origin(hint)
    if is_dataclass(hint) and isinstance(hint, type):
        return read_table(hint, value, path, faults)
    if hint is Size:
        return _convert_size(value)
    if hint is Glob:
        return _convert_glob(value)
    if hint is Amount and type(value) in (str, int, float):
        return str(value)
    if origin is Literal:
        return _convert_choice(get_args(hint), value)
    if origin is tuple:
        return _convert_list(get_args(hint)[0], value, path, faults)
    if origin in _UNIONS:
        return _convert(_without_none(hint), value, path, faults)
    if type(value) is hint or (hint is float and type(value) is int):
        return value
    raise _WrongTypeError(f"must be {_NAMES[hint][0]}, not {_show(value)}")


def _convert_size(value: object) -> int:
    if type(value) is int and 0 <= value <= LARGEST:
        return value
    if isinstance(value, str):
        try:
            return parse_size(value)
        except ValueError as error:
            raise _WrongTypeError(str(error)) from error
    raise _WrongTypeError(f"must be a size like '250 MB', not {_show(value)}")


def _convert_glob(value: object) -> str:
    if not isinstance(value, str):
        raise _WrongTypeError(f"must be {_NAMES[Glob][0]}, not {_show(value)}")
    if not is_glob(value):
        raise _WrongTypeError(f"{value!r} is no glob")
    return value


def _convert_choice(choices: tuple[str, ...], value: object) -> object:
    if value in choices:
        return value
    near = suggestion(value, choices) if isinstance(value, str) else ""
    raise _WrongTypeError(f"must be one of {', '.join(map(repr, choices))}, not {_show(value)}{near}")


def _convert_list(item: Any, value: object, path: str, faults: list[str]) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _WrongTypeError(f"must be a list, not {_show(value)}")
    converted = []
    for position, each in enumerate(value):
        try:
            converted.append(_convert(item, each, f"{path}[{position}]", faults))
        except _WrongTypeError as error:
            faults.append(f"{path}[{position}]: {error}")
    return tuple(converted)


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

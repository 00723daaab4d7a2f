"""Read a TOML table into a dataclass: every fault collected, each with its TOML path, a typo with the nearest right name."""

from __future__ import annotations

import difflib
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

from .units import parse_size

Size = NewType("Size", int)
"""A number of bytes; in TOML an integer, or a string like "250 MB"."""

T = TypeVar("T")

_NAMES = {bool: "true or false", int: "an integer", str: "a string", float: "a number"}


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


def describe_type(hint: Any) -> str:
    """Return a field's type in TOML's terms."""
    origin = get_origin(hint)
    if is_dataclass(hint):
        return "a table"
    if hint is Size:
        return "a size"
    if origin is Literal:
        return "one of " + ", ".join(f'"{choice}"' for choice in get_args(hint))
    if origin is tuple:
        return f"a list of: {describe_type(get_args(hint)[0]).removeprefix('one of ').removeprefix('a ')}"
    if origin in (Union, types.UnionType):
        return describe_type(get_args(hint)[0])
    return _NAMES[hint]


def _convert(hint: Any, value: object, path: str, faults: list[str]) -> Any:
    origin = get_origin(hint)
    if is_dataclass(hint) and isinstance(hint, type):
        return read_table(hint, value, path, faults)
    if hint is Size:
        return _convert_size(value)
    if origin is Literal:
        return _convert_choice(get_args(hint), value)
    if origin is tuple:
        return _convert_list(get_args(hint)[0], value, path, faults)
    if origin in (Union, types.UnionType):
        (hint,) = (each for each in get_args(hint) if each is not type(None))
        return _convert(hint, value, path, faults)
    if type(value) is hint or (hint is float and type(value) is int):
        return value
    raise _WrongTypeError(f"must be {_NAMES[hint]}, not {_show(value)}")


def _convert_size(value: object) -> int:
    if type(value) is int and value >= 0:
        return value
    if isinstance(value, str):
        try:
            return parse_size(value)
        except ValueError as error:
            raise _WrongTypeError(str(error)) from error
    raise _WrongTypeError(f"must be a size like '250 MB', not {_show(value)}")


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

"""Read JSON into dataclasses: a missing or wrong value is told with its path; keys of a later minor version are passed over."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import ManifestError

T = TypeVar("T")

_Reader: TypeAlias = Callable[[object], Any]
"""Returns what a JSON value stands for; raises _FaultError."""

_LIMIT = 2**63
"""Whatever counts bytes is smaller; larger integers may be too large for a float."""

_NAMES = {bool: "true or false", int: "an integer", float: "a number", str: "a string"}


def decode(cls: type[T], value: object, path: str) -> T:
    """Return `cls`, a dataclass, made from a JSON object; raises ManifestError with the path of the first wrong value."""
    try:
        return _reader(cls)(value)  # type: ignore[no-any-return, arg-type]
    except _FaultError as fault:
        raise ManifestError(fault.told(path)) from None


class _FaultError(Exception):
    """What is wrong with a value; whoever passes it on adds where, from the inside out: that costs nothing where nothing is wrong."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self._problem = problem
        self.keys: list[str | int] = []

    def told(self, path: str) -> str:
        for key in reversed(self.keys):
            path += f"[{key}]" if isinstance(key, int) else f".{key}" if ": " in path else f": {key}"
        return f"{path}: {self._problem}"


@cache
def _reader(hint: Any) -> _Reader:
    """Return what reads a value of a type: made once, as there may be many thousand values."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _optional(_reader(arguments[0]))
    if origin is tuple:
        return _list(_reader(arguments[0]))
    if origin is Literal:
        return _one_of(arguments)
    if origin is Mapping:
        return _mapping(arguments[1])
    return _object(hint) if is_dataclass(hint) else _scalar(hint)


def _object(cls: Any) -> _Reader:
    hints = get_type_hints(cls)
    readers = [(field.name, _reader(hints[field.name]), field.default is MISSING) for field in fields(cls)]

    def read(value: object) -> Any:
        if not isinstance(value, dict):
            raise _wrong("an object", value)
        values: dict[str, Any] = {}
        for name, reader, required in readers:
            if name in value:
                try:
                    values[name] = reader(value[name])
                except _FaultError as fault:
                    fault.keys.append(name)
                    raise
            elif required:
                raise _FaultError(f"{name} is missing")
        return cls(**values)

    return read


def _list(reader: _Reader) -> _Reader:
    def read(value: object) -> Any:
        if not isinstance(value, list):
            raise _wrong("a list", value)
        found: list[Any] = []
        try:
            found.extend(map(reader, value))
        except _FaultError as fault:
            fault.keys.append(len(found))  # what came before it is in the list
            raise
        return tuple(found)

    return read


def _mapping(hint: Any) -> _Reader:
    def read(value: object) -> Any:
        if type(value) is not dict:
            raise _wrong("an object", value)
        found: dict[str, Any] = {}
        for key, each in value.items():
            try:
                found[key] = reader(each)
            except _FaultError as fault:
                fault.keys.append(key)
                raise
        return found

    reader = _anything if hint is Any else _reader(hint)
    return read


def _optional(reader: _Reader) -> _Reader:
    return lambda value: None if value is None else reader(value)


def _one_of(choices: tuple[Any, ...]) -> _Reader:
    def read(value: object) -> Any:
        if value not in choices:
            raise _wrong(f"one of {', '.join(map(repr, choices))}", value)
        return value

    return read


def _scalar(expected: type) -> _Reader:
    def read(value: object) -> Any:
        if type(value) is not expected and not (expected is float and type(value) is int):
            raise _wrong(_NAMES[expected], value)
        if type(value) is int and not -_LIMIT < value < _LIMIT:
            raise _FaultError(f"must be {_NAMES[expected]} of at most 63 bits")
        return value

    return read


def _anything(value: object) -> Any:
    return value


def _wrong(expected: str, value: object) -> _FaultError:
    return _FaultError(f"must be {expected}, not {str(value)[:40]!r}")


def foreign_version(document: Mapping[str, Any], known: str) -> str | None:
    """Return why a document cannot be read by who knows the version `known` of its format, None where it can: majors must agree."""
    version, major = document.get("format_version"), known.partition(".")[0]
    if isinstance(version, str) and version.partition(".")[0] == major:
        return None
    return f"has format version {version!r}, this release reads {major}.x; use the release that wrote it"

"""Read JSON into dataclasses: a missing or wrong value is told with its path; keys of a later minor version are passed over."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import ManifestError

T = TypeVar("T")

_NAMES = {bool: "true or false", int: "an integer", float: "a number", str: "a string", dict: "an object"}


def decode(cls: type[T], value: object, path: str) -> T:
    """Return `cls`, a dataclass, made from a JSON object; raises ManifestError with the path of the first wrong value."""
    if not isinstance(value, dict):
        raise _wrong(path, "an object", value)
    values: dict[str, Any] = {}
    for name, (hint, required) in _fields(cls).items():  # type: ignore[arg-type]
        if name in value:
            values[name] = _decode(hint, value[name], f"{path}: {name}" if ": " not in path else f"{path}.{name}")
        elif required:
            raise ManifestError(f"{path}: {name} is missing")
    return cls(**values)


@cache
def _fields(cls: type[Any]) -> dict[str, tuple[Any, bool]]:
    hints = get_type_hints(cls)
    return {field.name: (hints[field.name], field.default is MISSING) for field in fields(cls)}


def _decode(hint: Any, value: object, path: str) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return None if value is None else _decode(get_args(hint)[0], value, path)
    if origin is tuple:
        if not isinstance(value, list):
            raise _wrong(path, "a list", value)
        return tuple(_decode(get_args(hint)[0], each, f"{path}[{position}]") for position, each in enumerate(value))
    if is_dataclass(hint) and isinstance(hint, type):
        return decode(hint, value, path)
    if origin is Literal:
        if value not in get_args(hint):
            raise _wrong(path, f"one of {', '.join(map(repr, get_args(hint)))}", value)
        return value
    expected: type = dict if origin is Mapping else hint
    if type(value) is not expected and not (expected is float and type(value) is int):
        raise _wrong(path, _NAMES[expected], value)
    if isinstance(value, dict):
        return _decode_values(get_args(hint)[1], value, path)
    return value


def _decode_values(hint: Any, values: dict[str, Any], path: str) -> dict[str, Any]:
    return values if hint is Any else {key: _decode(hint, value, f"{path}.{key}") for key, value in values.items()}


def _wrong(path: str, expected: str, value: object) -> ManifestError:
    return ManifestError(f"{path}: must be {expected}, not {str(value)[:40]!r}")


def foreign_version(document: Mapping[str, Any], known: str) -> str | None:
    """Return why a document cannot be read by who knows the version `known` of its format, None where it can: majors must agree."""
    version, major = document.get("format_version"), known.partition(".")[0]
    if isinstance(version, str) and version.partition(".")[0] == major:
        return None
    return f"has format version {version!r}, this release reads {major}.x; use the release that wrote it"

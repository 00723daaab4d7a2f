"""Add to a pyproject.toml, and leave every byte of it as it is."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

import tomlkit
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from tomlkit.exceptions import TOMLKitError

from hatch_mlbundle.errors import ConfigurationError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_BY_HAND = "add what `mlbundle init --print` shows by hand"


def added(text: str, requirement: str, tables: str) -> str:
    """Return the file's text with one more build requirement, unless that is "", and with tables at the end.

    Raises ConfigurationError where the file is written in such a way that something else would change.
    """
    before = tomllib.loads(text)
    new = _with_requirement(text, requirement) if requirement else text
    new = _appended(new, tables)
    _check(before, new)
    return new


def without_table(text: str) -> str:
    """Return the file's text without [tool.mlbundle] and the tables below it; raises ConfigurationError where that cannot be done.

    Comments right above another table stay with it; empty lines at the end go.
    """
    before = tomllib.loads(text)
    try:
        document: Any = tomlkit.parse(text)
        document["tool"].remove("mlbundle")
        new = _with_comments_above_tables(tomlkit.dumps(document), text)
        kept = tomllib.loads(new)
    except (TOMLKitError, tomllib.TOMLDecodeError, KeyError, AttributeError, TypeError) as error:
        raise ConfigurationError(
            [f"pyproject.toml: [tool.mlbundle] cannot be taken out ({error}); remove it, and run this again"]
        ) from error
    tool = {key: value for key, value in before["tool"].items() if key != "mlbundle"}
    lines = iter(text.splitlines(keepends=True))
    if {**kept, "tool": kept.get("tool", {})} != {**before, "tool": tool} or not all(
        line in lines for line in new.splitlines(keepends=True)
    ):
        raise ConfigurationError(["pyproject.toml: [tool.mlbundle] cannot be taken out by itself; remove it, and run this again"])
    return new


def _with_comments_above_tables(text: str, before: str) -> str:
    """Return the text with the comments that stood right above its tables before, and without empty lines at its end.

    To tomlkit these comments are part of the table that is gone.
    """
    stood, result = _commented_headers(before), list[str]()
    for line in text.splitlines(keepends=True):
        if _is_header(line):
            comments = next((above for above, header in stood if header == line), [])
            result += comments if comments != result[len(result) - len(comments) :] else []
        result.append(line)
    while result and not result[-1].strip():
        result.pop()
    return "".join(result)


def _commented_headers(text: str) -> Iterator[tuple[list[str], str]]:
    """Yield what opens each table, with the comments in the lines right above it."""
    comments: list[str] = []
    for line in text.splitlines(keepends=True):
        if _is_header(line):
            yield comments, line
        comments = [*comments, line] if line.lstrip().startswith("#") else []


def _is_header(line: str) -> bool:
    return line.lstrip().startswith("[")


def configuration(text: str) -> object:
    """Return what stands in [tool.mlbundle] of a file."""
    return tomllib.loads(text)["tool"]["mlbundle"]


def requires(document: Mapping[str, Any], requirement: str) -> bool:
    """Say whether the build requires a distribution already."""
    wanted = canonicalize_name(Requirement(requirement).name)
    system = document.get("build-system")
    listed = system.get("requires") if isinstance(system, Mapping) else None
    return isinstance(listed, list) and any(_name(each) == wanted for each in listed)


def _name(requirement: Any) -> str:
    try:
        return canonicalize_name(Requirement(requirement).name)
    except (InvalidRequirement, TypeError):
        return ""


def _with_requirement(text: str, requirement: str) -> str:
    """Return the text with one more build requirement; without a build system, pip takes setuptools (PEP 518, "build-system table")."""
    if "build-system" not in tomllib.loads(text):
        return _appended(text, f'[build-system]\nrequires = ["setuptools", "{requirement}"]\n')
    try:
        document: Any = tomlkit.parse(text)
        document["build-system"]["requires"].append(requirement)
        new = tomlkit.dumps(document)
    except (TOMLKitError, KeyError, AttributeError, TypeError) as error:
        raise ConfigurationError([f"pyproject.toml: build-system.requires must be a list of strings; correct it, or {_BY_HAND}"]) from error
    start = next((place for place, (one, other) in enumerate(zip(text, new, strict=False)) if one != other), len(text))
    if not new.endswith(text[start:]):
        raise ConfigurationError([f"pyproject.toml: nothing can be put into build-system.requires as it is written; {_BY_HAND}"])
    return new


def _appended(text: str, more: str) -> str:
    """Return a text with lines behind an empty one, their ends as those of the text."""
    line_end = "\r\n" if "\r\n" in text else "\n"
    gap = "" if not text else line_end if text.endswith("\n") else line_end * 2
    return text + gap + more.replace("\n", line_end)


def _check(before: Mapping[str, Any], text: str) -> None:
    """Raise ConfigurationError unless all that was there still is, and the whole is TOML."""
    try:
        after = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError([f"pyproject.toml: has inline tables that cannot be added to ({error}); {_BY_HAND}"]) from error
    if not _holds(after, before):
        raise ConfigurationError([f"pyproject.toml: something else would change; {_BY_HAND}"])


def _holds(after: Any, before: Any) -> bool:
    """Say whether a value is still there: a table with all its keys, a list with its items first."""
    if isinstance(before, dict):
        return isinstance(after, dict) and all(key in after and _holds(after[key], value) for key, value in before.items())
    if isinstance(before, list):
        return isinstance(after, list) and after[: len(before)] == before
    return bool(after == before)

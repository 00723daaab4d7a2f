"""Change a value of a JSON object in its text, so that everything else keeps its order and layout."""

from __future__ import annotations

import json
import re
from typing import Any

from hatch_mlbundle.errors import ModelError


def read_object(text: str, name: str) -> dict[str, Any]:
    """Return the object that a JSON text holds; raises ModelError, with the file's name, where it holds none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{name}: is no JSON: {str(error)[:100]}") from error
    if not isinstance(value, dict):
        raise ModelError(f"{name}: holds no JSON object")
    return value


def with_first(text: str, key: str, value: Any) -> str:
    """Return the text of an object with a new first key, set off from the next as that is from the brace."""
    opening = re.match(r"\s*\{(\s*)", text)
    if opening is None:
        raise ValueError("the text is no JSON object")
    comma = "" if text[opening.end() :].lstrip().startswith("}") else ","
    gap = opening.group(1)
    entry = f"{json.dumps(key)}: {json.dumps(value)}{comma}"
    return f"{text[: opening.end()]}{entry}{(gap or ' ') if comma else ''}{text[opening.end() :]}"


def with_value(text: str, path: tuple[str, ...], value: Any) -> str:
    """Return the text with another value at the path of keys, which must be there with a number, a word or null.

    Where the key stands in the text more than once, and so cannot be told apart, the whole is written anew with the indent it has.
    """
    wanted = json.loads(text)
    holder = wanted
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    pattern = rf'({re.escape(json.dumps(path[-1]))}\s*:\s*)(?:-?[0-9.eE+-]+|null|true|false|"[^"\\]*")'
    changed, count = re.subn(pattern, lambda match: match.group(1) + json.dumps(value), text)
    if count == 1 and json.loads(changed) == wanted:
        return changed
    indent = re.match(r"\s*\{\n( +|\t+)", text)
    end = "\n" if text.endswith("\n") else ""
    return json.dumps(wanted, indent=indent.group(1) if indent else None, ensure_ascii=False) + end

"""The reference of the manifest's fields, made from its JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any


def manifest_fields() -> str:
    """Return a table for the document and for each object in it, in the order of the schema."""
    schema = json.loads(resources.files("hatch_mlbundle").joinpath("schemas/manifest-1.json").read_text(encoding="utf-8"))
    objects = {name: each for name, each in schema["$defs"].items() if "properties" in each}
    tables = [f"## The document\n\n{schema['description']}\n\n{_table(schema, schema)}"]
    tables += [f"## `{name}`\n\n{each.get('description', '')}\n\n{_table(each, schema)}" for name, each in objects.items()]
    return "\n\n".join(tables)


def _table(part: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    required = part.get("required", ())
    rows = (
        f"| `{key}` | {_type(value, schema)} | {'yes' if key in required else 'no'} | {_description(value, schema)} |"
        for key, value in part["properties"].items()
    )
    return "\n".join(["| key | type | always there | what it is |", "|---|---|---|---|", *rows])


def _target(value: Mapping[str, Any], schema: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    name = value["$ref"].rpartition("/")[2]
    return name, schema["$defs"][name]


def _type(value: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """Return a type in words, with a link where it is an object of its own."""
    if "$ref" in value:
        name, target = _target(value, schema)
        return f"[{name}](#{name})" if "properties" in target else _type(target, schema)
    if "const" in value:
        return f"`{json.dumps(value['const'])}`"
    if "enum" in value:
        return ", ".join(f"`{json.dumps(each)}`" for each in value["enum"])
    if value.get("type") == "array":
        return f"list of {_type(value['items'], schema)}" if "items" in value else "list"
    return " or ".join(_alternatives(value, schema))


def _alternatives(value: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    for each in (*value.get("anyOf", ()), *value.get("oneOf", ())):
        yield _type(each, schema)
    kinds = value.get("type", ())
    yield from [kinds] if isinstance(kinds, str) else kinds


def _description(value: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    own = value.get("description") or (_target(value, schema)[1].get("description", "") if "$ref" in value else "")
    return " ".join(own.split()).replace("|", "\\|")

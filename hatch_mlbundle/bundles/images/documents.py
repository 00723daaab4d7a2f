"""The JSON of an image, which may be anything: each value is looked at before it is believed."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any, TypeVar

from .layer import Digest
from .layouts import Layout

T = TypeVar("T")

_LENGTHS = {"sha256": 64, "sha512": 128}
"""The algorithms that OCI registers, with their hex digits (image-spec, descriptor.md, "Digests")."""
_NAMES: dict[type, str] = {str: "a string", int: "a number", list: "a list", dict: "an object"}


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON object of an image; `what` names it for a person."""

    layout: Layout
    what: str
    values: dict[str, Any]

    def get(self, key: str, kind: type[T], default: T) -> T:
        """Return a value, `default` where it is missing or null; raises ArtifactError where it is of another kind."""
        value = self.values.get(key)
        if value is None:
            return default
        if type(value) is not kind:
            raise self.layout.fault(f"has {self.what} whose {key} is not {_NAMES[kind]}")
        return value

    def child(self, key: str) -> Document:
        """Return an object inside, an empty one where it is missing."""
        return Document(self.layout, f"{self.what}: {key}", self.get(key, dict, {}))

    def children(self, key: str) -> list[Document]:
        """Return the objects of a list inside, none where it is missing."""
        return documents(self.layout, f"{self.what}: {key}", self.get(key, list, []))

    def digest(self, key: str) -> Digest:
        """Return a digest; raises ArtifactError where it is none."""
        return digest_of(self.layout, self.what, self.get(key, str, ""))


def documents(layout: Layout, what: str, values: list[Any]) -> list[Document]:
    """Return the objects of a JSON list; raises ArtifactError where something else is in it."""
    found = [Document(layout, f"{what}[{number}]", value) for number, value in enumerate(values) if isinstance(value, dict)]
    if len(found) < len(values):
        raise layout.fault(f"has {what} with something that is not an object")
    return found


def parse(layout: Layout, what: str, data: bytes) -> Any:
    """Return what a JSON text says; raises ArtifactError where it is none."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise layout.fault(f"has {what} that is no JSON ({error})") from error


def parse_object(layout: Layout, what: str, data: bytes) -> Document:
    """Return the object that a JSON text is; raises ArtifactError where it is none."""
    value = parse(layout, what, data)
    if not isinstance(value, dict):
        raise layout.fault(f"has {what} that is no JSON object")
    return Document(layout, what, value)


def digest_of(layout: Layout, what: str, written: str) -> Digest:
    """Return the digest that is written `ALGORITHM:HEX`; raises ArtifactError for any other."""
    algorithm, _, digits = written.partition(":")
    if not (algorithm in _LENGTHS and re.fullmatch(f"[0-9a-f]{{{_LENGTHS[algorithm]}}}", digits)):
        raise layout.fault(f"has {what} with {written[:100]!a} where a digest like sha256:0123... belongs")
    return Digest(algorithm=algorithm, hex=digits)


def check_digest(layout: Layout, what: str, data: bytes, expected: Digest) -> None:
    """Raise ArtifactError where bytes do not have the digest that they must have."""
    found = hashlib.new(expected.algorithm, data).hexdigest()
    if found != expected.hex:
        raise layout.fault(f"has {what} with the digest {expected.algorithm}:{found}, not {expected}; it is damaged: save or copy it again")

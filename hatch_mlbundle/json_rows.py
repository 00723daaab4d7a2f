"""JSON documents that compare well as text: a line for each key, and for each row of a list."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

_ENCODER = json.JSONEncoder(ensure_ascii=False)
"""Made once: a manifest has many thousand rows."""


def document_text(parts: Mapping[str, str]) -> str:
    """Return the document whose values, by key, are these texts of JSON. Any UTF-8 stream takes it."""
    text = "{\n" + ",\n".join(f"  {line(key)}: {value}" for key, value in parts.items()) + "\n}\n"
    return text.encode(errors="backslashreplace").decode()  # JSON's own escape for file names that UTF-8 cannot hold


def rows(texts: Iterable[str]) -> str:
    """Return a list of these texts of JSON, each in a line of its own."""
    lines = ",\n".join(f"    {text}" for text in texts)
    return f"[\n{lines}\n  ]" if lines else "[]"


def line(value: Any) -> str:
    """Return a value in one line."""
    return _ENCODER.encode(value)

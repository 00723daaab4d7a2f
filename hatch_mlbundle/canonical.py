"""Digests of values and files: what cache keys and manifests are made of."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from .model import CHUNK


def canonical_json(value: Any) -> bytes:
    """Return the one JSON text of a value: keys sorted, no spaces, UTF-8; what UTF-8 cannot hold (a file's name) is escaped."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(errors="backslashreplace")


def digest(value: Any) -> str:
    """Return the SHA-256 of a value's canonical JSON, in hex."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex; reads it by chunks."""
    result = hashlib.sha256()
    with path.open("rb", buffering=0) as stream:
        while chunk := stream.read(CHUNK):
            result.update(chunk)
    return result.hexdigest()

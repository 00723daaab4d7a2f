"""The manifest that growth is counted from, as the configuration names it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from .errors import ManifestError
from .manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A manifest, and the SHA-256 of its file in hex."""

    manifest: Manifest
    sha256: str


def read_baseline(place: Path) -> Baseline | None:
    """Return the baseline in a file, None where there is none: of the first build there is nothing to compare with.

    Raises ManifestError where it cannot be read.
    """
    try:
        data = place.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ManifestError(f"{place}: cannot be read ({error.strerror})") from error
    return Baseline(manifest=Manifest.from_json(data, str(place)), sha256=hashlib.sha256(data).hexdigest())

"""What every test has: a cache of its own."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_cache(mlbundle_cache: Path) -> Path:
    return mlbundle_cache

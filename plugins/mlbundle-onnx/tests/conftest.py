"""What every test has: a cache of its own, and the plugin's optimizers in a registry."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_cache(mlbundle_cache: Path) -> Path:
    return mlbundle_cache


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder that stands for a bundle."""
    (tmp_path / "bundle").mkdir()
    return tmp_path / "bundle"

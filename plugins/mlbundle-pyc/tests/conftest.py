"""What every test has: a cache of its own, and the plugin's optimizers in a registry."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("MLBUNDLE_CACHE_DIR", str(folder))
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder that stands for a bundle."""
    (tmp_path / "bundle").mkdir()
    return tmp_path / "bundle"

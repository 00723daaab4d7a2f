"""The order of the tests; what every test has, a cache of its own; and what some ask for: both ways to make a clean root."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hatch_mlbundle.trials.jail import available

LONGEST = "test_examples_frozen.py"
"""Takes minutes by itself: it begins, so that no core waits for it at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name != LONGEST)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("MLBUNDLE_CACHE_DIR", str(folder))
    return folder


@pytest.fixture(params=["bwrap", "launcher"])
def maker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let the clean root be made by either."""
    if request.param == "bwrap" and shutil.which("bwrap") is None:
        pytest.skip("there is no bubblewrap")
    if request.param == "launcher":
        monkeypatch.setenv("PATH", "/nowhere")
    if available() is not None:
        pytest.skip(str(available()))
    return str(request.param)

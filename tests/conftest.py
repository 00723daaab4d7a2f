"""The order of the tests; what every test has, a cache of its own; and what some ask for: both ways to make a clean root."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hatch_mlbundle.trials.jail import available

LONGEST = (
    "test_examples_frozen.py",
    "test_torch_to_onnx.py",
    "test_treemap_browser.py",
    "test_frozen_target.py",
    "test_bad_commands.py",
    "test_verify_wheels.py",
    "test_patching.py",
    "test_torch_real.py",
    "test_image_application.py",
    "test_tutorials.py",
    "test_pyinstaller.py",
    "test_frozen_bad_input.py",
    "test_explore.py",
    "test_onnx_end_to_end.py",
)
"""Take up to minutes by themselves: they begin, so that no core waits for one at the end. Needs --no-loadscope-reorder."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for path in sorted({item.path for item in items if item.get_closest_marker("slow")}):
        if "mark.slow" not in path.read_text(encoding="utf-8"):
            raise pytest.UsageError(f"{path}: .ci/run finds files with slow tests by `mark.slow`; write it there")
    order = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


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

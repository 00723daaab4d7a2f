"""The testing kit (hatch_mlbundle/testing) as fixtures. Pytest loads this wherever we are installed: so it imports nothing of ours."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .model import Bundle
    from .testing import Files, Run


@pytest.fixture
def mlbundle_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test a cache of its own, which starts empty, in place of the user's; return its folder."""
    folder = tmp_path_factory.mktemp("mlbundle-cache")
    monkeypatch.setenv("MLBUNDLE_CACHE_DIR", str(folder))
    return folder


@pytest.fixture
def mlbundle_bundle() -> Callable[[Files], Bundle]:
    """Return what makes a bundle of a dict of files: `bundle_from`."""
    from .testing import bundle_from

    return bundle_from


@pytest.fixture
def mlbundle_wheel(tmp_path: Path) -> Callable[..., Path]:
    """Return what writes a wheel of a dict of files and returns its path: `wheel_from`, into the test's `tmp_path`."""
    from .testing import wheel_from

    return partial(wheel_from, tmp_path)


@pytest.fixture
def mlbundle_folder(tmp_path: Path) -> Callable[[Files], Path]:
    """Return what writes a dict of files below a folder and returns that: `folder_from`, into the test's `tmp_path`."""
    from .testing import folder_from

    return partial(folder_from, tmp_path / "bundle")


@pytest.fixture
def mlbundle_run(mlbundle_cache: Path) -> Callable[..., Run]:
    """Return what runs an optimizer over files: `run`, with the test's own cache."""
    from .testing import run

    return partial(run, cache=mlbundle_cache)


@pytest.fixture
def mlbundle_laws() -> Callable[..., None]:
    """Return what tries every law on an optimizer: `assert_laws`."""
    from .testing import assert_laws

    return assert_laws

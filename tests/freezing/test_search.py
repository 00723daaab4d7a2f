from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hatch_mlbundle.freezing.search import find, is_module, is_package


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pkg" / "inner").mkdir(parents=True)
    (tmp_path / "pkg" / "__init__.py").write_text("raise SystemExit('imported')")
    (tmp_path / "pkg" / "inner" / "mod.py").write_text("raise SystemExit('imported')")
    return tmp_path


def test_modules_are_found_without_being_imported(folder: Path) -> None:
    assert is_module("pkg", [folder])
    assert is_module("pkg.inner.mod", [folder])
    assert "pkg" not in sys.modules


def test_packages_are_told_from_modules(folder: Path) -> None:
    assert is_package("pkg.inner", [folder])  # a namespace package
    assert not is_package("pkg.inner.mod", [folder])
    assert is_package("json", [])


@pytest.mark.parametrize("name", ["nowhere", "pkg.none", "pkg.inner.mod.x", "pkg..inner", "", "pkg/inner", "sys.x"])
def test_what_is_not_there(folder: Path, name: str) -> None:
    assert find(name, [folder]) is None


def test_what_this_python_has_is_found_too() -> None:
    assert is_module("sys", [])
    assert is_module("pytest", [])
    assert is_module("hatch_mlbundle.freezing.search", [])

from __future__ import annotations

from pathlib import Path

import pytest

from hatch_mlbundle.links import relative_target, resolve, target_of
from hatch_mlbundle.model import Bundle
from tests.fakes import bundle_of


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    root = tmp_path / "b"
    (root / "a" / "deep").mkdir(parents=True)
    (root / "a" / "deep" / "x").write_text("x")
    (root / "to_file").symlink_to("a/deep/x")
    (root / "a" / "to_link").symlink_to("../to_file")
    (root / "to_folder").symlink_to("a/deep")
    (root / "out").symlink_to("../elsewhere")
    (root / "absolute").symlink_to("/usr/lib/x")
    (root / "loop").symlink_to("loop2")
    (root / "loop2").symlink_to("loop")
    return bundle_of(root)


@pytest.mark.parametrize("path", ["a/deep/x", "to_file", "a/to_link", "to_folder/x"])
def test_every_name_of_a_file_leads_to_it(bundle: Bundle, path: str) -> None:
    file = resolve(bundle, path)
    assert file is not None
    assert file.path == "a/deep/x"


@pytest.mark.parametrize("path", ["nothing", "a/nothing", "to_folder/nothing", "a/deep/x/y", "out", "loop", "out/x", "absolute"])
def test_what_leads_nowhere_is_none(bundle: Bundle, path: str) -> None:
    assert resolve(bundle, path) is None


def test_a_link_is_written_relative_to_its_folder(bundle: Bundle) -> None:
    assert relative_target("x", "a/y") == "a/y"
    assert relative_target("a/b/x", "a/y") == "../y"
    assert relative_target("a/x", "a/y") == "y"
    assert target_of(bundle["out"]) == "../elsewhere"

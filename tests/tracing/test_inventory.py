from __future__ import annotations

from pathlib import Path

import pytest

from hatch_mlbundle.tracing.inventory import Inventory, read_inventory


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    for name, text in {"a/one": "1", "a/two": "22", "b/deep/three": "", "c/four": "4444", "c/five": "55", "six": "6"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "to-one").symlink_to("a/one")
    (tmp_path / "chain").symlink_to("to-one")
    (tmp_path / "to-b").symlink_to("b")
    (tmp_path / "away").symlink_to("/etc")
    return read_inventory(tmp_path)


def test_sizes_and_links(inventory: Inventory) -> None:
    assert inventory.files["a/two"] == 2
    assert inventory.files["to-one"] == 0
    assert inventory.links["chain"] == "a/one"
    assert inventory.folders == {"a", "b", "b/deep", "c"}
    assert inventory.holding() == ["", "a", "b/deep", "c"]


@pytest.mark.parametrize(
    ("asked", "used"),
    [
        ([], set()),
        (["a/two", "nowhere", "/etc/passwd", "../x"], {"a/two"}),
        (["a/../six", "./a//two"], {"six", "a/two"}),
        (["a/one"], {"a/one", "to-one", "chain"}),
        (["chain"], {"a/one", "to-one", "chain"}),
        (["to-b/deep/three"], {"to-b", "b/deep/three"}),
        (["to-b/deep"], {"to-b", "b/deep/three"}),
        (["c"], {"c/five"}),
        (["c", "c/four"], {"c/four"}),
        (["b"], {"b/deep/three", "to-b"}),
        (["away"], {"away"}),
    ],
)
def test_what_paths_stand_for(asked: list[str], used: set[str], inventory: Inventory) -> None:
    assert inventory.used(asked) == used

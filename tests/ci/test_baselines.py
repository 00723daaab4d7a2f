"""Which manifest of a former run an artifact is compared with, and the names that its reports are kept under."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hatch_mlbundle.ci.baselines import find_baseline
from hatch_mlbundle.ci.slugs import slug
from hatch_mlbundle.errors import ManifestError
from hatch_mlbundle.manifest import ArtifactRow, Manifest, Saved, Totals

NOTHING = Totals(size=0, installed=0, structure=0, files=0, sha256=None)


def saved(folder: Path, *names: str) -> dict[Path, str]:
    """Write a manifest for each of the artifacts."""
    written = {}
    for number, name in enumerate(names):
        manifest = Manifest(
            generator="test",
            artifact=ArtifactRow(name=name, kind="wheel", before=NOTHING, after=NOTHING),
            tools=(),
            configuration={},
            steps=(),
            remainder=Saved(installed=0, compressed=0),
            files=(),
            companions=(),
            findings=(),
        )
        manifest.save(folder / f"{number}.mlbundle.json")
        written[folder / f"{number}.mlbundle.json"] = name
    return written


@pytest.mark.parametrize(
    ("name", "former"),
    [
        ("app-1.1-py3-none-any.whl", "app-1.0-py3-none-any.whl"),
        ("App_X-2.0-cp311-cp311-linux_x86_64.whl", "app.x-1.10.3-cp311-cp311-linux_x86_64.whl"),
        ("app-1.1-cp311-cp311-manylinux_2_28_x86_64.whl", "app-1.0-cp311-cp311-manylinux_2_27_x86_64.whl"),
        ("my-app", "my-app"),
        ("tool-1.10", "tool-1.2.3"),
        ("stranger", None),
    ],
)
def test_the_same_thing_of_another_release_is_found(tmp_path: Path, name: str, former: str | None) -> None:
    manifests = saved(
        tmp_path,
        *("app-1.0-py3-none-any.whl", "app-1.0-cp311-cp311-manylinux_2_27_x86_64.whl", "app.x-1.10.3-cp311-cp311-linux_x86_64.whl"),
        *("app-1.0-cp311-cp311-win_amd64.whl", "my-app", "my-app2", "tool-1.2.3"),
    )
    found = find_baseline(name, slug(name), manifests)
    assert (manifests[found] if found else None) == former


def test_of_two_that_are_as_near_none_is_taken(tmp_path: Path) -> None:
    assert find_baseline("tool-1.3", "tool-1.3", saved(tmp_path, "tool-1.1", "tool-1.2")) is None
    assert find_baseline("tool-1.3", "tool-1.3", ()) is None


def test_what_is_no_manifest_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.mlbundle.json").write_text("{", encoding="utf-8")
    with pytest.raises(ManifestError, match=r"x\.mlbundle\.json: is no JSON"):
        find_baseline("app", "app", [tmp_path / "x.mlbundle.json"])


@given(st.text(max_size=200))
def test_any_text_has_a_slug_that_is_a_plain_name(text: str) -> None:
    made = slug(text)
    assert made.isascii()
    assert 0 < len(made) < 100
    assert not set(made) & set('/\\:*?"<>|,\n\r ')
    assert made[0] != "."
    assert (made == text) or slug(made) == made


def test_texts_that_look_alike_have_slugs_of_their_own() -> None:
    assert len({slug(text) for text in ("a b", "a_b", "a/b", "a\nb", "x" * 200, "x" * 201, "..", ".", "")}) == 9
    assert slug("my-app_1.0+cpu") == "my-app_1.0+cpu"
    assert slug("app", always=True) != "app"

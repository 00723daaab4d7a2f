"""The SBOM of our own: what a wheel holds beside the project's code."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from hatch_mlbundle.provenance.inventory import NAME
from tests.bundles.wheelsmith import METADATA, build_wheel
from tests.provenance.wheels import NOISE, SBOMS, names, read, run, wheel

OWN = f"{SBOMS}/{NAME}"
LIBRARY = "demo.libs/libgomp-a34b3233.so.1.0.0"
VENDORED = b"Metadata-Version: 2.4\nName: Foo_Bar.baz\nVersion: 1.2+local\nLicense-Expression: MIT OR Apache-2.0\n"
SNAPSHOT = "demo/hub/models--acme--tiny-bert/snapshots/0a1b2c3d"
WEIGHTS = b"\x02\0\0\0\0\0\0\0{}"
FILES = {
    LIBRARY: b"\x7fELF" + b"g" * 3000,
    "demo/_vendor/foo/__init__.py": b"",
    "demo/_vendor/foo_bar.baz-1.2.dist-info/METADATA": VENDORED,
    "demo/other/foo.egg-info/PKG-INFO": VENDORED,
    "demo/broken.dist-info/METADATA": b"\xff no headers",
    f"{SNAPSHOT}/config.json": b"{}",
    f"{SNAPSHOT}/model.safetensors": WEIGHTS,
    "demo/single.safetensors": WEIGHTS + b" ",
}


def made(folder: Path, files: dict[str, bytes] | None = None) -> dict[str, Any]:
    artifact = wheel(folder, FILES if files is None else files)
    run(artifact, sbom=True)
    document: dict[str, Any] = read(artifact, OWN)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document)) is None
    return document


def digest(data: bytes) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": hashlib.sha256(data).hexdigest()}]


def test_it_tells_of_the_project_of_what_is_vendored_grafted_and_of_models(tmp_path: Path) -> None:
    document = made(tmp_path)
    main = document["metadata"]["component"]
    assert (main["name"], main["version"], main["purl"]) == ("demo", "1.0", "pkg:pypi/demo@1.0")
    vendored, grafted, whole, single = document["components"]
    assert (vendored["name"], vendored["version"]) == ("Foo_Bar.baz", "1.2+local")
    assert vendored["purl"] == "pkg:pypi/foo-bar.baz@1.2%2Blocal"
    assert vendored["licenses"] == [{"expression": "MIT OR Apache-2.0"}]
    assert [each["location"] for each in vendored["evidence"]["occurrences"]] == [
        "demo/_vendor/foo_bar.baz-1.2.dist-info/METADATA",
        "demo/other/foo.egg-info/PKG-INFO",
    ]
    assert (grafted["type"], grafted["name"], grafted["hashes"]) == ("library", "libgomp.so.1.0.0", digest(FILES[LIBRARY]))
    assert whole["type"] == single["type"] == "machine-learning-model"
    assert whole["purl"] == "pkg:huggingface/acme/tiny-bert@0a1b2c3d"
    assert [(each["name"], each["hashes"]) for each in whole["components"]] == [(f"{SNAPSHOT}/model.safetensors", digest(WEIGHTS))]
    assert single["hashes"] == digest(WEIGHTS + b" ")


def test_every_component_is_reached_from_the_project(tmp_path: Path) -> None:
    document = made(tmp_path)
    edges = {each["ref"]: each.get("dependsOn", []) for each in document["dependencies"]}
    reached, waiting = set(), [document["metadata"]["component"]["bom-ref"]]
    while waiting:
        ref = waiting.pop()
        reached.add(ref)
        waiting += edges.get(ref, [])
    inner = [each for component in document["components"] for each in component.get("components", [])]
    assert {each["bom-ref"] for each in [*document["components"], *inner]} < reached


def test_a_wheel_of_the_project_alone_says_so(tmp_path: Path) -> None:
    assert made(tmp_path, {})["components"] == []


def test_it_is_the_same_each_time_and_its_number_follows_from_what_it_says(tmp_path: Path) -> None:
    first, again, other = made(tmp_path / "a"), made(tmp_path / "b"), made(tmp_path / "c", {})
    assert first == again
    assert first["serialNumber"] != other["serialNumber"]


@pytest.mark.parametrize(
    ("epoch", "timestamp"), [(None, None), ("0", "1970-01-01T00:00:00Z"), ("1700000000", "2023-11-14T22:13:20Z"), ("9" * 15, None)]
)
def test_its_time_is_the_one_that_the_build_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: str | None, timestamp: str | None
) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    if epoch:
        monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    assert made(tmp_path, {})["metadata"].get("timestamp") == timestamp


def test_there_is_none_where_none_is_asked_for_or_nothing_changed(tmp_path: Path) -> None:
    artifact = wheel(tmp_path, FILES)
    run(artifact, tmp_path / "out" / artifact.name)
    assert OWN not in names(tmp_path / "out" / artifact.name)
    run(artifact, sbom=True, exclude={"paths": []})
    assert OWN not in names(artifact)


def test_a_later_run_makes_it_anew_and_one_without_it_keeps_it_right(tmp_path: Path) -> None:
    artifact = wheel(tmp_path, {**FILES, "demo/more.txt": NOISE})
    run(artifact, sbom=True)
    anew = wheel(tmp_path / "anew", {**FILES, "demo/more.txt": NOISE})
    anew.write_bytes(artifact.read_bytes())
    gone = {"paths": ["demo/more.txt", "demo/single.safetensors", LIBRARY]}
    run(artifact, exclude=gone)
    run(anew, exclude=gone, sbom=True)
    kept, made_anew = read(artifact, OWN), read(anew, OWN)
    assert [each["bom-ref"] for each in kept["components"]] == [each["bom-ref"] for each in made_anew["components"]]
    assert kept["dependencies"] == made_anew["dependencies"]
    assert (kept["version"], made_anew["version"]) == (2, 1)


def test_a_project_whose_metadata_says_no_name_is_called_as_its_wheel(tmp_path: Path) -> None:
    artifact = build_wheel(tmp_path, {"demo/notes.txt": NOISE}, metadata={**METADATA, "METADATA": b"Metadata-Version: 2.1\n"})
    run(artifact, sbom=True)
    assert read(artifact, OWN)["metadata"]["component"] == {"type": "library", "bom-ref": "demo", "name": "demo"}

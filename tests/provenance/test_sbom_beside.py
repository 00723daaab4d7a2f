"""The SBOM beside a frozen application or a folder."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from hatch_mlbundle.adapters.project import project_config
from hatch_mlbundle.application import finish_frozen, optimize
from hatch_mlbundle.identify import identify
from hatch_mlbundle.job import Job, prepare
from hatch_mlbundle.model import Bundle, File, MemoryContent
from hatch_mlbundle.plugins import load_registry
from hatch_mlbundle.provenance.frozen_inventory import frozen_inventory
from hatch_mlbundle.provenance.record import Author

AUTHOR = Author(name="hatch-mlbundle", version="1", moment=None)
VENDORED = b"Metadata-Version: 2.1\nName: inside\nVersion: 3\n"


def file(path: str, data: bytes = b"x") -> File:
    sha256 = hashlib.sha256(data).hexdigest()
    kind = identify(path, data)
    return File(path=path, size=len(data), sha256=sha256, mode=0o644, kind=kind, owner="", content=MemoryContent(data))


def sound(text: bytes) -> dict[str, Any]:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text.decode()) is None
    document: dict[str, Any] = json.loads(text)
    return document


def job(folder: Path, **settings: Any) -> Job:
    registry = load_registry()
    settings = {"optimizers": ["exclude"], "exclude": {"paths": ["notes.txt"]}, "cache": {"enabled": False}, **settings}
    return prepare(project_config(folder, registry, settings), registry, project=folder)


BUNDLE = Bundle(
    [
        file("app", b"\x7fELF"),
        file("_internal/app.pyz/packaging/version.pyc"),
        file("_internal/iniconfig/__init__.py"),
        file("_internal/inside-3.dist-info/METADATA", VENDORED),
        file("_internal/libz.so.1", b"\x7fELF\2\1\1" + bytes(60)),
        file("_internal/some.libs/libgomp-a34b3233.so.1"),
    ]
)


def test_of_what_was_frozen_here_the_distributions_that_have_something_in_it_are_told() -> None:
    document = sound(frozen_inventory(BUNDLE, "app", AUTHOR, made_here=True))
    assert document["metadata"]["component"] == {"type": "application", "bom-ref": "app", "name": "app"}
    python, *distributions, system, library = document["components"]
    assert (python["type"], python["version"]) == ("platform", platform.python_version())
    assert [(each["name"], each["version"]) for each in distributions] == [
        ("iniconfig", version("iniconfig")),
        ("inside", "3"),
        ("packaging", version("packaging")),
    ]
    assert (system["name"], library["name"]) == ("libz.so.1", "libgomp.so.1")
    assert len(document["dependencies"][0]["dependsOn"]) == 6


def test_of_a_distribution_that_is_there_twice_the_one_that_is_imported_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "packaging-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: packaging\nVersion: 0.1\n")
    (info / "RECORD").write_text("packaging/version.py,,\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    document = sound(frozen_inventory(BUNDLE, "app", AUTHOR, made_here=True))
    assert [each["version"] for each in document["components"] if each["name"] == "packaging"] == [version("packaging")]


def test_of_any_other_only_what_it_says_itself() -> None:
    document = sound(frozen_inventory(BUNDLE, "app", AUTHOR, made_here=False))
    assert [each["name"] for each in document["components"]] == ["inside", "libz.so.1", "libgomp.so.1"]


def test_it_lies_beside_the_bundle_and_is_in_the_manifest(tmp_path: Path) -> None:
    for name, data in (("inside-3.dist-info/METADATA", VENDORED), ("notes.txt", b"notes" * 100), ("iniconfig/__init__.py", b"")):
        (tmp_path / "built" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "built" / name).write_bytes(data)
    manifest = finish_frozen(job(tmp_path, sbom=True), tmp_path / "built", tmp_path / "app").manifest
    path = tmp_path / "app.companions" / "app.cdx.json"
    names = {each["name"] for each in sound(path.read_bytes())["components"]}
    assert {"inside", "iniconfig"} <= names
    (row,) = manifest.companions
    assert (row.path, row.sha256) == ("app.cdx.json", hashlib.sha256(path.read_bytes()).hexdigest())
    assert not list((tmp_path / "app").rglob("*.cdx.json"))


def test_there_is_none_where_none_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "notes.txt").write_bytes(b"notes" * 100)
    assert optimize(job(tmp_path), tmp_path / "app").manifest.companions == ()
    assert not (tmp_path / "app.companions").exists()

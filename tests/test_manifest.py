from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from hatch_mlbundle.application import analyze, optimize
from hatch_mlbundle.config import read_config
from hatch_mlbundle.errors import ManifestError, StorageError
from hatch_mlbundle.job import prepare
from hatch_mlbundle.manifest import (
    FORMAT_VERSION,
    AdviceRow,
    ArtifactRow,
    BudgetRow,
    ChangeRow,
    CompanionRow,
    ComponentRow,
    ContentsRow,
    DetailRow,
    EditRow,
    FileRow,
    FileState,
    LayerRow,
    Manifest,
    PackedRow,
    Saved,
    StepRow,
    SuggestionRow,
    ToolRow,
    Totals,
)
from hatch_mlbundle.model import Finding
from hatch_mlbundle.plugins import load_registry
from hatch_mlbundle.removable import GpuCodeRow, KeepingRow, RemovableRow, StripRow

HASH = "0" * 64
SCHEMA = json.loads(resources.files("hatch_mlbundle").joinpath("schemas/manifest-1.json").read_text(encoding="utf-8"))

MANIFEST = Manifest(
    generator="hatch-mlbundle 1",
    artifact=ArtifactRow(
        name="a.whl",
        kind="wheel",
        before=Totals(size=100, installed=200, structure=10, files=2, sha256=HASH),
        after=Totals(size=60, installed=90, structure=9, files=2, sha256=HASH),
    ),
    tools=(ToolRow(name="zlib", version="1.3"),),
    configuration={"optimizers": ["strip"], "strict": False},
    steps=(
        StepRow(
            optimizer="strip",
            distribution="hatch-mlbundle",
            version="1",
            lossless=True,
            options={"include": [], "tool": None},
            changes={"rewrite": 1},
            saved=Saved(installed=110, compressed=39),
        ),
    ),
    remainder=Saved(installed=0, compressed=1),
    files=(
        FileRow(
            path="\u00fc.so",
            kind="elf",
            owner="x",
            before=FileState(size=200, compressed=90, sha256=HASH),
            after=None,
            changes=(ChangeRow(step=0, action="drop", reason="because", saved=Saved(installed=200, compressed=90)),),
        ),
        FileRow(path="new", kind="other", owner="x", before=None, after=FileState(size=1, compressed=None, sha256=HASH)),
    ),
    companions=(CompanionRow(path="a/b.debug", size=3, sha256=HASH),),
    findings=(Finding(code="MB101", message="odd"), Finding(code="MB102", message="odder", path="p", optimizer="strip")),
    packed=(PackedRow(name="a", format="one-file", size=4, sha256=HASH),),
    details=(
        DetailRow(
            step=0,
            path="new",
            detail={"tensors": [{"name": "w", "shape": [2], "before": "F32", "after": "F16", "size": [8, 4], "sqnr": 60.5}]},
        ),
        DetailRow(step=0, path="newer", detail={"tensors": []}),
    ),
    contents=(ContentsRow(path="new", view="tensors", parts={"F32": 1}),),
    suggestions=(
        SuggestionRow(optimizer="upx", lossless=True, files=2, saved=Saved(installed=3, compressed=None), configuration="optimizers = []"),
    ),
    budget=(
        BudgetRow(limit="installed", unit="bytes", allowed=100, actual=90, status="ok"),
        BudgetRow(limit="growth", unit="percent", allowed=1.5, actual=None, status="unmeasured", reason="a new model"),
    ),
    layers=(
        LayerRow(
            digest=f"sha256:{HASH}",
            created_by="RUN x",
            size=9,
            files=2,
            installed=30,
            compressed=6,
            hidden_installed=5,
            hidden_compressed=1,
            repeated_installed=2,
            repeated_compressed=1,
        ),
    ),
    components=(ComponentRow(name="numpy", kind="package", version="2.0", detail="", files=2, installed=30, compressed=6, layers=(1,)),),
    advice=(
        AdviceRow(
            name="cache",
            title="Keep pip's cache out of the image",
            saved=Saved(installed=5, compressed=2),
            adds=Saved(installed=5, compressed=2),
            files=1,
            pros=("Nothing needs it.",),
            cons=(),
            edits=(EditRow(where="Dockerfile", text="RUN --mount=type=cache,target=/root/.cache/pip pip install x"),),
        ),
    ),
    removable=(
        RemovableRow(
            path="new",
            strip=StripRow(symbols=5, debug=9, remarks=1, saves=16),
            gpu=GpuCodeRow(licence="MIT", keeping=(KeepingRow(targets=("8.0", "9.0"), serves=True, drops=90, saves=80, with_strip=97),)),
        ),
        RemovableRow(path="newer", strip=None, gpu=GpuCodeRow(licence="", keeping=(), refusal="an executable")),
    ),
)
ADDED = {"packed", "details", "contents", "suggestions", "budget", "layers", "components", "advice", "removable"}
"""Keys that the first version, 1.0, did not have: a manifest may lack them."""
ADDED_TO_ROWS = {"model", "repeated_installed", "repeated_compressed"}
"""Keys that rows of an older minor version may lack."""
OWN_WORDS = "What was done"
"""The part of the schema that each step fills as it likes."""


def changed(change: Callable[[dict[str, Any]], object]) -> str:
    document = json.loads(MANIFEST.to_json())
    change(document)
    return json.dumps(document)


def validate(manifest: Manifest) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(manifest.to_json()))


def test_what_is_written_is_read_back() -> None:
    assert Manifest.from_json(MANIFEST.to_json()) == MANIFEST


def test_a_file_is_read_back_and_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "new/folder/a.json"
    MANIFEST.save(path)
    assert Manifest.load(path) == MANIFEST
    assert [each.name for each in path.parent.iterdir()] == ["a.json"]
    assert path.read_bytes() == MANIFEST.to_json().encode()


def test_the_text_has_one_line_for_each_file_and_ends_with_one() -> None:
    text = MANIFEST.to_json()
    lines = text.splitlines()
    assert sum('"path": "\u00fc.so"' in line for line in lines) == 1
    assert text.endswith("\n}\n")
    assert list(json.loads(text))[:2] == ["format", "format_version"]


def test_names_that_are_not_unicode_are_written_and_read_back(tmp_path: Path) -> None:
    document = json.loads(MANIFEST.to_json())
    document["files"][0]["path"] = "\udcff.py"
    manifest = Manifest.from_json(json.dumps(document))
    manifest.save(tmp_path / "a.json")
    assert Manifest.load(tmp_path / "a.json") == manifest
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == manifest.to_json()
    assert r'"path": "\udcff.py"' in manifest.to_json()


def test_a_newer_minor_version_may_add_keys() -> None:
    def extend(document: dict[str, Any]) -> None:
        document["format_version"] = "1.99"
        document["new"] = {"a": 1}
        document["artifact"]["new"] = 1
        document["files"][0]["new"] = 1
        document["files"][0]["changes"][0]["saved"]["new"] = 1
        document["findings"][0]["new"] = None

    text = changed(extend)
    assert Manifest.from_json(text) == MANIFEST
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(text))


@pytest.mark.parametrize("version", ["2.0", "0.9", "10.0", "", "x", None, 1, 1.0, ["1.0"]])
def test_another_major_version_is_refused(version: object) -> None:
    with pytest.raises(ManifestError, match=r"^old\.json: has format version .*, this release reads 1\.x; use the release that wrote it$"):
        Manifest.from_json(changed(lambda document: document.update(format_version=version)), "old.json")


@pytest.mark.parametrize("text", ["", "{", "nonsense", b"\xff\xfe", b"\x00"])
def test_what_is_no_json(text: str | bytes) -> None:
    with pytest.raises(ManifestError, match=r"^x\.json: is no JSON \(.*\); make it anew with `mlbundle optimize`$"):
        Manifest.from_json(text, "x.json")


def test_what_is_too_deep_to_be_json_of_ours() -> None:
    with pytest.raises(ManifestError, match=r"^x\.json: is no JSON \(.*recursion.*\); make it anew with `mlbundle optimize`$"):
        Manifest.from_json("[" * 200_000, "x.json")


@pytest.mark.parametrize("text", ["[]", "3", "null", "{}", '{"format": "other"}', '"mlbundle-manifest"'])
def test_what_is_no_manifest(text: str) -> None:
    with pytest.raises(ManifestError, match=r'^x\.json: is no size manifest \(it lacks "format": "mlbundle-manifest"\)$'):
        Manifest.from_json(text, "x.json")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda d: d.pop("steps"), "x.json: steps is missing"),
        (lambda d: d["artifact"].pop("name"), "x.json: artifact: name is missing"),
        (lambda d: d["files"][1].pop("after"), "x.json: files[1]: after is missing"),
        (lambda d: d["artifact"]["before"].update(size="1"), "x.json: artifact.before.size: must be an integer, not '1'"),
        (lambda d: d["artifact"]["before"].update(size=True), "x.json: artifact.before.size: must be an integer, not 'True'"),
        (lambda d: d["artifact"]["before"].update(size=None), "x.json: artifact.before.size: must be an integer, not 'None'"),
        (lambda d: d.update(files={}), "x.json: files: must be a list, not '{}'"),
        (lambda d: d["files"].append(3), "x.json: files[2]: must be an object, not '3'"),
        (lambda d: d["files"][0]["changes"][0].update(step="a"), "x.json: files[0].changes[0].step: must be an integer, not 'a'"),
        (lambda d: d["steps"][0].update(lossless=1), "x.json: steps[0].lossless: must be true or false, not '1'"),
        (lambda d: d.update(configuration=[]), "x.json: configuration: must be an object, not '[]'"),
        (lambda d: d["findings"][0].update(path=3), "x.json: findings[0].path: must be a string, not '3'"),
        (lambda d: d.update(remainder=None), "x.json: remainder: must be an object, not 'None'"),
    ],
)
def test_a_missing_or_wrong_value_is_told_with_its_path(change: Callable[[dict[str, Any]], object], fault: str) -> None:
    text = changed(change)
    with pytest.raises(ManifestError) as caught:
        Manifest.from_json(text, "x.json")
    assert str(caught.value) == fault
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(text))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda d: d["artifact"]["before"].update(size=10**40), "x.json: artifact.before.size: must be an integer of at most 63 bits"),
        (lambda d: d["details"][0]["detail"].update(tensors=[{"size": float("nan")}]), "x.json: details[0].detail.tensors: must be a n"),
        (lambda d: d["steps"][0]["options"].update(ratio=float("inf")), "x.json: steps[0].options.ratio: must be a number of at most"),
        (lambda d: d["files"][0]["changes"][0].update(step=7), "x.json: speaks of step 7, but has 1 step"),
        (lambda d: d["details"][0].update(step=-1), "x.json: speaks of step -1, but has 1 step"),
    ],
)
def test_numbers_that_no_report_could_show_are_refused(change: Callable[[dict[str, Any]], object], fault: str) -> None:
    with pytest.raises(ManifestError) as caught:
        Manifest.from_json(changed(change), "x.json")
    assert str(caught.value).startswith(fault)


def test_what_is_nested_deeply_is_read_or_told() -> None:
    base = changed(lambda d: d["steps"][0]["options"].update(deep=0))
    read = 0
    for depth in (*range(1, 1200, 3), 5000):  # from Python 3.12 on, json reads the last, too
        try:
            Manifest.from_json(base.replace('"deep": 0', f'"deep": {"[" * depth}{"]" * depth}'), "x.json")
            read += 1
        except ManifestError as error:
            assert str(error).startswith(("x.json: is nested too deeply", "x.json: is no JSON"))  # noqa: PT017
    assert read > 100


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ManifestError, match="cannot be read"):
            Manifest.load(path)


@pytest.mark.parametrize("name", ["file/a.json", "file/folder/a.json"])
def test_a_folder_that_cannot_be_one_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot create the folder .*: a file is in its place; remove it or choose another folder"):
        MANIFEST.save(tmp_path / name)


def test_the_schema_is_one_and_knows_this_version() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    validate(MANIFEST)
    assert FORMAT_VERSION.split(".")[0] == "1"


def objects(node: object) -> list[dict[str, Any]]:
    """Return each part of the schema that describes an object."""
    if isinstance(node, list):
        return [found for each in node for found in objects(each)]
    if not isinstance(node, dict):
        return []
    own = [node] if "properties" in node and "type" in node else []
    return own + [found for each in node.values() for found in objects(each)]


def test_the_schema_names_every_key_that_is_written_and_no_other() -> None:
    written = {frozenset(each) for each in _dicts(json.loads(MANIFEST.to_json()))}
    described = {frozenset(each["properties"]) for each in objects(SCHEMA) if "object" in each["type"]}
    free = {
        frozenset(MANIFEST.configuration),
        frozenset(MANIFEST.steps[0].options),
        frozenset(MANIFEST.steps[0].changes),
        frozenset(MANIFEST.contents[0].parts),
    }
    assert written - free == described
    for each in objects(SCHEMA):
        if each["title"] != OWN_WORDS:
            assert set(each["properties"]) - set(each["required"]) == (ADDED if each is SCHEMA else ADDED_TO_ROWS & set(each["properties"]))
    assert all(each.get("additionalProperties", True) for each in objects(SCHEMA))


def _dicts(node: object) -> list[dict[str, Any]]:
    if isinstance(node, list):
        return [found for each in node for found in _dicts(each)]
    return [node, *(found for each in node.values() for found in _dicts(each))] if isinstance(node, dict) else []


def test_each_part_of_the_schema_is_described() -> None:
    for each in objects(SCHEMA):
        assert each["title"]
        assert each["description"]
        for name, value in each["properties"].items():
            assert "title" in value or "$ref" in value, name


def test_the_schema_refuses_what_is_missing() -> None:
    document = json.loads(MANIFEST.to_json())
    for key in document.keys() - ADDED:
        lacking = copy.deepcopy(document)
        del lacking[key]
        assert not jsonschema.Draft202012Validator(SCHEMA).is_valid(lacking), key


def test_a_manifest_of_version_1_0_is_read_and_valid() -> None:
    document = json.loads(MANIFEST.to_json()) | {"format_version": "1.0"}
    del document["packed"]
    assert jsonschema.Draft202012Validator(SCHEMA).is_valid(document)
    assert Manifest.from_json(json.dumps(document)).packed == ()


def test_a_manifest_of_version_1_3_is_read_and_valid() -> None:
    document = json.loads(MANIFEST.to_json()) | {"format_version": "1.3"}
    del document["components"], document["advice"]
    for key in ADDED_TO_ROWS:
        del document["companions" if key == "model" else "layers"][0][key]
    assert jsonschema.Draft202012Validator(SCHEMA).is_valid(document)
    read = Manifest.from_json(json.dumps(document))
    assert (read.components, read.advice, read.layers[0].repeated_installed) == ((), (), 0)


def test_a_manifest_of_version_1_4_is_read_and_valid() -> None:
    document = json.loads(MANIFEST.to_json()) | {"format_version": "1.4"}
    del document["removable"]
    assert jsonschema.Draft202012Validator(SCHEMA).is_valid(document)
    assert Manifest.from_json(json.dumps(document)) == replace(MANIFEST, removable=())


def test_real_manifests_are_valid(tmp_path: Path) -> None:
    root = tmp_path / "site"
    files = {"pkg/__init__.py": b"x = 1\n", "pkg/tests/test_x.py": b"def test(): pass\n" * 50, "pkg/native.so": b"\x7fELF" + bytes(3000)}
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    registry = load_registry()
    config = read_config({"cache": {"enabled": False}}, registry.option_types())
    job = prepare(config, registry, project=tmp_path)
    validate(analyze(job, root))
    manifest = optimize(job, root, tmp_path / "out").manifest
    validate(manifest)
    assert manifest.steps
    saved = tmp_path / "out.mlbundle.json"
    assert Manifest.load(saved) == manifest
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(saved.read_bytes()))

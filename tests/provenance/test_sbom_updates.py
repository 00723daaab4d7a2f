"""SBOMs that a wheel has are kept right: what a document says of files that went or changed, and no more."""

from __future__ import annotations

import copy
import hashlib
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from hatch_mlbundle.provenance.grafted import auditwheel_fragments, is_grafted, original_name
from tests.elfsmith import compile_elf, need
from tests.provenance.wheels import SBOMS, names, read, run, wheel

MAIN = {"type": "library", "bom-ref": "main", "name": "demo", "version": "1.0", "purl": "pkg:pypi/demo@1.0"}
FIRST, SECOND = "demo.libs/liba-0123abcd.so.1", "demo.libs/libb-0123abcd.so.1"
LIBRARIES = {FIRST: b"\x7fELF" + b"a" * 5000, SECOND: b"\x7fELF" + b"b" * 5000}


def bom(*components: dict[str, Any], version: str = "1.6", **more: Any) -> dict[str, Any]:
    return {
        "bomFormat": "CycloneDX",
        "specVersion": version,
        "serialNumber": "urn:uuid:3e671687-395b-41f5-a30f-a58921a69b79",
        "version": 1,
        "metadata": {"component": MAIN},
        "components": [*components],
        **more,
    }


def library(ref: str, *places: str, **more: Any) -> dict[str, Any]:
    found = {"evidence": {"occurrences": [{"location": place} for place in places]}} if places else {}
    return {"type": "library", "bom-ref": ref, "name": ref, "version": "2", **found, **more}


def sha256(data: bytes) -> dict[str, str]:
    return {"alg": "SHA-256", "content": hashlib.sha256(data).hexdigest()}


def references(value: Any, key: str = "") -> Iterator[str]:
    """Yield every bom-ref that something in a document refers to."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from ([each] if name == "ref" else references(each, name))
    elif isinstance(value, list):
        for each in value:
            yield from (
                [each] if isinstance(each, str) and key in ("dependsOn", "provides", "assemblies", "subjects") else references(each, key)
            )


def refs(component: dict[str, Any]) -> Iterator[str]:
    yield component["bom-ref"]
    for each in component.get("components", []):
        yield from refs(each)


def sound(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document after looking whether it fits CycloneDX's schema, and refers to nothing that is not there."""
    validator = JsonStrictValidator(SchemaVersion.from_version(document["specVersion"]))
    assert validator.validate_str(json.dumps(document)) is None
    there = {*refs(document["metadata"]["component"]), *(ref for each in document.get("components", []) for ref in refs(each))}
    assert set(references(document)) <= there
    return document


def updated(folder: Path, document: dict[str, Any], *gone: str, **settings: Any) -> dict[str, Any]:
    """Return what becomes of an SBOM when files of its wheel go."""
    artifact = wheel(folder, LIBRARIES, other=document)
    run(artifact, exclude={"paths": ["demo/notes.txt", *gone]}, **settings)
    return sound(read(artifact, f"{SBOMS}/other.cdx.json"))


@pytest.mark.parametrize(
    "about",
    [
        {"evidence": {"occurrences": [{"location": FIRST}]}},
        {"evidence": {"occurrences": [{"location": f"./{FIRST}"}]}},
        {"properties": [{"name": "syft:location:0:path", "value": f"/{FIRST}"}]},
        {"hashes": [sha256(LIBRARIES[FIRST])]},
        {"type": "file", "name": FIRST},
    ],
    ids=["occurrence", "dotted", "property", "hash", "file"],
)
def test_a_component_goes_with_its_file_however_it_tells_of_it(tmp_path: Path, about: dict[str, Any]) -> None:
    document = bom({**library("a"), **about}, library("b", SECOND), dependencies=[{"ref": "main", "dependsOn": ["a", "b"]}, {"ref": "a"}])
    result = updated(tmp_path, document, FIRST)
    assert [each["bom-ref"] for each in result["components"]] == ["b"]
    assert result["dependencies"] == [{"ref": "main", "dependsOn": ["b"]}]
    assert (result["version"], result["serialNumber"]) == (2, document["serialNumber"])


def test_what_is_known_of_nothing_that_changed_stays_to_the_byte(tmp_path: Path) -> None:
    document = bom(
        library("a", FIRST), library("unknown"), {**library("x"), "hashes": [sha256(b"the source")]}, future={"key": [1.5, None]}
    )
    artifact = wheel(tmp_path, LIBRARIES, other=document)
    run(artifact)
    assert read(artifact, f"{SBOMS}/other.cdx.json") == document


def test_who_depended_on_what_went_depends_on_what_that_did(tmp_path: Path) -> None:
    edges = [
        {"ref": "main", "dependsOn": ["a"]},
        {"ref": "a", "dependsOn": ["b", "main", "gone too"]},
        {"ref": "gone too", "dependsOn": ["a"]},
    ]
    document = bom(library("a", FIRST), library("b", SECOND), library("gone too", FIRST), dependencies=edges)
    assert updated(tmp_path, document, FIRST)["dependencies"] == [{"ref": "main", "dependsOn": ["b"]}]


def test_every_other_list_forgets_what_went(tmp_path: Path) -> None:
    more = {
        "compositions": [{"aggregate": "complete", "assemblies": ["a", "b"], "dependencies": ["a"]}],
        "vulnerabilities": [{"id": "CVE-1", "affects": [{"ref": "a"}]}, {"id": "CVE-2", "affects": [{"ref": "a"}, {"ref": "b"}]}],
        "annotations": [{"subjects": ["a", "b"], "annotator": {"component": MAIN}, "timestamp": "2026-01-01T00:00:00Z", "text": "a"}],
    }
    result = updated(tmp_path, bom(library("a", FIRST), library("b", SECOND), **more), FIRST)
    assert result["compositions"] == [{"aggregate": "complete", "assemblies": ["b"], "dependencies": []}]
    assert result["vulnerabilities"] == [{"id": "CVE-2", "affects": [{"ref": "b"}]}]
    assert result["annotations"][0]["subjects"] == ["b"]


def test_a_component_of_several_files_stays_while_one_does(tmp_path: Path) -> None:
    document = bom(library("both", FIRST, SECOND), {**library("outer", FIRST), "components": [library("inner", SECOND)]})
    result = updated(tmp_path, document, FIRST)
    assert result["components"][0]["evidence"]["occurrences"] == [{"location": SECOND}]
    assert [each["bom-ref"] for each in result["components"]] == ["both", "outer"]
    assert [each["bom-ref"] for each in result["components"][1]["components"]] == ["inner"]


def test_nested_components_go_before_what_holds_them(tmp_path: Path) -> None:
    document = bom({**library("outer", FIRST), "components": [library("inner", FIRST)]}, library("b", SECOND))
    assert [each["bom-ref"] for each in updated(tmp_path, document, FIRST)["components"]] == ["b"]


def test_a_file_that_is_there_under_another_name_as_well_keeps_its_component(tmp_path: Path) -> None:
    copy_of = "demo.libs/copy.so"
    artifact = wheel(tmp_path, {**LIBRARIES, copy_of: LIBRARIES[FIRST]}, other=bom(library("a", hashes=[sha256(LIBRARIES[FIRST])])))
    run(artifact, exclude={"paths": ["demo/notes.txt", FIRST]})
    assert len(read(artifact, f"{SBOMS}/other.cdx.json")["components"]) == 1


def test_hashes_of_a_rewritten_file_are_made_right_and_others_stay(tmp_path: Path) -> None:
    need("cc")
    data = compile_elf(tmp_path / "lib.so", "-g", "-shared", "-fPIC").read_bytes()
    algorithms = {"MD5": "md5", "SHA-1": "sha1", "SHA-256": "sha256", "SHA-512": "sha512", "SHA3-256": "sha3_256", "BLAKE2b-512": "blake2b"}
    before = [{"alg": alg, "content": hashlib.new(name, data).hexdigest()} for alg, name in algorithms.items()]
    source = {"alg": "SHA-384", "content": hashlib.sha384(b"the source").hexdigest()}
    document = bom(library("lib", "demo/lib.so", hashes=[*before, source]))
    artifact = wheel(tmp_path / "wheels", {"demo/lib.so": data}, other=document)
    assert run(artifact, optimizers=["exclude", "strip"]).steps[1].changes == {"rewrite": 1}
    result = sound(read(artifact, f"{SBOMS}/other.cdx.json"))
    with zipfile.ZipFile(artifact) as archive:
        now = archive.read("demo/lib.so")
    after = [{"alg": alg, "content": hashlib.new(name, now).hexdigest()} for alg, name in algorithms.items()]
    assert result["components"][0]["hashes"] == [*after, source]
    assert result["version"] == 2


def test_auditwheels_component_of_a_library_is_told_by_the_path_that_it_was_copied_from(tmp_path: Path) -> None:
    fragment = hashlib.sha256(b"/usr/lib64/liba.so.1").hexdigest()
    other = hashlib.sha256(b"/usr/lib64/libb.so.1").hexdigest()
    purl = "pkg:rpm/almalinux/libs@1"
    edges = [{"ref": "main", "dependsOn": [f"{purl}#{fragment}", f"{purl}#{other}"]}]
    document = bom(MAIN, library(f"{purl}#{fragment}"), library(f"{purl}#{other}"), version="1.4", dependencies=edges)
    artifact = wheel(tmp_path, LIBRARIES, auditwheel=document)
    manifest = run(artifact, exclude={"paths": ["demo/notes.txt", FIRST]})
    result = sound(read(artifact, f"{SBOMS}/auditwheel.cdx.json"))
    assert [each["bom-ref"] for each in result["components"]] == ["main", f"{purl}#{other}"]
    assert manifest.findings == ()


def test_auditwheels_component_that_cannot_be_told_is_a_finding(tmp_path: Path) -> None:
    fragment = hashlib.sha256(b"/opt/where/nobody/looks/liba.so.1").hexdigest()
    artifact = wheel(tmp_path, LIBRARIES, auditwheel=bom(MAIN, library(f"pkg:rpm/x@1#{fragment}"), version="1.4"))
    (finding,) = run(artifact, exclude={"paths": ["demo/notes.txt", FIRST]}).findings
    assert (finding.code, finding.path) == ("MB952", f"{SBOMS}/auditwheel.cdx.json")
    assert FIRST in finding.message


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("x.spdx.json", json.dumps({"spdxVersion": "SPDX-2.3", "files": [{"fileName": f"./{FIRST}"}]}).encode()),
        ("x.spdx", f"SPDXVersion: SPDX-2.3\nFileChecksum: SHA256: {hashlib.sha256(LIBRARIES[FIRST]).hexdigest().upper()}\n".encode()),
        ("x.cdx.xml", f"<bom><component><name>{FIRST}</name></component></bom>".encode()),
        ("x.cdx.json", json.dumps({**bom(library("a", FIRST)), "signature": {"value": "x"}}).encode()),
    ],
)
def test_a_document_that_cannot_be_rewritten_stays_and_is_told_of_where_it_is_wrong_now(tmp_path: Path, name: str, data: bytes) -> None:
    path = f"{SBOMS}/{name}"
    artifact = wheel(tmp_path, {**LIBRARIES, path: data})
    assert run(artifact, tmp_path / "right" / artifact.name, exclude={"paths": ["demo/notes.txt"]}).findings == ()
    manifest = run(artifact, exclude={"paths": ["demo/notes.txt", FIRST]})
    (finding,) = manifest.findings
    assert (finding.code, finding.path) == ("MB951", path)
    (row,) = [row for row in manifest.files if row.path == path]
    assert row.before
    assert row.after
    assert row.after.sha256 == row.before.sha256


@pytest.mark.parametrize(
    "document",
    [
        {"bomFormat": "CycloneDX"},
        {"bomFormat": "CycloneDX", "components": {"a": 1}, "metadata": [], "dependencies": "x"},
        {"bomFormat": "CycloneDX", "components": [1, None, {"hashes": [3], "evidence": {"occurrences": [None, 7]}, "properties": {}}]},
        {
            "bomFormat": "CycloneDX",
            "version": "x",
            "components": [library("a", FIRST)],
            "dependencies": [{"ref": [1], "dependsOn": [3, "a"]}, 5],
        },
    ],
)
def test_a_document_of_no_sense_breaks_nothing(tmp_path: Path, document: dict[str, Any]) -> None:
    artifact = wheel(tmp_path, LIBRARIES, other=copy.deepcopy(document))
    run(artifact, exclude={"paths": ["demo/notes.txt", FIRST]})
    assert f"{SBOMS}/other.cdx.json" in names(artifact)


def test_a_document_that_is_nested_too_deeply_stays(tmp_path: Path) -> None:
    nested = '{"components": [' * 480 + "]}" * 480
    text = f'{{"bomFormat": "CycloneDX", "components": [{nested}], "about": "{FIRST}"}}'
    path = f"{SBOMS}/x.cdx.json"
    artifact = wheel(tmp_path, {**LIBRARIES, path: text.encode()})
    (finding,) = run(artifact, exclude={"paths": ["demo/notes.txt", FIRST]}).findings
    assert (finding.code, finding.path) == ("MB951", path)


def _chained(length: int) -> str:
    """Return a document in which as many components depend on the first of as many that go, each on the next."""
    gone = [library(f"d{number}", FIRST) for number in range(length)]
    edges = [{"ref": f"d{number}", "dependsOn": [f"d{number + 1}"]} for number in range(length)]
    edges += [{"ref": f"z{number}", "dependsOn": ["d0"]} for number in range(length)]
    return json.dumps(bom(*gone, dependencies=edges))


@pytest.mark.parametrize("text", [json.dumps(bom(library("a", FIRST), score=float("inf"))).replace("Infinity", "1e999"), _chained(1500)])
def test_a_document_that_could_not_be_written_again_stays(tmp_path: Path, text: str) -> None:
    path = f"{SBOMS}/x.cdx.json"
    artifact = wheel(tmp_path, {**LIBRARIES, path: text.encode()})
    (finding,) = run(artifact, exclude={"paths": ["demo/notes.txt", FIRST]}).findings
    assert (finding.code, finding.path) == ("MB951", path)
    with zipfile.ZipFile(artifact) as archive:
        assert archive.read(path) == text.encode()


@pytest.mark.parametrize("indent", [None, 2, 4])
def test_the_manner_of_writing_stays(tmp_path: Path, indent: int | None) -> None:
    document = bom(library("a", FIRST), library("b\u00e4", SECOND))
    text = json.dumps(document, indent=indent, ensure_ascii=False)
    artifact = wheel(tmp_path, {**LIBRARIES, f"{SBOMS}/x.cdx.json": text.encode()})
    run(artifact, exclude={"paths": ["demo/notes.txt", FIRST]})
    expected = {**document, "version": 2, "components": document["components"][1:]}
    with zipfile.ZipFile(artifact) as archive:
        assert archive.read(f"{SBOMS}/x.cdx.json").decode() == json.dumps(expected, indent=indent, ensure_ascii=False)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("demo.libs/libgomp-a34b3233.so.1.0.0", "libgomp.so.1.0.0"),
        ("demo.libs/libgfortran-040039e1.so.5", "libgfortran.so.5"),
        ("demo.libs/msvcp140-d64049c6e3865410a7dda6a7e9f0c575.dll", "msvcp140.dll"),
        ("demo/.dylibs/libz.1.2.12.dylib", "libz.1.2.12.dylib"),
        ("demo.libs/libplain.so", "libplain.so"),
    ],
)
def test_a_grafted_library_is_known_by_its_place_and_has_its_old_name(path: str, name: str) -> None:
    assert is_grafted(path)
    assert original_name(path) == name
    assert hashlib.sha256(f"/usr/lib64/{name}".encode()).hexdigest() in set(auditwheel_fragments(path))


@pytest.mark.parametrize("path", ["demo/libx.so", "demo.libs/.load-order-demo-1.0", "demo/lib.libs/inner/x.so", "demo.libs/README"])
def test_other_files_are_not_grafted(path: str) -> None:
    assert not is_grafted(path)

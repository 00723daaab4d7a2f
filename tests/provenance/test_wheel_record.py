"""The record in dist-info of what was done to a wheel."""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from hatch_mlbundle.bundles.wheel import WheelSource
from hatch_mlbundle.bundles.wheel_artifact import WheelArtifact
from hatch_mlbundle.errors import ManifestError
from hatch_mlbundle.model import Drop, Keep
from hatch_mlbundle.provenance.record import Input, Output, RecordedRun, extended_record
from tests.provenance.wheels import DIST_INFO, NOISE, RECORD, SBOMS, names, read, run, wheel

RUN = RecordedRun(
    generator="hatch-mlbundle 1",
    before=Input(sha256="ab", size=9, files=2, installed=9),
    after=Output(files=1, installed=5),
    steps=(),
)
SCHEMA = json.loads(resources.files("hatch_mlbundle").joinpath("schemas/record-1.json").read_text(encoding="utf-8"))


def test_a_wheel_that_changed_says_what_was_done(tmp_path: Path) -> None:
    artifact = wheel(tmp_path)
    before = artifact.read_bytes()
    manifest = run(artifact)
    record = read(artifact, RECORD)
    jsonschema.validate(record, SCHEMA)
    (told,) = record["runs"]
    assert told["before"]["sha256"] == hashlib.sha256(before).hexdigest()
    assert told["before"]["size"] == len(before)
    assert (told["before"]["files"], told["after"]["files"]) == (4, 3)  # RECORD is not counted
    assert told["before"]["installed"] - told["after"]["installed"] == len(NOISE)
    (step,) = told["steps"]
    assert (step["optimizer"], step["distribution"], step["changes"]) == ("exclude", "hatch-mlbundle", {"drop": 1})
    assert step["options"] == {"paths": ["demo/notes.txt"]}
    assert told["generator"] == manifest.generator


def test_its_bytes_have_an_owner_and_the_totals_reconcile(tmp_path: Path) -> None:
    artifact = wheel(tmp_path)
    manifest = run(artifact)
    (row,) = [row for row in manifest.files if row.path == RECORD]
    assert row.before is None
    assert row.after is not None
    assert [(change.step, change.action) for change in row.changes] == [(None, "add")]
    assert row.owner == "demo"
    totals = manifest.artifact.after
    assert totals.size == artifact.stat().st_size
    assert totals.installed == sum(row.after.size for row in manifest.files if row.after)
    saved = manifest.remainder.installed + sum(step.saved.installed for step in manifest.steps)
    assert saved == manifest.artifact.before.installed - totals.installed


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    artifact = wheel(tmp_path)
    run(artifact, sbom=True)
    once = artifact.read_bytes()
    run(artifact, sbom=True)
    assert artifact.read_bytes() == once


def test_another_step_on_the_finished_wheel_extends_the_record(tmp_path: Path) -> None:
    artifact = wheel(tmp_path, {"demo/more.txt": NOISE})
    run(artifact)
    first = read(artifact, RECORD)["runs"]
    middle = artifact.read_bytes()
    run(artifact, exclude={"paths": ["demo/more.txt"]})
    both = read(artifact, RECORD)
    jsonschema.validate(both, SCHEMA)
    assert both["runs"][:1] == first
    assert both["runs"][1]["before"]["sha256"] == hashlib.sha256(middle).hexdigest()
    assert both["runs"][1]["before"]["installed"] == first[0]["after"]["installed"]
    assert len(both["runs"]) == 2


@pytest.mark.parametrize("settings", [{"record": False}, {"exclude": {"paths": []}}, {"exclude": {"paths": ["demo/tiny.txt"]}}])
def test_no_record_where_none_is_wanted_or_it_would_take_more_than_was_saved(tmp_path: Path, settings: dict[str, Any]) -> None:
    artifact = wheel(tmp_path, {"demo/tiny.txt": b"a few bytes"})
    before = artifact.stat().st_size
    manifest = run(artifact, **settings)
    assert RECORD not in names(artifact)
    assert manifest.artifact.after.size <= before
    assert manifest.configuration.get("record", True) is settings.get("record", True)


def test_no_record_where_the_wheel_would_grow_by_it(tmp_path: Path) -> None:
    artifact = wheel(tmp_path, {"demo/zeros.txt": bytes(50_000)})  # a few bytes in the wheel
    before = artifact.stat().st_size
    run(artifact, exclude={"paths": ["demo/zeros.txt"]})
    assert RECORD not in names(artifact)
    assert artifact.stat().st_size < before


@pytest.mark.parametrize("size", range(600, 1400, 50))
def test_whatever_is_saved_a_wheel_with_its_record_is_smaller(tmp_path: Path, size: int) -> None:
    artifact = wheel(tmp_path, {"demo/noise.txt": hashlib.shake_256(b"noise").digest(size)})
    before = artifact.stat().st_size
    run(artifact, exclude={"paths": ["demo/noise.txt"]})
    assert artifact.stat().st_size < before


def test_a_step_that_changes_nothing_is_not_told(tmp_path: Path) -> None:
    artifact = wheel(tmp_path)
    run(artifact, optimizers=["test_data", "exclude"])
    assert [step["optimizer"] for step in read(artifact, RECORD)["runs"][0]["steps"]] == ["exclude"]


def test_no_folder_of_the_machine_is_told(tmp_path: Path) -> None:
    (tmp_path / "seen.json").write_text('{"format": "mlbundle-profile", "format_version": "1.0", "runs": 1, "used": [], "inventory": []}')
    artifact = wheel(tmp_path)
    run(artifact, exclude={"paths": ["demo/notes.txt", f"{tmp_path}/x"]})
    (step,) = read(artifact, RECORD)["runs"][0]["steps"]
    assert step["options"]["paths"] == ["demo/notes.txt", "x"]


def test_no_step_may_change_the_record(tmp_path: Path) -> None:
    artifact = wheel(tmp_path)
    run(artifact)
    with WheelSource.open(artifact) as source:
        refuses = WheelArtifact(source, 1, None, tmp_path).refuses
        assert refuses(Drop(path=RECORD, reason="")) == "it is the record of what was done to the wheel"
        assert refuses(Keep(path=RECORD, reason="")) is None
        assert refuses(Drop(path=f"{SBOMS}/x.json", reason="")) is None


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"format": "mlbundle-record", "format_version": "2.0"}', b"[" * 100_000])
def test_a_file_of_this_name_that_is_no_record_of_ours_stays(tmp_path: Path, text: bytes) -> None:
    artifact = wheel(tmp_path, {RECORD: text})
    manifest = run(artifact)
    (finding,) = manifest.findings
    assert (finding.code, finding.path) == ("MB953", RECORD)
    assert f"{DIST_INFO}" not in finding.message
    assert "demo/notes.txt" not in names(artifact)


@pytest.mark.parametrize(
    "runs", ["{}", "[1]", '[{"generator": 1, "before": {}, "after": {}, "steps": []}]', '[{"generator": "x", "before": {}, "steps": []}]']
)
def test_a_damaged_record_is_told_with_the_place(runs: str) -> None:
    with pytest.raises(ManifestError, match=r"^mlbundle\.json: runs"):
        extended_record(f'{{"format": "mlbundle-record", "format_version": "1.0", "runs": {runs}}}'.encode(), "mlbundle.json", RUN)


def test_what_a_later_minor_version_recorded_stays() -> None:
    record = json.loads(extended_record(b"", "mlbundle.json", RUN))
    later = {**record, "format_version": "1.7", "runs": [{**record["runs"][0], "host": {"os": "x"}}], "signed": [1]}
    extended = json.loads(extended_record(json.dumps(later).encode(), "mlbundle.json", RUN))
    assert extended == {**later, "runs": [*later["runs"], record["runs"][0]]}


@pytest.mark.parametrize("number", ["1e999", "NaN"])
def test_a_number_that_cannot_be_written_again_is_no_record(number: str) -> None:
    text = f'{{"format": "mlbundle-record", "format_version": "1.7", "new": {number}, "runs": []}}'
    with pytest.raises(ManifestError, match=r"^mlbundle\.json: is no JSON"):
        extended_record(text.encode(), "mlbundle.json", RUN)

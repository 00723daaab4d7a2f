"""The application as adapters use it: whole runs on real wheels, cold and warm."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import hatch_mlbundle
from hatch_mlbundle.adapters.project import project_config
from hatch_mlbundle.application import analyze, optimize, plan_for
from hatch_mlbundle.errors import FindingsError
from hatch_mlbundle.job import Job, prepare
from hatch_mlbundle.manifest import SUFFIX, Manifest
from hatch_mlbundle.model import Drop
from hatch_mlbundle.plugins import load_registry
from hatch_mlbundle.progress import Silence
from tests.bundles.wheelsmith import build_wheel
from tests.elfsmith import compile_elf, need

SCHEMA = json.loads((Path(hatch_mlbundle.__file__).parent / "schemas" / "manifest-1.json").read_text())


def job(folder: Path, **settings: Any) -> Job:
    registry = load_registry()
    return prepare(project_config(folder, registry, settings), registry, project=folder)


def files(tmp_path: Path) -> dict[str, bytes]:
    need("cc")
    library = compile_elf(tmp_path / "lib.so", "-g", "-shared", "-fPIC")
    return {
        "demo/__init__.py": b"import demo._lib\n",
        "demo/_lib.so": library.read_bytes(),
        "demo/include/a.h": b"int a;\n" * 100,
        "demo/tests/__init__.py": b"",
        "demo/tests/test_demo.py": b"def test_demo():\n    assert True\n" * 20,
        "demo/noise.bin": os.urandom(50_000),
    }


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    return build_wheel(tmp_path, files(tmp_path))


def optimized(job: Job, wheel: Path, folder: Path) -> tuple[bytes, bytes]:
    folder.mkdir(exist_ok=True)
    optimize(job, wheel, folder / wheel.name)
    return (folder / wheel.name).read_bytes(), (folder / (wheel.name + SUFFIX)).read_bytes()


def test_totals_reconcile_and_the_manifest_fits_its_schema(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / wheel.name
    target.parent.mkdir()
    manifest = optimize(job(tmp_path), wheel, target).manifest
    artifact = manifest.artifact
    for totals, states in (
        (artifact.before, [row.before for row in manifest.files if row.before]),
        (artifact.after, [row.after for row in manifest.files if row.after]),
    ):
        assert totals.installed == sum(state.size for state in states)
        assert totals.size == totals.structure + sum(state.compressed or 0 for state in states)
    assert (artifact.before.size, artifact.after.size) == (wheel.stat().st_size, target.stat().st_size)
    for number, step in enumerate(manifest.steps):
        changes = [change.saved for row in manifest.files for change in row.changes if change.step == number]
        assert step.saved.installed == sum(saved.installed for saved in changes)
        assert step.saved.compressed == sum(saved.compressed or 0 for saved in changes)
    saved = [step.saved for step in manifest.steps] + [manifest.remainder]
    assert sum(each.installed for each in saved) == artifact.before.installed - artifact.after.installed
    assert sum(each.compressed or 0 for each in saved) == artifact.before.size - artifact.after.size
    jsonschema.validate(json.loads((target.parent / (wheel.name + SUFFIX)).read_text()), SCHEMA)


def test_finished_pieces_and_nothing_in_the_cache_give_the_same(wheel: Path, tmp_path: Path) -> None:
    cold = optimized(job(tmp_path), wheel, tmp_path / "cold")
    assert optimized(job(tmp_path), wheel, tmp_path / "finished") == cold
    assert optimized(job(tmp_path, cache={"enabled": False}), wheel, tmp_path / "none") == cold


def test_pieces_of_another_build_give_the_same_as_none(wheel: Path, tmp_path: Path) -> None:
    optimized(job(tmp_path), wheel, tmp_path / "first")
    (tmp_path / "more").mkdir()
    more = build_wheel(tmp_path / "more", {**files(tmp_path), "demo/more.py": b"more = 1\n"})
    pieces = optimized(job(tmp_path), more, tmp_path / "pieces")
    assert optimized(job(tmp_path, cache={"enabled": False}), more, tmp_path / "none") == pieces


def test_a_finished_wheel_is_never_that_of_another_configuration(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = [
        optimized(job(tmp_path, **settings), wheel, tmp_path / str(number))
        for number, settings in enumerate(
            [
                {},
                {"optimizers": ["strip"]},
                {"exclude": {"groups": ["headers"]}},
                {"test_data": {"exclude": ["*/tests/*"]}},
                {"strip": {"keep": "symbols"}},
                {"compression-level": 12},
                {"ignore": ["MB3"]},
            ]
        )
    ]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    results.append(optimized(job(tmp_path, ignore=["MB1"]), wheel, tmp_path / "dated"))
    assert len({manifest for _, manifest in results}) == len(results)
    assert len({data for data, _ in results[:6]}) == 5  # keeping the tests is not dropping them


def test_a_finished_wheel_replaces_in_place_and_takes_stale_companions_away(wheel: Path, tmp_path: Path) -> None:
    small, _ = optimized(job(tmp_path), wheel, tmp_path / "out")
    stale = tmp_path / f"{wheel.name}.companions"
    stale.mkdir()
    manifest = optimize(job(tmp_path), wheel).manifest
    assert wheel.read_bytes() == small
    assert not stale.exists()
    assert Manifest.load(tmp_path / (wheel.name + SUFFIX)) == manifest


def test_debug_files_lie_beside_the_wheel_and_in_the_manifest(wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for _ in ("cold", "warm"):
        manifest = optimize(job(tmp_path, strip={"debug-files": True}), wheel, tmp_path / "out" / wheel.name).manifest
        (row,) = manifest.companions
        debug = tmp_path / "out" / f"{wheel.name}.companions" / row.path
        assert debug.stat().st_size == row.size
        assert row.path.startswith(".build-id/")


def test_whoever_writes_to_the_result_does_not_reach_the_cache(wheel: Path, tmp_path: Path) -> None:
    small, _ = optimized(job(tmp_path), wheel, tmp_path / "out")
    with (tmp_path / "out" / wheel.name).open("r+b") as stream:
        stream.write(b"spoilt")
    assert optimized(job(tmp_path), wheel, tmp_path / "again")[0] == small


def test_strict_replaces_nothing(wheel: Path, tmp_path: Path) -> None:
    before = wheel.read_bytes()
    with pytest.raises(FindingsError, match="MB303"):
        optimize(job(tmp_path, strict=True, exclude={"paths": ["no-such-file"]}), wheel)
    assert wheel.read_bytes() == before
    assert not (tmp_path / (wheel.name + SUFFIX)).exists()


def test_a_plan_is_what_a_run_does(wheel: Path, tmp_path: Path) -> None:
    planned = plan_for(job(tmp_path), wheel)
    manifest = optimize(job(tmp_path), wheel, wheel).manifest
    dropped = {row.path for row in manifest.files if row.after is None}
    assert dropped == {change.path for stage in planned.stages for change in stage.changes if isinstance(change, Drop)}
    assert [step.optimizer for step in manifest.steps] == [stage.stage.name for stage in planned.stages]


def test_analysis_accounts_for_every_byte(wheel: Path, tmp_path: Path) -> None:
    manifest = analyze(job(tmp_path), wheel)
    totals = manifest.artifact.after
    assert totals.size == totals.structure + sum(row.after.compressed or 0 for row in manifest.files if row.after)


def test_a_second_run_leaves_the_account_and_the_debug_files_of_the_first(wheel: Path, tmp_path: Path) -> None:
    place = tmp_path / (wheel.name + SUFFIX)
    optimize(job(tmp_path, strip={"debug-files": True}), wheel)
    first, data = place.read_bytes(), wheel.read_bytes()
    for settings in ({"debug-files": True}, {}, {}):
        again = optimize(job(tmp_path, strip=settings), wheel).manifest
        assert again.artifact.before == again.artifact.after
        assert (wheel.read_bytes(), place.read_bytes()) == (data, first)
        assert list((tmp_path / f"{wheel.name}.companions").rglob("*.debug"))


def test_a_wheel_replaced_meanwhile_is_not_remembered_as_the_one_before(wheel: Path, tmp_path: Path) -> None:
    """Another process puts its own result in place between the look into the cache and the reading."""
    original = wheel.read_bytes()
    small = optimized(job(tmp_path), wheel, tmp_path / "small")[0]

    class Replacing(Silence):
        def start(self, what: str, total: int) -> None:
            if what == "reading":
                wheel.write_bytes(small)

    settings = {"compression-level": 7}
    optimize(replace(job(tmp_path, **settings), progress=Replacing()), wheel)
    wheel.write_bytes(original)
    assert optimize(job(tmp_path, **settings), wheel).manifest.artifact.after.size < len(original)


def test_findings_of_the_moment_are_not_remembered(tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path, {"demo/__init__.py": b"", "demo/broken.so": b"\x7fELF\2\1\1" + bytes(9)})
    for _ in range(2):
        assert [finding.code for finding in optimize(job(tmp_path), wheel, tmp_path / wheel.name).manifest.findings] == ["MB201"]
    (tmp_path / "pyproject.toml").write_text('[tool.mlbundle]\nignore = ["MB2"]\n')
    assert optimize(job(tmp_path), wheel, tmp_path / wheel.name).manifest.findings == ()

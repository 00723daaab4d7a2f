from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hatch_mlbundle.application import optimize
from hatch_mlbundle.budget import Performance
from hatch_mlbundle.config import read_config
from hatch_mlbundle.errors import ConfigurationError, ManifestError, MlbundleError
from hatch_mlbundle.job import prepare
from hatch_mlbundle.manifest import SUFFIX, Manifest
from hatch_mlbundle.plugins import load_registry
from hatch_mlbundle.subjects import load_subject
from hatch_mlbundle.verification import report
from hatch_mlbundle.verification.report import CommandRow, Measured, RevertedRow, StepResult, Verification, load_verification
from tests.bundles.wheelsmith import build_wheel

FILES = {"pkg/__init__.py": b"", "pkg/tests/__init__.py": b"", "pkg/tests/test_pkg.py": b"def test():\n    assert True\n" * 50}


def options(project: Path, **more: Any) -> argparse.Namespace:
    return argparse.Namespace(project=project, quiet=True, **more)


def optimized(folder: Path, **settings: Any) -> Path:
    registry = load_registry()
    wheel = build_wheel(folder, FILES)
    optimize(prepare(read_config(settings, registry.option_types()), registry, project=folder), wheel)
    return wheel


def beside(artifact: Path, suffix: str = SUFFIX) -> Path:
    return artifact.with_name(artifact.name + suffix)


def measured(seconds: float, peak: int) -> Measured:
    return Measured(runs=3, seconds=seconds, peak_memory=peak)


def verification(*after: Measured) -> Verification:
    rows = [CommandRow(name="run", arguments=("run",), compared="stdout", before=measured(9, 9), after=each) for each in after]
    return Verification(commands=tuple(rows), reverted=(), runs=6, jail=False)


TWO = verification(measured(2.5, 100), measured(1, 3000))


def codes(manifest: Manifest) -> list[str]:
    return [finding.code for finding in manifest.findings]


def test_the_manifest_beside_an_artifact_says_what_was_done(tmp_path: Path) -> None:
    wheel = optimized(tmp_path)
    manifest = load_subject(wheel, options(tmp_path)).manifest
    assert manifest == Manifest.load(beside(wheel))
    assert sum(step.saved.installed for step in manifest.steps) > 0
    assert manifest.artifact.before.installed > manifest.artifact.after.installed


def test_the_manifest_in_the_configured_folder_does_too(tmp_path: Path) -> None:
    wheel = optimized(tmp_path, **{"manifest-folder": "build/sizes"})
    (tmp_path / "pyproject.toml").write_text('[tool.mlbundle]\nmanifest-folder = "build/sizes"\n')
    assert load_subject(wheel, options(tmp_path)).manifest.steps


def test_the_manifest_of_other_bytes_is_told_and_left_aside(tmp_path: Path) -> None:
    wheel = optimized(tmp_path)
    build_wheel(tmp_path, {**FILES, "pkg/new.py": b"x = 1\n"})
    manifest = load_subject(wheel, options(tmp_path)).manifest
    assert (codes(manifest), manifest.steps) == (["MB812"], ())
    assert "pkg/new.py" in {row.path for row in manifest.files}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is no JSON"),
        ('"text"', "is no size manifest"),
        ("[" * 100_000, "is no JSON"),
        ('{"format": "mlbundle-manifest", "format_version": "2.0"}', "has format version '2.0'"),
        ('{"format": "mlbundle-manifest", "format_version": "1.0", "artifact": []}', "generator is missing"),
    ],
)
def test_a_manifest_nobody_can_read_does_not_hinder_an_analysis(tmp_path: Path, text: str, told: str) -> None:
    wheel = build_wheel(tmp_path, FILES)
    beside(wheel).write_text(text)
    (finding,) = load_subject(wheel, options(tmp_path)).manifest.findings
    assert (finding.code, told in finding.message, str(tmp_path) in finding.message) == ("MB811", True, False)
    with pytest.raises(ManifestError) as error:
        load_subject(beside(wheel), options(tmp_path))
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_ignored_codes_are_not_told(tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path, FILES)
    beside(wheel).write_text("{")
    (tmp_path / "pyproject.toml").write_text('[tool.mlbundle]\nignore = ["MB81"]\n')
    assert codes(load_subject(wheel, options(tmp_path)).manifest) == []


def test_what_was_measured_is_taken_from_the_verification_beside(tmp_path: Path) -> None:
    wheel = optimized(tmp_path)
    sha256 = Manifest.load(beside(wheel)).artifact.after.sha256
    beside(wheel, report.SUFFIX).write_text(TWO.to_json(wheel.name, str(sha256)))
    expected = Performance(seconds=2.5, peak_memory=3000)
    assert load_subject(wheel, options(tmp_path)).performance == expected
    assert load_subject(beside(wheel), options(tmp_path)).performance == expected
    beside(wheel).unlink()
    assert load_subject(wheel, options(tmp_path)).performance == expected


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (TWO.to_json("x", "0" * 64), []),
        (verification().to_json("x", "SHA"), []),
        (TWO.to_json("x", "SHA").replace("2.5", "NaN"), ["MB811"]),
        (TWO.to_json("x", "SHA").replace("2.5", '"2.5"'), ["MB811"]),
        (TWO.to_json("x", "SHA").replace('"1.0"', '"2.0"'), ["MB811"]),
        ("\x00", ["MB811"]),
        ("{}", ["MB811"]),
        ('{"format": "mlbundle-verification", "format_version": "1.0"}', ["MB811"]),
    ],
)
def test_a_verification_of_something_else_measures_nothing(tmp_path: Path, text: str, found: list[str]) -> None:
    wheel = optimized(tmp_path)
    sha256 = Manifest.load(beside(wheel)).artifact.after.sha256
    beside(wheel, report.SUFFIX).write_text(text.replace("SHA", str(sha256)))
    subject = load_subject(wheel, options(tmp_path))
    assert (subject.performance, codes(subject.manifest)) == (None, found)


def test_a_verification_is_read_as_it_was_written(tmp_path: Path) -> None:
    place = tmp_path / "report.json"
    one, two = (
        StepResult(step=name, installed=5, risk=risk, measured=(measured(1, 2),), problems=(problem,), deviation=0.5, changes=1)
        for name, risk, problem in (("as it is", None, None), ("strip", "low", "exit status 1"))
    )
    written = replace(TWO, reverted=(RevertedRow(step="strip", path="a\udcff\n", problem="gone"),), steps=(one, two))
    place.write_bytes(written.to_json("x.whl", "0" * 64).encode())
    assert load_verification(place, "0" * 64) == written
    assert load_verification(place, None) is None


def test_other_json_is_no_subject(tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text('{"name": "x"}')
    with pytest.raises(ManifestError, match="is no size manifest"):
        load_subject(tmp_path / "package.json", options(tmp_path))


def test_without_hashes_there_are_none_and_the_sizes_are_the_same(tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path, FILES)
    hashed = load_subject(wheel, options(tmp_path)).manifest
    manifest = load_subject(wheel, options(tmp_path, hashes=False)).manifest
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert '"sha256": "' not in manifest.to_json()
    assert manifest.artifact.after == replace(hashed.artifact.after, sha256=None)
    assert [row.path for row in manifest.files] == [row.path for row in hashed.files]


def test_analysis_needs_no_program_of_a_step_and_no_baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = '[tool.mlbundle]\noptimizers = ["upx"]\n[tool.mlbundle.budget]\nbaseline = "broken.json"\ninstalled-growth = 1\n'
    (tmp_path / "pyproject.toml").write_text(table)
    (tmp_path / "broken.json").write_text("{")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert load_subject(build_wheel(tmp_path, FILES), options(tmp_path)).manifest.files


@pytest.mark.parametrize("hashes", [True, False])
@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("optimizers = 1", "tool.mlbundle.optimizers"),
        ('optimizers = ["stripp"]', "did you mean 'strip'"),
        ("stric = true", "did you mean 'strict'"),
        ("[tool.mlbundle.strip]\ntol = 1", "tool.mlbundle.strip.tol"),
        ("workers = -1", "tool.mlbundle.workers"),
        ("[tool.mlbundle.limits]\nmax-ratio = 0", "max-ratio"),
        ("[", "is no TOML"),
    ],
)
def test_a_broken_configuration_is_told(tmp_path: Path, text: str, fault: str, *, hashes: bool) -> None:
    (tmp_path / "pyproject.toml").write_text(f"[tool.mlbundle]\n{text}\n")
    with pytest.raises(ConfigurationError, match=fault.replace("[", r"\[")):
        load_subject(build_wheel(tmp_path, FILES), options(tmp_path, hashes=hashes))


def test_suggestions_need_the_artifact_and_its_bytes(tmp_path: Path) -> None:
    wheel = optimized(tmp_path)
    with pytest.raises(MlbundleError, match="name the artifact itself"):
        load_subject(beside(wheel), options(tmp_path, suggest=True))
    with pytest.raises(MlbundleError, match="leave --no-hashes out"):
        load_subject(wheel, options(tmp_path, suggest=True, hashes=False))


def test_the_current_folder_has_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "a.py").write_text("x = 1\n")
    monkeypatch.chdir(tmp_path / "app")
    for hashes in (True, False):
        assert load_subject(Path(), options(tmp_path, hashes=hashes)).manifest.artifact.name == "app"


def test_a_name_as_long_as_names_may_be(tmp_path: Path) -> None:
    folder = tmp_path / ("n" * 255)
    folder.mkdir()
    (folder / "a.py").write_text("x = 1\n")
    assert json.loads(load_subject(folder, options(tmp_path)).manifest.to_json())["artifact"]["name"] == folder.name

"""Reports that a build writes beside its manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hatch_mlbundle.adapters.project import project_config
from hatch_mlbundle.application import optimize
from hatch_mlbundle.beside import REPORTS
from hatch_mlbundle.compare import compare
from hatch_mlbundle.errors import BudgetError, ConfigurationError
from hatch_mlbundle.job import Job, prepare
from hatch_mlbundle.manifest import SUFFIX, Manifest
from hatch_mlbundle.plugins import load_registry
from hatch_mlbundle.reports.html.page import html_report
from hatch_mlbundle.reports.markdown import analysis_markdown, comparison_markdown
from tests.bundles.wheelsmith import build_wheel

BOTH = {"reports": ["html", "markdown"]}


def job(folder: Path, **settings: Any) -> Job:
    registry = load_registry()
    return prepare(project_config(folder, registry, settings), registry, project=folder)


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    return build_wheel(tmp_path, {"demo/__init__.py": b"", "demo/noise.txt": b"x" * 1000, "demo/include/a.h": b"int a;\n" * 100})


def built(job: Job, wheel: Path, folder: Path) -> dict[str, bytes]:
    """Return the files in the folder after the build."""
    folder.mkdir(exist_ok=True)
    optimize(job, wheel, folder / wheel.name)
    return {path.name.removeprefix(wheel.name): path.read_bytes() for path in folder.iterdir()}


def test_the_reports_are_made_from_the_manifest(wheel: Path, tmp_path: Path) -> None:
    found = built(job(tmp_path, **BOTH), wheel, tmp_path / "out")
    assert found.keys() == {"", SUFFIX, *REPORTS.values()}
    manifest = Manifest.from_json(found[SUFFIX])
    assert found[REPORTS["html"]].decode() == html_report(manifest)
    assert found[REPORTS["markdown"]].decode() == analysis_markdown(manifest, top=10)


def test_a_recalled_wheel_has_the_same_reports(wheel: Path, tmp_path: Path) -> None:
    cached = job(tmp_path, cache={"folder": str(tmp_path / "cache")}, **BOTH)
    assert built(cached, wheel, tmp_path / "cold") == built(cached, wheel, tmp_path / "warm")


def test_growth_is_told_from_the_baseline(wheel: Path, tmp_path: Path) -> None:
    smaller = job(tmp_path, optimizers=["exclude"], exclude={"groups": ["headers"]})
    (tmp_path / "base.json").write_bytes(built(smaller, wheel, tmp_path / "before")[SUFFIX])
    found = built(job(tmp_path, budget={"baseline": "base.json"}, optimizers=[], **BOTH), wheel, tmp_path / "after")
    comparison = compare(Manifest.load(tmp_path / "base.json"), Manifest.from_json(found[SUFFIX]))
    assert found[REPORTS["markdown"]].decode() == comparison_markdown(comparison, top=10)
    assert comparison.growth > 700


def test_reports_that_are_no_longer_wanted_go(wheel: Path, tmp_path: Path) -> None:
    built(job(tmp_path, **BOTH), wheel, tmp_path / "out")
    assert built(job(tmp_path, reports=["markdown"]), wheel, tmp_path / "out").keys() == {"", SUFFIX, REPORTS["markdown"]}


def test_a_breach_leaves_the_reports_of_before(wheel: Path, tmp_path: Path) -> None:
    before = built(job(tmp_path, **BOTH), wheel, tmp_path / "out")
    with pytest.raises(BudgetError):
        built(job(tmp_path, budget={"installed": "1 kB"}, optimizers=[], **BOTH), wheel, tmp_path / "out")
    assert {path.name.removeprefix(wheel.name): path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_reports_need_a_manifest(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"tool\.mlbundle\.reports: are written beside the manifest"):
        job(tmp_path, manifest=False, **BOTH)

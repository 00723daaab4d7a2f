"""Budgets that builds are held to: by the hook, the target, a spec file and the command line, with nothing replaced after a breach."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hatch_mlbundle.adapters.project import FROZEN, project_config
from hatch_mlbundle.application import Result, finish_frozen, optimize
from hatch_mlbundle.cli import main
from hatch_mlbundle.errors import BudgetError, FindingsError, ManifestError
from hatch_mlbundle.job import Job, prepare
from hatch_mlbundle.manifest import SUFFIX, Manifest
from hatch_mlbundle.plugins import load_registry
from tests.bundles.wheelsmith import build_wheel
from tests.frozensmith import frozen_folder, pyinstaller, write_sources
from tests.projects import HOOK, build, built_wheel, frozen_project, tiny_project

BUDGET = "[tool.mlbundle.budget]\n"
OVERRIDE = '[[tool.mlbundle.budget.overrides]]\nlimit = "{limit}"\nreason = "grows by {{new}} models (#7)"\n'
NAME = "tiny_app-1.0-py2.py3-none-any.whl"


def manifest_of(project: Path) -> Manifest:
    wheel = built_wheel(project)
    return Manifest.load(wheel.with_name(wheel.name + SUFFIX))


def again(project: Path, tables: str) -> Path:
    """Let the next build of a project have these tables, too."""
    path = project / "pyproject.toml"
    path.write_text(path.read_text().partition(BUDGET)[0] + tables)
    return project


def tree(folder: Path) -> Mapping[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_breach_ends_the_build_in_one_line_and_leaves_the_wheel_as_hatch_built_it(tmp_path: Path) -> None:
    plain = tiny_project(tmp_path / "plain", "")
    project = tiny_project(tmp_path / "held", f"{HOOK}{BUDGET}installed = 100\n")
    assert build(plain).returncode == 0
    result = build(project)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("mlbundle: budget: installed is ")
    assert re.search(r", [\d.]+ k?B over the 100 B allowed \(tiny-app [\d.]+ k?B\)", line)
    assert line.endswith(f" ({NAME} stays as hatch built it)")
    assert built_wheel(project).read_bytes() == built_wheel(plain).read_bytes()
    assert [path.name for path in (project / "dist").iterdir()] == [NAME]


def test_each_breach_has_its_line(tmp_path: Path) -> None:
    result = build(tiny_project(tmp_path, f"{HOOK}{BUDGET}installed = 100\nfiles = 1\ncompressed = 10\n"))
    assert result.returncode == 1
    assert [line.split()[2] for line in result.stderr.splitlines()] == ["installed", "compressed", "files"]


def test_limits_that_are_kept_are_told_in_a_line_and_in_the_manifest(tmp_path: Path) -> None:
    project = tiny_project(tmp_path, f'{HOOK}{BUDGET}preset = ["pypi"]\ninstalled = "1 MB"\nstartup = 9\n')
    result = build(project)
    assert result.returncode == 0, result.stderr
    (line,) = (line for line in result.stderr.splitlines() if line.startswith("budget:"))
    assert line == "budget: 2 limits kept, 1 not measured, tightest: installed 0 %"
    rows = manifest_of(project).budget
    assert [(row.limit, row.status) for row in rows] == [("pypi", "ok"), ("installed", "ok"), ("startup", "unmeasured")]
    assert [row.actual for row in rows] == [
        built_wheel(project).stat().st_size,
        manifest_of(project).artifact.after.installed,
        None,
    ]
    assert [finding.code for finding in manifest_of(project).findings] == ["MB821"]
    assert manifest_of(project).configuration["budget"] == {"enabled": True, "preset": ["pypi"], "installed": 10**6, "startup": 9}


def test_an_override_lets_it_pass_and_its_reason_is_in_the_manifest(tmp_path: Path) -> None:
    tables = f"{HOOK}{BUDGET}installed = 100\nfiles = 500\n{OVERRIDE.format(limit='installed')}{OVERRIDE.format(limit='files')}"
    project = tiny_project(tmp_path, tables)
    assert build(project).returncode == 0
    assert [(row.limit, row.status, row.reason) for row in manifest_of(project).budget] == [
        ("installed", "overridden", "grows by {new} models (#7)"),
        ("files", "ok", "grows by {new} models (#7)"),
    ]
    assert [finding.code for finding in manifest_of(project).findings] == ["MB822"]


def test_an_override_without_its_limit_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    result = build(tiny_project(tmp_path, f"{HOOK}{BUDGET}installed = 100\n{OVERRIDE.format(limit='instaled')}"))
    assert result.returncode == 2
    assert "overrides[0].limit: unknown limit 'instaled'; did you mean 'installed'? (nothing was built)" in result.stderr
    assert list((tmp_path / "dist").iterdir()) == []


def test_growth_from_the_first_build_to_a_breach(tmp_path: Path) -> None:
    limits = f'{BUDGET}baseline = "sizes/app.json"\ninstalled-growth = "1 kB"\n'
    project = tiny_project(tmp_path, f"{HOOK}{limits}")
    assert build(project).returncode == 0
    (finding,) = manifest_of(project).findings
    assert (finding.code, finding.message.partition(";")[0]) == (
        "MB821",
        "budget: installed-growth is not measured: there is no baseline yet",
    )
    (project / "sizes").mkdir()
    shutil.copy(project / "dist" / (NAME + SUFFIX), project / "sizes" / "app.json")
    assert build(project).returncode == 0
    assert [(row.actual, row.status) for row in manifest_of(project).budget] == [(0, "ok")]
    (project / "tiny_app" / "big.bin").write_bytes(os.urandom(5_000))
    result = build(project)
    assert result.returncode == 1
    assert "budget: installed-growth is " in result.stderr
    assert "over the 1.00 kB allowed (tiny-app +5." in result.stderr


def test_a_broken_baseline_ends_the_build_before_it_begins(tmp_path: Path) -> None:
    project = tiny_project(tmp_path, f'{HOOK}{BUDGET}baseline = "app.json"\ninstalled-growth = 1\n')
    (project / "app.json").write_text("{")
    result = build(project)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert "app.json: is no JSON" in line
    assert list((project / "dist").iterdir()) == []


@pytest.mark.parametrize(("ignore", "code"), [("", 1), ('ignore = ["MB821"]\n', 0)])
def test_strict_makes_an_unmeasured_limit_fail_unless_it_is_ignored(tmp_path: Path, ignore: str, code: int) -> None:
    project = tiny_project(tmp_path, f"{HOOK}strict = true\n{ignore}{BUDGET}startup = 1\n")
    result = build(project)
    assert result.returncode == code
    assert ("MB821" in result.stderr) == bool(code)
    assert (project / "dist" / (NAME + SUFFIX)).exists() == (not code)


def job(folder: Path, budget: Mapping[str, Any], **settings: Any) -> Job:
    registry = load_registry()
    config = project_config(folder, registry, {"budget": budget, **settings}, FROZEN)
    return prepare(config, registry, project=folder)


def test_a_result_from_the_cache_was_held_to_this_very_baseline(tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path)
    budget = {"baseline": "base.json", "installed-growth": 0}
    first = optimize(job(tmp_path, {}), wheel, tmp_path / "out.whl")
    (tmp_path / "base.json").write_text(first.manifest.to_json())
    held = [optimize(job(tmp_path, budget), wheel, tmp_path / "out.whl").manifest for _ in range(2)]
    assert held[0] == held[1]
    assert [row.status for row in held[0].budget] == ["ok"]
    totals = first.manifest.artifact.after
    shrunk = first.manifest.to_json().replace(f'"installed": {totals.installed}', f'"installed": {totals.installed - 3000}')
    (tmp_path / "base.json").write_text(shrunk)
    before = tree(tmp_path)
    with pytest.raises(BudgetError, match=r"installed-growth is 3\.00 kB"):
        optimize(job(tmp_path, budget), wheel, tmp_path / "out.whl")
    assert tree(tmp_path) == before


def test_a_budget_changes_the_wheels_bytes_in_nothing(tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path)
    for name, budget in (("a.whl", {}), ("b.whl", {"installed": "1 GB", "preset": ["pypi"]})):
        optimize(job(tmp_path, budget), wheel, tmp_path / name)
    assert (tmp_path / "a.whl").read_bytes() == (tmp_path / "b.whl").read_bytes()


def command(tmp_path: Path, budget: Mapping[str, Any], wheel: Path, *arguments: str) -> int:
    lines = [f"{key} = {json.dumps(value)}" for key, value in budget.items()]
    (tmp_path / "pyproject.toml").write_text(BUDGET + "\n".join(lines))
    return main(["optimize", "--project", str(tmp_path), *arguments, str(wheel)])


def test_the_command_fails_replaces_nothing_and_can_do_without(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wheel = build_wheel(tmp_path)
    before = tree(tmp_path)
    assert command(tmp_path, {"installed": 1}, wheel) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("mlbundle: budget: installed is ")
    assert {key: value for key, value in tree(tmp_path).items() if key != "pyproject.toml"} == before
    assert command(tmp_path, {"installed": 1}, wheel, "--no-budget") == 0
    manifest = Manifest.load(wheel.with_name(wheel.name + SUFFIX))
    assert (manifest.budget, manifest.configuration["budget"]) == ((), {"enabled": False})


def test_a_second_run_tells_the_budget_anew_in_the_manifest_of_the_first(tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path, {"pkg/__init__.py": b"", "pkg/tests/test_pkg.py": b"def test():\n    assert True\n" * 50})
    place = wheel.with_name(wheel.name + SUFFIX)
    override = {"limit": "installed", "reason": "grows by new models"}
    runs: list[Mapping[str, Any]] = [{"enabled": False}, {"installed": 1, "overrides": [override]}, {"startup": 1}, {"startup": 1}, {}]
    manifests = []
    for budget in runs:
        optimize(job(tmp_path, budget, optimizers=["test_data"]), wheel)
        manifests.append(Manifest.load(place))
    assert {manifest.steps[0].saved.installed for manifest in manifests} == {manifests[0].steps[0].saved.installed} != {0}
    assert [[(row.status, row.reason) for row in manifest.budget] for manifest in manifests] == [
        [],
        [("overridden", "grows by new models")],
        [("unmeasured", None)],
        [("unmeasured", None)],
        [],
    ]
    assert [[finding.code for finding in manifest.findings] for manifest in manifests] == [[], [], ["MB821"], ["MB821"], []]
    assert ["budget" in manifest.configuration for manifest in manifests] == [True, True, True, True, False]


def test_a_breach_of_one_of_several_artifacts_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wheel = build_wheel(tmp_path)
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "noise.bin").write_bytes(bytes(100_000))
    (tmp_path / "out").mkdir()
    limits = {"installed": "50 kB", "files": 100}
    assert command(tmp_path, limits, wheel, "--quiet", "--output", str(tmp_path / "out"), str(tmp_path / "large")) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mlbundle: large: budget: installed is 100 kB, 50.0 kB over")


def test_a_broken_baseline_stops_the_command_unless_it_does_without(tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path)
    (tmp_path / "base.json").mkdir()
    assert command(tmp_path, {"baseline": "base.json"}, wheel) == 2
    assert command(tmp_path, {"baseline": "base.json"}, wheel, "--no-budget") == 0
    with pytest.raises(ManifestError, match="cannot be read"):
        job(tmp_path, {"baseline": "base.json"})


@pytest.mark.parametrize("key", ["startup", "peak-memory"])
def test_times_are_held_and_the_manifest_stays_the_same(tmp_path: Path, key: str) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "app" / "main.py").write_text("import time; time.sleep(0.01)")
    commands = [{"name": "main", "run": [sys.executable, "{bundle}/main.py"]}, {"name": "none", "run": [sys.executable, "-c", ""]}]

    def held(limit: object, name: str) -> Result:
        return optimize(job(tmp_path, {key: limit}, verify={"commands": commands}), tmp_path / "app", tmp_path / name)

    with pytest.raises(BudgetError, match=f"{key} is .* over the"):
        held(0, "never")
    assert not (tmp_path / "never").exists()
    manifests = [held(100 if key == "startup" else "9 GB", name).manifest for name in ("a/same", "b/same")]
    assert manifests[0].to_json() == manifests[1].to_json()
    (row,) = manifests[0].budget
    assert (row.limit, row.actual, row.status) == (key, None, "unmeasured")
    assert manifests[0].findings == ()


def test_a_frozen_bundle_is_held_with_what_it_is_packed_into(tmp_path: Path) -> None:
    built = frozen_folder(tmp_path, "built")
    former = tmp_path / "app"
    former.mkdir()
    (former / "old.txt").write_text("of an earlier build")
    before = tree(former)
    limits = {"preset": ["github-release", "lambda-zip", "one-file"], "rules": [{"kind": "bytecode", "count": 1}]}
    with pytest.raises(BudgetError, match=r"kind bytecode: count is .* over the 1 allowed"):
        finish_frozen(job(tmp_path, limits, archive=["zip"]), frozen_folder(tmp_path, "first"), former)
    assert tree(former) == before
    assert not list(tmp_path.glob("app.*"))
    limits["rules"] = [{"kind": "bytecode", "count": 100_000}]
    manifest = finish_frozen(job(tmp_path, limits, archive=["zip"]), built, former).manifest
    size = (tmp_path / "app.zip").stat().st_size
    assert [(row.limit, row.actual, row.status) for row in manifest.budget[:3]] == [
        ("github-release", size, "ok"),
        ("lambda-zip", size, "ok"),
        ("one-file", None, "unmeasured"),
    ]


def test_a_one_file_executable_is_held_before_it_is_there(tmp_path: Path) -> None:
    target = tmp_path / "one"
    with pytest.raises(FindingsError, match=r"MB821.*lambda-zip is not measured: there is no zip archive"):
        finish_frozen(job(tmp_path, {"preset": ["lambda-zip"]}, strict=True), frozen_folder(tmp_path, "a"), target, one_file=True)
    assert not target.exists()
    limits = {"preset": ["one-file", "pypi"]}
    manifest = finish_frozen(job(tmp_path, limits), frozen_folder(tmp_path, "b"), target, one_file=True).manifest
    assert [(row.limit, row.actual) for row in manifest.budget] == [(name, target.stat().st_size) for name in ("one-file", "pypi")]


def test_a_one_file_executable_is_checked_against_the_table_of_its_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "one"
    finish_frozen(job(tmp_path, {}), frozen_folder(tmp_path, "built"), target, one_file=True)
    tables = f'{BUDGET}installed = 1\n[tool.hatch.build.targets.frozen.mlbundle.budget]\npreset = ["one-file"]\n'
    (tmp_path / "pyproject.toml").write_text(tables)
    for subject in (target, target.with_name("one" + SUFFIX)):
        assert main(["check", str(subject), "--project", str(tmp_path), "--json"]) == 0
        (row,) = json.loads(capsys.readouterr().out)["limits"]
        assert (row["limit"], row["actual"]) == ("one-file", target.stat().st_size)


def test_the_target_ends_in_one_line_and_leaves_the_bundle_before(tmp_path: Path) -> None:
    pytest.importorskip("PyInstaller")
    options = 'entry-point = "tiny_app.main:main"\n[tool.hatch.build.targets.frozen.mlbundle.budget]\ninstalled = 1\n'
    project = frozen_project(tmp_path, options)
    former = project / "dist" / "Tiny_App" / "_internal"
    former.mkdir(parents=True)
    (former / "old.txt").write_text("of an earlier build")
    result = build(project, "-t", "frozen")
    assert result.returncode == 1
    (line,) = (line for line in result.stderr.splitlines() if "mlbundle:" in line)
    assert line.startswith("mlbundle: budget: installed is ")
    assert line.endswith("(what was built before is untouched)")
    assert list(tree(project / "dist")) == ["Tiny_App/_internal/old.txt"]


@pytest.mark.slow
def test_a_spec_file_collects_nothing_after_a_breach(tmp_path: Path) -> None:
    pytest.importorskip("PyInstaller")
    write_sources(tmp_path)
    (tmp_path / "app.spec").write_text(
        'a = Analysis(["app.py"], excludes=["ssl", "_ssl", "hashlib", "_hashlib"])\n'
        "from hatch_mlbundle.adapters.pyinstaller import optimize\noptimize(a)\npyz = PYZ(a.pure)\n"
        'exe = EXE(pyz, a.scripts, exclude_binaries=True, name="app")\ncoll = COLLECT(exe, a.binaries, a.datas, name="app")\n'
    )
    (tmp_path / "pyproject.toml").write_text(f'{BUDGET}\n[[tool.mlbundle.budget.rules]]\nfiles = "*.pyz/space/"\ncount = 0\n')
    result = pyinstaller(tmp_path, "app.spec")
    assert result.returncode == 1
    (line,) = (line for line in result.stderr.splitlines() if "mlbundle" in line)
    assert line.startswith("mlbundle: budget: *.pyz/space/: count is 1, 1 over the 0 allowed (")
    assert not (tmp_path / "dist").exists() or tree(tmp_path / "dist") == {}

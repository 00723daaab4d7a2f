"""The build hook, as hatchling calls it on real projects."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from installer.sources import WheelFile

from hatch_mlbundle.beside import REPORTS
from hatch_mlbundle.manifest import SUFFIX, Manifest
from tests.projects import HOOK, REPOSITORY, build, built_wheel, environment, tiny_project

GLOBAL_HOOK = "[tool.hatch.build.hooks.mlbundle]\n"
LATER_HOOK = HOOK + "[tool.hatch.build.targets.wheel.hooks.custom]\n"
CUSTOM = "from hatchling.builders.hooks.plugin.interface import BuildHookInterface\n\n\nclass Custom(BuildHookInterface):\n    pass\n"


def manifest_of(project: Path) -> Path:
    wheel = built_wheel(project)
    return wheel.with_name(wheel.name + SUFFIX)


def report_of(project: Path) -> Path:
    wheel = built_wheel(project)
    return wheel.with_name(wheel.name + REPORTS["html"])


@pytest.mark.parametrize("tables", [HOOK, GLOBAL_HOOK])
def test_wheel_is_small_valid_and_accounted_for(tmp_path: Path, tables: str) -> None:
    project = tiny_project(tmp_path, tables)
    result = build(project)
    assert result.returncode == 0, result.stderr
    wheel = built_wheel(project)
    with WheelFile.open(wheel) as source:
        source.validate_record()
    assert [name for name in zipfile.ZipFile(wheel).namelist() if "tests" in name] == []
    manifest = Manifest.load(manifest_of(project))
    assert manifest.artifact.after.size == wheel.stat().st_size < manifest.artifact.before.size
    assert {row.path for row in manifest.files if row.after is None} >= {"tiny_app/tests/test_answer.py", "tiny_app/tests/data/noise.bin"}


def test_short_table_on_standard_error_fits_80_columns(tmp_path: Path) -> None:
    result = build(tiny_project(tmp_path))
    assert "smaller installed" in result.stderr
    assert "test_data" in result.stderr
    paths = [line for line in result.stderr.splitlines() if ".whl" in line]
    assert f"manifest: dist/{manifest_of(tmp_path).name}" in paths
    assert max(len(line) for line in result.stderr.splitlines() if line not in paths) <= 80


def test_global_hook_leaves_sdist_and_editable_alone(tmp_path: Path) -> None:
    project = tiny_project(tmp_path, GLOBAL_HOOK)
    assert build(project, "-t", "sdist", "-t", "wheel:editable").returncode == 0
    assert len(list((project / "dist").iterdir())) == 2
    assert list((project / "dist").glob(f"*{SUFFIX}")) == []


def test_all_faults_of_the_configuration_before_anything_is_built(tmp_path: Path) -> None:
    tables = HOOK + 'workers = "two"\n[tool.mlbundle]\noptimisers = []\n[tool.mlbundle.strip]\nlod-check = true\n'
    project = tiny_project(tmp_path, tables)
    result = build(project)
    assert result.returncode == 2
    assert result.stderr.splitlines() == [
        "mlbundle: tool.mlbundle.optimisers: unknown key or optimizer; did you mean 'optimizers'?",
        "mlbundle: tool.hatch.build.targets.wheel.hooks.mlbundle.workers: must be an integer, not 'two'",
        "mlbundle: tool.mlbundle.strip.lod-check: unknown key; did you mean 'load-check'? (nothing was built)",
    ]
    assert list((project / "dist").iterdir()) == []


def test_missing_program_is_told_before_anything_is_built(tmp_path: Path) -> None:
    project = tiny_project(tmp_path, HOOK + '[tool.mlbundle.strip]\ntool = "elfutils"\n')
    result = build(project, PATH=str(tmp_path))
    assert result.returncode == 2
    assert "eu-strip" in result.stderr
    assert "Traceback" not in result.stderr
    assert list((project / "dist").iterdir()) == []


def test_strict_build_with_a_finding_fails_and_leaves_the_wheel(tmp_path: Path) -> None:
    tables = HOOK + 'strict = true\noptimizers = ["test_data"]\n[tool.mlbundle.strip]\nload-check = false\n'
    project = tiny_project(tmp_path, tables)
    result = build(project)
    assert result.returncode == 1
    assert "MB002" in result.stderr
    assert "Traceback" not in result.stderr
    assert any("tests/" in name for name in zipfile.ZipFile(built_wheel(project)).namelist())
    assert not manifest_of(project).exists()


def test_a_failed_build_takes_what_tells_of_the_one_before_along(tmp_path: Path) -> None:
    project = tiny_project(tmp_path, HOOK + 'reports = ["html"]\n')
    assert build(project).returncode == 0
    assert manifest_of(project).exists()
    assert report_of(project).exists()
    text = (project / "pyproject.toml").read_text()
    (project / "pyproject.toml").write_text(text + 'strict = true\n[tool.mlbundle.exclude]\npaths = ["no-such-file"]\n')
    result = build(project)
    assert result.returncode == 1
    assert "stays as hatch built it" in result.stderr
    assert not manifest_of(project).exists()
    assert not report_of(project).exists()


def test_ignored_finding_does_not_fail_a_strict_build(tmp_path: Path) -> None:
    tables = HOOK + 'strict = true\nignore = ["MB0"]\noptimizers = ["test_data"]\n[tool.mlbundle.strip]\nload-check = false\n'
    project = tiny_project(tmp_path, tables)
    assert build(project).returncode == 0


def test_a_later_hook_is_a_finding(tmp_path: Path) -> None:
    project = tiny_project(tmp_path, LATER_HOOK)
    (project / "hatch_build.py").write_text(CUSTOM)
    assert build(project).returncode == 0
    assert [finding.code for finding in Manifest.load(manifest_of(project)).findings] == ["MB001"]


def test_manifest_folder_and_no_manifest(tmp_path: Path) -> None:
    project = tiny_project(tmp_path / "a", HOOK + 'manifest-folder = "reports"\n')
    assert build(project).returncode == 0
    assert [path.name for path in (project / "dist").iterdir()] == [built_wheel(project).name]
    assert (project / "reports" / manifest_of(project).name).is_file()
    without = tiny_project(tmp_path / "b", HOOK + "manifest = false\n")
    assert build(without).returncode == 0
    assert not manifest_of(without).exists()


def test_clean_removes_our_manifests_and_reports_and_nobody_elses(tmp_path: Path) -> None:
    project = tiny_project(tmp_path, HOOK + 'reports = ["html"]\n')
    assert build(project).returncode == 0
    assert report_of(project).exists()
    strangers = project / "dist" / f"other-1.0-py3-none-any.whl{SUFFIX}"
    strangers.write_text("{}")
    assert manifest_of(project).exists()
    assert build(project, "-t", "wheel", "--clean-only").returncode == 0
    assert list((project / "dist").iterdir()) == [strangers]


def test_cleaning_hooks_after_the_build_keeps_the_manifest(tmp_path: Path) -> None:
    project = tiny_project(tmp_path)
    assert build(project, "-t", "wheel", "--clean-hooks-after").returncode == 0
    assert manifest_of(project).exists()


def test_nothing_to_do_leaves_the_wheels_bytes(tmp_path: Path) -> None:
    plain = tiny_project(tmp_path / "a", "")
    idle = tiny_project(tmp_path / "b", HOOK + "optimizers = []\n")
    assert build(plain).returncode == build(idle).returncode == 0
    assert built_wheel(plain).read_bytes() == built_wheel(idle).read_bytes()
    manifest = Manifest.load(manifest_of(idle))
    assert manifest.artifact.before == manifest.artifact.after


def test_same_bytes_in_varied_surroundings(tmp_path: Path) -> None:
    results = []
    for name, umask, more in (
        ("a", 0o022, {"TZ": "UTC", "PYTHONHASHSEED": "1", "LC_ALL": "C"}),
        ("ä b", 0o077, {"TZ": "Asia/Tokyo", "PYTHONHASHSEED": "2", "LC_ALL": "C.UTF-8", "MLBUNDLE_CACHE_DIR": str(tmp_path / "other")}),
    ):
        project = tiny_project(tmp_path / name)
        command = (
            f"import os, sys; os.umask({umask}); os.execv(sys.executable, [sys.executable, '-m', 'hatchling', 'build', '-t', 'wheel'])"
        )
        subprocess.run([sys.executable, "-c", command], cwd=project, env=environment(**more), check=True, capture_output=True)
        results.append((built_wheel(project).read_bytes(), manifest_of(project).read_bytes()))
    assert results[0] == results[1]


def test_a_crash_of_ours_is_one_line_with_a_log(tmp_path: Path) -> None:
    project = tiny_project(tmp_path / "project")
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "from hatch_mlbundle.adapters import hatch\n\n\ndef load_registry():\n    raise ZeroDivisionError('oops')\n\n\n"
        "hatch.load_registry = load_registry\n"
    )
    result = build(project, PYTHONPATH=str(site), TMPDIR=str(tmp_path))
    assert result.returncode == 3
    (line,) = result.stderr.splitlines()
    assert "ZeroDivisionError: oops" in line
    log = Path(line.removesuffix(" (nothing was built)").rpartition(" ")[2])
    assert "Traceback" in log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["-m", "hatch", "build", "-t", "wheel"],
        ["-m", "build", "--wheel"],
        ["-m", "uv", "build", "--wheel"],
        ["-m", "pip", "wheel", "--no-deps", "-w", "dist", "."],
    ],
    ids=["hatch", "build", "uv", "pip"],
)
def test_front_ends_in_their_own_build_environments(tmp_path: Path, command: list[str]) -> None:
    project = tiny_project(tmp_path, requirement=f"hatch-mlbundle @ {REPOSITORY.as_uri()}")
    allow = "[tool.hatch.metadata]\nallow-direct-references = true\n"
    (project / "pyproject.toml").write_text((project / "pyproject.toml").read_text() + allow)
    result = subprocess.run([sys.executable, *command], cwd=project, env=environment(), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert [name for name in zipfile.ZipFile(built_wheel(project)).namelist() if "tests" in name] == []
    if command[1] != "pip":  # which carries only the wheel away
        assert json.loads(manifest_of(project).read_text())["artifact"]["kind"] == "wheel"

"""The example project that setuptools and Cython build, from a copy of its folder."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.adapters.test_setuptools import complaints, needs_compiler
from tests.projects import REPOSITORY, built_wheel, environment
from tests.setuptoolsmith import bdist_wheel, hatch_wheel, manifest_of, shipped

EXAMPLE = REPOSITORY / "examples" / "setuptools-cython"


def printed_by_the_readme(wheel: Path, project: Path, environment_folder: Path) -> str:
    """Install the wheel, and run the README's program in the project's folder, where its sources are."""
    venv.create(environment_folder, with_pip=False)
    python = environment_folder / "bin" / "python"
    uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--offline", "--no-cache", "--no-deps"]
    subprocess.run([*uv, "--python", python, wheel], check=True, timeout=60)
    (program,) = re.findall(r'^\$ python -I -c "(.+)"', (EXAMPLE / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return subprocess.run([python, "-I", "-c", program], cwd=project, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.slow
@needs_compiler
def test_the_example_is_small_and_finds_what_is_nearest(tmp_path: Path) -> None:
    pytest.importorskip("Cython")
    project = tmp_path / "example"
    shutil.copytree(EXAMPLE, project, ignore=shutil.ignore_patterns("build", "dist", "*.egg-info", "*.so", "_search.c"))
    result = bdist_wheel(project, CFLAGS="-O0")  # for the time that it takes
    assert (result.returncode, complaints(result)) == (0, []), result.stderr
    wheel = built_wheel(project)
    assert sorted(Path(path).suffix for path in shipped(wheel)) == [".py", ".so"]
    (tree,) = (project / "build").glob("lib*")
    table = '[tool.mlbundle.exclude]\ngroups = ["sources"]\n'
    assert shipped(wheel) == shipped(hatch_wheel(tmp_path / "twin", tree, table))
    manifest = manifest_of(wheel)
    assert {step.optimizer for step in manifest.steps if step.changes} == {"test_data", "exclude", "strip"}
    assert manifest.findings == ()
    assert printed_by_the_readme(wheel, project, tmp_path / "venv") == "1\n"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    shutil.copytree(project / "nearest" / "tests", tmp_path / "installed" / "checks")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "checks"]
    tests = subprocess.run(command, cwd=tmp_path / "installed", env=environment(), capture_output=True, text=True, check=False)
    assert tests.returncode == 0, tests.stdout

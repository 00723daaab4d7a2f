"""The target `frozen`, as hatchling builds it on real projects with the real PyInstaller."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from hatch_mlbundle.manifest import SUFFIX, Manifest
from tests.projects import REPOSITORY, build, environment, frozen_project

pytestmark = pytest.mark.skipif(os.name != "posix", reason="folders are compared as POSIX has them")

MAIN = 'entry-point = "tiny_app.main:main"\n'
DATA = """\
entry-point = "tiny_app.main:data"
collect-data = ["tiny_app"]
data = ["assets:assets", "more/*.txt:assets"]
hidden-imports = ["wave", "no_such_module"]
exclude-modules = ["_hashlib", "_ssl"]
[tool.hatch.build.targets.frozen.mlbundle]
optimizers = ["strip"]
[tool.hatch.build.hooks.mlbundle]
workers = 1
"""


@dataclass(frozen=True, kw_only=True)
class Built:
    project: Path
    output: str

    @property
    def folder(self) -> Path:
        return self.project / "dist" / "Tiny_App"

    @property
    def manifest(self) -> Manifest:
        return Manifest.load(self.folder.with_name(self.folder.name + SUFFIX))


def frozen(project: Path, *arguments: str, **more: str) -> Built:
    result = build(project, "-t", "frozen", *arguments, **more)
    assert result.returncode == 0, result.stderr
    return Built(project=project, output=result.stderr)


def run(executable: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a frozen executable away from the project, with an empty environment."""
    return subprocess.run([executable, *arguments], cwd="/", env={"LC_ALL": "C.UTF-8"}, capture_output=True, text=True, check=False)


def tree(folder: Path) -> Mapping[str, bytes | str | None]:
    """Return what is in a folder: bytes of files, targets of links, None for folders; modes with the names."""

    def content(path: Path) -> bytes | str | None:
        if path.is_symlink():
            return str(path.readlink())
        return path.read_bytes() if path.is_file() else None

    return {f"{path.relative_to(folder)} {path.lstat().st_mode:o}": content(path) for path in sorted(folder.rglob("*"))}


def project_with_data(folder: Path) -> Path:
    project = frozen_project(folder, DATA)
    for name in ("assets/ä ö.txt", "more/b.txt", "more/c.dat"):
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text(name)
    (project / "assets" / "loop").symlink_to(".")
    (project / "assets" / "self").symlink_to("self")
    main = project / "src" / "tiny_app" / "main.py"
    main.write_text(main.read_text() + "\n\ndef unused():\n    import guarded\n\n\nif len(sys.argv) > 9:\n    import guarded_too\n")
    return project


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Return a build below a folder with blanks and letters beyond ASCII, with links in its data that lead nowhere."""
    project = project_with_data(tmp_path_factory.mktemp("frozen") / "prüf ordner")
    return frozen(project)


def test_it_runs_with_its_data(built: Built) -> None:
    result = run(built.folder / "Tiny_App")
    assert (result.returncode, result.stdout, result.stderr) == (0, "some words b.txt ä ö.txt\n", "")


def test_it_was_made_small_and_accounted_for(built: Built) -> None:
    manifest = built.manifest
    assert [step.optimizer for step in manifest.steps] == ["strip"]
    assert manifest.artifact.name == "Tiny_App"
    assert manifest.artifact.after.installed < manifest.artifact.before.installed
    on_disk = sum(path.stat().st_size for path in built.folder.rglob("*") if path.is_file() and not path.is_symlink())
    assert manifest.artifact.after.installed == on_disk


def test_what_was_asked_for_in_vain_is_a_finding(built: Built) -> None:
    assert [(each.code, each.message) for each in built.manifest.findings] == [
        ("MB503", "hidden-imports names no_such_module, and there is no such module")
    ]


def test_the_summary_says_what_was_done_and_where_it_lies(built: Built) -> None:
    first, *_, last = built.output.splitlines()
    assert first.startswith("PyInstaller ")
    assert last == str(built.folder)
    assert "manifest: dist/Tiny_App.mlbundle.json" in built.output
    assert "smaller installed" in built.output


def test_nothing_else_is_left_in_the_project(built: Built) -> None:
    assert sorted(path.name for path in built.project.iterdir()) == ["assets", "dist", "more", "pyproject.toml", "src"]
    assert sorted(path.name for path in (built.project / "dist").iterdir()) == ["Tiny_App", "Tiny_App.mlbundle.json"]
    assert sorted(path.name for path in (built.project / "src" / "tiny_app").iterdir()) == ["__init__.py", "main.py", "words.txt"]


def test_same_bytes_in_varied_surroundings(built: Built, tmp_path: Path) -> None:
    project = project_with_data(tmp_path / "elsewhere")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("import wave, colorsys\n")
    more = {"TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7", "LC_ALL": "C", "PYTHONOPTIMIZE": "2", "MLBUNDLE_CACHE_DIR": str(tmp_path / "cache")}
    paths = {
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", str(REPOSITORY))]),
        "LD_LIBRARY_PATH": "/lib",
    }
    former = os.umask(0o077)
    try:
        other = frozen(project, **more, **paths)
    finally:
        os.umask(former)
    assert tree(other.folder) == tree(built.folder)
    assert other.manifest == built.manifest


def test_scripts_of_the_project_share_a_folder_which_is_replaced_and_cleaned(tmp_path: Path) -> None:
    scripts = '[project.scripts]\nsay = "tiny_app.main:main"\n"show it" = "tiny_app.main:data"\n'
    project = frozen_project(tmp_path, 'collect-data = ["tiny_app"]\nmlbundle = {archive = ["zip"]}\n', scripts)
    former = project / "dist" / "Tiny_App"
    (former / "_internal").mkdir(parents=True)
    (former / "_internal" / "old.txt").write_text("of an earlier build")
    (project / "dist" / "stranger.whl").write_text("")
    folder = frozen(project).folder
    assert run(folder / "say", "ü", "x").stdout == "heard ü x\n"
    assert run(folder / "say", "fail").returncode == 3
    assert "FileNotFoundError" in run(folder / "show it").stderr  # assets/, which this project lacks
    assert {path.name for path in folder.iterdir()} == {"say", "show it", "_internal"}
    assert not (folder / "_internal" / "old.txt").exists()
    assert {path.name for path in folder.parent.glob("*.zip*")} == {"Tiny_App.zip", "Tiny_App.zip.sha256"}
    (project / "dist" / "Tiny_App.models" / "bert").mkdir(parents=True)
    assert build(project, "-t", "frozen", "--clean-only").returncode == 0
    assert [path.name for path in (project / "dist").iterdir()] == ["stranger.whl"]


SPEC = """\
import os

a = Analysis(["src/tiny_app/script.py"])
exe = EXE(PYZ(a.pure), a.scripts, exclude_binaries=True, name=os.environ["EXECUTABLE"])
coll = COLLECT(exe, a.binaries, a.datas, name="any")
"""


def test_a_spec_of_ones_own(tmp_path: Path) -> None:
    project = frozen_project(tmp_path, 'spec = "app.spec"\nname = "mine"\nenvironment = ["EXECUTABLE"]\n')
    (project / "app.spec").write_text(SPEC)
    (project / "src" / "tiny_app" / "script.py").write_text("import absent_module\nfrom tiny_app.main import main\n")
    built = frozen(project, EXECUTABLE="tool")
    folder = project / "dist" / "mine"
    assert {path.name for path in folder.iterdir()} == {"tool", "_internal"}
    assert "No module named 'absent_module'" in run(folder / "tool").stderr
    (finding,) = Manifest.load(folder.with_name("mine" + SUFFIX)).findings
    assert finding.message == "script.py imports absent_module, which is not in the build environment: it will fail when it runs"
    assert "MB501" in built.output


def test_more_arguments_are_relative_to_the_project(tmp_path: Path) -> None:
    arguments = '["--runtime-hook", "hooks/first.py", "--collect-submodules=tiny_app"]'
    project = frozen_project(tmp_path, f'script = "run.py"\nname = "app"\npyinstaller-arguments = {arguments}\n')
    (project / "hooks").mkdir()
    (project / "hooks" / "first.py").write_text("print('first')\n")
    (project / "run.py").write_text("import importlib, sys\nimportlib.import_module('.'.join(['tiny_app', 'main'])).main()\n")
    frozen(project)
    assert run(project / "dist" / "app" / "app", "x").stdout == "first\nheard x\n"


def test_one_file(tmp_path: Path) -> None:
    project = frozen_project(tmp_path, MAIN + "one-file = true\n")
    frozen(project)
    executable = project / "dist" / "Tiny_App"
    assert executable.is_file()
    shutil.move(executable, tmp_path / "moved")
    assert subprocess.run([tmp_path / "moved", "x"], capture_output=True, text=True, check=False).stdout == "heard x\n"


@pytest.mark.slow
def test_hatch_itself_brings_the_dependencies_where_the_target_asks(tmp_path: Path) -> None:
    options = 'entry-point = "tiny_app.uses:main"\nrequire-runtime-dependencies = true\n[tool.hatch.build.targets.frozen.hooks.mlbundle]\n'
    project = frozen_project(tmp_path, options, 'dependencies = ["iniconfig"]\n', f"hatch-mlbundle[frozen] @ {REPOSITORY.as_uri()}")
    with (project / "pyproject.toml").open("a") as file:
        file.write("[tool.hatch.metadata]\nallow-direct-references = true\n")
    (project / "src" / "tiny_app" / "uses.py").write_text("import iniconfig\n\n\ndef main():\n    print(iniconfig.__name__)\n")
    variables = environment(HATCH_DATA_DIR=str(tmp_path / "data"), HATCH_ENV_TYPE_VIRTUAL_UV_PATH="")
    result = subprocess.run(
        [sys.executable, "-m", "hatch", "build", "-t", "frozen"], cwd=project, env=variables, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert run(project / "dist" / "Tiny_App" / "Tiny_App").stdout == "iniconfig\n"

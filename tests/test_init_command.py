"""`mlbundle init` on real small projects, and the builds that follow from what it wrote."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import TypeAlias
from zipfile import ZipFile

import pytest

from hatch_mlbundle.adapters.project import project_config
from hatch_mlbundle.cli import main
from hatch_mlbundle.initial.toml_file import added, without_table
from hatch_mlbundle.manifest import SUFFIX, Manifest
from hatch_mlbundle.plugins import load_registry
from tests.bundles.wheelsmith import build_wheel
from tests.imagesmith import layer, oci_layout
from tests.projects import build, built_wheel, environment, frozen_project, tiny_project

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Done:
    """What a run came to."""

    returncode: int
    stdout: str
    stderr: str


Init: TypeAlias = Callable[..., Done]


@pytest.fixture
def init(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Init:
    """Give a function that runs the command in a folder; in this process, as one of its own would spend its time on imports."""

    def run(folder: Path, *arguments: object) -> Done:
        monkeypatch.chdir(folder)
        capsys.readouterr()
        code = main(["init", *map(str, arguments)])
        return Done(code, *capsys.readouterr())

    return run


def written(folder: Path) -> dict[str, object]:
    return tomllib.loads((folder / "pyproject.toml").read_bytes().decode())


def runs(folder: Path) -> list[list[str]]:
    """Return the commands that the project's configuration, which has to be valid, verifies artifacts by."""
    return [list(command.run) for command in project_config(folder, load_registry()).settings.verify.commands]


def test_a_hatch_project_gets_requirement_hook_steps_and_a_command(tmp_path: Path, init: Init) -> None:
    project = tiny_project(tmp_path, tables="", requirement="packaging")
    done = init(project)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "pyproject.toml: build-system.requires has hatch-mlbundle, [tool.mlbundle] is written\nnext: hatch build\n"
    document = written(project)
    assert document["build-system"] == {"requires": ["hatchling", "packaging", "hatch-mlbundle"], "build-backend": "hatchling.build"}
    assert document["tool"]["hatch"]["build"]["targets"]["wheel"] == {"packages": ["tiny_app"], "hooks": {"mlbundle": {}}}  # type: ignore[index]
    assert document["tool"]["mlbundle"]["optimizers"] == ["test_data", "exclude", "strip"]  # type: ignore[index]
    assert runs(project) == [["{python}", "-c", "import tiny_app"]]
    text = (project / "pyproject.toml").read_text()
    assert '# "quantize" (lossy' in text
    assert [line for line in text.splitlines() if len(line) > 80] == []


@pytest.mark.slow
def test_what_is_written_for_hatch_builds_and_holds(tmp_path: Path, init: Init) -> None:
    project = tiny_project(tmp_path, tables="")
    assert init(project).returncode == 0
    built = build(project)
    assert built.returncode == 0, built.stderr
    assert "works as before" in built.stderr + built.stdout
    wheel = built_wheel(project)
    assert Manifest.load(wheel.with_name(wheel.name + SUFFIX)).artifact.after.files < 8
    again = init(project, "--replace", wheel)
    assert again.returncode == 0, again.stderr
    assert written(project)["tool"]["mlbundle"]["budget"].keys() == {"installed", "compressed"}  # type: ignore[index]
    assert main(["check", str(wheel)]) == 0


SETUP_PY = """\
from setuptools import setup

setup(
    name="tiny-app",
    version="1.0",
    packages=["tiny_app", "tiny_app.tests"],
    entry_points={"console_scripts": ["tiny = tiny_app.cli:main"]},
)
"""
CLI = "import argparse\n\n\ndef main():\n    argparse.ArgumentParser(prog='tiny').parse_args()\n"


@pytest.fixture
def legacy(tmp_path: Path) -> Path:
    """Return a project with a setup.py, and no pyproject.toml."""
    tiny_project(tmp_path)
    (tmp_path / "pyproject.toml").unlink()
    (tmp_path / "setup.py").write_text(SETUP_PY)
    (tmp_path / "tiny_app/cli.py").write_text(CLI)
    return tmp_path


def test_a_project_with_setup_py_alone_gets_a_pyproject(legacy: Path, init: Init) -> None:
    assert init(legacy).stdout.endswith("next: python -m build --wheel\n")
    document = written(legacy)
    assert document["build-system"] == {"requires": ["setuptools", "hatch-mlbundle"]}
    assert document["tool"].keys() == {"mlbundle"}  # type: ignore[attr-defined]
    assert runs(legacy) == [["{python}", "-c", "import tiny_app"], ["tiny", "--help"]]


@pytest.mark.slow
@pytest.mark.skipif(
    not [each for each in entry_points(group="setuptools.finalize_distribution_options") if each.value.startswith("hatch_mlbundle")],
    reason="hatch-mlbundle was installed without its entry points for setuptools",
)
def test_what_is_written_for_setuptools_builds(legacy: Path, init: Init) -> None:
    pytest.importorskip("setuptools")
    assert init(legacy).returncode == 0
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--skip-dependency-check"]
    built = subprocess.run(command, cwd=legacy, env=environment(), capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    assert "works as before" in built.stdout
    assert "tiny_app/tests/test_answer.py" not in ZipFile(built_wheel(legacy)).namelist()


OTHERS = {
    "flit": '[build-system]\nrequires = ["flit_core"]\nbuild-backend = "flit_core.buildapi"\n',
    "uv_build": '[build-system]\nrequires = ["uv_build"]\nbuild-backend = "uv_build"\n',
    "poetry": '[build-system]\nrequires = ["poetry-core"]\nbuild-backend = "poetry.core.masonry.api"\n',
    "mesonpy": '[build-system]\nrequires = ["meson-python"]\nbuild-backend = "mesonpy"\n',
}


@pytest.mark.parametrize("back_end", OTHERS)
def test_another_back_end_gets_the_table_and_the_step_after_the_build(tmp_path: Path, back_end: str, init: Init) -> None:
    tiny_project(tmp_path)
    before = f'{OTHERS[back_end]}\n[project]\nname = "tiny-app"\nversion = "1.0"\n'
    (tmp_path / "pyproject.toml").write_text(before)
    done = init(tmp_path)
    assert "run mlbundle optimize dist/*.whl (docs/other-back-ends.md)" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 130
    after = (tmp_path / "pyproject.toml").read_text()
    assert after.startswith(before)
    assert written(tmp_path)["tool"].keys() == {"mlbundle"}  # type: ignore[attr-defined]


def test_the_target_frozen_gets_its_hook_and_runs_the_program(tmp_path: Path, init: Init) -> None:
    frozen_project(tmp_path, 'entry-point = "tiny_app.main:main"', requirement="packaging")
    main = tmp_path / "src/tiny_app/main.py"
    main.write_text("import argparse\n\n\ndef main():\n    argparse.ArgumentParser().parse_args()\n")
    assert "next: hatch build -t frozen" in init(tmp_path).stdout
    document = written(tmp_path)
    assert "hatch-mlbundle[frozen]" in document["build-system"]["requires"]  # type: ignore[index]
    assert document["tool"]["hatch"]["build"]["targets"]["frozen"]["hooks"] == {"mlbundle": {}}  # type: ignore[index]
    assert "exclude_modules" in document["tool"]["mlbundle"]["optimizers"]  # type: ignore[index]
    assert runs(tmp_path) == [["{bundle}/Tiny_App", "--help"]]


def test_a_frozen_application_is_told_of_steps_for_what_it_requires(tmp_path: Path, init: Init) -> None:
    project = 'dependencies = ["torch", "onnxruntime"]'
    frozen_project(tmp_path, 'entry-point = "tiny_app.main:main"', project=project)
    text = init(tmp_path, "--print").stdout
    for step in ("torch_files", "torch_to_onnx", "onnx_quantize", "prune_unused"):
        assert f'# "{step}"' in text


@pytest.mark.slow
def test_what_is_written_for_a_frozen_application_builds(tmp_path: Path, init: Init) -> None:
    pytest.importorskip("PyInstaller")
    frozen_project(tmp_path, 'entry-point = "tiny_app.main:main"')
    (tmp_path / "src/tiny_app/main.py").write_text("import argparse\n\n\ndef main():\n    argparse.ArgumentParser().parse_args()\n")
    assert init(tmp_path).returncode == 0
    built = build(tmp_path, "-t", "frozen")
    assert built.returncode == 0, built.stderr
    assert "works as before" in built.stderr + built.stdout
    bundle = tmp_path / "dist/Tiny_App"
    assert init(tmp_path, "--replace", bundle).returncode == 0
    assert runs(tmp_path) == [["{bundle}/Tiny_App", "--help"]]
    assert main(["check", str(bundle)]) == 0


def test_names_that_no_toml_and_no_line_can_hold_are_left_out(tmp_path: Path, init: Init) -> None:
    (tmp_path / os.fsdecode(b"bad\x1b[31m\xff.spec")).write_text("Analysis([])\n")
    done = init(tmp_path)
    assert done.returncode == 0, done.stderr
    assert r"next: bad\x1b[31m\udcff.spec: add two lines" in done.stdout
    assert "bad" not in (tmp_path / "pyproject.toml").read_text()


def test_scripts_whose_names_no_toml_can_hold_are_left_out(tmp_path: Path, init: Init) -> None:
    points = r'{"console_scripts": ["a\x7f=a:b", "\ud800=a:b"]}'
    (tmp_path / "setup.py").write_text(f"from setuptools import setup\nsetup(name='a', entry_points={points})\n")
    done = init(tmp_path)
    assert done.returncode == 0, done.stderr
    assert '"--help"' not in (tmp_path / "pyproject.toml").read_text()


def test_a_spec_file_is_told_of(tmp_path: Path, init: Init) -> None:
    (tmp_path / "app.spec").write_text("a = Analysis(['app.py'])\npyz = PYZ(a.pure)\n")
    assert "next: app.spec: add two lines before PYZ" in init(tmp_path).stdout
    assert "python_sources" in written(tmp_path)["tool"]["mlbundle"]["optimizers"]  # type: ignore[index]
    assert runs(tmp_path) == []


def test_a_wheel_alone_gets_figures(tmp_path: Path, init: Init) -> None:
    wheel = build_wheel(
        tmp_path, {"pkg/__init__.py": b"", "pkg/tests/__init__.py": b"", "pkg/tests/test_it.py": b"def test_it(): pass\n" * 90}
    )
    done = init(tmp_path, wheel)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "pyproject.toml").read_text()
    assert "Here it saves 1.80 kB in 2 files." in " ".join(text.replace("#", "").split())
    assert runs(tmp_path) == [["{python}", "-c", "import pkg"]]
    assert main(["check", str(wheel)]) == 0


def test_a_folder_gets_the_groups_that_only_developers_need(tmp_path: Path, init: Init) -> None:
    (tmp_path / "app/include").mkdir(parents=True)
    (tmp_path / "app/include/a.h").write_text("int a;\n" * 900)
    (tmp_path / "app/b.txt").write_text("text\n" * 900)
    assert init(tmp_path, "app").stdout.endswith("next: mlbundle optimize app\n")
    assert '# groups = ["headers"]' in (tmp_path / "pyproject.toml").read_text()
    assert main(["check", "app"]) == 0


def test_a_container_image_gets_steps_and_a_budget(tmp_path: Path, init: Init) -> None:
    members = ("etc/", None), ("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n"), ("app/run.py", b"print(1)\n")
    image = oci_layout(tmp_path / "image", [layer(*members)])
    assert init(tmp_path, image).returncode == 0
    assert written(tmp_path)["tool"]["mlbundle"].keys() == {"optimizers", "budget"}  # type: ignore[index]
    assert main(["check", str(image)]) == 0


def test_print_writes_nothing_and_is_what_would_be_written(tmp_path: Path, init: Init) -> None:
    project = tiny_project(tmp_path, tables="", requirement="packaging")
    before = (project / "pyproject.toml").read_text()
    for option in ("--print", "--dry-run"):
        shown = init(project, option)
        assert shown.returncode == 0
        assert (project / "pyproject.toml").read_text() == before
    assert init(project).returncode == 0
    requirement, _, tables = shown.stdout.partition("\n\n")
    assert requirement == '# build-system.requires gets "hatch-mlbundle"'
    assert (project / "pyproject.toml").read_text().endswith(tables)


def test_a_configuration_stays_unless_it_is_to_be_replaced(tmp_path: Path, init: Init) -> None:
    project = tiny_project(
        tmp_path, tables="[tool.mlbundle]\nstrict = true  # mine\n\n[tool.mlbundle.strip]\nenabled = false\n\n[tool.x]\ny = 1\n"
    )
    before = (project / "pyproject.toml").read_bytes()
    refused = init(project)
    assert (refused.returncode, (project / "pyproject.toml").read_bytes()) == (2, before)
    (line,) = refused.stderr.splitlines()
    assert "pyproject.toml: has [tool.mlbundle] already" in line
    assert "--replace" in line
    assert refused.stdout == init(project, "--print").stdout
    assert init(project, "--replace").returncode == 0
    document = written(project)
    assert document["tool"]["x"] == {"y": 1}  # type: ignore[index]
    assert not {"strict", "strip"} & document["tool"]["mlbundle"].keys()  # type: ignore[index]
    once = (project / "pyproject.toml").read_bytes()
    assert init(project, "--replace").returncode == 0
    assert tomllib.loads(once.decode()) == written(project)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["", "end"])
def test_what_is_replaced_takes_no_comment_of_another_table_with_it(end: str, last: str) -> None:
    ours = "[tool.mlbundle] # mine\n# mine\nstrict = true\n\n# mine\n\n"
    others = "# of x\n# more of x\n[tool.x]\ny = [\n  # of it\n  [1],\n]\n# of the list\n[[tool.list]]\n"
    text = f"# first\n\n{ours}{others}[tool.mlbundle.strip]\n# of the second\n[[tool.list]]\n# {last}".replace("\n", end)
    assert without_table(text) == f"# first\n\n{others}# of the second\n[[tool.list]]\n# {last}".replace("\n", end)


def test_replacing_again_changes_nothing() -> None:
    once = added(without_table("[tool.x]\n\n[tool.mlbundle]\nstrict = true\n"), "", "[tool.mlbundle]\n")
    assert added(without_table(once), "", "[tool.mlbundle]\n") == once == "[tool.x]\n\n[tool.mlbundle]\n"


def test_a_hook_with_options_is_a_configuration(tmp_path: Path, init: Init) -> None:
    project = tiny_project(tmp_path, tables="[tool.hatch.build.targets.wheel.hooks.mlbundle]\nstrict = true\n")
    refused = init(project, "--replace")
    assert refused.returncode == 2
    assert "move its keys to [tool.mlbundle]" in refused.stderr


def test_what_takes_minutes_to_install_is_not_installed_by_every_build(tmp_path: Path, init: Init) -> None:
    project = tiny_project(tmp_path, tables="")
    with (project / "pyproject.toml").open("a") as file:
        file.write("[tool.other]\nx = 1\n")
    text = (project / "pyproject.toml").read_text().replace('version = "1.0"', 'version = "1.0"\ndependencies = ["torch>=2", "numpy"]')
    (project / "pyproject.toml").write_text(text)
    assert init(project).returncode == 0
    assert runs(project) == []
    assert '# run = ["{python}", "-c", "import tiny_app"]' in (project / "pyproject.toml").read_text()


def test_where_hatch_reads_another_file_the_hook_is_left_to_it(tmp_path: Path, init: Init) -> None:
    project = tiny_project(tmp_path, tables="")
    (project / "hatch.toml").write_text("[build.targets.wheel]\npackages = ['tiny_app']\n")
    assert "next: hatch.toml has the build's tables: add [build.targets.wheel.hooks.mlbundle] there" in init(project).stdout
    assert "hooks" not in (project / "pyproject.toml").read_text()


REQUIREMENTS = [
    '[build-system]\nrequires = ["hatchling"]\n',
    '[build-system]\nrequires = [\n  "hatchling>=1",   # why\n  "x"\n]\n',
    '[build-system]\r\nrequires = [\r\n    "hatchling",\r\n]\r\n# the end',
    'build-system = {requires=["a"], build-backend="b"}\n',
    "[build-system]\nrequires=[ 'a' ]\nbuild-backend='x'",
    "[build-system]\nrequires=[]\n\n\n",
    '[build-system]\nrequires = [\n\t"hatchling>=1",\n\t# "x"\n\n]\n[tool.a]\nb = """\n[tool.mlbundle]\n"""\n',
    'build-system.requires = ["a"]\n[tool]\nx.y.z = 1\n',
    '[tool.a]\nb = 1\n[build-system]\nrequires = ["a",\n            "b"]\n[tool.c]\n[[tool.d]]\ne = "ü"\n',
    "# nothing but this",
    "",
]


@pytest.mark.parametrize("text", REQUIREMENTS)
def test_every_byte_stays(text: str) -> None:
    tables = "[tool.mlbundle]\n# with a comment\nstrict = true\n"
    new = added(text, "hatch-mlbundle", tables)
    before, after = tomllib.loads(text), tomllib.loads(new)
    assert after["tool"]["mlbundle"] == {"strict": True}
    wanted = before.get("build-system", {}).get("requires", ["setuptools"])
    assert after["build-system"]["requires"] == [*wanted, "hatch-mlbundle"]
    rest = iter(new)
    assert all(character in rest for character in text), "something is gone"
    assert new.endswith(tables.replace("\n", "\r\n") if "\r\n" in text else tables)
    assert ("\r\n" in new) == ("\r\n" in text)
    assert len(new) - len(text) < len(tables) + 90
    assert added(text, "", tables).startswith(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool\n", "pyproject.toml: is no TOML: "),
        ("\ufeff[tool]\n", "pyproject.toml: is no TOML: "),
        ("tool = {x = 1}\n", "pyproject.toml: has inline tables that cannot be added to"),
        ("[build-system]\nrequires = 3\nbuild-backend = 'hatchling.build'\n", "build-system.requires must be a list of strings"),
        ("[build-system]\nbuild-backend = 'hatchling.build'\n", "build-system.requires must be a list of strings"),
        ("[tool]\nmlbundle = 3\n", "pyproject.toml: has inline tables that cannot be added to"),
    ],
)
def test_a_file_that_cannot_be_added_to_is_one_line_and_stays(tmp_path: Path, text: str, message: str, init: Init) -> None:
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    refused = init(tmp_path)
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert message in line
    assert (tmp_path / "pyproject.toml").read_text(encoding="utf-8") == text
    assert [path.name for path in tmp_path.iterdir()] == ["pyproject.toml"]


def test_a_file_that_is_no_text_is_one_line(tmp_path: Path, init: Init) -> None:
    (tmp_path / "pyproject.toml").write_bytes(b"x = '\xff'")
    refused = init(tmp_path)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)


def test_nothing_to_look_at_is_one_line(tmp_path: Path, init: Init) -> None:
    for arguments in ((), ("nowhere.whl",), ("--project", "nowhere")):
        refused = init(tmp_path, *arguments)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert refused.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_file_marked_read_only_is_left_alone(tmp_path: Path, init: Init) -> None:
    project = tiny_project(tmp_path, tables="")
    place = project / "pyproject.toml"
    place.chmod(0o444)
    if place.stat().st_uid == 0:
        pytest.skip("root may write everywhere")
    refused = init(project)
    assert refused.returncode == 2
    assert refused.stderr == "mlbundle: cannot write pyproject.toml: it is read-only; make it writable first\n"


def test_a_link_stays_one(tmp_path: Path, init: Init) -> None:
    project = tiny_project(tmp_path / "project", tables="")
    (tmp_path / "real.toml").write_bytes((project / "pyproject.toml").read_bytes())
    (project / "pyproject.toml").unlink()
    (project / "pyproject.toml").symlink_to(tmp_path / "real.toml")
    assert init(project).returncode == 0
    assert (project / "pyproject.toml").is_symlink()
    assert "[tool.mlbundle]" in (tmp_path / "real.toml").read_text()

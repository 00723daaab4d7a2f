"""What `mlbundle init` sees of projects, whatever their back end, and however odd their files are."""

from __future__ import annotations

from pathlib import Path

import pytest

from hatch_mlbundle.errors import ConfigurationError
from hatch_mlbundle.initial.packages import helps
from hatch_mlbundle.initial.project import read_project


def project(folder: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


PROJECT = '[project]\nname = "My.App"\n'
NAMES = [
    ({"pyproject.toml": PROJECT, "my_app/__init__.py": "", "tests/__init__.py": ""}, "my_app"),
    ({"pyproject.toml": PROJECT, "src/my_app.py": ""}, "my_app"),
    ({"pyproject.toml": PROJECT, "src/other/__init__.py": ""}, "other"),
    ({"pyproject.toml": PROJECT, "one/__init__.py": "", "two/__init__.py": ""}, ""),
    ({"pyproject.toml": PROJECT, "python/My_App/__init__.py": ""}, "My_App"),
    ({"pyproject.toml": PROJECT + '[tool.hatch.build.targets.wheel]\npackages = ["src/foo"]\n'}, "foo"),
    ({"pyproject.toml": PROJECT, "hatch.toml": '[build.targets.wheel]\npackages = ["foo"]\n'}, "foo"),
    ({"pyproject.toml": PROJECT + '[tool.setuptools]\npackages = ["foo.bar"]\n'}, "foo"),
    ({"pyproject.toml": PROJECT + "[tool.setuptools.packages.find]\n", "src/my_app/__init__.py": ""}, "my_app"),
    ({"pyproject.toml": PROJECT + '[tool.poetry]\npackages = [{ include = "foo", from = "lib" }]\n'}, "foo"),
    ({"pyproject.toml": PROJECT + '[tool.flit.module]\nname = "foo"\n'}, "foo"),
    ({"pyproject.toml": PROJECT + '[tool.uv.build-backend]\nmodule-name = "foo"\n'}, "foo"),
    ({"pyproject.toml": PROJECT + '[tool.maturin]\nmodule-name = "foo._native"\n'}, "foo"),
    ({"pyproject.toml": PROJECT + '[tool.flit.module]\nname = "no name\'; import os"\n'}, ""),
]


@pytest.mark.parametrize(("files", "name"), NAMES)
def test_the_name_to_import(tmp_path: Path, files: dict[str, str], name: str) -> None:
    assert read_project(project(tmp_path, files)).imports == name


@pytest.mark.parametrize(
    ("files", "backend", "back_end"),
    [
        ({"pyproject.toml": '[build-system]\nrequires = ["x"]\nbuild-backend = "hatchling.build"\n'}, "hatchling", "hatchling"),
        ({"pyproject.toml": '[build-system]\nrequires = ["x"]\nbuild-backend = "setuptools.build_meta"\n'}, "setuptools", "setuptools"),
        ({"pyproject.toml": '[build-system]\nrequires = ["setuptools"]\n'}, "setuptools", "setuptools"),
        ({"pyproject.toml": '[build-system]\nrequires = ["x"]\nbuild-backend = "poetry.core.masonry.api"\n'}, "other", "poetry"),
        ({"pyproject.toml": "[tool.ruff]\n"}, "none", ""),
        ({"pyproject.toml": "[tool.ruff]\n", "setup.py": "import setuptools\nsetuptools.setup()\n"}, "setuptools", ""),
        ({"setup.cfg": "[metadata]\nname = x\n"}, "setuptools", ""),
        ({"setup.cfg": "[flake8]\nmax-line-length = 100\n"}, "none", ""),
    ],
)
def test_the_back_end(tmp_path: Path, files: dict[str, str], backend: str, back_end: str) -> None:
    seen = read_project(project(tmp_path, files))
    assert (seen.backend, seen.back_end) == (backend, back_end)


SETUP_CFG = """\
[metadata]
name = tiny-app
[options]
install_requires =
    Torch>=2
    numpy; python_version > "3"
[options.entry_points]
console_scripts =
    tiny = tiny_app.cli:main
"""
SETUP_PY = """\
import os, setuptools
raise SystemExit("nobody runs this")
setuptools.setup(
    name="tiny-app",
    version=os.environ["V"],
    install_requires=["torch>=2", "numpy"],
    entry_points={"console_scripts": ["tiny = tiny_app.cli:main"]},
)
"""
PYPROJECT = '[project]\nname = "tiny-app"\ndependencies = ["torch>=2", "numpy", "??"]\n[project.scripts]\ntiny = "tiny_app.cli:main"\n'


@pytest.mark.parametrize(
    "files", [{"setup.cfg": SETUP_CFG}, {"setup.py": SETUP_PY}, {"pyproject.toml": PYPROJECT}], ids=lambda each: next(iter(each))
)
def test_scripts_and_requirements_wherever_they_stand(tmp_path: Path, files: dict[str, str]) -> None:
    seen = read_project(project(tmp_path, files))
    assert (seen.name, seen.scripts, seen.requires) == ("tiny-app", {"tiny": "tiny_app.cli:main"}, {"torch", "numpy"})


def test_whether_a_script_understands_help_is_read_from_its_source(tmp_path: Path) -> None:
    project(
        tmp_path,
        {"src/a/cli.py": "import sys\n\n    \ntry:\n    import click\nexcept ImportError: pass\n", "b/__init__.py": "# import argparse\n"},
    )
    assert helps(tmp_path, "a.cli:main")
    assert not helps(tmp_path, "b:main")
    assert not helps(tmp_path, "c.d:main")


def test_models_of_the_package_are_seen(tmp_path: Path) -> None:
    files = {"pyproject.toml": PROJECT, "my_app/__init__.py": "", "my_app/data/b.onnx": "", "my_app/a.safetensors": "", "other/c.onnx": ""}
    assert read_project(project(tmp_path, files)).models == ("my_app/a.safetensors", "my_app/data/b.onnx")


ODD = [
    '[project]\nname = 3\ndependencies = "x"\nscripts = ["a"]\n',
    '[tool]\nhatch = 3\npoetry = "x"\nflit = [1]\nsetuptools = { packages = { find = {} } }\n',
    "[build-system]\nrequires = 3\nbuild-backend = 7\n[tool.hatch]\nbuild = 3\n",
    'build-system = 3\nproject = "x"\ntool = []\n',
    "[tool.hatch.build.targets]\nwheel = 3\nfrozen = 3\n[tool.poetry]\npackages = [3, { include = 3 }]\ndependencies = 3\n",
    '[project.scripts]\na = 3\nb = ""\n[tool.hatch.build.targets.wheel]\npackages = ["..", 3, "/"]\n',
]


@pytest.mark.parametrize("text", ODD)
def test_values_of_odd_types_are_as_if_they_were_not_there(tmp_path: Path, text: str) -> None:
    seen = read_project(project(tmp_path, {"pyproject.toml": text, "setup.cfg": "[metadata\nx", "setup.py": "def ("}))
    assert (seen.name, seen.imports, seen.requires, seen.configured) == ("", "", frozenset(), "")


def test_what_is_no_toml_is_told_with_its_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"hatch\.toml: is no TOML"):
        read_project(project(tmp_path, {"pyproject.toml": "", "hatch.toml": "["}))

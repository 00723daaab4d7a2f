from __future__ import annotations

from pathlib import Path

import pytest

from hatch_mlbundle.freezing.options import TABLE, Executable, Project, Target, read_target
from hatch_mlbundle.freezing.spec import script_of


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "src" / "pkg" / "deep").mkdir(parents=True)
    for name in ("__init__.py", "cli.py", "deep/__init__.py"):
        (tmp_path / "src" / "pkg" / name).write_text("")
    (tmp_path / "run.py").write_text("")
    (tmp_path / "app.spec").write_text("")
    (tmp_path / "assets").mkdir()
    return tmp_path


def read(root: Path, table: dict[str, object], **scripts: str) -> tuple[Target, list[str]]:
    faults: list[str] = []
    project = Project(root=root, name="My_App", scripts=scripts, gui_scripts={})
    return read_target(table, project, faults), faults


def target_of(root: Path, table: dict[str, object], **scripts: str) -> Target:
    target, faults = read(root, table, **scripts)
    assert faults == []
    return target


def faults_of(root: Path, table: dict[str, object], **scripts: str) -> list[str]:
    return [fault.removeprefix(TABLE).removeprefix(".") for fault in read(root, table, **scripts)[1]]


def test_entry_point(root: Path) -> None:
    target = target_of(root, {"entry-point": "pkg.cli:Main.run", "hidden-imports": ["x"], "icon": "NONE"})
    assert target.executables == (Executable(name="My_App", module="pkg.cli", function="Main.run", icon="NONE", hidden_imports=("x",)),)
    assert (target.name, target.spec, target.paths) == ("My_App", None, (root, root / "src"))


def test_script(root: Path) -> None:
    (only,) = target_of(root, {"script": "run.py", "name": "other", "windowed": True}).executables
    assert only == Executable(name="other", script=root / "run.py", windowed=True)


def test_spec_names_its_own_executables(root: Path) -> None:
    target = target_of(root, {"spec": "app.spec", "one-file": True, "paths": ["assets"], "environment": ["X"]}, tool="pkg.cli:main")
    assert (target.spec, target.executables, target.options.one_file) == (root / "app.spec", (), True)
    assert target.paths[-1] == root / "assets"


def test_no_script_stands_in_the_way_of_the_package_of_its_name(tmp_path: Path) -> None:
    script = script_of(Executable(name="pkg", module="pkg.cli", function="main"), tmp_path)
    assert not script.stem.isidentifier()


def test_the_one_script_of_the_project_is_called_as_the_bundle(root: Path) -> None:
    (only,) = target_of(root, {}, tool="pkg.cli : main [extra]").executables
    assert only == Executable(name="My_App", module="pkg.cli", function="main")


def test_several_scripts_of_the_project_are_several_executables(root: Path) -> None:
    faults: list[str] = []
    project = Project(root=root, name="app", scripts={"a": "pkg:main"}, gui_scripts={"b": "pkg.cli:main"})
    target = read_target({"hidden-imports": ["x"]}, project, faults)
    assert faults == []
    assert [(each.name, each.module, each.windowed, each.hidden_imports) for each in target.executables] == [
        ("a", "pkg", False, ("x",)),
        ("b", "pkg.cli", True, ("x",)),
    ]


def test_applications(root: Path) -> None:
    tables = [{"name": "a", "entry-point": "pkg:f", "hidden-imports": ["y"]}, {"name": "b", "script": "run.py", "windowed": True}]
    target = target_of(root, {"applications": tables, "hidden-imports": ["x"], "icon": "NONE"})
    assert target.executables == (
        Executable(name="a", module="pkg", function="f", icon="NONE", hidden_imports=("x", "y")),
        Executable(name="b", script=root / "run.py", windowed=True, icon="NONE", hidden_imports=("x",)),
    )


def test_hatchs_own_keys_are_hatchs(root: Path) -> None:
    hatchs = {"dependencies": [], "require-runtime-dependencies": True, "directory": "out", "hooks": {}, "versions": ["standard"]}
    target_of(root, {"script": "run.py", "mlbundle": {"strict": True}, **hatchs})


def test_all_faults_at_once(root: Path) -> None:
    table = {
        "entry-point": "pkg.cli",
        "hidden-import": [],
        "include": ["x"],
        "one-file": "yes",
        "applications": [{"nam": "a"}],
    }
    assert faults_of(root, table) == [
        "include: selects files for wheels and sdists; here `data` and `collect-data` do",
        "hidden-import: unknown key; did you mean 'hidden-imports'?",
        "one-file: must be true or false, not 'yes'",
        "applications[0].nam: unknown key; did you mean 'name'?",
    ]


THERE = "which is neither in the project nor in the build environment"
NEITHER = "neither in the project nor in the build environment"
FAULTS: dict[str, tuple[dict[str, object], list[str]]] = {
    "nothing": ({}, [": does not say what to freeze; set entry-point, script or spec, or give the project a script"]),
    "two": (
        {"entry-point": "pkg:f", "script": "run.py"},
        [": entry-point and script are set; exactly one of them says what to freeze"],
    ),
    "form": ({"entry-point": "pkg.cli"}, ["entry-point: must be like \"package.module:function\", not 'pkg.cli'"]),
    "module": ({"entry-point": "pkg.clo:f"}, [f"entry-point: there is no module pkg.clo, {NEITHER}"]),
    "script": ({"script": "ran.py"}, ["script: there is no file ran.py"]),
    "spec": ({"spec": "no.spec"}, ["spec: there is no file no.spec"]),
    "of the spec": (
        {"spec": "app.spec", "hidden-imports": ["x"], "icon": "NONE"},
        ["icon: belongs in the spec file", "hidden-imports: belongs in the spec file"],
    ),
    "name": ({"script": "run.py", "name": "../x"}, ["name: must be a file name, not '../x'"]),
    "contents folder": ({"script": "run.py", "name": "_internal"}, ["name: must be a file name, not '_internal'"]),
    "icon": ({"script": "run.py", "icon": "i.ico"}, ["icon: there is no file i.ico"]),
    "paths": ({"script": "run.py", "paths": ["lib"]}, ["paths[0]: there is no folder lib"]),
    "packages": (
        {"script": "run.py", "collect-data": ["pkg", "pkg.cli"], "collect-packages": ["nothere"]},
        [f"collect-data[1]: there is no package pkg.cli, {NEITHER}", f"collect-packages[0]: there is no package nothere, {NEITHER}"],
    ),
    "data": (
        {"script": "run.py", "data": ["assets", "assets:../up", "assets:/etc", "none*:x", "a*s:x", "assets:a/b", "assets:C:/x"]},
        [
            "data[0]: must be like \"SOURCE:FOLDER\", not 'assets'",
            "data[1]: ../up is no folder in the bundle",
            "data[2]: /etc is no folder in the bundle",
            "data[3]: there is nothing called none*",
            "data[6]: /x is no folder in the bundle",
        ],
    ),
    "applications": (
        {"applications": [{"name": "a"}, {"name": "a", "script": "run.py"}, {"script": "no.py"}]},
        [
            "applications[0]: needs an entry-point or a script, one of them",
            "applications[1].name: 'a' is the name of another application",
            "applications[2].script: there is no file no.py",
            "applications[2].name: must be a file name, not ''",
        ],
    ),
    "one file of two": (
        {"one-file": True, "applications": [{"name": "a", "script": "run.py"}, {"name": "b", "script": "run.py"}]},
        ["one-file: takes one application, and there are 2 (a, b); set entry-point or script"],
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault(root: Path, name: str) -> None:
    table, faults = FAULTS[name]
    assert faults_of(root, table) == faults


def test_a_script_of_the_project_without_its_module(root: Path) -> None:
    assert faults_of(root, {}, tool="nowhere:main") == [f": the script My_App needs nowhere, {THERE}"]


@pytest.mark.parametrize("argument", ["-F", "--onefile", "--onef", "--strip", "-s", "--name=x", "-nx", "--distpath=x", "--upx-dir", "-Fw"])
def test_arguments_that_contradict_ours(root: Path, argument: str) -> None:
    (fault,) = faults_of(root, {"script": "run.py", "pyinstaller-arguments": ["--uac-admin", argument]})
    assert fault.startswith(f"pyinstaller-arguments[1]: {argument} cannot be given; ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--collect-submodules", "strip"],
        ["--copy-metadata=x"],
        ["-p", "x"],
        ["--console"],
        ["--splash", "x"],
        ["--optimize=1"],
        ["-d", "all"],
    ],
)
def test_other_arguments_are_free(root: Path, arguments: list[str]) -> None:
    assert faults_of(root, {"script": "run.py", "pyinstaller-arguments": arguments}) == []

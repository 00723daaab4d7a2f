from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from hatchling.builders.wheel import WheelBuilder

from hatch_mlbundle.adapters.project import find_project, project_config, project_settings
from hatch_mlbundle.config import DEFAULT_OPTIMIZERS, Config
from hatch_mlbundle.errors import ConfigurationError
from hatch_mlbundle.optimizer import Optimizer, Options
from hatch_mlbundle.plugins import Registered, Registry

TARGET = "tool.hatch.build.targets.wheel.hooks.mlbundle"
GLOBAL = "tool.hatch.build.hooks.mlbundle"


class Demo(Optimizer[Options]):
    """Plans nothing."""

    name = "demo"
    version = "1"

    def plan(self, bundle: object, context: object) -> list[object]:  # type: ignore[override]
        return []


def registry() -> Registry:
    def registered() -> Iterator[Registered]:
        for name in DEFAULT_OPTIMIZERS:
            yield Registered(optimizer=type(name, (Demo,), {"name": name}), distribution="demo", distribution_version="1")

    return Registry(registered())


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return tmp_path


def write(project: Path, text: str, name: str = "pyproject.toml") -> None:
    (project / name).write_text(dedent(text), encoding="utf-8")


def config_of(project: Path, override: dict[str, object] | None = None) -> Config:
    return project_config(project, registry(), override)


def faults_of(project: Path, override: dict[str, object] | None = None) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        config_of(project, override)
    return list(caught.value.faults)


def names(config: Config) -> list[str]:
    return [step.name for step in config.steps]


def test_no_project_is_the_defaults(project: Path) -> None:
    assert config_of(project) == config_of(project / "absent")
    assert names(config_of(project)) == list(DEFAULT_OPTIMIZERS)


def test_the_table_of_pyproject(project: Path) -> None:
    write(project, '[tool.mlbundle]\noptimizers = ["strip"]\nstrict = true\n[tool.mlbundle.strip]\ninclude = ["gr\u00fc\u00df*"]\n')
    config = config_of(project)
    assert (names(config), config.settings.strict) == (["strip"], True)
    assert config.steps[0].options.include == ("gr\u00fc\u00df*",)


@pytest.mark.parametrize("hook", [TARGET, GLOBAL])
def test_a_hooks_table_is_laid_over_it(project: Path, hook: str) -> None:
    write(project, f'[tool.mlbundle]\noptimizers = ["strip"]\nstrict = true\n[{hook}]\noptimizers = ["exclude", "strip"]\n')
    config = config_of(project)
    assert (names(config), config.settings.strict) == (["exclude", "strip"], True)


def test_the_wheels_hook_replaces_the_global_one(project: Path) -> None:
    write(project, f"[tool.hatch.build.hooks.mlbundle]\nworkers = 3\n[{TARGET}]\nstrict = true\n")
    config = config_of(project)
    assert (config.settings.strict, config.settings.workers) == (True, 0)


@pytest.mark.parametrize(
    "tables",
    [
        f"[{GLOBAL}]\nworkers = 3\n",
        f"[{GLOBAL}]\nworkers = 3\n[{TARGET}]\n",
        f"[{GLOBAL}]\n[{TARGET}]\nworkers = 3\n",
        f"[{TARGET}]\nworkers = 3\n",
    ],
)
@pytest.mark.parametrize("beside", [None, "", "[build]\n", f"[{TARGET.removeprefix('tool.hatch.')}]\n"])
def test_the_hooks_table_is_the_one_that_hatch_takes(project: Path, tables: str, beside: str | None) -> None:
    write(project, f'[project]\nname = "x"\nversion = "1"\n{tables}')
    if beside is not None:
        write(project, beside, "hatch.toml")
    hatchs = WheelBuilder(str(project)).config.hook_config.get("mlbundle", {})
    assert config_of(project).settings.workers == hatchs.get("workers", 0)


def test_hatchs_own_keys_are_no_fault(project: Path) -> None:
    write(
        project,
        f"""
        [{TARGET}]
        dependencies = ["hatch-mlbundle"]
        enable-by-default = false
        require-runtime-dependencies = true
        require-runtime-features = ["x"]
        strict = true
        """,
    )
    assert config_of(project).settings.strict


def test_hatch_toml_goes_before_pyproject(project: Path) -> None:
    write(project, f"[{TARGET}]\nworkers = 3\n[tool.hatch.envs.x]\n")
    write(project, f"[{TARGET.removeprefix('tool.hatch.')}]\nworkers = 5\n", "hatch.toml")
    assert config_of(project).settings.workers == 5


def test_a_hatch_toml_about_something_else_leaves_the_rest(project: Path) -> None:
    write(project, f"[{TARGET}]\nworkers = 3\n")
    write(project, "[envs.x]\n", "hatch.toml")
    assert config_of(project).settings.workers == 3


def test_what_the_command_line_says_goes_before_all(project: Path) -> None:
    write(project, f'[tool.mlbundle]\nworkers = 1\noptimizers = ["strip"]\n[{TARGET}]\nworkers = 2\nstrict = true\n')
    config = config_of(project, {"workers": 3, "compression-level": 9})
    assert (config.settings.workers, config.settings.strict, config.settings.compression_level) == (3, True, 9)
    assert names(config) == ["strip"]


def test_a_fault_is_told_where_it_stands(project: Path) -> None:
    write(project, f"[tool.mlbundle]\nworkrs = 1\n[{TARGET}]\nstrict = 3\nenable-by-defualt = true\n")
    assert sorted(faults_of(project)) == [
        f"{TARGET}.enable-by-defualt: unknown key or optimizer",
        f"{TARGET}.strict: must be true or false, not 3",
        "tool.mlbundle.workrs: unknown key or optimizer; did you mean 'workers'?",
    ]


@pytest.mark.parametrize("name", ["pyproject.toml", "hatch.toml"])
@pytest.mark.parametrize("data", [b"[tool.mlbundle", b"\xff\xfe", b"a = 1\na = 2\n"])
def test_what_is_no_toml_is_named(project: Path, name: str, data: bytes) -> None:
    (project / name).write_bytes(data)
    (fault,) = faults_of(project)
    assert fault.startswith(f"{project / name}: is no TOML: ")


@pytest.mark.parametrize("value", ["3", '"x"', "[1]"])
def test_what_is_no_table_is_named(project: Path, value: str) -> None:
    write(project, f"[tool]\nmlbundle = {value}\n")
    assert faults_of(project) == ["tool.mlbundle: must be a table"]


@pytest.mark.parametrize("hook", [TARGET, GLOBAL])
def test_a_hook_that_is_no_table_is_named_by_its_whole_path(project: Path, hook: str) -> None:
    write(project, f"[{hook.removesuffix('.mlbundle')}]\nmlbundle = 3\n")
    assert faults_of(project) == [f"{hook}: must be a table"]


@pytest.mark.parametrize("above", ["tool", "tool.hatch", "tool.hatch.build", "tool.hatch.build.targets.wheel"])
def test_what_is_no_table_above_a_hook_is_named(project: Path, above: str) -> None:
    write(project, f"{above} = 3\n")
    assert faults_of(project) == [f"{above}: must be a table"]


def test_a_hook_of_hatch_toml_that_is_no_table_is_named_as_hatch_names_it(project: Path) -> None:
    write(project, "[build.hooks]\nmlbundle = 3\n", "hatch.toml")
    assert faults_of(project) == [f"{GLOBAL}: must be a table"]


def test_a_pyproject_that_is_a_folder_is_named(project: Path) -> None:
    (project / "pyproject.toml").mkdir()
    assert faults_of(project) == [f"{project / 'pyproject.toml'}: cannot be read: Is a directory"]


def test_a_pyproject_that_leads_nowhere_is_named(project: Path) -> None:
    (project / "pyproject.toml").symlink_to("pyproject.toml")
    (fault,) = faults_of(project)
    assert fault.startswith(f"{project / 'pyproject.toml'}: cannot be read: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["pyproject.toml", "hatch.toml"])
def test_a_file_without_permission_is_named(project: Path, name: str) -> None:
    write(project, "", name)
    (project / name).chmod(0)
    assert faults_of(project) == [f"{project / name}: cannot be read: Permission denied"]


def test_a_folder_hatch_toml_is_passed_over_as_hatch_does(project: Path) -> None:
    (project / "hatch.toml").mkdir()
    write(project, f"[{TARGET}]\nworkers = 3\n")
    assert config_of(project).settings.workers == 3


def test_the_nearest_project_is_found(tmp_path: Path) -> None:
    inner = tmp_path / "a/b/c"
    inner.mkdir(parents=True)
    write(tmp_path / "a", "")
    assert find_project(inner) == tmp_path / "a"
    assert find_project(tmp_path / "a") == tmp_path / "a"


@pytest.mark.parametrize(
    "text", ["", "[tool.mlbundle]\nstrict = true\nlimits = { max-ratio = 3 }", f"[{TARGET}]\nworkers = 3\ndependencies = []"]
)
def test_settings_are_those_of_the_whole_configuration(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    assert project_settings(tmp_path) == project_config(tmp_path, registry()).settings


@pytest.mark.parametrize(
    "text", ["[tool.mlbundle]\noptimizers = []", f"[{TARGET}.strip]\nenabled = false", "[tool.mlbundle]\nstric = true"]
)
def test_whoever_names_an_optimizer_has_all_of_them_asked(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    assert project_settings(tmp_path) is None

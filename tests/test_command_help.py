"""The help of every command: what it says, and that its examples are true."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hatch_mlbundle.cli import COMMANDS, build_parser, command_names, main
from tests.bundles.wheelsmith import build_wheel
from tests.projects import environment

NAMES = command_names()


def parser_of(name: str) -> argparse.ArgumentParser:
    (commands,) = (action for action in build_parser(name)._actions if isinstance(action, argparse._SubParsersAction))
    parser: argparse.ArgumentParser = commands.choices[name]
    return parser


def examples_of(name: str) -> list[str]:
    text = parser_of(name).epilog or ""
    return [line.strip() for line in text.splitlines() if line.startswith("  mlbundle ")]


def mlbundle(*arguments: str, columns: int = 80) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hatch_mlbundle", *arguments]
    return subprocess.run(command, env=environment(COLUMNS=str(columns)), capture_output=True, text=True, check=False)


@pytest.fixture
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_the_list_has_every_command_once_in_its_group() -> None:
    listed = mlbundle("--help").stdout
    for title, group in COMMANDS.items():
        section = listed.partition(f"{title}:\n")[2].partition("\n\n")[0]
        assert {line.split()[0]: " ".join(line.split()[1:]) for line in section.splitlines()} == group
    assert len(NAMES) == len(set(NAMES))
    modules = {path.stem.removesuffix("_command") for path in Path(str(sys.modules["hatch_mlbundle"].__path__[0])).glob("*_command.py")}
    assert modules == set(NAMES)


def test_help_fits_80_columns(eighty_columns: None) -> None:
    for text in (build_parser().format_help(), *(parser_of(name).format_help() for name in NAMES)):
        assert [line for line in text.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_command_says_what_it_does_with_each_argument_and_gives_examples(name: str) -> None:
    parser = parser_of(name)
    assert parser.description
    assert parser.description.endswith(".")
    assert [action.dest for action in parser._actions if not action.help] == []
    assert 1 <= len(examples_of(name)) <= 3


@pytest.mark.parametrize("name", NAMES)
def test_every_example_parses(name: str) -> None:
    for example in examples_of(name):
        _, *arguments = shlex.split(example.partition(" > ")[0])
        own = arguments[: arguments.index("--")] if name == "explore" and "--" in arguments else arguments
        assert callable(build_parser(name).parse_args(own).run), example


@pytest.mark.parametrize(("typed", "meant"), [("optimise", "optimize"), ("analyse", "analyze"), ("chekc", "check")])
def test_a_mistyped_command_is_told_the_right_one(typed: str, meant: str) -> None:
    refused = mlbundle(typed, "x")
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1] == f"mlbundle: error: there is no command '{typed}'; did you mean '{meant}'?"


def test_without_a_command_one_is_asked_for() -> None:
    refused = mlbundle()
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "required: COMMAND" in refused.stderr


def test_the_list_needs_no_command_s_module() -> None:
    script = "import sys, hatch_mlbundle.cli as cli\ntry: cli.main(['--help'])\nfinally: print(*sys.modules, file=sys.stderr)"
    told = subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, text=True, check=True).stderr.split()
    assert "hatch_mlbundle.cli" in told
    assert [name for name in told if name.endswith(("_command", "commands", ".config")) or name.partition(".")[0] == "rich"] == []


BUDGET = '[tool.mlbundle.budget]\ninstalled = "1 MB"\n'
APPLICATION = """#!/usr/bin/env python3
import sys
print("version 1.0" if sys.argv[1:] == ["--version"] else "usage: app")
"""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what the examples name: a project, a wheel, an application and an older one."""
    folder = tmp_path_factory.mktemp("examples")
    for place in (folder / "dist", folder / "old"):
        (place / "app").mkdir(parents=True)
        (place / "app" / "app").write_text(APPLICATION)
        (place / "app" / "app").chmod(0o755)
    build_wheel(folder / "dist", {"pkg/__init__.py": b"", "pkg/tests/__init__.py": b"", "pkg/tests/test_pkg.py": b"def test(): pass\n"})
    manifest = mlbundle("analyze", "--json", str(folder / "old" / "app"))
    (folder / "app-1.0.mlbundle.json").write_text(manifest.stdout)
    program = folder / "bin" / "mlbundle"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m hatch_mlbundle "$@"\n')
    program.chmod(0o755)
    return folder


def examples() -> Iterator[str]:
    for name in NAMES:
        yield from examples_of(name)


FROZEN = ("mlbundle trace -- dist/app/app", "mlbundle models warm dist/app")
"""Examples that need a frozen bundle, which other tests have."""

REBUILDING = "mlbundle rebuild"
"""Examples that build a project, which tests/rebuilding has."""

SLOW = ("mlbundle explore", "mlbundle measure", "mlbundle trace")
"""Examples that run something, several times."""


@pytest.mark.parametrize("example", [each for each in examples() if not each.startswith((*FROZEN, *SLOW, REBUILDING))])
def test_an_example_works(
    workplace: Path, example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("MLBUNDLE_CACHE_DIR", str(tmp_path))
    _, *arguments = shlex.split(example.partition(" > ")[0])
    expanded = [path for each in arguments for path in (map(str, Path().glob(each)) if "*" in each else [each])]
    (workplace / "pyproject.toml").write_text("" if example.startswith("mlbundle init") else BUDGET)
    assert main(expanded) == 0, capsys.readouterr().err
    shown = capsys.readouterr().out.replace(str(tmp_path), "~")
    assert example.startswith("mlbundle completion") or [line for line in shown.splitlines() if len(line) > 80] == []


@pytest.mark.slow
@pytest.mark.parametrize("example", [each for each in examples() if each.startswith(SLOW) and not each.startswith(FROZEN)])
def test_an_example_that_runs_something_works(workplace: Path, example: str) -> None:
    surroundings = environment(PATH=f"{workplace / 'bin'}:{environment()['PATH']}")
    done = subprocess.run(["bash", "-c", example], cwd=workplace, env=surroundings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if len(line) > 80] == []

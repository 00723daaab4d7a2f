"""The GitHub action: its steps run one after another, as the runner runs them, against a forge on this machine."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from actionrunner import Runner, read_outputs
from checkouts import BUDGET, build, checkout
from forge import Forge, serving

ROOT = Path(__file__).parents[2]
ACTION = ROOT / "ci" / "github" / "action.yml"
DEFINITION = yaml.safe_load(ACTION.read_text(encoding="utf-8"))
STEPS = DEFINITION["runs"]["steps"]
APP = {"artifact": "dist/app"}


@pytest.fixture
def forge() -> Iterator[Forge]:
    with serving() as running:
        yield running


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    made = Runner(root=tmp_path / "a runner", action=ACTION, given={"install": {"python": sys.executable}})
    checkout(made.workspace)
    return made


def event(runner: Runner, forge: Forge, name: str = "pull_request", **more: str) -> dict[str, str]:
    """Return the variables of a run: of pull request 7 into main, or of a push to main."""
    payload = {"repository": {"default_branch": "main"}, "title": "$(touch pwned)"}
    if name == "pull_request":
        payload["pull_request"] = {"number": 7, "title": '"; touch pwned; #'}
    path = runner.root / f"{name}.json"
    path.write_text(json.dumps(payload), encoding="utf-8")
    number = str(len(runner.cache) + 1)
    own = {
        "GITHUB_EVENT_NAME": name,
        "GITHUB_EVENT_PATH": str(path),
        "GITHUB_API_URL": forge.url,
        "GITHUB_GRAPHQL_URL": f"{forge.url}/graphql",
        "GITHUB_REPOSITORY": "owner/app",
        "GITHUB_RUN_ID": number,
        "GITHUB_RUN_ATTEMPT": "1",
        "GITHUB_BASE_REF": "main" if name == "pull_request" else "",
        "GITHUB_REF": "refs/pull/7/merge" if name == "pull_request" else "refs/heads/main",
    }
    return {**own, **more}


def pushed(runner: Runner, forge: Forge, **inputs: str) -> None:
    """Let main have the artifact as it is now."""
    assert runner.run({**APP, **inputs}, event(runner, forge, "push")) == 0, runner.log


def active_commands(log: str) -> list[str]:
    """Return the lines of a log that the runner takes as commands."""
    commands, stopped = [], ""
    for line in log.splitlines():
        if stopped:
            stopped = "" if line == f"::{stopped}::" else stopped
        elif match := re.match(r"::stop-commands::(.*)", line):
            stopped = match[1]
        elif line.lstrip().startswith("::"):
            commands.append(line)
    return commands


def test_the_first_pull_request_has_no_baseline(runner: Runner, forge: Forge) -> None:
    runner.scripts = True
    assert runner.run(APP, event(runner, forge)) == 0, runner.log
    (comment,) = forge.comments
    assert comment["body"].startswith("<!-- mlbundle: bundle -->\n\n**50.0 kB installed**, 2 files: `app`\n\nWithin budget: 1 limit kept")
    assert "[Interactive report](https://forge.example/artifacts/7)" in comment["body"]
    assert runner.summary.read_text(encoding="utf-8") in comment["body"]
    outputs = runner.outputs["check"]
    assert {name: outputs[name] for name in ("installed", "growth", "breaches", "exit-code", "save")} == {
        "installed": "50000",
        "growth": "",
        "breaches": "0",
        "exit-code": "0",
        "save": "false",
    }
    assert Path(outputs["markdown"]).is_file()
    assert runner.cache == {}
    (_, _, headers, _) = forge.requests[-1]
    assert headers["Authorization"] == "Bearer t0ken"


def test_growth_is_counted_from_the_last_push_to_the_default_branch(runner: Runner, forge: Forge) -> None:
    pushed(runner, forge)
    assert forge.requests == []
    assert list(runner.cache) == ["mlbundle-bundle-Linux:main:1-1"]
    build(runner.workspace / "dist" / "app", 62_300)
    assert runner.run(APP, event(runner, forge)) == 0, runner.log
    assert forge.comments[0]["body"].splitlines()[2] == "**+12.3 kB installed (+24.6 %)**: `app`"
    assert runner.outputs["check"]["growth"] == "12300"
    pushed(runner, forge)
    assert list(runner.cache)[1:] == ["mlbundle-bundle-Linux:main:2-1"]
    assert runner.run(APP, event(runner, forge)) == 0
    assert forge.comments[0]["body"].splitlines()[2] == "**no change installed**: `app`"


def test_a_branch_that_is_pushed_is_the_baseline_of_what_goes_into_it(runner: Runner, forge: Forge) -> None:
    pushed(runner, forge)
    build(runner.workspace / "dist" / "app", 40_000)
    assert runner.run(APP, event(runner, forge, "push", GITHUB_REF="refs/heads/release/1")) == 0
    assert runner.outputs["check"]["growth"] == "-10000"
    build(runner.workspace / "dist" / "app", 41_000)
    assert runner.run(APP, event(runner, forge, GITHUB_BASE_REF="release/1")) == 0
    assert runner.outputs["check"]["growth"] == "1000"
    assert runner.run(APP, event(runner, forge)) == 0
    assert runner.outputs["check"]["growth"] == "-9000"


@pytest.mark.parametrize("name", ["workflow_run", "issue_comment", "pull_request_target", "merge_group"])
def test_what_others_set_off_on_the_default_branch_is_no_baseline(runner: Runner, forge: Forge, name: str) -> None:
    base = {"GITHUB_BASE_REF": "main"} if name == "pull_request_target" else {}
    assert runner.run(APP, event(runner, forge, name, GITHUB_REF="refs/heads/main", **base)) == 0, runner.log
    assert runner.cache == {}


def test_artifacts_of_one_name_keep_their_baselines_apart(runner: Runner, forge: Forge) -> None:
    for folder, size in (("linux", 20_000), ("mac", 30_000)):
        build(runner.workspace / folder / "app", size)
    both = {"artifact": "linux/app\nmac/app"}
    pushed(runner, forge, **both)
    build(runner.workspace / "mac" / "app", 30_700)
    assert runner.run(both, event(runner, forge)) == 0, runner.log
    assert runner.outputs["check"]["growth"] == "700"
    assert runner.run({"artifact": "mac/app"}, event(runner, forge)) == 0, runner.log
    assert runner.outputs["check"]["growth"] == ""


def test_the_comment_of_another_is_left_to_them(runner: Runner, forge: Forge) -> None:
    theirs = {"id": 1, "body": "<!-- mlbundle: bundle -->\nall is well", "user": {"login": "github-actions"}}
    forge.comments = [theirs.copy(), {"id": 2, "body": "<!-- mlbundle: bundle -->", "user": None}]
    assert runner.run(APP, event(runner, forge)) == 0, runner.log
    assert runner.run(APP, event(runner, forge)) == 0, runner.log
    assert forge.comments[0] == theirs
    assert len(forge.comments) == 3
    assert "50.0 kB" in forge.comments[2]["body"]


def test_too_many_requests_are_a_warning(runner: Runner, forge: Forge) -> None:
    forge.refused, forge.refusal = {"GET": 403}, {"X-RateLimit-Remaining": "0", "message": "API rate limit exceeded\n::error::x"}
    assert runner.run(APP, event(runner, forge)) == 0
    (command,) = active_commands(runner.log)
    assert command.startswith("::warning::The comment on the pull request could not be written")
    assert "API rate limit exceeded" in command


def test_a_breach_fails_the_job_once_everything_is_told(runner: Runner, forge: Forge) -> None:
    build(runner.workspace / "dist" / "app", 130_000)
    assert runner.run(APP, event(runner, forge)) == 1
    assert runner.ran[-3:] == ["Upload the reports", "Comment", "Hold the budget"]
    assert forge.comments[0]["body"].splitlines()[4] == "**Over budget: 1 of 1 limit**"
    (command,) = active_commands(runner.log)
    line = 1 + BUDGET.splitlines().index('installed = "100 kB"')
    assert command.startswith(f"::error title=mlbundle%3A app,file=pyproject.toml,line={line}::budget: installed is 130 kB")
    assert runner.outputs["check"]["breaches"] == "1"
    assert runner.run({**APP, "fail-on-breach": "false"}, event(runner, forge)) == 0
    assert runner.outputs["check"]["exit-code"] == "1"


def test_a_breach_on_the_default_branch_is_the_next_baseline(runner: Runner, forge: Forge) -> None:
    build(runner.workspace / "dist" / "app", 130_000)
    assert runner.run({**APP, "fail-on-breach": "false"}, event(runner, forge, "push")) == 0
    build(runner.workspace / "dist" / "app", 90_000)
    assert runner.run(APP, event(runner, forge)) == 0
    assert runner.outputs["check"]["growth"] == "-40000"


def test_a_fork_has_the_summary_and_a_notice(runner: Runner, forge: Forge) -> None:
    forge.refused = {"POST": 403}
    assert runner.run(APP, event(runner, forge)) == 0, runner.log
    assert forge.comments == []
    assert "50.0 kB installed" in runner.summary.read_text(encoding="utf-8")
    (command,) = active_commands(runner.log)
    assert command.startswith("::notice::This token may not comment")


def test_a_forge_out_of_order_is_a_warning(runner: Runner, forge: Forge) -> None:
    forge.refused = {"GET": 500}
    assert runner.run(APP, event(runner, forge)) == 0
    (command,) = active_commands(runner.log)
    assert command.startswith("::warning::The comment on the pull request could not be written")


def test_several_artifacts_are_one_comment(runner: Runner, forge: Forge) -> None:
    checkout(runner.workspace, artifacts={"app": 50_000, "app two": 20_000, "over-1.2": 150_000})
    inputs = {"artifact": "dist/app*\ndist/over-*"}
    assert runner.run({**inputs, "fail-on-breach": "false"}, event(runner, forge, "push")) == 0, runner.log
    shutil.move(runner.workspace / "dist" / "over-1.2", runner.workspace / "dist" / "over-1.10")
    build(runner.workspace / "dist" / "app two", 25_000)
    assert runner.run(inputs, event(runner, forge)) == 1
    (comment,) = forge.comments
    assert comment["body"].splitlines()[2] == "**+5.00 kB installed** in 3 artifacts, 1 over budget"
    deltas = [line for line in comment["body"].splitlines() if re.fullmatch(r"\*\*.* installed.*`", line)]
    assert deltas == [
        "**no change installed**: `over-1.10`",
        "**no change installed**: `app`",
        "**+5.00 kB installed (+25.0 %)**: `app two`",
    ]
    assert comment["body"].count("<!-- mlbundle") == 1
    assert runner.outputs["check"]["installed"] == "225000"


def test_a_missing_artifact_is_told_and_fails(runner: Runner, forge: Forge) -> None:
    assert runner.run({"artifact": "dist/*.whl"}, event(runner, forge)) == 2
    (command,) = active_commands(runner.log)
    assert command.startswith("::error title=mlbundle::mlbundle: dist/*.whl: there is no such artifact in ")
    assert "Nothing could be checked" in runner.summary.read_text(encoding="utf-8")
    assert runner.run({"artifact": " "}, event(runner, forge)) == 2
    assert active_commands(runner.log)[0].startswith("::error title=mlbundle::mlbundle: artifact: is empty; name ")
    assert runner.run({"artifact": "x" * 5_000}, event(runner, forge)) == 2
    assert "there is no such artifact" in active_commands(runner.log)[0]


@pytest.mark.parametrize("project", ["packages/ap", "dist"])
def test_limits_that_are_not_there_do_not_pass(runner: Runner, forge: Forge, project: str) -> None:
    build(runner.workspace / "dist" / "app", 130_000)
    assert runner.run({**APP, "project": project}, event(runner, forge)) == 2
    (command,) = active_commands(runner.log)
    assert f"project: {project}: has no pyproject.toml" in command


def test_a_project_without_limits_has_sizes(runner: Runner, forge: Forge) -> None:
    (runner.workspace / "pyproject.toml").unlink()
    assert runner.run(APP, event(runner, forge)) == 0, runner.log
    assert "**50.0 kB installed**" in forge.comments[0]["body"]


def test_what_two_patterns_find_is_checked_once(runner: Runner, forge: Forge) -> None:
    several = f"dist/app\n./dist/../dist/app\ndist/*\n{runner.workspace}/dist/app"
    assert runner.run({"artifact": several}, event(runner, forge)) == 0
    assert runner.outputs["check"]["installed"] == "50000"


def test_one_damaged_artifact_does_not_hide_the_others(runner: Runner, forge: Forge) -> None:
    (runner.workspace / "dist" / "bad-1-py3-none-any.whl").write_bytes(b"PK no zip")
    assert runner.run({"artifact": "dist/*"}, event(runner, forge)) == 2
    body = forge.comments[0]["body"]
    assert "1 not checked" in body
    assert "**`bad-1-py3-none-any.whl` could not be checked**" in body
    assert "**50.0 kB installed**" in body
    assert runner.outputs["check"]["save"] == "false"


def test_a_baseline_of_ones_own(runner: Runner, forge: Forge) -> None:
    build(runner.workspace / "released", 40_000)
    assert runner.run({**APP, "baseline": "released"}, event(runner, forge)) == 0, runner.log
    assert runner.outputs["check"]["growth"] == "10000"
    assert not any(action.startswith("actions/cache") for action, _ in runner.used)
    assert runner.run({**APP, "baseline": "nowhere"}, event(runner, forge)) == 2
    assert "nowhere: there is no such baseline" in runner.log


def test_the_baseline_of_the_configuration_goes_before_the_last_push(runner: Runner, forge: Forge) -> None:
    pushed(runner, forge)
    (last,) = (runner.root / "cache").rglob("*.json")
    build(runner.workspace / "dist" / "app", 90_000)
    pushed(runner, forge)
    (runner.workspace / "sizes").mkdir()
    shutil.copy(last, runner.workspace / "sizes" / "app.mlbundle.json")
    checkout(
        runner.workspace, artifacts={"app": 90_000}, budget=f'{BUDGET}installed-growth = "20 kB"\nbaseline = "sizes/app.mlbundle.json"\n'
    )
    assert runner.run(APP, event(runner, forge)) == 1, runner.log
    assert runner.outputs["check"]["growth"] == "40000"


def test_a_baseline_of_another_format_is_none(runner: Runner, forge: Forge) -> None:
    pushed(runner, forge)
    (kept,) = (runner.root / "cache").rglob("*.json")
    kept.write_text(kept.read_text(encoding="utf-8").replace('"format_version": "1', '"format_version": "9'), encoding="utf-8")
    assert runner.run(APP, event(runner, forge)) == 0, runner.log
    assert "no baseline: " in runner.log
    assert runner.outputs["check"]["growth"] == ""


def test_nothing_is_commented_or_uploaded_where_that_is_not_wanted(runner: Runner, forge: Forge) -> None:
    assert runner.run({**APP, "comment": "false", "html": "false"}, event(runner, forge)) == 0
    assert forge.requests == []
    assert not any("upload-artifact" in action for action, _ in runner.used)


HOSTILE = [
    "$(touch pwned)",
    "`touch pwned`",
    '"; touch pwned; "',
    "'; touch pwned; '",
    "a\n::error::pwned\nexit-code=0",
    "-x --help",
    "${{ github.token }}",
]


def test_no_text_from_outside_is_run(runner: Runner, forge: Forge) -> None:
    runner.scripts = True
    shutil.rmtree(runner.workspace / "dist")
    checkout(runner.workspace, artifacts=dict.fromkeys(HOSTILE, 150_000))
    everything = " ".join(HOSTILE)
    inputs = {"artifact": "dist/*", "name": everything, "baseline": "", "project": "."}
    assert runner.run({**inputs, "fail-on-breach": "false"}, event(runner, forge, "push")) == 0, runner.log
    refs = {"GITHUB_BASE_REF": everything, "GITHUB_HEAD_REF": everything, "GITHUB_REF_NAME": everything}
    assert runner.run(inputs, event(runner, forge, **refs)) == 1, runner.log
    assert not list(runner.root.rglob("pwned"))
    assert runner.outputs["check"]["exit-code"] == "1"
    assert runner.outputs["check"]["growth"] == "0"
    commands = active_commands(runner.log)
    assert len(commands) == len(HOSTILE)
    assert all(command.startswith("::error title=mlbundle%3A ") for command in commands)
    assert len(runner.outputs["prepare"]["prefixes"].splitlines()) == 2
    (comment,) = forge.comments
    assert comment["body"].startswith("<!-- mlbundle: ")
    assert comment["body"].count("Over budget") == len(HOSTILE)
    assert "could not be checked" not in comment["body"]


def test_modules_of_the_project_are_not_taken_for_ours(runner: Runner, forge: Forge) -> None:
    runner.scripts = True
    for name in ("json.py", "argparse.py", "rich.py", "hatch_mlbundle.py", "packaging.py"):
        (runner.workspace / name).write_text("import os; os.abort()", encoding="utf-8")
    assert runner.run(APP, event(runner, forge)) == 0, runner.log


def test_the_definition_is_a_composite_action() -> None:
    assert DEFINITION["runs"]["using"] == "composite"
    assert set(DEFINITION) <= {"name", "description", "author", "inputs", "outputs", "runs", "branding"}
    for each in (*DEFINITION["inputs"].values(), *DEFINITION["outputs"].values()):
        assert each["description"]
    allowed = {"name", "id", "if", "uses", "with", "run", "shell", "env", "working-directory"}
    for step in STEPS:
        assert set(step) <= allowed
        assert ("run" in step) == (step.get("shell") == "bash") == ("uses" not in step)


def test_scripts_have_nothing_substituted_into_them() -> None:
    assert [step["name"] for step in STEPS if "${{" in step.get("run", "")] == []


def test_every_name_in_an_expression_exists() -> None:
    text = ACTION.read_text(encoding="utf-8")
    assert set(re.findall(r"inputs\.([\w-]+)", text)) == set(DEFINITION["inputs"])
    assert set(re.findall(r"steps\.([\w-]+)\.", text)) <= {step["id"] for step in STEPS if "id" in step}


def test_foreign_actions_are_pinned_by_commit() -> None:
    uses = re.findall(r"uses: (.*)", ACTION.read_text(encoding="utf-8"))
    assert uses
    for each in uses:
        assert re.fullmatch(r"actions/[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each)


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
def test_shellcheck_finds_nothing(tmp_path: Path) -> None:
    scripts = []
    for number, step in enumerate(step for step in STEPS if "run" in step):
        scripts.append(tmp_path / f"{number}.sh")
        scripts[-1].write_text(f"#!/usr/bin/env bash\nset -eo pipefail\n{step['run']}", encoding="utf-8")
    checked = subprocess.run(["shellcheck", "--severity=info", *scripts], capture_output=True, text=True, check=False)
    assert checked.stdout == ""


@pytest.mark.slow
def test_the_action_installs_itself(tmp_path: Path, forge: Forge) -> None:
    """From the checkout that it is a part of, with pip, into an environment of its own, whatever modules the project has."""
    runner = Runner(root=tmp_path, action=ACTION, scripts=True)
    checkout(runner.workspace)
    for name in ("venv.py", "pip.py", "shutil.py", "json.py"):
        (runner.workspace / name).write_text("import os; os.abort()", encoding="utf-8")
    variables = event(runner, forge, PYTHONPATH="", RUNNER_OS="Linux")
    assert runner.run(APP, variables) == 0, runner.log
    assert runner.ran[0] == "Install mlbundle"
    assert len(forge.comments) == 1


def test_a_python_that_is_too_old_is_told(tmp_path: Path, forge: Forge) -> None:
    runner = Runner(root=tmp_path, action=ACTION, given={"python": {"python-path": str(tmp_path / "python3.9")}})
    checkout(runner.workspace)
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    old.chmod(0o755)
    assert runner.run(APP, event(runner, forge)) == 2
    (command,) = active_commands(runner.log)
    assert "set python-version" in command


def test_outputs_are_read_in_both_forms() -> None:
    assert read_outputs("a=b=c\nd<<END\n1\n2=3\nEND\ne=\n") == {"a": "b=c", "d": "1\n2=3", "e": ""}

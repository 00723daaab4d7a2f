"""Choosing by numbers: small real applications, each choice made and run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from hatch_mlbundle.adapters.project import project_config
from hatch_mlbundle.application import optimize
from hatch_mlbundle.errors import ArtifactError, VerificationError
from hatch_mlbundle.explore import explore
from hatch_mlbundle.job import Job, prepare
from hatch_mlbundle.model import Bundle, Change, Rewrite
from hatch_mlbundle.optimizer import Context, Optimizer, Options, Task
from hatch_mlbundle.pipeline import Stage
from hatch_mlbundle.plugins import load_registry
from hatch_mlbundle.reports.exploration import exploration_report
from hatch_mlbundle.reports.terminal import WIDTH, as_text
from hatch_mlbundle.trials.jail import available
from hatch_mlbundle.verification.choices import Choice, Exploration
from hatch_mlbundle.verify_settings import VerifyCommand, VerifySettings
from tests.bundles.wheelsmith import build_wheel
from tests.frozensmith import Item, craft, craft_pyz, frozen_folder
from tests.projects import environment
from tests.verification.breakable import Harm, Planted, planted_job

ALL = "all together"
_SCRIPT = """\
import os, sys
here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "words.txt")) as stream:
    print(stream.read())
if not os.path.exists(os.path.join(here, "steady")):
    print(os.getpid())
"""
RUN = (sys.executable, "{bundle}/main.py")


def folder_app(place: Path) -> Path:
    """Write an application that reads one file, and prints something else every time where another is missing."""
    app = place / "app"
    (app / "unused").mkdir(parents=True)
    (app / "main.py").write_text(_SCRIPT)
    (app / "words.txt").write_text("some words")
    (app / "steady").write_text("")
    for number in range(80):
        (app / f"unused/{number}.txt").write_text(f"nobody reads {number}\n" * 50)
    return app


def state(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return what is in a folder, and when and how it was last written."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[path.relative_to(folder).as_posix()] = (status.st_mtime_ns, status.st_mode, data)
    return found


def verified(*commands: VerifyCommand, **more: object) -> VerifySettings:
    return VerifySettings(commands=commands or (VerifyCommand(name="app", run=RUN),), **more)  # type: ignore[arg-type]


def rows(exploration: Exploration) -> dict[str, Choice]:
    return {choice.name: choice for choice in exploration.choices}


def with_stages(job: Job, *optimizers: Optimizer[Options]) -> Job:
    more = [Stage(optimizer=each, distribution="tests", version="1", identity=[each.name]) for each in optimizers]
    return replace(job, stages=(*job.stages, *more))


class Failing(Planted):
    """Cannot even plan."""

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        raise ValueError("no idea")


class Counting(Optimizer[Options]):
    """Halves the unused files, and counts how often it is asked to."""

    version = "1"
    name = "counting"

    def __init__(self) -> None:
        super().__init__(Options())
        self.rewritten = 0

    def plan(self, bundle: Bundle, context: Context) -> Iterable[Change]:
        return [Rewrite(path=path, reason="half") for path in bundle if path.startswith("unused/7")]

    def rewrite(self, task: Task, context: Context) -> None:
        self.rewritten += 1
        data = task.source.read_bytes()
        task.target.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize("is_cached", [True, False])
def test_each_row_says_what_its_step_does_and_nothing_is_made_or_run_twice(tmp_path: Path, is_cached: bool) -> None:
    app = folder_app(tmp_path)
    before = state(tmp_path)
    steps: Mapping[str, Mapping[str, Harm]] = {"clean": {}, "harmful": {"words.txt": Harm()}}
    counting = Counting()
    job = with_stages(planted_job(tmp_path, steps, verified()), counting, Planted("idle", {}))
    settings = job.config.settings
    cache = replace(settings.cache, enabled=is_cached)
    job = replace(job, config=replace(job.config, settings=replace(settings, cache=cache)))
    found = explore(job, app, repeat=2)
    assert state(tmp_path) == before
    by_name = rows(found)
    assert list(by_name) == ["as it is", "clean", "harmful", "counting", "idle", ALL]
    assert [choice.verdict for choice in found.choices] == ["same", "same", "broken", "same", "same", "broken"]
    assert by_name[ALL].optimizers == ("clean", "harmful", "counting", "idle")
    assert by_name[ALL].problem == by_name["harmful"].problem
    assert "'{bundle}/words.txt'" in str(by_name["harmful"].problem)
    assert by_name["harmful"].measured == ()
    assert by_name["idle"].measured == by_name["as it is"].measured
    assert counting.rewritten == 11  # 7 and 70 to 79, though in two choices, where it finds ten of them gone
    assert (found.results, found.runs) == (5, 2 + 2 * 5)  # twice before anything is made
    whole = sum(len(data) for name, (_, _, data) in before.items() if name.startswith("app/"))
    assert by_name["as it is"].installed == whole
    assert 0 < (by_name["clean"].compressed or 0) < (by_name["as it is"].compressed or 0) < whole


def test_all_together_is_what_optimize_makes(tmp_path: Path) -> None:
    app = folder_app(tmp_path)
    job = planted_job(tmp_path, {"clean": {}, "more": {}}, verified())
    settings = replace(job.config.settings, archive=("tar.gz", "zip"))
    job = replace(job, config=replace(job.config, settings=settings))
    by_name = rows(explore(job, app, repeat=1))
    after = optimize(job, app, tmp_path / "small" / "app").manifest
    assert by_name[ALL].installed == after.artifact.after.installed
    assert by_name[ALL].sha256 == after.artifact.after.sha256
    for packed in after.packed:
        assert (by_name[f"all, {packed.format}"].compressed, by_name[f"all, {packed.format}"].sha256) == (packed.size, packed.sha256)


def test_a_step_that_fails_and_output_that_never_is_the_same(tmp_path: Path) -> None:
    app = folder_app(tmp_path)
    job = planted_job(tmp_path, {"unsteady": {"steady": Harm()}}, verified())
    by_name = rows(explore(with_stages(job, Failing("failing", {})), app, repeat=1))
    assert by_name["unsteady"].verdict == "broken"
    assert (by_name["failing"].verdict, by_name["failing"].installed) == ("failed", by_name["as it is"].installed)
    assert "ValueError: no idea" in str(by_name["failing"].problem)
    (app / "steady").unlink()
    found = explore(planted_job(tmp_path, {"clean": {}}, verified()), app, repeat=3)
    assert {choice.verdict for choice in found.choices} == {"flaky"}
    assert [finding.code for finding in found.findings] == ["MB603"]
    assert found.commands[0].compared == "exit status"


def test_results_have_their_turns(tmp_path: Path) -> None:
    app = folder_app(tmp_path)
    command = ["sh", "-c", f"ls {{bundle}}/unused | wc -l >>{tmp_path}/log"]
    explore(planted_job(tmp_path, {"clean": {}, "more": {}}, verified()), app, command=command, repeat=2)
    assert (tmp_path / "log").read_text().split() == ["80", "80", *["80", "40", "40", "0"] * 2]


def test_a_broken_baseline_is_told_before_any_work(tmp_path: Path) -> None:
    app = folder_app(tmp_path)
    counting = Counting()
    job = with_stages(planted_job(tmp_path, {}, verified()), counting)
    with pytest.raises(VerificationError, match="fails on the untouched artifact: it exits with 3"):
        explore(job, app, command=["sh", "-c", "exit 3"])
    assert counting.rewritten == 0


def real_job(folder: Path, **settings: object) -> Job:
    registry = load_registry()
    return prepare(project_config(folder, registry, settings), registry, project=folder)


def test_a_frozen_application_in_all_its_forms(tmp_path: Path) -> None:
    app = frozen_folder(tmp_path)
    before = state(tmp_path)
    unused = {"paths": ["**/app.pyz/email/"]}  # of which the executable is to tell when it misses it
    job = real_job(tmp_path, optimizers=["exclude", "python_sources", "strip"], exclude=unused, archive=["tar.gz"])
    found = explore(job, app, command=["{bundle}/app"], repeat=1)
    assert state(tmp_path) == before
    by_name = rows(found)
    forms = [(choice.name, choice.form) for choice in found.choices[4:]]
    assert forms == [(ALL, "frozen"), ("as it is, one file", "one-file"), ("all, one file", "one-file"), ("all, tar.gz", "tar.gz")]
    assert [choice.verdict for choice in found.choices] == ["same"] * 7 + [None]
    assert len({choice.sha256 for choice in found.choices if choice.verdict}) == found.results
    assert found.runs == found.results + 2
    sizes = [by_name[name].installed or 0 for name in ("all, one file", "as it is, one file", ALL, "as it is")]
    assert sizes[0] < sizes[1]
    assert sizes[2] < sizes[3]
    after = optimize(job, app, tmp_path / "small" / "app").manifest
    assert (by_name[ALL].installed, by_name["as it is"].installed) == (after.artifact.after.installed, after.artifact.before.installed)
    assert by_name["all, tar.gz"].compressed == after.packed[0].size
    assert by_name["exclude"].sha256 != by_name["as it is"].sha256 == by_name["python_sources"].sha256


@pytest.mark.skipif(available() is not None, reason=str(available()))
def test_a_frozen_application_in_a_clean_root(tmp_path: Path) -> None:
    app = frozen_folder(tmp_path)
    verify = {"jail": True, "commands": [{"run": ["{bundle}/app"]}]}
    found = explore(real_job(tmp_path, optimizers=[], verify=verify), app, repeat=1)
    assert found.jail
    assert [choice.verdict for choice in found.choices] == ["same"] * 4


def test_several_executables_are_no_one_file(tmp_path: Path) -> None:
    app = frozen_folder(tmp_path)
    (app / "twin").write_bytes((app / "app").read_bytes())
    (app / "twin").chmod(0o755)
    found = explore(real_job(tmp_path, optimizers=[]), app)
    assert [choice.verdict for choice in found.choices] == [None, None, "impossible", "impossible"]
    text = as_text(exploration_report(found))
    assert "as it is, one file; all, one file: impossible: app, twin: are several executables" in " ".join(text.split())
    assert "nothing was run" in text


def test_a_wheel_is_tried_in_one_environment(tmp_path: Path) -> None:
    tests = {"demo/tests/__init__.py": b"", "demo/tests/test_demo.py": b"def test_demo():\n    assert True\n" * 20}
    wheel = build_wheel(tmp_path, {"demo/__init__.py": b"answer = 42\n", "demo/notes.md": b"notes\n" * 99, **tests})
    before = state(tmp_path)
    job = real_job(tmp_path, optimizers=["test_data", "exclude"], exclude={"paths": ["demo/__init__.py"]})
    found = explore(job, wheel, command=["{python}", "-c", "import demo; print(demo.answer)"], repeat=1)
    assert state(tmp_path) == before
    assert [choice.verdict for choice in found.choices] == ["same", "same", "broken", "broken"]
    by_name = rows(found)
    assert by_name["as it is"].compressed == wheel.stat().st_size
    alone = real_job(tmp_path, optimizers=["test_data"])
    after = optimize(alone, wheel, tmp_path / "small.whl").manifest.artifact.after
    assert (by_name["test_data"].installed, by_name["test_data"].compressed) == (after.installed, after.size)


def test_a_one_file_executable_can_only_be_analyzed(tmp_path: Path) -> None:
    one = tmp_path / "one"
    one.write_bytes(craft([Item(name=b"app", type=b"s"), craft_pyz([]), Item(name=b"words.txt", data=b"words")]))
    with pytest.raises(ArtifactError, match="is a one-file executable"):
        explore(real_job(tmp_path), one)


def mlbundle(*arguments: object, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hatch_mlbundle", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment(**more), capture_output=True, text=True, check=False, timeout=120)


def test_the_command_line(tmp_path: Path) -> None:
    app = folder_app(tmp_path)
    done = mlbundle("explore", app, "--repeat", "1", "-o", "choices.json", "--", *RUN, "--json", "-q", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, done.stdout.splitlines())) <= WIDTH
    document = json.loads((tmp_path / "choices.json").read_text())
    assert document["format"] == "mlbundle-exploration"
    assert document["commands"][0]["arguments"] == [*RUN, "--json", "-q"]
    assert [choice["verdict"] for choice in document["choices"]] == ["same"] * len(document["choices"])
    assert json.loads(mlbundle("explore", "--json", app, cwd=tmp_path).stdout)["commands"] == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["app", "--", "sh", "-c", "echo no such thing >&2; exit 5"], 1, "no such thing"),
        (["app", "--", "{bundle}/missing"], 2, "missing"),
        (["app", "--", "{python}", "-V"], 2, "which only wheels have"),
        (["app", "-o", "app/choices.json"], 2, "lies in it"),
        (["app", "-o", "nowhere/choices.json"], 2, "there is no such folder"),
        (["nothing"], 2, "does not exist"),
    ],
)
def test_wrong_use_is_one_line(arguments: list[str], code: int, message: str, tmp_path: Path) -> None:
    folder_app(tmp_path)
    before = state(tmp_path)
    done = mlbundle("explore", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (code, "", 1), done.stderr
    assert message in done.stderr
    assert state(tmp_path) == before


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    app = folder_app(tmp_path)
    before = state(app)
    (tmp_path / "tmp").mkdir()
    command = [sys.executable, "-m", "hatch_mlbundle", "explore", str(app), "--", "sh", "-c", f"touch {tmp_path}/begun; sleep 987.25"]
    variables = environment(TMPDIR=str(tmp_path / "tmp"))
    with subprocess.Popen(command, cwd=tmp_path, env=variables, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "begun").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert (process.returncode, told.splitlines()) == (130, ["mlbundle: interrupted"])
    assert list((tmp_path / "tmp").iterdir()) == []
    assert state(app) == before
    assert not sleeping("987.25")


def sleeping(seconds: str) -> bool:
    """Say whether a process runs that sleeps for just so long."""
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if f"sleep\0{seconds}".encode() in process.read_bytes():
                return True
        except OSError:
            continue
    return False

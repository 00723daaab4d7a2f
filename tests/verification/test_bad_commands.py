"""Verify commands that misbehave: one clear line, the artifact and earlier results as they were, no process and no folder left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hatch_mlbundle.manifest import SUFFIX, Manifest
from tests.projects import environment

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")

FILES = {"a.txt": "alpha", "b.txt": "beta", "sub/c.log": "unused", "sub/d.txt": "delta"}
READS_B = "import sys; print(open(sys.argv[1] + '/b.txt').read())"
REFUSED = "nothing was optimized"


@dataclass(frozen=True, kw_only=True)
class World:
    """A project with a folder to be made small, what an earlier run left beside it, and a temporary folder of its own."""

    root: Path

    @property
    def app(self) -> Path:
        return self.root / "app"

    @property
    def scratch(self) -> Path:
        return self.root / "scratch"

    def configure(self, code: str, verify: str = "", command: str = "", top: str = "", run: list[str] | None = None) -> None:
        """Let the code be verified; the optimizer drops what is unused, and b.txt."""
        (self.root / "check.py").write_text(code)
        arguments = run or [sys.executable, "{project}/check.py", "{bundle}"]
        text = f'[tool.mlbundle]\noptimizers = ["exclude"]\ncache = {{enabled = false}}\n{top}\n'
        text += f'[tool.mlbundle.exclude]\npaths = ["*.log", "b.txt"]\n[tool.mlbundle.verify]\n{verify}\n'
        text += f'[[tool.mlbundle.verify.commands]]\nname = "check"\nrun = {json.dumps(arguments)}\n{command}\n'
        (self.root / "pyproject.toml").write_text(text)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "hatch_mlbundle", "optimize", "--project", str(self.root), *arguments, str(self.app)]

    def variables(self, **more: str) -> dict[str, str]:
        return environment(**{"TMPDIR": str(self.scratch), **more})

    def optimize(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = self.command(*arguments)
        return subprocess.run(command, env=self.variables(**more), capture_output=True, text=True, check=False, timeout=120)

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(self.command(), env=self.variables(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def manifest(self) -> Manifest:
        return Manifest.load(self.root / f"app{SUFFIX}")

    def codes(self) -> list[str]:
        return [finding.code for finding in self.manifest().findings]

    def at_work(self) -> list[int]:
        """Return the processes that work for this project."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if str(self.root).encode() in (process / "cmdline").read_bytes():
                    found.append(int(process.name))
            except OSError:
                continue
        return found

    def assert_untouched(self) -> None:
        assert tree(self.app) == FILES
        assert (self.root / f"app{SUFFIX}").read_text() == "of an earlier run"
        assert sorted(path.name for path in self.root.iterdir() if path.name.startswith(".")) == []
        self.assert_tidy()

    def assert_tidy(self) -> None:
        assert list(self.scratch.iterdir()) == []
        assert self.at_work() == []


def tree(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(root=tmp_path)
    made.scratch.mkdir()
    for name, text in FILES.items():
        (made.app / name).parent.mkdir(parents=True, exist_ok=True)
        (made.app / name).write_text(text)
    (tmp_path / f"app{SUFFIX}").write_text("of an earlier run")
    yield made
    for number in made.at_work():
        os.kill(number, signal.SIGKILL)


FAILING: dict[str, tuple[str, str]] = {
    "exit status": ("import sys; sys.exit(3)", "it exits with 3 instead of 0"),
    "exception": ("open('/no/such')", "it exits with 1 instead of 0: FileNotFoundError: [Errno 2] No such file or directory: '/no/such'"),
    "signal": ("import os; os.kill(os.getpid(), 11)", "it crashes: SIGSEGV"),
    "hang": ("import time; time.sleep(100)", "it takes more than 1.5 s"),
    "fork": ("import os, time\nwhile True: os.fork() or time.sleep(100)", "it has more than 40 processes and threads at once"),
    "disk": ("out = open('x', 'wb')\nwhile True: out.write(bytes(10**5))", "it writes more than 3.00 MB"),
    "output": ("while True: print('x' * 10**5)", "it writes more than 3.00 MB"),
}


@pytest.mark.parametrize("name", FAILING)
def test_what_fails_on_the_untouched_artifact_ends_it_all(world: World, name: str) -> None:
    code, problem = FAILING[name]
    limit = 1.5 if name == "hang" else 60
    world.configure(code, f'timeout = {limit}\nmax-written = "3 MB"\nmax-processes = 40')
    result = world.optimize()
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"mlbundle: verify: 'check' fails on the untouched artifact: {problem}"), line
    assert line.endswith(REFUSED)
    assert (result.returncode, result.stdout) == (1, "")
    world.assert_untouched()


def test_a_program_that_cannot_be_started_is_wrong_use(world: World) -> None:
    (world.app / "a.txt").chmod(0o644)
    (world.root / "script").write_text("#!/no/such/interpreter\n")
    (world.root / "script").chmod(0o755)
    for program, problem in (
        ("no-such-program", "no-such-program: is not on PATH"),
        ("{bundle}/no", "/app/no: is not there"),
        ("{bundle}/a.txt", "/app/a.txt: is no program; make it executable (chmod +x)"),
        ("{project}/script", "its interpreter /no/such/interpreter: No such file or directory"),
    ):
        world.configure("", run=[program])
        result = world.optimize()
        (line,) = result.stderr.splitlines()
        assert line.startswith("mlbundle: ")
        assert problem in line
        assert (result.returncode, result.stdout) == (2, "")
        world.assert_untouched()


def test_output_that_differs_every_time_is_told_and_not_compared(world: World) -> None:
    world.configure("import os, sys; print(os.urandom(8).hex()); open(sys.argv[1] + '/a.txt')")
    assert world.optimize().returncode == 0
    (finding,) = world.manifest().findings
    assert finding.code == "MB603"
    assert "'check' differs from one run to the next without any change (line 1 of its output is" in finding.message
    assert tree(world.app) == {"a.txt": "alpha", "sub/d.txt": "delta"}
    world.assert_tidy()


def test_the_exit_status_counts_although_the_output_differs_every_time(world: World) -> None:
    world.configure("import os, sys; print(os.urandom(8).hex()); open(sys.argv[1] + '/b.txt')")
    assert world.optimize().returncode == 0
    assert sorted(world.codes()) == ["MB601", "MB603"]
    assert tree(world.app) == {"a.txt": "alpha", "b.txt": "beta", "sub/d.txt": "delta"}


def test_output_that_begins_to_differ_on_the_result_is_no_ones_fault(world: World) -> None:
    counter = world.root / "counter"
    code = f"import pathlib; p = pathlib.Path({str(counter)!r}); n = len(p.read_text()) if p.exists() else 0\n"
    world.configure(code + "p.write_text('x' * (n + 1)); print('first' if n == 2 else 'second')")
    assert world.optimize().returncode == 0
    assert world.codes() == ["MB603"]
    assert tree(world.app) == {"a.txt": "alpha", "sub/d.txt": "delta"}
    world.assert_tidy()


MISCHIEF = """\
import os, pathlib, shutil, sys
bundle = pathlib.Path(sys.argv[1])
print(sorted(p.relative_to(bundle).as_posix() for p in bundle.rglob("*")), (bundle / "a.txt").read_text())
"""
WRITING: dict[str, str] = {
    "appends": "with open(bundle / 'a.txt', 'a') as out: out.write('more')",
    "deletes": "(bundle / 'sub/d.txt').unlink()",
    "deletes everything": "shutil.rmtree(bundle)",
    "adds": "(bundle / 'new/deep').mkdir(parents=True); (bundle / 'new/deep/x').write_text('x')",
    "changes modes": "(bundle / 'a.txt').chmod(0o700)",
    "changes a folder's mode": "(bundle / 'sub/d.txt').write_text('x'); (bundle / 'sub').chmod(0)",
    "exchanges": "(bundle / 'a.txt').unlink(); (bundle / 'a.txt').symlink_to('sub/d.txt')",
}


@pytest.mark.parametrize("name", WRITING)
def test_what_writes_into_the_bundle_harms_neither_the_original_nor_the_next_run(world: World, name: str) -> None:
    world.configure(f"{MISCHIEF}{WRITING[name]}\nopen(bundle / 'b.txt') if bundle.exists() else 0", command='output = "ignore"')
    original = tree(world.app)
    result = world.optimize("-o", str(world.root / "small"))
    assert result.returncode == 0, result.stderr
    assert tree(world.app) == original
    findings = Manifest.load(world.root / f"small{SUFFIX}").findings
    assert {finding.code for finding in findings} == ({"MB604"} if name == "deletes everything" else {"MB601", "MB604"})
    (told,) = [finding.message for finding in findings if finding.code == "MB604"]
    assert told.startswith("'check' writes into the bundle (")
    small = {path: text for path, text in original.items() if path != "sub/c.log"}
    assert tree(world.root / "small") == (small if name != "deletes everything" else {"a.txt": "alpha", "sub/d.txt": "delta"})
    world.assert_tidy()


def test_every_run_sees_the_bundle_whole(world: World) -> None:
    log = world.root / "log"
    world.configure(
        f"{MISCHIEF}open({str(log)!r}, 'a').write(str(len(list(bundle.rglob('*')))))\nshutil.rmtree(bundle)", command='output = "ignore"'
    )
    assert world.optimize().returncode == 0
    assert log.read_text() == "553"  # four files and a folder; two files and a folder


def test_a_command_that_locks_its_working_folder_hinders_no_other(world: World) -> None:
    world.configure("import os; os.makedirs('x/y'); open('x/y/z', 'w'); os.chmod('x/y', 0); os.chmod('x', 0)")
    assert world.optimize().returncode == 0
    world.assert_tidy()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
@pytest.mark.parametrize("searching", [False, True])
def test_whatever_ends_us_ends_the_command(world: World, number: signal.Signals, code: int, searching: bool) -> None:
    started = world.root / "started"
    waits = f"open({str(started)!r}, 'w').close(); os.fork(); os.setsid() if os.getpid() % 2 else 0; time.sleep(100)"
    condition = "not os.path.exists(sys.argv[1] + '/b.txt')" if searching else "True"
    world.configure(f"import os, sys, time\nif {condition}:\n    {waits}")
    with world.start() as process:
        wait_for(started.exists)
        process.send_signal(number)
        out, said = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, "")
    assert said.splitlines() == (["mlbundle: interrupted"] if code == 130 else [])
    wait_for(lambda: world.at_work() == [])
    if number is signal.SIGKILL:
        assert tree(world.app) == FILES
    else:
        world.assert_untouched()


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_an_error_replaces_nothing_and_names_step_and_file(world: World) -> None:
    world.configure(READS_B, 'on-failure = "error"')
    result = world.optimize()
    first, last = result.stderr.splitlines()
    assert first.startswith("mlbundle: exclude: b.txt: with the change, 'check' exits with 1 instead of 0: FileNotFoundError")
    assert "'{bundle}/b.txt'" in first
    assert last.startswith("mlbundle: verify: the result behaves otherwise than the artifact; ")
    assert (result.returncode, result.stdout) == (1, "")
    world.assert_untouched()


def test_strict_fails_where_something_was_put_back(world: World) -> None:
    world.configure(READS_B, top="strict = true")
    result = world.optimize()
    first, last = result.stderr.splitlines()
    assert first.startswith("mlbundle: MB601 exclude: b.txt: was put back: with the change, 'check' exits with 1")
    assert last == "mlbundle: strict = true makes findings fail: nothing was replaced"
    assert (result.returncode, result.stdout) == (1, "")
    world.assert_untouched()


def test_findings_are_the_same_in_every_build(world: World) -> None:
    world.configure(READS_B)
    manifests = []
    for name in ("one", "other"):
        (world.scratch / name).mkdir()
        assert world.optimize("-o", str(world.root / name / "app"), TMPDIR=str(world.scratch / name)).returncode == 0
        manifests.append((world.root / name / f"app{SUFFIX}").read_bytes())
        (world.scratch / name).rmdir()
    assert manifests[0] == manifests[1]
    assert str(world.root).encode() not in manifests[0]


def test_out_of_runs_the_result_is_run_once_more_and_works(world: World) -> None:
    world.configure(READS_B, "max-runs = 1")
    result = world.optimize()
    assert result.returncode == 0, result.stderr
    assert "b.txt" in tree(world.app)
    assert set(world.codes()) <= {"MB601", "MB602"}
    world.assert_tidy()


def test_an_artifact_that_may_only_be_read_is_verified(world: World) -> None:
    for path in world.app.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    world.app.chmod(0o555)
    try:
        world.configure(READS_B)
        result = world.optimize("-o", str(world.root / "small"))
        assert result.returncode == 0, result.stderr
        assert set(tree(world.root / "small")) == {"a.txt", "b.txt", "sub/d.txt"}
        assert (world.root / "small/a.txt").stat().st_mode & 0o777 == 0o444
        world.assert_tidy()
    finally:
        for path in (world.app, world.app / "sub"):
            path.chmod(0o755)


@pytest.fixture
def small_disk(world: World) -> Iterator[Callable[[str], Path]]:
    """Mount a file system of a certain size as the temporary folder."""
    mount = shutil.which("mount")
    if os.getuid() != 0 or mount is None:
        pytest.skip("only root can mount a small disk")
    mounted: list[Path] = []

    def make(options: str) -> Path:
        place = world.root / f"disk-{len(mounted)}"
        place.mkdir()
        if subprocess.run([mount, "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, check=False).returncode:
            pytest.skip("this machine lets nobody mount anything")
        mounted.append(place)
        return place

    yield make
    for place in mounted:
        subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_is_one_line_wherever_it_is_met(world: World, small_disk: Callable[[str], Path]) -> None:
    (world.app / "a.txt").write_text("a" * 200_000)
    original = tree(world.app)
    world.configure(READS_B)
    told = set()
    for options in [*(f"nr_inodes={count}" for count in (2, 4, 7, 11, 15, 20, 25)), "size=100k", "size=208k"]:
        disk = small_disk(options)
        result = world.optimize("-o", str(world.root / "small"), TMPDIR=str(disk))
        if result.returncode == 0:
            shutil.rmtree(world.root / "small")
            continue
        assert result.returncode in (1, 2), (options, result.stderr)
        (line,) = result.stderr.splitlines()
        told.add(line.replace(str(disk), "")[:60])
        assert "disk full" in line or "fails on the untouched artifact" in line, (options, line)
        assert not (world.root / "small").exists()
        assert list(disk.iterdir()) == []
        assert world.at_work() == []
    assert tree(world.app) == original
    assert len(told) > 1

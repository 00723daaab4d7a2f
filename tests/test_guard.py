"""Plugins that do what they may not: real ones, installed, in real builds. The artifact is what it was, and the finding names them."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from hatch_mlbundle.application import optimize, plan_for
from hatch_mlbundle.config import read_config
from hatch_mlbundle.errors import FindingsError
from hatch_mlbundle.job import Job, prepare, remedy_of
from hatch_mlbundle.manifest import Manifest
from hatch_mlbundle.model import Finding
from tests.sites import HEAD, Site, registering

FILES = {"app/one.txt": "one " * 50, "app/two.txt": "two " * 50, "app/data/three.bin": "three " * 50, "app/four.py": "x = 1\n"}

REWRITES = """
class Mute(Exception):
    def __str__(self): raise ValueError

def quietly(path):
    try: path.write_text("x")
    except OSError: pass

class Bad(Optimizer):
    "Misbehaves."
    name = "bad"
    version = "1"
    def plan(self, bundle, context):
        return [Rewrite(path=path, reason="shorter") for path in bundle if path.endswith(".txt")]
    def rewrite(self, task, context):
        if task.file.path.endswith("two.txt"):
            task.target.write_text("two")
            return
"""

PLANS = """
class Bad(Optimizer):
    "Misbehaves."
    name = "bad"
    version = "1"
    def plan(self, bundle, context):
        yield Drop(path="app/two.txt", reason="not needed")
"""


class Project:
    """A project with an artifact, and plugins that are installed."""

    def __init__(self, folder: Path) -> None:
        self.site = Site(folder / "site")
        self.folder = folder / "project"
        self.artifact = self.folder / "dist" / "application"
        for name, text in FILES.items():
            path = self.artifact / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (self.folder / "precious.txt").write_text("precious")

    def job(self, distribution: str = "mlbundle-bad", **settings: object) -> Job:
        registry = self.site.registry()
        listed = [name for name, each in registry.items() if each.distribution == distribution]
        table = {"optimizers": listed, **({"bad": {"timeout": 60.0}} if listed else {}), **settings}
        config = read_config(table, registry.option_types(), why_missing=registry.why_missing)
        return prepare(config, registry, project=self.folder)

    def build(self, **settings: object) -> Manifest:
        with self.site.installed():
            return optimize(self.job(**settings), self.artifact).manifest

    def contents(self) -> dict[str, bytes]:
        """Return the bytes of all files of the artifact."""
        return {path.relative_to(self.artifact).as_posix(): path.read_bytes() for path in self.artifact.rglob("*") if path.is_file()}


ORIGINAL = {name: text.encode() for name, text in FILES.items()}
WITH_TWO = {**ORIGINAL, "app/two.txt": b"two"}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def install(project: Project, cls: str, body: str, *, indent: int = 8) -> None:
    source = f"{HEAD}\nPROJECT = Path({str(project.folder)!r})\n{cls}{textwrap.indent(textwrap.dedent(body), ' ' * indent)}\n"
    project.site.add("mlbundle-bad", source + registering("Bad"))


def told(findings: tuple[Finding, ...]) -> list[tuple[str, str | None, str | None, str]]:
    return [(each.code, each.optimizer, each.path, each.message) for each in findings]


def only(findings: tuple[Finding, ...], code: str, pattern: str, path: str | None = None) -> None:
    """Check that there is one finding, which names distribution and step."""
    (finding,) = findings
    assert (finding.code, finding.optimizer, finding.path) == (code, "bad", path)
    assert re.fullmatch(rf"plugin mlbundle-bad: {pattern}", finding.message), finding.message


SHORT = {"timeout": 0.2}
"""For calls that hang; others take less, or end in the same way."""

ONE = "the original stays"
OUT = "the step was left out"

IN_A_REWRITE = {
    "raises": ("raise ValueError('no\\nway')", "MB102", f"failed: ValueError: no way; {ONE}"),
    "raises an error without a text": ("raise Mute", "MB102", f"failed: Mute; {ONE}"),
    "exits": ("sys.exit(3)", "MB102", f"failed: raised SystemExit: 3; {ONE}"),
    "interrupts": ("raise KeyboardInterrupt", "MB102", f"failed: raised KeyboardInterrupt; {ONE}"),
    "closes its generator": ("raise GeneratorExit", "MB102", f"failed: raised GeneratorExit; {ONE}"),
    "calls itself for ever": ("self.rewrite(task, context)", "MB102", f"failed: RecursionError: .*; {ONE}"),
    "has no memory": ("raise MemoryError", "MB102", f"failed: MemoryError; {ONE}"),
    "says that the disk is full": ("import errno; raise OSError(errno.ENOSPC, 'full')", "MB102", f"failed: OSError: .*full; {ONE}"),
    "writes to the project": (
        "(PROJECT / 'precious.txt').write_text('gone')",
        "MB122",
        f"tried to write .*/project/precious.txt, which is none of its folders, and was refused; {ONE}",
    ),
    "writes to the artifact, and hides it": (
        "try: (PROJECT / 'dist/application/app/two.txt').open('ab')\nexcept OSError: pass",
        "MB122",
        f"tried to write .*/dist/application/app/two.txt, which .*; {ONE}",
    ),
    "writes through a link": (
        "link = task.companions / 'x'; link.symlink_to(PROJECT / 'precious.txt'); link.write_text('gone')",
        "MB122",
        f"tried to write .*/precious.txt, which .*; {ONE}",
    ),
    "writes through a hard link": ("os.link(PROJECT / 'precious.txt', task.companions / 'x')", "MB122", f"tried to write .*; {ONE}"),
    "removes": ("(PROJECT / 'precious.txt').unlink()", "MB122", f"tried to write .*/precious.txt, which .*; {ONE}"),
    "removes a tree": ("import shutil; shutil.rmtree(PROJECT / 'dist', ignore_errors=True)", "MB122", f"tried to write .*; {ONE}"),
    "moves away": ("(PROJECT / 'precious.txt').rename(task.target)", "MB122", f"tried to write .*/precious.txt, which .*; {ONE}"),
    "moves over": ("task.target.write_text('x'); task.target.replace(PROJECT / 'precious.txt')", "MB122", f"tried .*; {ONE}"),
    "changes rights": ("(PROJECT / 'precious.txt').chmod(0o777)", "MB122", f"tried to write .*/precious.txt, which .*; {ONE}"),
    "cuts off": ("os.truncate(PROJECT / 'precious.txt', 0)", "MB122", f"tried to write .*/precious.txt, which .*; {ONE}"),
    "makes a folder": ("(PROJECT / 'new').mkdir()", "MB122", f"tried to write .*/project/new, which .*; {ONE}"),
    "writes in a thread": (
        "t = threading.Thread(target=quietly, args=(PROJECT / 'new',)); t.start(); t.join()",
        "MB122",
        f"tried to write .*/project/new, which .*; {ONE}",
    ),
    "changes its source": ("task.source.write_text('spoilt'); task.target.write_text('x')", "MB123", f"changed app/one.txt, .*; {ONE}"),
    "removes its source": ("task.source.unlink(); task.target.write_text('x')", "MB123", f"changed app/one.txt, .*; {ONE}"),
    "moves its source": ("task.source.rename(task.target)", "MB103|MB123", f".*; {ONE}"),
    "makes a link": ("task.target.symlink_to('/etc/passwd')", "MB103", f"not sound when rewritten: it made what is no plain file; {ONE}"),
    "makes a folder of its target": ("task.target.mkdir()", "MB103", f"not sound when rewritten: it made what is no plain file; {ONE}"),
    "makes a pipe": ("os.mkfifo(task.target)", "MB103", f"not sound when rewritten: it made what is no plain file; {ONE}"),
    "links a companion": (
        "task.target.write_text('x'); (task.companions / 'x').symlink_to('/etc/passwd')",
        "MB103",
        f"not sound when rewritten: its companion x is no plain file; {ONE}",
    ),
    "gives details that are none": ("task.target.write_text('x'); return 3", "MB125", f"gives details that are no mapping, but int; {ONE}"),
    "gives details that are no JSON": ("task.target.write_text('x'); return {'a': {1, 2}}", "MB125", f"gives details .* no JSON .*; {ONE}"),
    "gives a number that is none": ("task.target.write_text('x'); return {'a': float('nan')}", "MB125", f"gives .* no JSON .*; {ONE}"),
    "gives endless details": ("d = {}; d['d'] = d; task.target.write_text('x'); return d", "MB125", f"gives .* no JSON .*; {ONE}"),
    "gives large details": ("task.target.write_text('x'); return {'a': 'x' * 11_000_000}", "MB125", f"gives details of 11,.*; {ONE}"),
    "is not sound": ("raise UnsoundResultError('it is wrong')", "MB103", f"not sound when rewritten: it is wrong; {ONE}"),
}


@pytest.mark.parametrize("case", IN_A_REWRITE)
def test_a_file_whose_rewriting_goes_wrong_stays(project: Project, case: str) -> None:
    body, code, pattern = IN_A_REWRITE[case]
    install(project, REWRITES, body)
    manifest = project.build()
    (finding,) = manifest.findings
    assert re.fullmatch(code, finding.code), finding
    only(manifest.findings, finding.code, pattern, "app/one.txt")
    assert project.contents() == WITH_TWO
    assert (project.folder / "precious.txt").read_text() == "precious"
    assert sorted(path.name for path in project.folder.iterdir()) == ["dist", "precious.txt"]


IN_A_PLAN = {
    "raises": ("raise KeyError('x')", "MB101", r"failed while planning \(KeyError: 'x'\); the step was left out"),
    "exits": ("os.sys.exit()", "MB101", r"failed while planning \(raised SystemExit\); the step was left out"),
    "calls itself for ever": ("yield from self.plan(bundle, context)", "MB101", r"failed while planning \(RecursionError: .*"),
    "plans for ever": ("while True: yield Keep(path='app/one.txt', reason='x')", "MB125", f"asks for 10,040 changes or more .*; {OUT}"),
    "plans what is none": ("yield 3", "MB101", r"failed while planning \(TypeError: plan\(\) gave 3, which is no change\); .*"),
    "writes to the artifact": ("(PROJECT / 'dist/application/app/one.txt').write_text('')", "MB122", f"tried to write .*; {OUT}"),
    "writes to where it read": ("context.local(bundle['app/one.txt']).write_text('')", "MB123", f"changed app/one.txt, .*; {OUT}"),
    "asks for a file that it made up": (
        "from dataclasses import replace; context.local(replace(bundle['app/one.txt'], path=str(PROJECT / 'precious.txt')))",
        "MB125",
        f"asks for .*/project/precious.txt, which is no file of the bundle; {OUT}",
    ),
    "changes its options": ("object.__setattr__(self.options, 'include', ('nothing',))", "MB123", f"changed its own options; {OUT}"),
    "replaces its options": ("self.options = 3", "MB123", f"changed its own options; {OUT}"),
    "hides a hang": (
        "try: context.examine('x', list(bundle.values()), lambda file: time.sleep(600))\nexcept Exception: pass",
        "MB121",
        f"took longer than 0.2 seconds in one call and was given up; {OUT}; if it needs more, raise `timeout` in .tool.mlbundle.bad.",
    ),
    "sleeps": ("time.sleep(600)", "MB121", f"took longer than 0.2 seconds in one call and was given up; {OUT}; .*"),
    "computes for ever": ("while True: pass", "MB121", f"took longer than 0.2 seconds in one call and was given up; {OUT}; .*"),
    "examines what is no JSON": ("context.examine('x', list(bundle.values()), lambda file: {1})", "MB101", r"failed .*TypeError: .*"),
    "exits while it examines": ("context.examine('x', list(bundle.values()), sys.exit)", "MB101", r"failed .*raised SystemExit: .*"),
}


@pytest.mark.parametrize("case", IN_A_PLAN)
def test_a_step_whose_plan_goes_wrong_is_left_out(project: Project, case: str) -> None:
    body, code, pattern = IN_A_PLAN[case]
    settings = {"bad": SHORT} if code == "MB121" else {}
    install(project, PLANS, body)
    with project.site.installed():
        only(plan_for(project.job(**settings), project.artifact).findings, code, pattern)
    manifest = project.build(**settings)
    only(manifest.findings, code, pattern)
    assert project.contents() == ORIGINAL
    assert (project.folder / "precious.txt").read_text() == "precious"


def test_a_folder_that_is_there_may_be_made_once_more(project: Project) -> None:
    install(project, PLANS, "os.makedirs(PROJECT / 'dist', exist_ok=True)")
    assert project.build().findings == ()


def test_a_plan_that_spoils_the_bundle_spoils_its_own(project: Project) -> None:
    install(project, PLANS, "bundle._files.clear()")
    manifest = project.build()
    assert manifest.findings == ()
    assert project.contents() == {name: data for name, data in ORIGINAL.items() if name != "app/two.txt"}


CHANGES = {
    "Drop(path='absent', reason='x')": "drop was refused: there is no such file",
    "Drop(path='../../precious.txt', reason='x')": "drop was refused: there is no such file",
    "Drop(path=3, reason='x')": "a change was refused: its path is no line of .*",
    "Drop(path='app/one.txt', reason=None)": "a change was refused: its reason is no line of .*",
    "Drop(path='app/one.txt', reason='x' * 1001)": "a change was refused: its reason is no line of at most 1,000 characters",
    "Add(path='../new', reason='x', content=MemoryContent(b''))": "add was refused: the path leaves the bundle",
    "Add(path='/etc/new', reason='x', content=MemoryContent(b''))": "add was refused: the path leaves the bundle",
    "Add(path='app/one.txt', reason='x', content=MemoryContent(b''))": "add was refused: a file of this name is there already",
    "Add(path='a\\nb', reason='x', content=MemoryContent(b''))": r"a change was refused: a\\nb is no name for a new file",
    "Add(path='a', reason='x', content=MemoryContent(b''), mode=0o4755)": "a change was refused: its mode is 2541, not from 0 to 0o777",
    "Add(path='a', reason='x', content=MemoryContent('text'))": "gives str for bytes; the step was left out",
    "Add(path='a', reason='x', content=3)": r"add of a was refused: its content cannot be read \(AttributeError: .*",
    "Add(path='a', reason='x', content=DiskContent(Path('/absent')))": r"add of a was refused: its content cannot be read \(FileNotFound.*",
    "Rewrite(path='app/one.txt', reason='x', saves=10**9)": "a change was refused: it claims to save 1000000000 of 200 bytes",
    "Rewrite(path='app/one.txt', reason='x', saves='all')": "a change was refused: it claims to save 'all' of 200 bytes",
    "Rewrite(path='app/one.txt', reason='x', key='x' * 1000001)": "a change was refused: its key is no line of at most 1,000,000 .*",
    "Rewrite(path='app/one.txt', reason='x', key=3)": "a change was refused: its key is no line of .*",
    "Link(path='app/one.txt', reason='x', target='/etc/passwd')": "link was refused: its target '/etc/passwd' is no other file of .*",
    "Convert(path='app/one.txt', reason='x', sources=['app/one.txt'], outputs=())": "a change was refused: its sources, .* no tuples .*",
    "Convert(path='app/one.txt', reason='x', sources=('app/one.txt',), outputs=('../x',))": "convert was refused: ../x: the path leaves .*",
    "__import__('hatch_mlbundle.model').model.Tell(path='a', reason='x', render=repr)": "a change was refused: Tell is no change .*",
    "Drop.__new__(Drop)": "a change was refused: its path is no line of at most 1,000 characters",
    "Convert(path='app/one.txt', reason='x', sources=('app/one.txt',), outputs=(), may_grow=3)": "a change was refused: its may_grow .*",
    "type('Mine', (Drop,), {})(path='app/one.txt', reason='x')": "a change was refused: Mine is no change that a plugin may ask for",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_cannot_be_is_refused(project: Project, change: str) -> None:
    install(project, PLANS, f"yield {change}")
    (finding,) = project.build().findings
    assert re.fullmatch(f"plugin mlbundle-bad: {CHANGES[change]}", finding.message), finding.message
    assert (finding.code, finding.optimizer) == ("MB125" if "left out" in finding.message else "MB104", "bad")
    without = {name: data for name, data in ORIGINAL.items() if name != "app/two.txt"}
    assert project.contents() == (ORIGINAL if finding.code == "MB125" else without)


CONTENTS = """
class Moody:
    def __init__(self): self.read = 0
    def local_path(self): return None
    def chunks(self):
        self.read += 1
        yield b"read %d" % self.read

class Endless(Moody):
    def chunks(self):
        while True: yield bytes(1 << 20)

class Stuck(Moody):
    def chunks(self):
        while True: yield b""
"""


def test_a_new_file_is_read_once(project: Project) -> None:
    install(project, CONTENTS + PLANS, "yield Add(path='app/new', reason='x', content=Moody())")
    assert project.build().findings == ()
    assert project.contents()["app/new"] == b"read 1"


@pytest.mark.parametrize(
    ("content", "code", "pattern"),
    [
        ("Endless", "MB125", f"gives more than 256,000,000 bytes for one new file; {OUT}"),
        ("Stuck", "MB121", f"took longer than 0.2 seconds in one call and was given up; {OUT}; .*"),
    ],
)
def test_a_new_file_without_an_end_is_given_up(project: Project, content: str, code: str, pattern: str) -> None:
    install(project, CONTENTS + PLANS, f"yield Add(path='app/new', reason='x', content={content}())")
    only(project.build(bad=SHORT if code == "MB121" else {"timeout": 60.0}).findings, code, pattern)
    assert project.contents() == ORIGINAL


FINDINGS = {
    "Finding(code='MB103', message='as if')": r"reported what is no finding \(its code is 'MB103'\): as if",
    "Finding(code='oops', message='x')": r"reported what is no finding \(its code is 'oops'\): x",
    "Finding(code=3, message='x')": r"reported what is no finding \(its code is 3\): x",
    "Finding(code='BAD001', message='a\\x1b[2J\\nb')": r"reported what is no finding \(its message is no line .*\): a\\x1b\[2J b",
    "Finding(code='BAD001', message=None)": r"reported what is no finding \(its message is no line .*\): no message",
    "Finding(code='BAD001', message='x', path='/etc/passwd')": r"reported what is no finding \(its path is none of the bundle\): x",
    "'oops'": r"reported what is no finding \(str is another class\): no message",
}


@pytest.mark.parametrize("finding", FINDINGS)
def test_what_is_no_finding_is_told_as_such(project: Project, finding: str) -> None:
    install(project, PLANS, f"context.report({finding})")
    manifest = project.build()
    only(manifest.findings, "MB126", FINDINGS[finding])
    assert Manifest.from_json(manifest.to_json().encode()) == manifest


def test_a_finding_of_its_own_is_told_as_it_is(project: Project) -> None:
    install(project, PLANS, "context.report(Finding(code='BAD001', message='look here', path='app/one.txt'))")
    assert told(project.build().findings) == [("BAD001", "bad", "app/one.txt", "look here")]
    (project.artifact / "app/two.txt").write_text(FILES["app/two.txt"])
    assert project.build(ignore=["BAD"]).findings == ()


def test_findings_have_an_end(project: Project) -> None:
    install(project, PLANS, "for n in range(5000): context.report(Finding(code='BAD001', message=str(n)))")
    findings = project.build().findings
    assert len(findings) == 1001
    assert (findings[-1].code, findings[-1].message) == ("MB126", "plugin mlbundle-bad: reported more than 1,000 findings")


def test_a_finding_of_the_guard_fails_a_strict_build(project: Project) -> None:
    install(project, REWRITES, "(PROJECT / 'new').write_text('x')")
    with pytest.raises(FindingsError, match=r"MB122 bad: app/one\.txt: plugin mlbundle-bad: tried to write"):
        project.build(strict=True)
    assert project.contents() == ORIGINAL


def test_files_left_beside_the_target_are_told_and_gone(project: Project) -> None:
    install(project, REWRITES, "task.source.with_name('scrap').write_text('x'); task.target.write_text('one')")
    for _ in range(2):  # with a cache, too: what left scraps is not kept
        (project.artifact / "app/one.txt").write_text(FILES["app/one.txt"])
        only(project.build().findings, "MB124", "left app/scrap beside what it was to make; it was removed")
        assert project.contents() == {**WITH_TWO, "app/one.txt": b"one"}


@pytest.mark.parametrize("body", ["(PROJECT / 'new').write_text('x')", "task.source.write_text('spoilt')", "time.sleep(600)"])
def test_the_same_is_found_whatever_the_cache_holds(project: Project, body: str) -> None:
    install(project, REWRITES, body)
    settings = {"bad": SHORT} if "sleep" in body else {}
    first = project.build(**settings)
    for name, data in ORIGINAL.items():
        (project.artifact / name).write_bytes(data)
    assert project.build(**settings) == first


def test_a_rewriting_that_hangs_leaves_its_step_out_and_the_others_run(project: Project) -> None:
    install(project, REWRITES, "time.sleep(600)")
    project.site.add("mlbundle-good", f"{HEAD}{PLANS.replace('Bad', 'Good').replace('bad', 'good')}{registering('Good')}")
    with project.site.installed():
        registry = project.site.registry()
        config = read_config({"optimizers": ["bad", "good"], "bad": SHORT}, registry.option_types())
        manifest = optimize(prepare(config, registry, project=project.folder), project.artifact).manifest
    only(manifest.findings, "MB121", f"took longer than 0.2 seconds in one call and was given up; {OUT}; .*")
    assert project.contents() == {name: data for name, data in ORIGINAL.items() if name != "app/two.txt"}


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("__init__(self, options)", "raise ValueError('no')"),
        ("__init__(self, options)", "self.options = None"),
        ("__init__(self, options)", "self.options = type('Odd', (Options,), {'__eq__': lambda *_: 1 / 0})()"),
        ("programs(self)", "return {'x': 3}"),
        ("programs(self)", "return 3"),
        ("programs(self)", "sys.exit()"),
        ("inputs(self, project)", "time.sleep(600)"),
        ("inputs(self, project)", "return {3: 'x'}"),
    ],
)
def test_a_step_that_cannot_be_set_up_is_left_out(project: Project, method: str, body: str) -> None:
    install(project, f"{PLANS}    def {method}:\n", body)
    only(project.build(bad=SHORT if "sleep" in body else {}).findings, "MB109", rf"cannot be set up \(.*\); {OUT}")
    assert project.contents() == ORIGINAL


@pytest.mark.parametrize("body", ["raise ValueError", "return 3", "sys.exit()"])
def test_a_remedy_that_is_none_is_ours(project: Project, body: str) -> None:
    install(project, f"{PLANS}    def remedy(self, path, module):\n", body)
    with project.site.installed():
        job = project.job()
        told = remedy_of(job.stages[0], "app/one.txt", None)
        assert told == 'add "/app/one.txt" to `exclude` in [tool.mlbundle.bad]'
        assert optimize(job, project.artifact).manifest.findings == ()


CONVERTS = """
class Bad(Optimizer):
    "Misbehaves."
    name = "bad"
    version = "1"
    def plan(self, bundle, context):
        yield Convert(path="app/one.txt", reason="x", sources=("app/one.txt", "app/two.txt"), outputs=("app/both.txt",))
    def convert(self, task, context):
        made = task.target / "app/both.txt"
        made.parent.mkdir(parents=True)
        made.write_text("both")
"""

IN_A_CONVERSION = {
    "returns nothing": ("return None", "MB125", "gives NoneType for details; the originals stay"),
    "writes what it did not plan": ("(task.target / 'x').write_text('x'); return {}", "MB103", ".*: it wrote x, which it did not plan; .*"),
    "makes a pipe": ("made.unlink(); os.mkfifo(made); return {}", "MB103", ".*: it wrote app/both.txt, which is no plain file; .*"),
    "removes its folders": ("import shutil; shutil.rmtree(task.target); shutil.rmtree(task.scratch); return {}", "", ""),
    "changes a source": ("task.sources['app/two.txt'].write_text('x'); return {}", "MB123", "changed app/two.txt, .*; the originals stay"),
    "links its output": ("made.unlink(); made.symlink_to('/etc/passwd'); return {}", "MB103", ".*: it wrote app/both.txt, which is no .*"),
}


@pytest.mark.parametrize("case", IN_A_CONVERSION)
def test_a_conversion_that_goes_wrong_is_not_made(project: Project, case: str) -> None:
    body, code, pattern = IN_A_CONVERSION[case]
    install(project, CONVERTS, body)
    findings = project.build().findings
    if findings:
        assert re.fullmatch(code, findings[0].code), findings
        only(findings, findings[0].code, pattern, "app/one.txt")
    assert bool(findings) == bool(code)
    assert project.contents() == ORIGINAL


def test_companions_that_clash_are_told(project: Project) -> None:
    body = "task.target.write_text('x'); (task.companions / 'notes').write_text(task.file.path); return"
    install(
        project,
        REWRITES.replace("            return\n", "").replace(
            'if task.file.path.endswith("two.txt"):\n            task.target.write_text("two")\n', ""
        ),
        body,
    )
    finding = project.build().findings[0]
    assert (finding.code, finding.path) == ("MB105", "app/two.txt")
    assert finding.message == "plugin mlbundle-bad: its companion notes has the name of another file's, which stays"


INSPECTS = """
class Bad(Inspector):
    "Misbehaves."
    name = "bad"
    version = "1"
    suffixes = frozenset({".txt"})
    def inspect(self, path):
"""

OF_AN_INSPECTOR = {
    "raises": ("raise KeyError('x')", r"fails \(KeyError: 'x'\)"),
    "exits": ("sys.exit(3)", r"fails \(raised SystemExit: 3\)"),
    "writes": ("path.write_bytes(b'')", r"fails \(tried to write .*/app/one.txt, which is none of its folders, and was refused\)"),
    "tells nonsense": ("return [3]", r"fails \(tells 3\)"),
    "tells another view": ("return [Inside(view='mine', extents=[])]", r"fails \(tells Inside\(view='mine', .*\)"),
    "tells extents that are none": ("return [Inside(view='sections', extents=[(0, 1, 2)])]", r"fails \(tells extents that are none.*\)"),
    "tells for ever": (
        "from itertools import repeat; return [Inside(view='sections', extents=repeat((0, 1, 'x')))]",
        r"fails .*200,000\)",
    ),
}


@pytest.mark.parametrize("case", OF_AN_INSPECTOR)
def test_an_inspector_that_fails_is_left_out(project: Project, case: str) -> None:
    body, pattern = OF_AN_INSPECTOR[case]
    source = f"{HEAD}{INSPECTS}{textwrap.indent(body, ' ' * 8)}\n"
    project.site.add("mlbundle-bad", source + registering("Bad", "inspectors"))
    (finding,) = project.build().findings
    assert (finding.code, finding.path) == ("MB127", "app/one.txt")
    assert re.fullmatch(f"plugin mlbundle-bad: inspector 'bad' {pattern}; what it tells was left out", finding.message), finding.message
    assert project.contents() == ORIGINAL

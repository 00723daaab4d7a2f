"""The statement in a bundle of the GPU code that was taken out: what it says, where it lies, and how it stays right."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from hatch_mlbundle.adapters.project import project_config
from hatch_mlbundle.applied import Applied
from hatch_mlbundle.bundles.machine_script import machine_script
from hatch_mlbundle.bundles.script_code import compiled
from hatch_mlbundle.bundles.wheel import WheelSource
from hatch_mlbundle.errors import ManifestError
from hatch_mlbundle.job import prepare
from hatch_mlbundle.model import Bundle, DiskContent, File
from hatch_mlbundle.optimizer import ArtifactKind, Optimizer, Options
from hatch_mlbundle.pipeline import Done, Outcome, Stage
from hatch_mlbundle.plugins import load_registry
from hatch_mlbundle.provenance.machine_statement import read_statement
from hatch_mlbundle.provenance.machine_stating import with_statements
from hatch_mlbundle.runtime.machine.statements import LARGEST, parse
from hatch_mlbundle.session import open_session
from tests.builders import file_of
from tests.bundles.wheelsmith import DIST_INFO
from tests.gpusmith import containers, gpu_library
from tests.imagesmith import docker_archive, layer
from tests.provenance import wheels

SM_80 = {
    "targets": ["8.0"],
    "ptx": "when-needed",
    "kept": {"sm_80": 40, "sm_90": 60},
    "dropped": {"sm_75": 300},
    "lost": [{"first": "7.5", "below": "8.0"}, {"first": "10.0", "below": None}],
}
"""What the step says of a library: for some reason it kept the code for an H100, too."""
NAME = "mlbundle-machine.json"
SCHEMA = json.loads(resources.files("hatch_mlbundle").joinpath("schemas/machine-1.json").read_text(encoding="utf-8"))


class Pruner(Optimizer[Options]):
    name = "gpu_code"
    version = "1"

    def plan(self, bundle: object, context: object) -> tuple[()]:
        return ()


class CpuPruner(Pruner):
    name = "cpu_code"


def done(*changes: Applied, step: type[Pruner] = Pruner) -> Done:
    return Done(stage=Stage(optimizer=step(Options()), distribution="hatch-mlbundle", version="1", identity=None), changes=changes)


def rewritten(file: File, size: int, detail: Mapping[str, Any] | None = SM_80) -> Applied:
    after = file_of(file.path, b"x" * size)
    return Applied(action="rewrite", path=file.path, reason="r", before=file, after=after, detail=detail)


@dataclass(frozen=True)
class Case:
    """A bundle that the step worked on, and where what it took out is told of."""

    kind: ArtifactKind
    library: str
    statement: str
    said: str
    others: tuple[str, ...] = ()


CASES = {
    "wheel": Case(
        "wheel", "torch/lib/libtorch_cuda.so", f"torch-2.dist-info/{NAME}", "torch/lib/libtorch_cuda.so", ("torch-2.dist-info/RECORD",)
    ),
    "platlib": Case(
        "wheel", "a-1.data/platlib/a/b.so", f"a-1.dist-info/{NAME}", "a/b.so", ("a-1.dist-info/RECORD", "a/v-2.dist-info/RECORD")
    ),
    "folder": Case("folder", "lib/libx.so", NAME, "lib/libx.so"),
    "site-packages": Case(
        "folder", "v/site/torch/x.so", f"v/site/{NAME}", "torch/x.so", ("v/site/a-1.dist-info/METADATA", "c-1.dist-info/RECORD")
    ),
    "frozen": Case("frozen", "_internal/torch/x.so", f"_internal/{NAME}", "torch/x.so", ("_internal/app.pyz/m.pyc", "app")),
    "beside the contents": Case("frozen", "plugins/x.so", NAME, "plugins/x.so", ("_internal/app.pyz/m.pyc", "app")),
    "image": Case("image", "opt/venv/torch/x.so", f"usr/share/mlbundle/{NAME}", "opt/venv/torch/x.so", ("opt/venv/a-1.dist-info/RECORD",)),
}


def stated(before: Bundle, outcome: Outcome, kind: ArtifactKind = "folder", fixed: tuple[str, ...] = ()) -> Outcome:
    return with_statements(before, outcome, kind, lambda path: path in fixed)


def pruned(before: Bundle, *changes: Applied, kind: ArtifactKind = "folder", fixed: tuple[str, ...] = ()) -> Outcome:
    """Return what comes of changes by the step, with what is told of them."""
    after = before.replacing(each.after for each in changes if each.after)
    return stated(before, Outcome(bundle=after, stages=(done(*changes),), findings=()), kind, fixed)


def said_in(bundle: Bundle, path: str = NAME) -> dict[str, Any]:
    rows = json.loads(bundle[path].read())["libraries"]
    return {row.pop("path"): row for row in rows}


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_what_was_taken_out_is_told_where_it_belongs(case: Case) -> None:
    before = Bundle(file_of(path, b"x" * 400) for path in (case.library, *case.others))
    after = pruned(before, rewritten(before[case.library], 100), kind=case.kind).bundle
    assert sorted({*after} - {*before}) == [case.statement]
    assert said_in(after, case.statement) == {
        case.said: {
            "size": 100,
            "gpu": {
                "targets": ["8.0"],
                "ptx": "when-needed",
                "kept": {"sm_80": 40, "sm_90": 60},
                "dropped": {"sm_75": 300},
                "lost": [{"first": "7.5", "below": "8.0"}, {"first": "10.0"}],
            },
        }
    }
    assert after[case.statement].mode == 0o644


def library(path: str = "lib/libx.so", size: int = 400) -> Bundle:
    return Bundle([file_of(path, b"x" * size)])


def test_what_runs_in_the_bundle_reads_the_same() -> None:
    before = library()
    data = pruned(before, rewritten(before["lib/libx.so"], 100)).bundle[NAME].read()
    assert parse(data, "") == [("lib/libx.so", 100, [(8, 0)], [((7, 5), (8, 0)), ((10, 0), None)], "")]
    assert [each.path for each in read_statement(data, "")] == ["lib/libx.so"]


def test_nothing_is_told_where_nothing_was_taken_out() -> None:
    before = library()
    kept = Applied(action="keep", path="lib/libx.so", reason="r", before=before["lib/libx.so"], after=before["lib/libx.so"])
    assert pruned(before, kept).bundle == before


def test_what_was_put_back_or_left_out_later_is_not_told_of() -> None:
    before = Bundle([*library().values(), file_of("lib/liby.so", b"y")])
    change = rewritten(before["lib/libx.so"], 100)
    outcome = Outcome(bundle=before.without(["lib/libx.so"]), stages=(done(change),), findings=())
    assert stated(before, outcome).bundle == outcome.bundle


def test_a_second_run_says_what_both_took_out() -> None:
    first = library()
    once = pruned(first, rewritten(first["lib/libx.so"], 100)).bundle
    more = {**SM_80, "ptx": "none", "kept": {"sm_80": 40}, "dropped": {"sm_90": 60}, "lost": [{"first": "9.0", "below": "10.0"}]}
    twice = pruned(once, rewritten(once["lib/libx.so"], 40, {**more, "targets": ["8.0", "8.6"]})).bundle
    assert said_in(twice)["lib/libx.so"] == {
        "size": 40,
        "gpu": {
            "targets": ["8.0", "8.6"],
            "ptx": "none",
            "kept": {"sm_80": 40},
            "dropped": {"sm_75": 300, "sm_90": 60},
            "lost": [{"first": "7.5", "below": "8.0"}, {"first": "9.0"}],
        },
    }


def test_a_target_that_later_lost_code_is_none_any_more() -> None:
    first = library()
    once = pruned(first, rewritten(first["lib/libx.so"], 100, {**SM_80, "targets": ["8.0", "9.0"]})).bundle
    nothing = {**SM_80, "targets": ["9.0"], "kept": {"sm_90": 60}, "lost": [{"first": "8.0", "below": "9.0"}]}
    assert said_in(pruned(once, rewritten(once["lib/libx.so"], 60, nothing)).bundle)["lib/libx.so"]["gpu"]["targets"] == ["9.0"]


def test_a_run_by_another_step_keeps_it_right() -> None:
    first = Bundle([*library().values(), *library("lib/liby.so").values()])
    once = pruned(first, *(rewritten(file, 100) for file in first.values())).bundle
    stripped = once.replacing([file_of("lib/libx.so", b"x" * 90)]).without(["lib/liby.so"])
    after = stated(once, Outcome(bundle=stripped, stages=(), findings=())).bundle
    assert {path: row["size"] for path, row in said_in(after).items()} == {"lib/libx.so": 90}
    assert stated(after, Outcome(bundle=after, stages=(), findings=())).bundle == after
    alone = stated(after, Outcome(bundle=after.without(["lib/libx.so"]), stages=(), findings=())).bundle
    assert list(alone) == []


def test_a_link_to_a_library_is_told_of_as_that() -> None:
    first = Bundle([*library("a/libx.so").values(), *library("b/libx.so").values()])
    once = pruned(first, *(rewritten(file, 100) for file in first.values())).bundle
    linked = once.replacing([file_of("b/libx.so", b"", link="../a/libx.so")])
    after = stated(once, Outcome(bundle=linked, stages=(), findings=())).bundle
    assert {path: row["size"] for path, row in said_in(after).items()} == {"a/libx.so": 100, "b/libx.so": 100}


def test_a_library_that_somebody_put_anew_is_not_told_of_any_more() -> None:
    first = library()
    once = pruned(first, rewritten(first["lib/libx.so"], 100)).bundle
    anew = once.replacing(first.values())
    assert NAME not in stated(anew, Outcome(bundle=anew, stages=(), findings=())).bundle
    again = pruned(anew, rewritten(anew["lib/libx.so"], 80)).bundle
    assert said_in(again)["lib/libx.so"]["gpu"]["dropped"] == {"sm_75": 300}


def test_the_statement_of_an_installed_wheel_is_the_one_that_is_extended() -> None:
    info = "site/torch-2.dist-info"
    first = Bundle(file_of(path, b"x" * 400) for path in (f"{info}/RECORD", "site/torch/x.so"))
    once = pruned(first, rewritten(first["site/torch/x.so"], 100)).bundle
    moved = once.without([f"site/{NAME}"]).replacing([replace(once[f"site/{NAME}"], path=f"{info}/{NAME}")])
    twice = pruned(moved, rewritten(moved["site/torch/x.so"], 60, {**SM_80, "dropped": {"sm_90": 60}})).bundle
    assert [path for path in twice if path.endswith(NAME)] == [f"{info}/{NAME}"]
    assert said_in(twice, f"{info}/{NAME}")["torch/x.so"]["gpu"]["dropped"] == {"sm_75": 300, "sm_90": 60}


def test_what_lies_in_a_base_image_stays_and_another_says_more() -> None:
    path, other = f"usr/share/mlbundle/{NAME}", "usr/share/mlbundle/mlbundle-machine-2.json"
    first = Bundle([*library("opt/x.so").values(), *library("opt/y.so").values()])
    once = pruned(first, *(rewritten(file, 100) for file in first.values()), kind="image").bundle
    more = {**SM_80, "dropped": {"sm_90": 60}}
    twice = pruned(once, rewritten(once["opt/x.so"], 40, more), kind="image", fixed=(path,)).bundle
    assert twice[path] == once[path]
    assert {library: row["gpu"]["dropped"] for library, row in said_in(twice, other).items()} == {"opt/x.so": {"sm_75": 300, "sm_90": 60}}
    third = pruned(twice, rewritten(twice["opt/y.so"], 40, more), kind="image", fixed=(path,)).bundle
    assert sorted(said_in(third, other)) == ["opt/x.so", "opt/y.so"]


def test_the_order_of_steps_and_files_decides_nothing() -> None:
    first = Bundle([*library("b.so").values(), *library("a.so").values()])
    changes = [rewritten(file, 100) for file in first.values()]
    assert pruned(first, *changes).bundle[NAME].sha256 == pruned(first, *changes[::-1]).bundle[NAME].sha256


def test_the_level_of_cpus_is_told_beside() -> None:
    bundle = Bundle([*library("torch/cpu.so").values(), *library("torch/cuda.so").values()])
    for level, told in (("x86-64-v4", "x86-64-v4"), ("x86-64-v3", "x86-64-v4")):
        change = rewritten(bundle["torch/cpu.so"], 300, {"level": level, "kernels": 12})
        other = rewritten(bundle["torch/cuda.so"], 100)
        after = bundle.replacing(each.after for each in (change, other) if each.after)
        stages = (done(change, step=CpuPruner), done(other))
        bundle = stated(bundle, Outcome(bundle=after, stages=stages, findings=())).bundle
        assert said_in(bundle)["torch/cpu.so"] == {"size": 300, "cpu": {"level": told}}
        assert [*said_in(bundle)["torch/cuda.so"]] == ["size", "gpu"]
        jsonschema.validate(json.loads(bundle[NAME].read()), SCHEMA)
    assert [row[4] for row in parse(bundle[NAME].read(), NAME)] == ["x86-64-v4", ""]


DAMAGED = {
    "no JSON": b"{",
    "another's": b'{"libraries": []}',
    "deep": b"[" * 100_000,
    "of later": b'{"format": "mlbundle-machine", "format_version": "2.0", "libraries": []}',
    "no list": b'{"format": "mlbundle-machine", "format_version": "1.0", "libraries": {}}',
    "no size": b'{"format": "mlbundle-machine", "format_version": "1.0", "libraries": [{"path": "a"}]}',
    "no capability": b'{"format": "mlbundle-machine", "format_version": "1.0", "libraries": [{"path": "a", "size": 1, "gpu":'
    b' {"targets": ["sm_80"], "ptx": "all", "kept": {}, "dropped": {}, "lost": []}}]}',
    "no level": b'{"format": "mlbundle-machine", "format_version": "1.0", "libraries": [{"path": "a", "size": 1, "cpu": {"level": 3}}]}',
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=list(DAMAGED))
def test_a_statement_that_cannot_be_read_stays_as_it_is(data: bytes) -> None:
    first = Bundle([*library().values(), file_of(NAME, data)])
    after = pruned(first, rewritten(first["lib/libx.so"], 100))
    assert after.bundle[NAME].read() == data
    assert [(finding.code, finding.path) for finding in after.findings] == [("MB441", NAME)]
    assert "\n" not in after.findings[0].line()
    assert list(said_in(after.bundle, "mlbundle-machine-2.json")) == ["lib/libx.so"]
    with pytest.raises(ManifestError):
        read_statement(data, NAME)
    if b'"libraries": []' not in data or b"2.0" in data:
        with pytest.raises(ValueError, match="says nothing of machines"):
            parse(data, NAME)


def test_an_executable_tells_nothing_of_packages_that_only_another_one_has() -> None:
    modules = ["app.pyz/torch/__init__.pyc", "app.pyz/app/main.pyc", "tool.pyz/tool/main.pyc"]
    first = Bundle([*library("_internal/torch/x.so").values(), *(file_of(f"_internal/{path}", b"") for path in modules)])
    after = pruned(first, rewritten(first["_internal/torch/x.so"], 100), kind="frozen").bundle
    told = {name: machine_script(after, "_internal", name, compiled) is not None for name in ("app", "tool")}
    assert told == {"app": True, "tool": False}
    alone = after.without(["_internal/app.pyz/torch/__init__.pyc"])
    assert machine_script(alone, "_internal", "tool", compiled)  # it may load it all the same


def test_what_is_larger_than_any_statement_is_not_read(tmp_path: Path) -> None:
    huge = replace(file_of(f"_internal/{NAME}", b""), size=LARGEST + 1, content=DiskContent(tmp_path / "that would be read"))
    assert machine_script(Bundle([huge]), "_internal", "app", compiled) is None
    first = Bundle([huge, *library("_internal/x.so").values(), file_of("_internal/app.pyz/m.pyc", b"")])
    after = pruned(first, rewritten(first["_internal/x.so"], 100), kind="frozen").bundle
    assert list(said_in(after, "_internal/mlbundle-machine-2.json")) == ["x.so"]


def test_a_detail_that_does_not_say_it_is_a_fault_of_the_step() -> None:
    first = library()
    with pytest.raises(ManifestError, match=r"lib/libx\.so: targets is missing"):
        pruned(first, rewritten(first["lib/libx.so"], 100, {"kept": {}}))


def test_what_distributions_say_is_true_of_what_was_frozen_from_them(tmp_path: Path) -> None:
    wheel = Bundle([*library("torch/x.so").values(), *library("torch/y.so").values(), file_of("torch-2.dist-info/RECORD", b"")])
    said = pruned(wheel, *(rewritten(wheel[f"torch/{name}.so"], 100) for name in "xy"), kind="wheel").bundle[f"torch-2.dist-info/{NAME}"]
    sources = [tmp_path / name for name in ("ours", "damaged", "gone")]
    sources[0].write_bytes(said.read())
    sources[1].write_bytes(b"{")
    frozen = Bundle(
        file_of(f"_internal/{path}", b"x" * size) for path, size in (("torch/x.so", 100), ("torch/y.so", 400), ("app.pyz/m.pyc", 1))
    )
    nothing = Outcome(bundle=frozen, stages=(), findings=())
    after = with_statements(frozen, nothing, "frozen", lambda _: False, sources)
    assert {path: row["gpu"]["dropped"] for path, row in said_in(after.bundle, f"_internal/{NAME}").items()} == {
        "torch/x.so": {"sm_75": 300}
    }
    assert after.findings == ()
    more = {**SM_80, "dropped": {"sm_90": 60}}
    stages = (done(rewritten(frozen["_internal/torch/x.so"], 40, more)),)
    changed = Outcome(bundle=frozen.replacing([file_of("_internal/torch/x.so", b"x" * 40)]), stages=stages, findings=())
    both = said_in(with_statements(frozen, changed, "frozen", lambda _: False, sources).bundle, f"_internal/{NAME}")
    assert both["torch/x.so"]["gpu"]["dropped"] == {"sm_75": 300, "sm_90": 60}


def test_what_the_image_of_the_build_says_is_true_of_what_was_frozen_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = Bundle([*library("opt/site-packages/torch/x.so").values(), *library("usr/site-packages/torch/x.so").values()])
    said = pruned(image, *(rewritten(file, 100) for file in image.values()), kind="image").bundle[f"usr/share/mlbundle/{NAME}"]
    source = tmp_path / said.path
    source.parent.mkdir(parents=True)
    source.write_bytes(said.read())
    frozen = Bundle([file_of("_internal/torch/x.so", b"x" * 100), file_of("_internal/app.pyz/m.pyc", b"")])
    for entry, told in (("opt/site-packages", ["torch/x.so"]), ("other", [])):
        monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / entry)])
        after = with_statements(frozen, Outcome(bundle=frozen, stages=(), findings=()), "frozen", lambda _: False, [source]).bundle
        monkeypatch.undo()
        assert [path for each in after if each.endswith(NAME) for path in said_in(after, each)] == told


SETTINGS = {"optimizers": ["gpu_code"], "gpu_code": {"targets": ["8.0"], "libraries": ["libx.so"]}, "ignore": ["MB432"]}


@pytest.fixture(scope="module")
def elf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return gpu_library(tmp_path_factory.mktemp("gpu") / "libx.so", containers(75, 80, 90)).read_bytes()


def test_a_wheel_carries_it_and_stays_as_it_is_the_second_time(tmp_path: Path, elf: bytes) -> None:
    artifact = wheels.wheel(tmp_path, {"demo/libx.so": elf})
    wheels.run(artifact, **SETTINGS)
    data = wheels.read(artifact, f"{DIST_INFO}/{NAME}")
    jsonschema.validate(data, SCHEMA)
    (row,) = data["libraries"]
    gpu = row["gpu"]
    assert (row["path"], gpu["targets"], gpu["ptx"], list(gpu["kept"]), sorted(gpu["dropped"])) == (
        *("demo/libx.so", ["8.0"], "when-needed"),
        *(["sm_80"], ["sm_75", "sm_90"]),
    )
    assert gpu["lost"] == [{"first": "7.5", "below": "8.0"}, {"first": "9.0", "below": "10.0"}]
    with WheelSource.open(artifact) as source:
        bundle = source.scan(1)
        assert bundle["demo/libx.so"].size == row["size"]
        assert source.record[f"{DIST_INFO}/{NAME}"].size == bundle[f"{DIST_INFO}/{NAME}"].size
    once = artifact.read_bytes()
    wheels.run(artifact, **SETTINGS)
    assert artifact.read_bytes() == once
    wheels.run(artifact, optimizers=["strip"])
    (stripped,) = wheels.read(artifact, f"{DIST_INFO}/{NAME}")["libraries"]
    assert stripped["size"] < row["size"]
    assert {**stripped, "size": 0} == {**row, "size": 0}


def test_no_step_can_change_it(tmp_path: Path, elf: bytes) -> None:
    artifact = wheels.wheel(tmp_path, {"demo/libx.so": elf})
    wheels.run(artifact, **SETTINGS)
    manifest = wheels.run(artifact, exclude={"paths": [f"{DIST_INFO}/{NAME}", "demo/notes.txt"]})
    assert f"{DIST_INFO}/{NAME}" in wheels.names(artifact)
    assert "demo/notes.txt" not in wheels.names(artifact)
    assert [finding.code for finding in manifest.findings] == []


def test_an_image_has_it_where_programs_look(tmp_path: Path, elf: bytes) -> None:
    path = "usr/lib/app/libx.so"
    image = docker_archive(tmp_path / "image.tar", [layer((path, elf))])
    target = tmp_path / "made/small.tar"
    settings = {**SETTINGS, "image": {"paths": ["/usr/lib/app/**"]}}
    wheels.run(image, target, **settings)
    registry = load_registry()
    job = prepare(project_config(tmp_path, registry, settings), registry, project=tmp_path)
    with open_session(job, target, None, reads=True) as session:
        bundle = session.artifact.scan().bundle
        statement = json.loads(bundle[f"usr/share/mlbundle/{NAME}"].read())
    assert [(row["path"], row["size"]) for row in statement["libraries"]] == [(path, bundle[path].size)]

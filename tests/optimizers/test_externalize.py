from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import hatch_mlbundle
from hatch_mlbundle.adapters.project import project_config
from hatch_mlbundle.application import Result, optimize, plan_for
from hatch_mlbundle.errors import ConfigurationError
from hatch_mlbundle.job import Job, prepare
from hatch_mlbundle.manifest import SUFFIX
from hatch_mlbundle.model import Keep, Leave, Tell
from hatch_mlbundle.optimizers.external_options import ExternalizeOptions, ExternalModel
from hatch_mlbundle.optimizers.externalize import Externalize
from hatch_mlbundle.plugins import load_registry
from hatch_mlbundle.reports.terminal import as_text, summary
from hatch_mlbundle.runtime.models.descriptor import FILE_NAME, Model, parse
from hatch_mlbundle.schema import Glob
from tests.builders import PlainContext, bundle_of, plan_of
from tests.bundledmodels import below, onnx_files, safetensors_file, transformers_files, write_files
from tests.bundles.wheelsmith import DIST_INFO, METADATA, build_wheel
from tests.projects import HOOK, build, built_wheel, environment, tiny_project

SCHEMA = json.loads((Path(hatch_mlbundle.__file__).parent / "schemas" / "manifest-1.json").read_text())
ASKS = b"from hatch_mlbundle.runtime.models import model_path\n"
BERT = below("app/bert", transformers_files())
APP = {"app/__init__.py": ASKS, **BERT, "app/yolo.pt": safetensors_file(2), "app/words.txt": b"a\n"}


def job(folder: Path, *steps: str, settings: Mapping[str, Any] | None = None, **options: Any) -> Job:
    registry = load_registry()
    table = {"optimizers": ["externalize", *steps], "externalize": options, **(settings or {})}
    return prepare(project_config(folder, registry, table), registry, project=folder)


def taken_out(tmp_path: Path, files: Mapping[str, bytes] = APP, *steps: str, **options: Any) -> Result:
    """Optimize a folder of these files into `small`."""
    source = write_files(tmp_path / "source", files)
    return optimize(job(tmp_path, *steps, **{"min-size": 0, **options}), source, tmp_path / "small")


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def written(folder: Path) -> list[str]:
    """Return what lies in a folder of models; the descriptor there tells of just that."""
    names = sorted(path.name for path in folder.iterdir())
    models = parse((folder / FILE_NAME).read_bytes(), "")
    assert sorted(model.name for model in models) == [name.removesuffix(".tar") for name in names if name != FILE_NAME]
    return [name for name in names if name != FILE_NAME]


def told(folder: Path) -> dict[str, Model]:
    path = folder / FILE_NAME
    return {model.name: model for model in parse(path.read_bytes(), str(path))}


def codes(result: Result) -> list[str]:
    return [finding.code for finding in result.manifest.findings]


def test_models_leave_whole_and_a_descriptor_says_what_left(tmp_path: Path) -> None:
    result = taken_out(tmp_path)
    small = tmp_path / "small"
    assert set(tree(small)) == {"app/__init__.py", "app/words.txt", FILE_NAME}
    beside = tree(tmp_path / "small.models")
    assert [(model.name, model.path) for model in parse(beside.pop(FILE_NAME), "")] == [("bert", "bert"), ("yolo", "yolo/yolo.pt")]
    assert beside == {**below("bert", transformers_files()), "yolo/yolo.pt": APP["app/yolo.pt"]}
    models = told(small)
    assert [(model.path, model.is_file, model.mode) for model in models.values()] == [
        ("app/bert", False, "beside"),
        ("app/yolo.pt", True, "beside"),
    ]
    assert {file.path: file.size for file in models["bert"].files} == {path: len(data) for path, data in transformers_files().items()}
    assert codes(result) == []
    document = json.loads(result.manifest.to_json())
    jsonschema.validate(document, SCHEMA)
    assert {(row["path"], row["model"]) for row in document["companions"]} == {
        *((f"bert/{name}", "bert") for name in transformers_files()),
        ("yolo/yolo.pt", "yolo"),
    }


def test_what_is_large_enough_leaves_where_nothing_else_is_said(tmp_path: Path) -> None:
    large = safetensors_file() + bytes(10**7)
    source = write_files(tmp_path / "source", {**APP, "app/large.pt": large})
    plan = plan_for(job(tmp_path), source)
    assert [change.path for change in plan.stages[0].changes if isinstance(change, Leave)] == ["app/large.pt"]
    plan = plan_for(job(tmp_path, **{"min-size": "20 MB"}), source)
    assert plan.stages[0].changes == ()


@pytest.mark.parametrize(
    ("globs", "left"),
    [
        (["*.pt"], ["yolo"]),
        (["app/bert/"], ["bert"]),
        (["app/bert/config.json"], ["bert"]),
        (["*.safetensors", "*.pt"], ["bert", "yolo"]),
        (["app/*", "!app/bert/**"], ["yolo"]),
        (["app/words.txt"], ["words"]),
    ],
)
def test_globs_choose_whole_models(tmp_path: Path, globs: list[str], left: list[str]) -> None:
    assert codes(taken_out(tmp_path, models=globs)) == []
    assert sorted(told(tmp_path / "small")) == left


def test_a_glob_that_matches_nothing_is_told(tmp_path: Path) -> None:
    result = taken_out(tmp_path, models=["*.pt", "*.gguf"], model=[{"path": "nowhere/"}])
    assert [(finding.code, finding.message.partition(";")[0]) for finding in result.manifest.findings] == [
        ("MB901", "model.path 'nowhere/' matches nothing"),
        ("MB901", "the glob '*.gguf' in `models` matches nothing"),
    ]


def test_tables_give_names_sources_and_modes(tmp_path: Path) -> None:
    tables = [
        {"path": "app/bert", "name": "encoder", "sources": ["https://a.example/{name}/{digest}/"], "mode": "download"},
        {"path": "*.pt", "sources": ["hf://acme/yolo@1"]},
    ]
    taken_out(tmp_path, model=tables, sources=["https://b.example/{name}.tar"], mount="/models")
    models = told(tmp_path / "small")
    assert models["encoder"].sources == (f"https://a.example/encoder/{models['encoder'].digest}/",)
    assert (models["encoder"].mode, models["yolo"].mode, models["yolo"].mount) == ("download", "beside", "/models")
    assert models["yolo"].sources == ("hf://acme/yolo@1",)


def test_a_folder_named_in_a_table_leaves_with_all_that_is_in_it(tmp_path: Path) -> None:
    taken_out(
        tmp_path, {**APP, "app/voices/a.wav": b"RIFF", "app/voices/b/c.txt": b"c"}, model=[{"path": "/app/voices/"}], **{"min-size": "1 GB"}
    )
    assert tree(tmp_path / "small.models/voices") == {"a.wav": b"RIFF", "b/c.txt": b"c"}


def test_archives_are_described_where_sources_name_them(tmp_path: Path) -> None:
    taken_out(tmp_path, models=["app/bert"], form="tar", sources=["https://b.example/{name}.tar"])
    (model,) = told(tmp_path / "small").values()
    archive = tmp_path / "small.models/bert.tar"
    assert model.archive is not None
    assert (model.archive.path, model.archive.size) == ("bert.tar", archive.stat().st_size)


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"link": "app/bert/model.safetensors"}, "link links to it, and would lead nowhere"),
        ({"latest": "app/bert"}, "latest links to it, and would lead nowhere"),
        ({"app/bert/more.bin": "/etc/passwd"}, "app/bert/more.bin is a link that leads to no file of the bundle"),
        ({"app/bert/more.bin": "../gone"}, "app/bert/more.bin is a link that leads to no file of the bundle"),
    ],
)
def test_a_model_that_links_tie_to_the_bundle_stays(tmp_path: Path, files: Mapping[str, str], why: str) -> None:
    source = write_files(tmp_path / "source", APP)
    for path, target in files.items():
        (source / path).symlink_to(target)
    result = taken_out(tmp_path, {}, models=["app/bert"])
    assert [(finding.code, finding.path, finding.message) for finding in result.manifest.findings] == [
        ("MB902", "app/bert", f"{why}; it stays")
    ]
    assert not (tmp_path / "small.models").exists()
    assert (tmp_path / "small/app/bert/model.safetensors").is_file()
    assert not (tmp_path / "small" / FILE_NAME).exists()


def test_links_within_a_model_become_files(tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", APP)
    (source / "app/bert/again.safetensors").symlink_to("model.safetensors")
    taken_out(tmp_path, {}, models=["app/bert"])
    beside = tree(tmp_path / "small.models/bert")
    assert beside["again.safetensors"] == beside["model.safetensors"] == transformers_files()["model.safetensors"]
    assert not (tmp_path / "small/app/bert").exists()


def test_what_include_and_exclude_spare_stays(tmp_path: Path) -> None:
    result = taken_out(tmp_path, exclude=["app/bert/vocab.txt", "*.pt"])
    (finding,) = result.manifest.findings
    assert (finding.code, "spare app/bert/vocab.txt of it" in finding.message) == ("MB902", True)
    assert not (tmp_path / "small" / FILE_NAME).exists()


@pytest.mark.parametrize("name", ["a\nb.txt", "a\\b.txt", os.fsdecode(b"\xff.txt"), "\x1b[2J.txt"])
def test_files_that_no_descriptor_can_name_keep_their_model_in(tmp_path: Path, name: str) -> None:
    result = taken_out(tmp_path, {**APP, f"app/bert/{name}": b"x"}, models=["app/bert"])
    (finding,) = result.manifest.findings
    assert (finding.code, finding.path) == ("MB902", "app/bert")
    assert (tmp_path / "small/app/bert/config.json").is_file()


def test_weights_that_cannot_leave_alone_are_told(tmp_path: Path) -> None:
    result = taken_out(tmp_path, {**APP, **below("app", onnx_files("a.onnx", outside="a.bin"))})
    assert [(finding.code, finding.path) for finding in result.manifest.findings] == [("MB902", "app/a.onnx")]
    assert {"app/a.onnx", "app/a.bin"} < set(tree(tmp_path / "small"))


@pytest.mark.parametrize("options", [{}, {"models": ["app/bert/", "*.pt"]}, {"model": [{"path": "app/bert"}, {"path": "app/yolo.pt"}]}])
def test_a_second_run_changes_nothing(tmp_path: Path, options: dict[str, Any]) -> None:
    taken_out(tmp_path, **options)
    small, beside = tree(tmp_path / "small"), tree(tmp_path / "small.models")
    stamp = (tmp_path / "small" / FILE_NAME).stat().st_mtime_ns
    result = optimize(job(tmp_path, **{"min-size": 0, **options}), tmp_path / "small")
    assert codes(result) == []
    assert (tree(tmp_path / "small"), tree(tmp_path / "small.models")) == (small, beside)
    assert (tmp_path / "small" / FILE_NAME).stat().st_mtime_ns == stamp
    assert result.manifest.artifact.before == result.manifest.artifact.after


def test_what_left_before_stays_in_the_descriptor(tmp_path: Path) -> None:
    taken_out(tmp_path, models=["*.pt"])
    write_files(tmp_path / "small", {"app/more/yolo.pt": safetensors_file(3)})
    optimize(job(tmp_path, **{"min-size": 0}), tmp_path / "small")
    assert {name: model.path for name, model in told(tmp_path / "small").items()} == {
        "bert": "app/bert",
        "yolo": "app/yolo.pt",
        "yolo-2": "app/more/yolo.pt",
    }
    assert written(tmp_path / "small.models") == ["bert", "yolo", "yolo-2"]


def test_a_model_that_comes_back_takes_its_own_place(tmp_path: Path) -> None:
    taken_out(tmp_path)
    write_files(tmp_path / "small", {"app/yolo.pt": safetensors_file(9)})
    optimize(job(tmp_path, **{"min-size": 0}), tmp_path / "small")
    assert tree(tmp_path / "small.models/yolo") == {"yolo.pt": safetensors_file(9)}
    assert sorted(told(tmp_path / "small")) == ["bert", "yolo"]


@pytest.mark.parametrize("text", [b"{", b'{"format": "mlbundle-models", "version": "2.0", "models": []}', b"[" * 100_000, bytes(1 << 25)])
def test_a_descriptor_that_cannot_be_believed_lets_nothing_leave(tmp_path: Path, text: bytes) -> None:
    result = taken_out(tmp_path, {**APP, FILE_NAME: text}, models=["*.pt"])
    (finding,) = result.manifest.findings
    assert (finding.code, finding.path) == ("MB902", "app/yolo.pt")
    assert (tmp_path / "small" / FILE_NAME).read_bytes() == text


def test_an_unchanged_model_is_not_written_again(tmp_path: Path) -> None:
    first = tmp_path / "dist"
    for scale in (2, 5):
        source = write_files(tmp_path / f"source{scale}", {**APP, "app/yolo.pt": safetensors_file(scale)})
        first.mkdir(exist_ok=True)
        before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in first.rglob("*") if path.is_file()}
        optimize(job(tmp_path, **{"min-size": 0}), source, first / "app")
        (first / "app").rename(tmp_path / f"app{scale}")
    changed = {path.name for path, stamp in before.items() if path.exists() and (path.stat().st_ino, path.stat().st_mtime_ns) != stamp}
    assert changed == {"yolo.pt", f"app{SUFFIX}", FILE_NAME}


@pytest.mark.parametrize("form", ["folder", "tar", "image", "artifact"])
def test_every_form_is_the_same_each_time(tmp_path: Path, form: str) -> None:
    trees = []
    for number, mask in enumerate((0o022, 0o077)):
        folder = tmp_path / str(number)
        source = write_files(folder / "source", APP)
        former = os.umask(mask)
        try:
            optimize(job(folder, form=form, settings={"workers": number + 1}, **{"min-size": 0}), source, folder / "small")
        finally:
            os.umask(former)
        trees.append({**tree(folder / "small"), **tree(folder / "small.models"), "manifest": (folder / f"small{SUFFIX}").read_bytes()})
    assert trees[0] == trees[1]


def test_another_form_takes_the_place_of_the_first(tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", APP)
    for form, names in (("folder", ["bert", "yolo"]), ("tar", ["bert.tar", "yolo.tar"]), ("artifact", ["bert", "yolo"])):
        optimize(job(tmp_path, form=form, **{"min-size": 0}), source, tmp_path / f"{form}/app")
        (tmp_path / f"{form}/app.models").rename(tmp_path / "keep")
        assert written(tmp_path / "keep") == names
        following = {"folder": "tar", "tar": "artifact"}.get(form)
        if following:
            (tmp_path / following).mkdir()
            (tmp_path / "keep").rename(tmp_path / following / "app.models")


def test_models_that_nobody_keeps_are_not_written(tmp_path: Path) -> None:
    result = taken_out(tmp_path, mode="mount", keep=False)
    assert not (tmp_path / "small.models").exists()
    assert result.manifest.companions == ()
    assert sorted(told(tmp_path / "small")) == ["bert", "yolo"]


def test_an_application_that_asks_for_no_model_is_told(tmp_path: Path) -> None:
    assert codes(taken_out(tmp_path, {**APP, "app/__init__.py": b"open('yolo.pt')"})) == ["MB903"]


def test_steps_that_come_too_late_are_told(tmp_path: Path) -> None:
    result = taken_out(tmp_path, APP, "strip", "torch_files")
    assert [(finding.code, finding.optimizer) for finding in result.manifest.findings] == [("MB905", "torch_files")]


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"mode": "download"}, '.mode: "download" needs `sources`'),
        ({"model": [{"path": "a", "mode": "download"}]}, '.model[0].mode: "download" needs `sources`'),
        ({"keep": False}, ".keep: models that are to lie beside"),
        ({"mount": "models"}, ".mount: must be an absolute path, not 'models'"),
        ({"sources": ["ftp://a/"]}, ".sources[0]: must be a URL that begins with one of https://"),
        ({"sources": ["https://a/", "https://a/b"]}, '.sources[1]: must end with "/"'),
        ({"sources": ["https://a/{model}/"]}, ".sources[0]: {model} stands for nothing"),
        ({"model": [{"name": "x"}]}, ".model[0].path: is needed"),
        ({"model": [{"path": "a", "name": "../x"}]}, ".model[0].name: must be at most 80 letters"),
        ({"model": [{"path": "a", "name": "a-b"}, {"path": "b", "name": "A_B"}]}, ".model[1].name: 'A_B' is that of another model"),
        ({"model": [{"path": "a", "nam": "x"}]}, ".model[0].nam: unknown key; did you mean 'name'?"),
    ],
)
def test_options_that_cannot_be_meant_are_told_before_any_work(tmp_path: Path, options: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        job(tmp_path, **options)
    assert any(f"tool.mlbundle.externalize{fault}" in each for each in caught.value.faults), caught.value.faults


def test_models_without_a_source_stay_where_others_are_fetched(tmp_path: Path) -> None:
    result = taken_out(tmp_path, mode="download", model=[{"path": "app/bert", "sources": ["file:///srv/"]}], models=["*.pt"])
    assert [(finding.code, finding.path) for finding in result.manifest.findings] == [("MB906", "app/yolo.pt")]
    assert sorted(told(tmp_path / "small")) == ["bert"]


def wheel_of(folder: Path, files: Mapping[str, bytes], requires: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    metadata = {**METADATA, "METADATA": METADATA["METADATA"] + requires.encode()}
    return build_wheel(folder, files, metadata=metadata)


def test_of_a_wheel_each_package_has_a_descriptor_and_record_is_right(tmp_path: Path) -> None:
    files = {**APP, "other/__init__.py": b"", "other/x.onnx": onnx_files("x")["x"], "demo-1.0.data/purelib/third/y.pt": safetensors_file()}
    wheel = wheel_of(tmp_path / "in", files, "Requires-Dist: Hatch_MLBundle>=1\n")
    result = optimize(job(tmp_path, **{"min-size": 0}), wheel)
    assert codes(result) == []
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        record = archive.read(f"{DIST_INFO}/RECORD").decode()
        told_by = {name: [model.path for model in parse(archive.read(name), name)] for name in names if name.endswith(FILE_NAME)}
    assert told_by == {
        f"app/{FILE_NAME}": ["bert", "yolo.pt"],
        f"demo-1.0.data/purelib/third/{FILE_NAME}": ["y.pt"],
        f"other/{FILE_NAME}": ["x.onnx"],
    }
    assert sorted(line.partition(",")[0] for line in record.splitlines()) == sorted(names)
    assert written(tmp_path / f"in/{wheel.name}.models") == ["bert", "x", "y", "yolo"]


def test_a_wheel_that_could_not_find_its_models_is_told(tmp_path: Path) -> None:
    files = {**APP, "top.pt": safetensors_file(), "demo-1.0.data/data/share/m.pt": safetensors_file(4)}
    result = optimize(job(tmp_path, **{"min-size": 0}), wheel_of(tmp_path / "in", files))
    assert [(finding.code, finding.path) for finding in result.manifest.findings] == [
        ("MB902", "demo-1.0.data/data/share/m.pt"),
        ("MB902", "top.pt"),
        ("MB904", None),
    ]


def test_a_wheel_may_bring_the_runtime_along(tmp_path: Path) -> None:
    wheel = wheel_of(tmp_path / "in", APP)
    assert codes(optimize(job(tmp_path, vendor=True, **{"min-size": 0}), wheel)) == []
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    assert b"MIT" in (tmp_path / "site/app/_mlbundle/LICENSE").read_bytes()
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from app._mlbundle.models import model_path; "
        "print(sorted(name for name in sys.modules if 'hatch_mlbundle' in name), model_path.__module__)"
    )
    (tmp_path / "site/app/__init__.py").write_text("")
    said = subprocess.run([sys.executable, "-I", "-c", code, str(tmp_path / "site")], capture_output=True, text=True, check=True)
    assert said.stdout == "[] app._mlbundle.models\n"


def test_a_plan_says_what_would_leave(tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", APP)
    plan = plan_for(job(tmp_path, models=["app/bert"], exclude=["app/bert/vocab.txt"]), source)
    (keep,) = plan.stages[0].changes
    assert isinstance(keep, Keep)
    assert keep.reason == "`include` and `exclude` spare app/bert/vocab.txt of it, and it leaves whole or not at all"


@pytest.mark.parametrize("path", ["minilm/model", "_internal/minilm/model", "minilm/model/", "**/model.onnx"])
def test_in_a_frozen_bundle_paths_are_those_of_its_packages_too(path: str) -> None:
    model = below("_internal/minilm/model", onnx_files("model.onnx", outside="model.onnx.data"))
    bundle = bundle_of({**model, "_internal/app.pyz/minilm/__init__.pyc": b"mlbundle model_path", "app": b"x"})
    optimizer = Externalize(ExternalizeOptions(model=(ExternalModel(path=Glob(path)),)))
    plan = plan_of(optimizer, bundle, PlainContext(artifact="frozen"))
    assert plan.findings == []
    leave, tell = plan.changes
    assert isinstance(leave, Leave)
    assert isinstance(tell, Tell)
    assert (leave.name, leave.place, tell.path) == ("minilm", "_internal/minilm/model", f"_internal/{FILE_NAME}")
    (told_of,) = parse(tell.render([leave]) or b"", "")
    assert told_of.path == "minilm/model"
    assert tell.render(()) is None


def test_of_an_image_the_descriptor_lies_where_its_models_did() -> None:
    files = {**below("root/.cache/a", transformers_files()), "root/.cache/b.pt": safetensors_file(2), "app/main.py": b""}
    optimizer = Externalize(ExternalizeOptions(models=(Glob("root/"),)))
    plan = plan_of(optimizer, bundle_of(files), PlainContext(artifact="image"))
    assert [change.path for change in plan.changes if isinstance(change, Tell)] == [f"root/.cache/{FILE_NAME}"]
    assert plan.findings == []


def test_the_summary_says_what_lies_beside(tmp_path: Path) -> None:
    text = as_text(summary(taken_out(tmp_path).manifest))
    assert "models in small.models: bert " in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_cleaning_removes_the_models_of_this_projects_wheels(tmp_path: Path) -> None:
    tables = f"{HOOK}[tool.mlbundle]\noptimizers = ['externalize']\n[tool.mlbundle.externalize]\nmin-size = 0\nvendor = true\n"
    project = tiny_project(tmp_path, tables)
    assert build(project).returncode == 0
    beside = project / "dist" / f"{built_wheel(project).name}.models"
    assert written(beside) == ["tiny_app"]
    write_files(project / "dist/other-1.0-py3-none-any.whl.models", {"m/x": b"x"})
    (project / "dist/tiny_app-0.9-py3-none-any.whl.models").symlink_to(tmp_path)
    subprocess.run([sys.executable, "-m", "hatchling", "build", "--clean-only"], cwd=project, env=environment(), check=True)
    assert sorted(path.name for path in (project / "dist").iterdir()) == ["other-1.0-py3-none-any.whl.models"]

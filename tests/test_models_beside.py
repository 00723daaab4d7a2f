from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from hatch_mlbundle.bundles.images.model_image import ModelForm
from hatch_mlbundle.cli import main
from hatch_mlbundle.errors import ArtifactError, StorageError
from hatch_mlbundle.manifest import Manifest
from hatch_mlbundle.models.external import find_models
from hatch_mlbundle.models_beside import LeftModel, replacing_models
from hatch_mlbundle.runtime.models.descriptor import FILE_NAME, parse
from tests.builders import bundle_from, bundle_of
from tests.bundledmodels import below, safetensors_file, transformers_files, write_files


def left(scale: float = 1.0, form: ModelForm | None = "folder") -> list[LeftModel]:
    files = {**below("app/bert", transformers_files(scale)), "app/yolo.pt": safetensors_file(7)}
    return [LeftModel(model=model, form=form) for model in find_models(bundle_of(files))]


def write(models: Sequence[LeftModel], artifact: Path, *, fails: bool = False) -> None:
    with ThreadPoolExecutor(2) as pool, replacing_models(models, artifact, pool) as beside:
        beside.put_in_place()
        if fails:
            raise RuntimeError("the artifact could not be written")


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("form", ["folder", "tar", "image", "artifact"])
def test_what_was_there_stays_where_the_artifact_fails(tmp_path: Path, form: ModelForm) -> None:
    with pytest.raises(RuntimeError):
        write(left(form=form), tmp_path / "app", fails=True)
    assert list(tmp_path.iterdir()) == []
    write(left(form=form), tmp_path / "app")
    before = tree(tmp_path)
    with pytest.raises(RuntimeError):
        write(left(2.0, form), tmp_path / "app", fails=True)
    assert tree(tmp_path) == before


KILLED = """
import os, sys
from hatch_mlbundle.cli import main

def die(event, arguments):
    if event == "shutil.rmtree" and ".app." in str(arguments[0]) and os.path.exists(arguments[0]):  # what bore the artifact's name before
        os.kill(os.getpid(), 9)

sys.addaudithook(die)
main(["optimize", "app"])
"""


def test_a_model_is_in_the_artifact_or_beside_it_at_any_moment(tmp_path: Path) -> None:
    files = {**below("app/bert", transformers_files()), "pyproject.toml": b'[tool.mlbundle]\noptimizers = ["externalize"]\n'}
    write_files(tmp_path, {**files, "app/big.pt": safetensors_file(7) + bytes(10**7)})
    killed = subprocess.run([sys.executable, "-c", KILLED], cwd=tmp_path, check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "app/big.pt").exists()
    assert sorted(path.name for path in (tmp_path / "app.models").iterdir()) == ["big", FILE_NAME]


def test_models_that_left_before_go_with_the_artifact(tmp_path: Path) -> None:
    write(left(), tmp_path / "app")
    there = tree(tmp_path / "app.models")
    for target in ("app", "other/app"):
        with ThreadPoolExecutor(2) as pool:
            earlier = {"bert", "yolo", "unknown"}
            with replacing_models([], tmp_path / target, pool, earlier=earlier, source=tmp_path / "app") as beside:
                beside.put_in_place()
        assert {row.path: row.model for row in beside.rows} == {path: path.split("/")[0] for path in there if path != FILE_NAME}
        assert tree(tmp_path / f"{target}.models") == there
    old, new = (tmp_path / f"{folder}app.models/bert/config.json" for folder in ("", "other/"))
    assert (old.stat().st_mtime, old.stat().st_mode) == (new.stat().st_mtime, new.stat().st_mode)


def test_of_what_is_taken_along_links_are_not_followed(tmp_path: Path) -> None:
    write(left(), tmp_path / "app")
    (tmp_path / "app.models/bert/round").symlink_to(".")
    (tmp_path / "app.models/bert/nowhere").symlink_to("gone")
    os.mkfifo(tmp_path / "app.models/bert/pipe")
    (tmp_path / "app.models/bert/file").symlink_to("config.json")
    with ThreadPoolExecutor(2) as pool:
        names = {"bert", FILE_NAME}
        with replacing_models([], tmp_path / "new/app", pool, earlier=names, source=tmp_path / "app") as beside:
            beside.put_in_place()
    assert {path.name for path in (tmp_path / "new/app.models/bert").iterdir()} == {*transformers_files(), "file"}
    assert [model.name for model in parse((tmp_path / "new/app.models" / FILE_NAME).read_bytes(), "")] == ["bert"]


def test_a_further_run_tells_of_models_that_left_before_and_takes_them_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = {**below("app/bert", transformers_files()), "app/words.txt": b"a", "app/main.py": b"import mlbundle  # model_path"}
    pyproject = tmp_path / "pyproject.toml"
    write_files(tmp_path, {**files, "pyproject.toml": b'[tool.mlbundle]\noptimizers = ["externalize"]\nexternalize.min-size = 1\n'})
    assert main(["optimize", str(tmp_path / "app")]) == 0
    pyproject.write_text('[tool.mlbundle]\noptimizers = ["exclude"]\nexclude.paths = ["words.txt"]\n')
    for target in ("new/app", "app"):
        assert main(["optimize", "-o", str(tmp_path / target), str(tmp_path / "app")]) == 0
        rows = Manifest.load(tmp_path / f"{target}.mlbundle.json").companions
        assert {row.path for row in rows} == {f"bert/{name}" for name in transformers_files()}
    assert tree(tmp_path / "new/app.models") == tree(tmp_path / "app.models")


def test_nothing_depends_on_the_umask(tmp_path: Path) -> None:
    former = os.umask(0o077)
    try:
        write(left(), tmp_path / "app")
    finally:
        os.umask(former)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "app.models").rglob("*") if path.is_file()} == {0o644}
    assert (tmp_path / "app.models").stat().st_mode & 0o777 == 0o755


def test_an_empty_folder_of_models_that_was_there_stays(tmp_path: Path) -> None:
    (tmp_path / "app.models").mkdir()
    with pytest.raises(RuntimeError):
        write(left(), tmp_path / "app", fails=True)
    write([], tmp_path / "app")
    assert (tmp_path / "app.models").is_dir()


def test_what_a_killed_process_left_goes(tmp_path: Path) -> None:
    write_files(tmp_path / "app.models", {".bert.4000000.mlbundle-new/model.safetensors": b"half"})
    write(left(), tmp_path / "app")
    assert sorted(path.name for path in (tmp_path / "app.models").iterdir()) == ["bert", FILE_NAME, "yolo"]


def test_what_somebody_else_put_there_stays(tmp_path: Path) -> None:
    write_files(tmp_path / "app.models", {"README": b"mine", "other/model.bin": b"mine"})
    write(left(), tmp_path / "app")
    write(left()[:1], tmp_path / "app")
    assert {"README", "other/model.bin", "yolo/yolo.pt"} < set(tree(tmp_path / "app.models"))
    told = parse((tmp_path / "app.models" / FILE_NAME).read_bytes(), "")
    assert [model.name for model in told] == ["bert", "yolo"]


def test_a_link_in_a_models_place_is_replaced_and_not_followed(tmp_path: Path) -> None:
    mine = write_files(tmp_path / "mine", {"config.json": b"mine"})
    (tmp_path / "app.models").mkdir()
    (tmp_path / "app.models/bert").symlink_to(mine)
    write(left(), tmp_path / "app")
    assert not (tmp_path / "app.models/bert").is_symlink()
    assert tree(mine) == {"config.json": b"mine"}


def test_a_folder_of_models_may_be_a_link_to_another_disk(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "app.models").symlink_to("disk")
    write(left(), tmp_path / "app")
    assert (tmp_path / "disk/bert/config.json").is_file()


def test_a_file_in_the_folders_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "app.models").write_text("mine")
    with pytest.raises(StorageError, match=r"app\.models: a file is in its place"):
        write(left(), tmp_path / "app")


@pytest.mark.parametrize("form", ["folder", "tar", "image", "artifact"])
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, form: ModelForm) -> None:
    files = {**below("app/bert", transformers_files()), "app/bert/more.bin": bytes(300_000)}
    models = [LeftModel(model=model, form=form) for model in find_models(bundle_of(files))]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(StorageError, match="file size limit reached while writing"):
            write(models, tmp_path / "app")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_files_that_change_meanwhile_are_told(tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", below("bert", transformers_files()))
    models = [LeftModel(model=model, form="folder") for model in find_models(bundle_from(source))]
    (source / "bert/vocab.txt").write_bytes(b"b\na\n")
    with pytest.raises(ArtifactError, match="changed while it was being copied"):
        write(models, tmp_path / "app")
    assert not (tmp_path / "app.models").exists()


def test_nothing_is_shared_with_what_others_may_write(tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", below("bert", transformers_files()))
    write([LeftModel(model=model, form="folder") for model in find_models(bundle_from(source))], tmp_path / "app")
    assert {path.stat().st_nlink for path in (tmp_path / "app.models/bert").iterdir()} == {1}


@pytest.mark.parametrize("damage", ["changed", "more", "gone"])
@pytest.mark.parametrize("form", ["folder", "image"])
def test_what_is_not_right_any_more_is_written_again(tmp_path: Path, form: ModelForm, damage: str) -> None:
    write(left(form=form), tmp_path / "app")
    right = tree(tmp_path)
    path = max((tmp_path / "app.models/bert").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    if damage == "changed":
        path.write_bytes(bytes(path.stat().st_size))
    elif damage == "more":
        path.with_name("more").write_bytes(b"x")
    else:
        path.unlink()
    write(left(form=form), tmp_path / "app")
    assert tree(tmp_path) == right


def test_a_model_that_is_no_longer_kept_is_no_longer_told_of(tmp_path: Path) -> None:
    write(left(), tmp_path / "app")
    write([replace(each, form=None) for each in left(2.0)[:1]], tmp_path / "app")
    told = parse((tmp_path / "app.models" / FILE_NAME).read_bytes(), "")
    assert [model.name for model in told] == ["yolo"]
    assert (tmp_path / "app.models/bert/config.json").is_file()

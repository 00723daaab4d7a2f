from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from hatch_mlbundle import application
from hatch_mlbundle.bundles.pyz import NAMESPACE, PyzModule, without
from hatch_mlbundle.cli import main
from hatch_mlbundle.config import read_config
from hatch_mlbundle.errors import MlbundleError
from hatch_mlbundle.job import Job, prepare
from hatch_mlbundle.manifest import Manifest
from hatch_mlbundle.plugins import load_registry
from tests.elfsmith import readelf
from tests.frozensmith import SAID, Item, craft, craft_pyz, frozen_file, frozen_folder, pyinstaller, says, write_sources

DROP = ("_internal/*.pyz/space/", "_internal/*.pyz/pets/cat.pyc")


def job_for(project: Path, paths: Sequence[str] = (), workers: int = 2, *, runtime_messages: bool = True) -> Job:
    registry = load_registry()
    table = {"optimizers": ["exclude"], "exclude": {"paths": list(paths)}, "workers": workers, "runtime-messages": runtime_messages}
    return prepare(read_config(table, registry.option_types()), registry, project=project)


def shape(root: Path) -> dict[str, object]:
    if root.is_file():
        return {"": hashlib.sha256(root.read_bytes()).hexdigest()}
    return {
        path.relative_to(root).as_posix(): os.readlink(path)  # noqa: PTH115
        if path.is_symlink()
        else (path.stat().st_mode, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(root.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def modules_in(executable: Path) -> set[str]:
    """Return the modules that PyInstaller's own reader sees."""
    from PyInstaller.archive.readers import CArchiveReader

    return set(CArchiveReader(str(executable)).open_embedded_archive("PYZ.pyz").toc)


def bytes_of(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file() and not path.is_symlink())


def check_totals(manifest: Manifest, before: int, after: int) -> None:
    row = manifest.artifact
    assert (row.before.size, row.after.size) == (before, after) == (row.before.installed, row.after.installed)
    assert sum(file.before.size for file in manifest.files if file.before) == before
    assert sum(file.after.size for file in manifest.files if file.after) == after
    assert all(each.size >= 0 for file in manifest.files for each in (file.before, file.after) if each)


def test_the_totals_are_the_bytes_on_disk(tmp_path: Path) -> None:
    app = frozen_folder(tmp_path)
    manifest = application.analyze(job_for(tmp_path), app)
    check_totals(manifest, bytes_of(app), bytes_of(app))
    paths = {file.path for file in manifest.files}
    assert {"app", "_internal/app.pyz/pets/__init__.pyc", "_internal/app.pyz/space/one/mod.pyc"} <= paths
    assert {file.path: file.kind for file in manifest.files}["app"] == "frozen"


def test_dropped_modules_are_gone_and_the_rest_runs(tmp_path: Path) -> None:
    app = frozen_folder(tmp_path)
    before, modules = bytes_of(app), modules_in(app / "app")
    assert says(app / "app") == SAID
    sections = [line.split()[1:3] for line in readelf(app / "app", "-S").replace("[ ", "[").splitlines() if line.strip().startswith("[")]
    manifest = application.optimize(job_for(tmp_path, DROP), app).manifest
    assert says(app / "app") == "no pets.cat 2 no space.one.mod data run"
    assert modules - modules_in(app / "app") == {"pets.cat", "space", "space.one", "space.one.mod"}
    check_totals(manifest, before, bytes_of(app))
    again = [line.split()[1:3] for line in readelf(app / "app", "-S").replace("[ ", "[").splitlines() if line.strip().startswith("[")]
    assert again == sections
    assert (app / "app").stat().st_mode & 0o777 == 0o755


def test_the_same_bytes_whatever_the_workers_and_the_cache(tmp_path: Path) -> None:
    results = []
    for number, workers in enumerate((1, 4, 4)):
        (tmp_path / str(number)).mkdir()
        app = frozen_folder(tmp_path / str(number))
        manifest = application.optimize(job_for(tmp_path, DROP, workers), app).manifest
        results.append((shape(app), manifest.to_json()))
    assert results[0] == results[1] == results[2]


def test_where_nothing_is_dropped_the_executable_stays(tmp_path: Path) -> None:
    app = frozen_folder(tmp_path)
    before = shape(app)
    application.optimize(job_for(tmp_path, ["_internal/d\u00e4ta/run"], runtime_messages=False), app)
    del before["_internal/d\u00e4ta/run"]
    assert shape(app) == before


def test_an_executable_itself_stays(tmp_path: Path) -> None:
    app = frozen_folder(tmp_path)
    manifest = application.optimize(job_for(tmp_path, ["app"]), app).manifest
    assert [finding.code for finding in manifest.findings] == ["MB104"]
    assert "only its modules can be changed" in manifest.findings[0].message
    assert says(app / "app") == SAID


def test_a_namespace_package_that_never_had_modules_stays() -> None:
    names = [("a", 1), ("a.b", 0), ("full", NAMESPACE), ("full.x", 0), ("native", NAMESPACE), ("outer", NAMESPACE), ("outer.in", NAMESPACE)]
    modules = [PyzModule(name=name, type=type_, offset=0, stored=1) for name, type_ in names]
    assert [each.name for each in without(modules, ["full/x.pyc"])] == ["a", "a.b", "native", "outer", "outer.in"]


def test_several_executables_and_other_programs_live_in_one_folder(tmp_path: Path) -> None:
    app = frozen_folder(tmp_path)
    shutil.copy2(app / "app", app / "second")
    shutil.copy2("/bin/true", app / "tool")
    tool = (app / "tool").read_bytes()
    manifest = application.optimize(job_for(tmp_path, ["_internal/second.pyz/pets/cat.pyc"]), app).manifest
    assert says(app / "app") == SAID
    assert says(app / "second").startswith("no pets.cat 2 3")
    assert (app / "tool").read_bytes() == tool
    assert manifest.artifact.after.size == bytes_of(app)
    with pytest.raises(MlbundleError, match="app, second: are several executables"):
        application.finish_frozen(job_for(tmp_path), app, tmp_path / "out", one_file=True)


def test_an_executable_without_modules_is_a_file(tmp_path: Path) -> None:
    app = tmp_path / "app"
    (app / "_internal").mkdir(parents=True)
    option = Item(name=b"pyi-contents-directory _internal", type=b"o")
    (app / "app").write_bytes(craft([option, Item(name=b"main", type=b"s", data=b"code")]))
    manifest = application.analyze(job_for(tmp_path), app)
    assert [(file.path, file.kind) for file in manifest.files] == [("app", "frozen")]


def test_an_executable_of_macos_is_read_and_not_written(tmp_path: Path) -> None:
    app = tmp_path / "app"
    (app / "_internal").mkdir(parents=True)
    option = Item(name=b"pyi-contents-directory _internal", type=b"o")
    code = zlib.compress(b"code")
    whole = craft([option, craft_pyz([("m", (0, 17, len(code)))], code)], head=b"\xcf\xfa\xed\xfe" + bytes(60))
    (app / "app").write_bytes(whole)
    manifest = application.optimize(job_for(tmp_path, ["_internal/app.pyz/m.pyc"]), app).manifest
    assert "macOS is signed over its modules" in manifest.findings[0].message
    assert (app / "app").read_bytes() == whole


def test_a_file_that_could_be_taken_for_a_module_is_told(tmp_path: Path) -> None:
    app = frozen_folder(tmp_path)
    (app / "_internal/x.pyz").mkdir()
    (app / "_internal/x.pyz/file").write_text("mine")
    before = shape(app)
    with pytest.raises(MlbundleError, match=r"x\.pyz/file: lies in a folder whose name ends in \.pyz"):
        application.optimize(job_for(tmp_path, DROP), app)
    assert shape(app) == before


def test_a_damaged_executable_is_one_line_and_the_folder_stays(tmp_path: Path) -> None:
    app = frozen_folder(tmp_path)
    data = (app / "app").read_bytes()
    place = data.rindex(b"MEI\014\013\012\013\016")
    (app / "app").write_bytes(data[: place + 8] + b"\xff\xff\xff\xff" + data[place + 12 :])
    before = shape(tmp_path)
    with pytest.raises(MlbundleError) as caught:
        application.optimize(job_for(tmp_path, DROP), app)
    assert "sizes do not add up" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert shape(tmp_path) == before


@pytest.mark.parametrize("former", ["folder", "file", "nothing"])
@pytest.mark.parametrize("one_file", [False, True], ids=["to-folder", "to-file"])
def test_a_former_bundle_is_replaced(tmp_path: Path, former: str, one_file: bool) -> None:
    built, target = frozen_folder(tmp_path, "built"), tmp_path / "dist/app"
    target.parent.mkdir()
    if former == "folder":
        target.mkdir()
        (target / "old").write_text("old")
    elif former == "file":
        target.write_text("old")
        target.chmod(0o600)
    dead = subprocess.Popen(["true"])
    dead.wait()
    for what in ("partial", "former"):
        left = target.with_name(f".app.{dead.pid}.mlbundle-{what}")
        if former != "nothing":
            left.mkdir()
    manifest = application.finish_frozen(job_for(tmp_path, DROP[:1]), built, target, one_file=one_file).manifest
    executable = target if one_file else target / "app"
    assert says(executable) == "Mia 2 no space.one.mod data run"
    assert sorted(path.name for path in target.parent.iterdir()) == ["app", "app.mlbundle.json"]
    if one_file:
        assert target.stat().st_mode & 0o777 == 0o755
        assert [(row.name, row.size) for row in manifest.packed] == [("app", target.stat().st_size)]


@pytest.mark.parametrize("one_file", [False, True], ids=["folder", "file"])
def test_what_was_written_is_proved_by_its_manifest_module_by_module(tmp_path: Path, one_file: bool) -> None:
    built, target = frozen_folder(tmp_path, "built"), tmp_path / "dist/app"
    target.parent.mkdir()
    application.finish_frozen(job_for(tmp_path, DROP[:1]), built, target, one_file=one_file)
    place = target.with_name("app.mlbundle.json")
    verify = ["verify", "-q", str(target)]
    assert main(verify) == 0
    executable = target if one_file else target / "app"
    data = executable.read_bytes()
    module = next(row for row in Manifest.load(place).files if row.path.endswith("app.pyz/pets/cat.pyc"))
    text = place.read_text()
    assert module.after
    place.write_text(text.replace(str(module.after.sha256), "0" * 64))
    assert main(verify) == 1
    place.write_text(text)
    at = data.rindex(b"PYZ\0")
    executable.write_bytes(data[:at] + b"PYX\0" + data[at + 4 :])
    assert main(verify) == 1


@pytest.mark.parametrize("one_file", [False, True])
@pytest.mark.parametrize("former", ["folder", "file"])
def test_a_full_disk_leaves_the_former_bundle(tmp_path: Path, one_file: bool, former: str) -> None:
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("no small file system can be mounted here")
    try:
        built, target = frozen_folder(tmp_path, "built"), place / "app"
        if former == "folder":
            target.mkdir()
            (target / "old").write_text("old")
        else:
            target.write_text("old")
        with pytest.raises(MlbundleError, match="free some space"):
            application.finish_frozen(job_for(tmp_path), built, target, one_file=one_file)
        assert [path.name for path in place.iterdir()] == ["app"]
        assert (target / "old" if former == "folder" else target).read_text() == "old"
    finally:
        subprocess.run(["umount", place], check=True)


def test_what_is_written_into_the_result_reaches_neither_cache_nor_workspace(tmp_path: Path, own_cache: Path) -> None:
    built, target = frozen_folder(tmp_path, "built"), tmp_path / "dist/app"
    registry = load_registry()
    config = read_config({"optimizers": ["strip"]}, registry.option_types())
    application.finish_frozen(prepare(config, registry, project=tmp_path), built, target)
    shutil.rmtree(built)
    files = {(path.stat().st_dev, path.stat().st_ino) for path in target.rglob("*") if path.is_file() and not path.is_symlink()}
    kept = {(path.stat().st_dev, path.stat().st_ino) for path in own_cache.rglob("*") if path.is_file()}
    assert kept
    assert not files & kept
    assert all(path.stat().st_nlink == 1 for path in target.rglob("*") if path.is_file() and not path.is_symlink())


def test_a_one_file_executable_in_a_folder_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    frozen_file(tmp_path / "place")
    assert application.analyze(job_for(tmp_path), tmp_path / "place").artifact.kind == "folder"


def test_an_executable_with_its_files_beside_it(tmp_path: Path) -> None:
    code = zlib.compress(b"code")
    (tmp_path / "app").mkdir()
    (tmp_path / "app/app").write_bytes(craft([craft_pyz([("m", (0, 17, len(code)))], code), Item(name=b"s", type=b"s", data=b"x")]))
    (tmp_path / "app/base_library.zip").write_bytes(b"x")
    manifest = application.analyze(job_for(tmp_path), tmp_path / "app")
    assert [file.path for file in manifest.files] == ["app", "app.pyz/m.pyc", "base_library.zip"]
    assert [file.owner for file in manifest.files] == ["python", "m", "python"]


@pytest.mark.slow
def test_a_real_executable_with_its_files_beside_it(tmp_path: Path) -> None:
    write_sources(tmp_path)
    data = f"d\u00e4ta{os.pathsep}d\u00e4ta"
    assert pyinstaller(tmp_path, "--contents-directory", ".", "--add-data", data, "app.py").returncode == 0
    application.optimize(job_for(tmp_path, ["*.pyz/pets/cat.pyc"]), tmp_path / "dist/app")
    assert says(tmp_path / "dist/app/app") == "no pets.cat 2 3 data run"
    application.finish_frozen(job_for(tmp_path), tmp_path / "dist/app", tmp_path / "one", one_file=True)
    assert says(tmp_path / "one") == "no pets.cat 2 3 data run"

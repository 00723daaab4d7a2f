"""Where a model may lie, which place comes first, and how an application's descriptor is found."""

from __future__ import annotations

import ast
import io
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import tokenize
from pathlib import Path

import pytest

from hatch_mlbundle.runtime import model_path
from hatch_mlbundle.runtime.models import folders, places, store
from hatch_mlbundle.runtime.models.errors import ModelFileError, ModelUnavailableError, UnknownModelError
from tests.modelsmith import FILES, files_of, model_of, write_descriptor, write_model

ROOT = Path(__file__).parents[2]
POSIX = pytest.mark.skipif(os.name != "posix", reason="about users and permissions")


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MLBUNDLE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLBUNDLE_STORE", str(tmp_path / "store"))


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """Return the folder of an application whose model can be fetched from `origin`."""
    origin = write_model(tmp_path / "origin")
    write_descriptor(tmp_path / "app", model_of(sources=(f"{origin.as_uri()}/",), mount=str(tmp_path / "mount")))
    return tmp_path / "app"


def of(app: Path) -> Path:
    return model_path("blip", descriptor=app / "mlbundle.models.json")


def test_the_first_place_that_has_it_is_taken(app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [of(app)]
    assert expected[0].is_relative_to(tmp_path / "store")
    for folder in (tmp_path / "app.models/blip", app / "models/blip", tmp_path / "mount/blip"):
        expected.append(write_model(folder))
        assert of(app) == folder
    monkeypatch.setenv("MLBUNDLE_MODELS", os.pathsep.join([str(tmp_path / "none"), str(tmp_path / "listed")]))
    assert of(app) == tmp_path / "mount/blip"
    write_model(tmp_path / "listed/blip")
    assert of(app) == tmp_path / "listed/blip"
    monkeypatch.setenv("MLBUNDLE_MODEL_BLIP", str(write_model(tmp_path / "given")))
    assert of(app) == tmp_path / "given"


def test_what_is_still_in_the_application_needs_no_descriptor(tmp_path: Path) -> None:
    local = write_model(tmp_path / "models/blip")
    assert model_path("blip", local=local) == local
    assert model_path("blip", local=local / "vocab.txt") == local / "vocab.txt"


def test_an_empty_folder_is_what_a_model_left(app: Path) -> None:
    (app / "models/blip").mkdir(parents=True)
    assert files_of(model_path("blip", local=app / "models/blip")) == FILES


def test_the_descriptor_is_found_above_the_place_that_the_model_had(app: Path) -> None:
    assert files_of(model_path("blip", local=app / "models/blip")) == FILES


def package(folder: Path) -> Path:
    """Write a package whose module asks for a model."""
    (folder / "inner").mkdir(parents=True, exist_ok=True)
    (folder / "__init__.py").touch()
    (folder / "inner/__init__.py").touch()
    (folder / "inner/load.py").write_text("from hatch_mlbundle.runtime import model_path\nprint(model_path('blip'))\n")
    return folder


def test_the_descriptor_is_found_above_the_file_that_asks(app: Path) -> None:
    package(app)
    line = [sys.executable, "-m", "app.inner.load"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{app.parent}"}
    result = subprocess.run(line, cwd="/", env=environment, capture_output=True, text=True, check=True)
    assert files_of(Path(result.stdout.strip())) == FILES


def test_a_descriptor_of_other_models_is_passed_by(app: Path) -> None:
    package(app)
    write_descriptor(app / "inner", model_of({"x": b"x"}, name="other"))
    result = subprocess.run(
        [sys.executable, app / "inner/load.py"], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=True
    )
    assert files_of(Path(os.fsdecode(result.stdout.strip()))) == FILES


@POSIX
def test_a_descriptor_that_another_user_left_above_is_not_believed(app: Path, tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give a file away")
    inner = tmp_path / "app/inner"
    inner.mkdir()
    os.chown(app / "mlbundle.models.json", 65534, 65534)
    assert list(places.descriptors(inner / "blip", None)) == []
    os.chown(inner, 65534, 65534)
    assert list(places.descriptors(inner / "blip", None)) == [str(app / "mlbundle.models.json")]


@POSIX
def test_a_neighbour_that_another_user_left_is_not_believed(app: Path, tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give a folder away")
    write_model(tmp_path / "app.models/blip")
    os.chown(tmp_path / "app.models", 65534, 65534)
    looked: list[str] = []
    assert places.find(model_of(), places.home_of(str(app / "mlbundle.models.json")), looked) is None
    assert f"{tmp_path}/app.models is another user's, set MLBUNDLE_MODELS to it if that is right" in looked
    assert of(app).is_relative_to(tmp_path / "store")


def test_no_descriptor_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match=r"^nosuch: there is no mlbundle\.models\.json in the application; name the right one"):
        model_path("nosuch", local=tmp_path / "models/nosuch")


def test_an_unknown_name_is_told_with_what_was_read(app: Path) -> None:
    with pytest.raises(UnknownModelError, match=r"^nosuch: only others are told of in .*/app/mlbundle\.models\.json"):
        model_path("nosuch", descriptor=app / "mlbundle.models.json")


def test_without_a_descriptor_the_environment_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLBUNDLE_MODEL_MY_MODEL_2", str(tmp_path))
    assert model_path("my-model.2", local=tmp_path / "no") == tmp_path


def test_what_the_environment_names_has_to_be_the_model(app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLBUNDLE_MODEL_BLIP", str(tmp_path / "given"))
    with pytest.raises(ModelFileError, match="given is not there; set MLBUNDLE_MODEL_BLIP"):
        of(app)
    write_model(tmp_path / "given", {"config.json": b"{}", "vocab.txt": b"a\nb\n"})
    with pytest.raises(ModelFileError, match=r"lacks weights/model\.bin; set"):
        of(app)


def test_a_place_with_another_version_is_passed_by_and_told(app: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "app.models/blip", {**FILES, "config.json": b"{ }"})
    assert of(app).is_relative_to(tmp_path / "store")
    shutil.rmtree(tmp_path / "store")
    shutil.rmtree(tmp_path / "origin")
    with pytest.raises(ModelUnavailableError) as caught:
        of(app)
    told = str(caught.value)
    assert told.startswith("blip: is in none of its places (MLBUNDLE_MODELS is not set, ")
    assert f"{tmp_path}/mount/blip is not there" in told
    assert f"{tmp_path}/app.models/blip has config.json with 3 bytes, not 2" in told
    assert f"the store {tmp_path}/store lacks it" in told
    assert "\n" not in told


def test_a_descriptor_beside_a_model_tells_which_version_that_is(app: Path, tmp_path: Path) -> None:
    newer = {**FILES, "config.json": b'{"v": 2}', "more.txt": b"more"}
    write_model(tmp_path / "app.models/blip", newer)
    assert of(app).is_relative_to(tmp_path / "store")
    write_descriptor(tmp_path / "app.models", model_of(newer))
    assert of(app) == tmp_path / "app.models/blip"


def test_an_archive_beside_the_application_is_unpacked_once(app: Path, tmp_path: Path) -> None:
    (tmp_path / "app.models").mkdir()
    with tarfile.open(tmp_path / "app.models/blip.tar", "w") as archive:
        archive.add(tmp_path / "origin", "blip")
    shutil.rmtree(tmp_path / "origin")
    path = of(app)
    assert path.is_relative_to(tmp_path / "store")
    assert files_of(path) == FILES
    before = path.stat().st_ino
    assert of(app).stat().st_ino == before


def test_a_damaged_archive_beside_it_is_told(app: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "origin")
    (tmp_path / "app.models").mkdir()
    (tmp_path / "app.models/blip.tar").write_bytes(b"no tar")
    with pytest.raises(ModelUnavailableError, match=r"app\.models/blip\.tar: is no tar file .*; get it anew"):
        of(app)


def test_a_single_file_may_lie_there_by_its_own(tmp_path: Path) -> None:
    write_descriptor(tmp_path / "app", model_of({"yolo.pt": b"weights"}, name="yolo", is_file=True))
    write_model(tmp_path / "app.models", {"yolo/yolo.pt": b"weights"})
    assert model_path("yolo", descriptor=tmp_path / "app/mlbundle.models.json") == tmp_path / "app.models/yolo/yolo.pt"
    shutil.rmtree(tmp_path / "app.models/yolo")
    write_model(tmp_path / "app/models", {"yolo": b"weights"})
    assert model_path("yolo", descriptor=tmp_path / "app/mlbundle.models.json") == tmp_path / "app/models/yolo"


@pytest.mark.parametrize(
    ("executable", "contents", "neighbours"),
    [
        ("dist/app/app", "dist/app/_internal", ["dist/app.models"]),
        ("dist/app/app", "dist/app", ["dist/app.models"]),
        ("dist/app", "run/_MEI123", ["dist/app.models"]),
        ("dist/app.exe", "run/_MEI123", ["dist/app.exe.models", "dist/app.models"]),
    ],
)
def test_the_neighbour_of_a_frozen_application(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executable: str, contents: str, neighbours: list[str]
) -> None:
    descriptor = write_descriptor(tmp_path / contents, model_of())
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "_MEIPASS", str(tmp_path / contents), raising=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / executable))
    assert next(iter(places.descriptors(None, None))) == str(descriptor)
    assert places.home_of(str(descriptor)).neighbours == tuple(str(tmp_path / each) for each in neighbours)


def root_of(monkeypatch: pytest.MonkeyPatch, **variables: str | None) -> str:
    for name, value in variables.items():
        monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
    return folders.writable_root()


@POSIX
def test_where_the_store_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    temporary = tmp_path / f"mlbundle-models-{os.geteuid()}"
    home = tmp_path / "home"
    home.mkdir()
    assert root_of(monkeypatch, MLBUNDLE_STORE=str(tmp_path / "s")) == str(tmp_path / "s")
    assert root_of(monkeypatch, MLBUNDLE_STORE=None, XDG_CACHE_HOME=str(home / "xdg")) == str(home / "xdg/mlbundle/models")
    assert root_of(monkeypatch, XDG_CACHE_HOME="relative", HOME=str(home)) == str(home / ".cache/mlbundle/models")
    assert root_of(monkeypatch, XDG_CACHE_HOME=None, HOME=None) == str(temporary)
    assert stat.S_IMODE(temporary.stat().st_mode) == 0o700
    assert root_of(monkeypatch, HOME="/dev/null/home") == str(temporary)
    temporary.chmod(0o755)
    with pytest.raises(ModelUnavailableError, match="is not this user's own"):
        folders.writable_root()


@POSIX
@pytest.mark.parametrize("left", ["folder", "link"])
def test_a_temporary_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str) -> None:
    if os.geteuid():
        pytest.skip("only root can give a folder away")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    temporary = tmp_path / f"mlbundle-models-{os.geteuid()}"
    if left == "folder":
        temporary.mkdir(mode=0o700)
        os.chown(temporary, 65534, 65534)
    else:
        (tmp_path / "theirs").mkdir(mode=0o700)
        temporary.symlink_to(tmp_path / "theirs")
    ready = temporary / "ready" / model_of().digest / "blip"
    write_model(ready)
    monkeypatch.delenv("MLBUNDLE_STORE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "")
    assert store.find(model_of()) is None
    with pytest.raises(ModelUnavailableError, match=r"not this user's own\); set MLBUNDLE_STORE"):
        store.obtain(model_of(sources=("file:///nowhere/",)))


@POSIX
def test_a_read_only_home_and_bundle_will_do(app: Path, tmp_path: Path) -> None:
    if shutil.which("bwrap") is None:
        pytest.skip("there is no bubblewrap")
    package(app)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "TMPDIR": "/mnt"}
    line = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--tmpfs", "/mnt"]
    line += [sys.executable, str(app / "inner/load.py")]
    result = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert result.stdout.startswith(f"/mnt/mlbundle-models-{os.geteuid()}/ready/"), result.stderr


@POSIX
def test_where_nothing_at_all_can_be_written_that_is_told(app: Path, tmp_path: Path) -> None:
    if shutil.which("bwrap") is None:
        pytest.skip("there is no bubblewrap")
    package(app)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    line = ["bwrap", "--ro-bind", "/", "/", sys.executable, str(app / "inner/load.py")]
    result = subprocess.run(line, env=environment, capture_output=True, text=True, check=False, cwd="/")
    assert "no store for models can be written" in result.stderr.splitlines()[-1]


def test_asking_for_the_name_imports_no_more_than_it_needs() -> None:
    script = """
import sys
from hatch_mlbundle.runtime import model_path
model_path("x", local="/")
unneeded = {"urllib.request", "tarfile", "hashlib", "json", "dataclasses", "ssl", "numpy", "hatch_mlbundle.runtime.patching"}
print(*sorted(set(sys.modules) & unneeded))
"""
    result = subprocess.run([sys.executable, "-S", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


def lines_of_code(path: Path) -> int:
    """Return how many lines of a module have code on them: no blank ones, no comments, no docstrings."""
    text = path.read_text(encoding="utf-8")
    beside = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = [each for each in tokenize.generate_tokens(io.StringIO(text).readline) if each.type not in beside]
    lines = {line for each in tokens for line in range(each.start[0], each.end[0] + 1)}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def test_the_models_part_stays_small() -> None:
    modules = list((ROOT / "hatch_mlbundle/runtime/models").glob("*.py"))
    assert len(modules) > 5
    assert sum(map(lines_of_code, modules)) < 1000

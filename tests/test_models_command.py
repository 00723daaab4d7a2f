from __future__ import annotations

import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from hatch_mlbundle.cli import main
from hatch_mlbundle.runtime.models import store
from hatch_mlbundle.runtime.models.descriptor import FILE_NAME, Model
from tests.modelsmith import FILES, files_of, model_of, write_descriptor, write_model, wrong_files


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("MLBUNDLE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLBUNDLE_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


def model(tmp_path: Path, name: str = "blip", **files: bytes) -> Model:
    contents = {**FILES, **files}
    return model_of(contents, name=name, sources=(f"{write_model(tmp_path / f'{name}-origin', contents).as_uri()}/",))


def subject(tmp_path: Path, form: str, told: Model) -> Path:
    if form == "wheel":
        wheel = tmp_path / "app-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.write(write_descriptor(tmp_path / "unpacked", told), f"app/{FILE_NAME}")
        return wheel
    folder = tmp_path / "dist/app"
    descriptor = write_descriptor(folder / {"frozen": "_internal", "folder": ".", "descriptor": "."}[form], told)
    return descriptor if form == "descriptor" else folder


@pytest.mark.parametrize("form", ["wheel", "frozen", "folder", "descriptor"])
def test_the_models_of_any_artifact(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = model(tmp_path)
    artifact = subject(tmp_path, form, told)
    assert main(["models", "list", str(artifact)]) == 0
    assert capsys.readouterr().out == f"blip  300 kB, 3 files, download, digest {told.digest[:12]}\n  is not on this machine\n"
    assert main(["models", "warm", str(artifact)]) == 0
    path = store.find(told)
    assert path is not None
    assert capsys.readouterr().out == f"blip: {path}, 300,006 bytes\n"
    assert main(["models", "list", str(artifact)]) == 0
    assert str(path) in capsys.readouterr().out
    beside = write_model(
        (tmp_path / "dist" if form == "descriptor" else artifact.parent)
        / f"{(artifact.parent if form == 'descriptor' else artifact).name}.models/blip"
    )
    assert main(["models", "verify", str(artifact)]) == 0
    assert capsys.readouterr().out == f"blip: {beside} is right, 300,006 bytes\n"


def test_a_list_unpacks_nothing(tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = model(tmp_path)
    descriptor = write_descriptor(tmp_path / "app", told)
    (tmp_path / "app.models").mkdir()
    with tarfile.open(tmp_path / "app.models/blip.tar", "w") as archive:
        archive.add(tmp_path / "blip-origin", "blip")
    assert main(["models", "list", str(descriptor)]) == 0
    assert f"{tmp_path}/app.models/blip.tar" in capsys.readouterr().out
    assert not root.exists()


def test_what_the_store_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    assert capsys.readouterr().out == "no models in the store\n"
    first, second = model(tmp_path), model(tmp_path, name="other", more=b"more")
    for each in (first, second):
        store.obtain(each)
    assert main(["models", "list"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[:3] == [
        "  size  files        digest  model",
        f"300 kB      3  {first.digest[:12]}  blip",
        f"300 kB      4  {second.digest[:12]}  other",
    ]
    assert "300 kB on the disk" in out  # what they share is there once
    assert main(["models", "verify"]) == 0
    assert capsys.readouterr().out == "all is right in the store: 2 models, 300 kB\n"


def test_prune_keeps_what_artifacts_need(tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept, gone = model(tmp_path), model(tmp_path, name="old", **{"old.bin": b"x" * 50_000})
    for each in (kept, gone):
        store.obtain(each)
    (root / "partial" / ("a" * 64)).write_bytes(b"left" * 1000)
    assert main(["models", "prune"]) == 0
    assert capsys.readouterr().out == "4.00 kB removed\n"
    assert main(["models", "prune", str(write_descriptor(tmp_path / "app", kept))]) == 0
    assert capsys.readouterr().out == f"50.0 kB removed: old ({gone.digest[:12]})\n"
    assert (store.find(kept) is not None, store.find(gone)) == (True, None)
    assert wrong_files(root, kept) == []
    assert len(list((root / "blobs").iterdir())) == len(FILES)


def test_damage_in_the_store_is_taken_out(tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = model(tmp_path)
    path = store.obtain(told) / "vocab.txt"
    path.chmod(0o644)
    path.write_bytes(b"b\na\n")
    assert main(["models", "verify"]) == 1
    assert f"damaged, and taken out of the store: blip ({told.digest[:12]})" in " ".join(capsys.readouterr().err.split())
    assert store.find(told) is None
    assert wrong_files(root, told) == []
    assert files_of(store.obtain(told)) == FILES


def test_each_model_that_fails_is_told_and_the_others_are_fetched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = model(tmp_path), model_of({"x": b"x"}, name="bad")
    assert main(["models", "warm", str(write_descriptor(tmp_path / "app", bad, good))]) == 1
    said = capsys.readouterr()
    assert said.out.startswith("blip: ")
    assert said.err.startswith("mlbundle: bad: is in none of its places")


@pytest.mark.parametrize(
    ("content", "told"), [(None, "no such file"), (b"{", "x.json: tells of no models"), (b"PK\3\4", "x.json: tells of no models")]
)
def test_wrong_use_is_told(content: bytes | None, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.json"
    if content is not None:
        path.write_bytes(content)
    assert main(["models", "list", str(path)]) == 2
    assert told in " ".join(capsys.readouterr().err.split())
    assert main(["models", "warm"]) == 2
    (tmp_path / "empty").mkdir()
    assert main(["models", "warm", str(tmp_path / "empty")]) == 2


def test_an_executable_sees_to_its_own_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "app").write_bytes(b"\x7fELF\x02")
    assert main(["models", "list", str(tmp_path / "app")]) == 2
    assert "run it with MLBUNDLE_COMMAND=warm or verify" in " ".join(capsys.readouterr().err.split())

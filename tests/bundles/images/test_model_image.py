from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import stat
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import pytest

from hatch_mlbundle.bundles.images.model_image import MTIME, ModelForm, model_archive, model_files, write_model
from hatch_mlbundle.errors import ArtifactError, StorageError
from hatch_mlbundle.model import CHUNK, MemoryContent
from hatch_mlbundle.models.external import BundledModel
from hatch_mlbundle.runtime.models.descriptor import FILE_NAME, parse
from tests.builders import file_of
from tests.containers import needs_curl, needs_skopeo, needs_umoci, run, skopeo
from tests.registries import needs_registry, registry

FORMS = get_args(ModelForm)
WEIGHTS = hashlib.shake_128(b"weights").digest(3 * CHUNK + 5)
FILES = {
    "config.json": b"{}",
    "1_Pooling/config.json": b"{}",
    "1_Pooling/deep/er/none": b"",
    "model.safetensors": WEIGHTS,
    "ü" * 90: b"name",
}


def model_of(files: dict[str, bytes], *, name: str = "minilm", top: str = "app/models/minilm") -> BundledModel:
    return BundledModel(name=name, path=top, is_file=False, files=tuple(file_of(f"{top}/{path}", data) for path, data in files.items()))


def tree(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the model in every form, under the form's name."""
    root = tmp_path_factory.mktemp("written")
    with ThreadPoolExecutor(2) as pool:
        for form in FORMS:
            write_model(model_of(FILES), form, root / form, pool)
    return root


def test_a_folder_holds_the_files(written: Path) -> None:
    assert tree(written / "folder") == FILES
    for path in (written / "folder").rglob("*"):
        status = path.stat()
        assert (stat.S_IMODE(status.st_mode), status.st_mtime) == (0o755 if path.is_dir() else 0o644, MTIME)


def test_a_tar_file_holds_them_below_the_name(written: Path) -> None:
    with tarfile.open(written / "tar") as tar:
        members = {member.name: member for member in tar}
        files = {name: tar.extractfile(member) for name, member in members.items() if member.isreg()}
        assert {name: stream.read() for name, stream in files.items() if stream} == {f"minilm/{path}": data for path, data in FILES.items()}
    folders = [name for name, member in members.items() if member.isdir()]
    assert folders == ["minilm", "minilm/1_Pooling", "minilm/1_Pooling/deep", "minilm/1_Pooling/deep/er"]
    assert {(member.uid, member.gid, member.mtime) for member in members.values()} == {(0, 0, MTIME)}


def test_what_is_told_of_the_archive_is_so(written: Path) -> None:
    archive = model_archive(model_of(FILES))
    data = (written / "tar").read_bytes()
    assert (archive.path, archive.size, archive.sha256) == ("minilm.tar", len(data), hashlib.sha256(data).hexdigest())
    assert (written / "image/blobs/sha256" / archive.sha256).read_bytes() == data


def test_every_blob_has_its_digest(written: Path) -> None:
    for form in ("image", "artifact"):
        blobs = list((written / form / "blobs/sha256").iterdir())
        assert blobs
        assert all(blob.name == hashlib.sha256(blob.read_bytes()).hexdigest() for blob in blobs)


def test_an_artifact_has_a_blob_for_each_file(written: Path) -> None:
    blobs = written / "artifact/blobs"
    index = json.loads((written / "artifact/index.json").read_bytes())
    manifest = json.loads((blobs / index["manifests"][0]["digest"].replace(":", "/")).read_bytes())
    layers = {each["annotations"]["org.opencontainers.image.title"]: each for each in manifest["layers"]}
    assert {path: (blobs / each["digest"].replace(":", "/")).read_bytes() for path, each in layers.items()} == FILES
    assert {path: each["size"] for path, each in layers.items()} == {path: len(data) for path, data in FILES.items()}
    assert manifest["config"]["mediaType"] == "application/vnd.oci.empty.v1+json"


@pytest.mark.parametrize("form", FORMS)
def test_a_single_file_lies_below_the_name_too(tmp_path: Path, form: ModelForm) -> None:
    model = BundledModel(name="gpt", path="app/gpt.onnx", is_file=True, files=(file_of("app/gpt.onnx", b"weights"),))
    assert list(model_files(model)) == ["gpt.onnx"]
    write_model(model, form, tmp_path / "written")
    if form == "folder":
        assert tree(tmp_path / "written") == {"gpt.onnx": b"weights"}
    elif form == "tar":
        with tarfile.open(tmp_path / "written") as tar:
            assert tar.getnames() == ["gpt", "gpt/gpt.onnx"]


@pytest.mark.parametrize("form", FORMS)
def test_a_link_that_was_not_followed_is_refused(tmp_path: Path, form: ModelForm) -> None:
    model = BundledModel(
        name="m", path="m", is_file=False, files=(file_of("m/link", b"", link="../../etc/passwd"), file_of("m/x", b"data"))
    )
    with pytest.raises(ArtifactError, match=r"^m/link: is a link to '../../etc/passwd', where no file of its model is"):
        write_model(model, form, tmp_path / "m")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("other", [b"shor", b"longer", b"othr."])
@pytest.mark.parametrize("form", FORMS)
def test_files_that_changed_are_told(tmp_path: Path, form: ModelForm, other: bytes) -> None:
    file = dataclasses.replace(file_of("m/x", b"data."), content=MemoryContent(other))
    with pytest.raises(ArtifactError, match=r"^m/x: changed while it was being copied"):
        write_model(BundledModel(name="m", path="m", is_file=False, files=(file,)), form, tmp_path / "m")


@pytest.mark.parametrize("form", FORMS)
def test_a_disk_that_is_full_is_one_line(tmp_path: Path, form: ModelForm) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (CHUNK, before[1]))
    try:
        with pytest.raises(StorageError, match=r"^file size limit reached while writing .*; free some space"):
            write_model(model_of(FILES), form, tmp_path / "m")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


SURROUNDINGS = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
os.umask(0o077)
from tests.bundles.images.test_model_image import FILES, FORMS, model_of, write_model
model = model_of(dict(reversed(FILES.items())), top="elsewhere")
for form in FORMS:
    write_model(model, form, Path(sys.argv[1], form))
"""


def test_the_same_model_gives_the_same_bytes(tmp_path: Path, written: Path) -> None:
    env = {**os.environ, "PYTHONHASHSEED": "7", "SOURCE_DATE_EPOCH": "1", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    here = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", SURROUNDINGS, tmp_path, here], check=True, env=env)
    assert tree(tmp_path) == tree(written)
    modes = {path.stat().st_mode for path in (tmp_path / "folder").rglob("*")}
    assert modes == {path.stat().st_mode for path in (written / "folder").rglob("*")}


@needs_skopeo
@needs_umoci
def test_umoci_unpacks_the_image(tmp_path: Path, written: Path) -> None:
    told = json.loads(skopeo("inspect", f"oci:{written / 'image'}:latest"))
    assert (told["Os"], told["Architecture"], len(told["Layers"])) == ("linux", "amd64", 2)
    for architecture in ("amd64", "arm64"):
        copy = tmp_path / architecture
        skopeo("--override-arch", architecture, "copy", f"oci:{written / 'image'}:latest", f"oci:{copy}:app")
        run("umoci", "unpack", "--rootless", "--image", f"{copy}:app", tmp_path / f"{architecture}-unpacked")
        root = tmp_path / f"{architecture}-unpacked/rootfs"
        assert tree(root / "minilm") == FILES
        (told,) = parse((root / FILE_NAME).read_bytes(), FILE_NAME)
        assert (told.name, told.path, told.size) == ("minilm", "minilm", sum(map(len, FILES.values())))


@needs_skopeo
@needs_registry
def test_a_registry_takes_the_image_and_gives_it_back(tmp_path: Path, written: Path) -> None:
    with registry(tmp_path) as host:
        there = f"docker://{host}/models/minilm:1"
        skopeo("copy", "--all", "--preserve-digests", "--dest-tls-verify=false", f"oci:{written / 'image'}:latest", there)
        skopeo("copy", "--all", "--preserve-digests", "--src-tls-verify=false", there, f"oci:{tmp_path / 'back'}:latest")
    assert tree(tmp_path / "back/blobs") == tree(written / "image/blobs")


@needs_skopeo
@needs_registry
@needs_curl
def test_a_registry_gives_each_file_of_the_artifact_by_its_digest(tmp_path: Path, written: Path) -> None:
    with registry(tmp_path) as host:
        skopeo("copy", "--dest-tls-verify=false", f"oci:{written / 'artifact'}:latest", f"docker://{host}/models/minilm:1")
        for data in FILES.values():
            url = f"http://{host}/v2/models/minilm/blobs/sha256:{hashlib.sha256(data).hexdigest()}"
            run("curl", "--fail", "--silent", "--location", "--output", tmp_path / "blob", url)
            assert (tmp_path / "blob").read_bytes() == data

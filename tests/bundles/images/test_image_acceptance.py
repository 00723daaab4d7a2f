"""Images that were made smaller, in the hands of skopeo, umoci and buildah; and the application in them, run before and after."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

import pytest

from hatch_mlbundle.cli import main
from tests.containers import as_layout, needs_bwrap, needs_skopeo, needs_umoci, packed, run, run_inside, skopeo, unpacked
from tests.imagesmith import config_of, docker_archive, oci_layout
from tests.projects import REPOSITORY
from tests.registries import needs_registry, registry

EXAMPLE = REPOSITORY / "examples/digit-reader"
SITE = "app/site-packages"
COMPILER = shlex.split(sysconfig.get_config_var("LDSHARED") or "cc")[0]
OWNER = 1000

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="images of Linux"),
    pytest.mark.skipif(not shutil.which(COMPILER), reason=f"no C compiler: {COMPILER} is not on PATH"),
    needs_umoci,
    needs_bwrap,
]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return what an installer leaves of the digit reader, its tests and debug data among it."""
    extension = tmp_path_factory.mktemp("compiled") / f"_layers{sysconfig.get_config_var('EXT_SUFFIX')}"
    source = EXAMPLE / "digit_reader/_layers.c"
    run(COMPILER, "-g", "-O2", "-shared", "-fPIC", f"-I{sysconfig.get_path('include')}", source, "-o", extension)
    paths = [each for each in (EXAMPLE / "digit_reader").rglob("*") if each.is_file() and each.suffix != ".pyc"]
    files = {f"{SITE}/{path.relative_to(EXAMPLE).as_posix()}": path.read_bytes() for path in sorted(paths)}
    files[f"{SITE}/digit_reader/{extension.name}"] = extension.read_bytes()
    info = f"{SITE}/digit_reader-1.0.dist-info"
    files[f"{info}/METADATA"] = b"Metadata-Version: 2.1\nName: digit-reader\nVersion: 1.0\n"
    record = "".join(f"{path.removeprefix(f'{SITE}/')},,\n" for path in files)
    files[f"{info}/RECORD"] = f"{record}digit_reader-1.0.dist-info/RECORD,,\n".encode()
    return files


@pytest.fixture(scope="module")
def layers(installed: Mapping[str, bytes]) -> list[bytes]:
    cache = {"root/.cache/pip/http-v2/a/b/c": hashlib.shake_128(b"cache").digest(400_000)}
    data = {"data/digits.csv": (EXAMPLE / "digit_reader/tests/data/digits.csv").read_bytes()}
    return [packed({"etc/passwd": b"root:x:0:0::/root:/bin/sh\n"}), packed({**installed, **cache}), packed({**installed, **data}, OWNER)]


ENVIRONMENT = {"PYTHONPATH": f"/{SITE}", "PYTHONDONTWRITEBYTECODE": "1"}
CONFIG = {
    "config": {
        "Env": [f"{name}={value}" for name, value in ENVIRONMENT.items()],
        "WorkingDir": "/app",
        "Labels": {"maintainer": "somebody"},
    },
    "history": [{"created_by": each} for each in ("ADD rootfs", "RUN pip install digit-reader", "RUN chown -R app /app")],
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "pyproject.toml").write_text(
        "[tool.mlbundle]\noptimizers = ['test_data', 'exclude', 'strip']\n[tool.mlbundle.exclude]\npaths = ['root/.cache/**']\n"
    )
    return folder


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory, layers: list[bytes]) -> Path:
    return oci_layout(tmp_path_factory.mktemp("image") / "app", layers, config=config_of(layers, **CONFIG))


def optimized(image: Path, target: Path, project: Path) -> Path:
    assert main(["optimize", "--quiet", "--project", str(project), "--output", str(target), str(image)]) == 0
    return target


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, image: Path, project: Path) -> Path:
    """Return the image made smaller, as an OCI layout."""
    return optimized(image, tmp_path_factory.mktemp("small") / "app", project)


def digits(root: Path) -> str:
    """Run the application, which tells what it reads in a file of the image's, and how much of it is right."""
    return run_inside(root, ["-m", "digit_reader", "/data/digits.csv"], ENVIRONMENT)


@needs_skopeo
def test_the_application_runs_as_before(tmp_path: Path, image: Path, small: Path) -> None:
    roots = [
        unpacked(as_layout(f"oci:{each}", tmp_path / name), tmp_path / f"{name}-root") for name, each in (("old", image), ("new", small))
    ]
    before, after = map(digits, roots)
    assert "right" in before
    assert after == before
    assert (roots[0] / SITE / "digit_reader/tests/data/digits.csv").is_file()
    assert not any(path.is_file() for path in (roots[1] / SITE / "digit_reader/tests").rglob("*"))
    assert (roots[1] / SITE / "digit_reader/model.py").stat().st_uid == (roots[0] / SITE / "digit_reader/model.py").stat().st_uid


def stored(layout: Path) -> int:
    return sum(each.stat().st_size for each in (layout / "blobs/sha256").iterdir())


@needs_skopeo
def test_it_is_smaller_and_says_so(image: Path, small: Path) -> None:
    assert stored(small) < stored(image) / 2
    before, after = (json.loads(skopeo("inspect", "--config", f"oci:{each}")) for each in (image, small))
    assert after["config"]["Env"] == before["config"]["Env"]
    assert after["config"]["WorkingDir"] == "/app"
    assert after["config"]["Labels"].items() > before["config"]["Labels"].items()
    assert [each["created_by"] for each in after["history"]] == [each["created_by"] for each in before["history"]]
    assert len(after["rootfs"]["diff_ids"]) == sum(not each.get("empty_layer") for each in after["history"])


FORMS = {"layout": "oci", "archive.tar": "docker-archive", "packed.tar.gz": "oci-archive", "packed.tar.zst": "oci-archive"}
"""How skopeo 1.9 reads each: no `docker-archive` that is packed as a whole, whoever packed it, and nothing that zstd packed as a whole."""


@needs_skopeo
@pytest.mark.parametrize("name", FORMS)
def test_skopeo_takes_every_form(tmp_path: Path, image: Path, project: Path, small: Path, name: str) -> None:
    made = optimized(image, tmp_path / name, project)
    if name.endswith(".zst"):
        run("zstd", "--decompress", "--quiet", made)
        made = made.with_suffix("")
    copy = as_layout(f"{FORMS[name]}:{made}", tmp_path / "copy")
    files = [
        {path.relative_to(root) for path in root.rglob("*")} for root in (unpacked(copy, tmp_path / "a"), _small_root(tmp_path, small))
    ]
    assert files[0] == files[1]


def _small_root(folder: Path, small: Path) -> Path:
    return unpacked(as_layout(f"oci:{small}", folder / "small"), folder / "b")


@needs_skopeo
def test_docker_save_is_read_and_written(tmp_path: Path, layers: list[bytes], project: Path) -> None:
    archive = docker_archive(tmp_path / "app.tar", layers, config=config_of(layers, **CONFIG))
    made = optimized(archive, tmp_path / "small.tar", project)
    assert made.stat().st_size < archive.stat().st_size / 2
    root = unpacked(as_layout(f"docker-archive:{made}", tmp_path / "copy"), tmp_path / "unpacked")
    assert "right" in digits(root)


@needs_skopeo
@needs_registry
def test_a_registry_keeps_its_digests(tmp_path: Path, small: Path) -> None:
    with registry(tmp_path) as host:
        skopeo("copy", "--preserve-digests", "--dest-tls-verify=false", f"oci:{small}", f"docker://{host}/app:small")
        skopeo("copy", "--preserve-digests", "--src-tls-verify=false", f"docker://{host}/app:small", f"oci:{tmp_path / 'back'}:app")
    assert {each.name for each in (tmp_path / "back/blobs/sha256").iterdir()} == {each.name for each in (small / "blobs/sha256").iterdir()}


@pytest.mark.skipif(not shutil.which("buildah"), reason="needs buildah")
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="buildah's storage needs root here")
def test_buildah_builds_on_it(tmp_path: Path, small: Path) -> None:
    buildah = ["buildah", "--storage-driver", "vfs", "--root", tmp_path / "root", "--runroot", tmp_path / "runroot"]
    container = run(*buildah, "from", "--pull-always", f"oci:{small}").split()[-1]
    mounted = Path(run(*buildah, "mount", container).strip())
    try:
        assert (mounted / SITE / "digit_reader/model.py").read_bytes() == (EXAMPLE / "digit_reader/model.py").read_bytes()
        assert (mounted / SITE / "digit_reader/model.py").stat().st_uid == OWNER
    finally:
        run(*buildah, "umount", container)
        run(*buildah, "rm", container)

"""Images made smaller: what a container sees afterwards, which layers stay as they are, and what becomes of whiteouts and hard links."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hatch_mlbundle.adapters.project import project_config
from hatch_mlbundle.application import Result, analyze, optimize, plan_for
from hatch_mlbundle.bundles.artifact import Side
from hatch_mlbundle.bundles.images.artifact import open_image
from hatch_mlbundle.bundles.zip_reader import Limits
from hatch_mlbundle.cli import main
from hatch_mlbundle.errors import ArtifactError, ConfigurationError, MlbundleError
from hatch_mlbundle.job import Job, prepare
from hatch_mlbundle.model import Drop
from hatch_mlbundle.plugins import load_registry
from hatch_mlbundle.reports.terminal import summary
from hatch_mlbundle.session import open_session
from tests.elfsmith import compile_elf
from tests.imagesmith import (
    Member,
    as_tar,
    config_of,
    docker_archive,
    gzipped,
    hard_link,
    layer,
    link,
    oci_layout,
    put_image,
    put_index,
    sha256,
)

NOISE = os.urandom(30_000)
PACKAGES = "usr/local/lib/python3.11/site-packages"
BASE: Sequence[Member] = (("etc/", None), ("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n"), ("usr/lib/a.h", b"int a;\n" * 900))
APP: Sequence[Member] = (("app/", None), ("app/run.py", b"print(1)\n"), ("app/a.h", os.urandom(4900)), ("app/noise", NOISE))


def job_for(project: Path, *paths: str, image: dict[str, Any] | None = None, **settings: Any) -> Job:
    registry = load_registry()
    table = {"optimizers": ["exclude"], "exclude": {"paths": list(paths)}, "image": image or {}, "cache": {"enabled": False}, **settings}
    return prepare(project_config(project, registry, table), registry, project=project)


def scan(path: Path) -> Side:
    with ThreadPoolExecutor(2) as pool:
        image = open_image(path, pool, Limits())
        assert image is not None
        return image.scan()


def seen(path: Path) -> dict[str, str | None]:
    """Return what a container sees: links by their targets, files by their SHA-256."""
    return {name: file.link or file.sha256 for name, file in scan(path).bundle.items()}


def optimized(tmp_path: Path, layers: Sequence[bytes], *paths: str, **settings: Any) -> tuple[Path, Result]:
    """Return the image of these layers without `paths`, and what is told of it; a container sees the same else."""
    source, target = oci_layout(tmp_path / "image", layers), tmp_path / "small"
    result = optimize(job_for(tmp_path, *paths, **settings), source, target)
    return target, result


def digests(path: Path) -> list[str]:
    return [row.digest for row in scan(path).layers]


def test_a_file_goes_from_its_layer_and_layers_without_a_change_keep_their_bytes(tmp_path: Path) -> None:
    layers = [layer(*BASE), layer(*APP), layer(("app/later", b"1"))]
    target, result = optimized(tmp_path, layers, "*.h")
    before, after = seen(tmp_path / "image"), seen(target)
    assert after == {path: state for path, state in before.items() if path != "app/a.h"}  # usr/lib is the system's
    kept = [old == new for old, new in zip(digests(tmp_path / "image"), digests(target), strict=True)]
    assert kept == [True, False, True]
    artifact = result.manifest.artifact
    assert (artifact.kind, artifact.before.installed - artifact.after.installed) == ("image", 4900)
    assert artifact.after.size < artifact.before.size
    assert len(result.manifest.layers) == 3
    summary(result.manifest, None, None)


def config(path: Path) -> dict[str, Any]:
    index = json.loads((path / "index.json").read_text())
    manifest = json.loads((path / "blobs/sha256" / index["manifests"][0]["digest"].partition(":")[2]).read_text())
    found: dict[str, Any] = json.loads((path / "blobs/sha256" / manifest["config"]["digest"].partition(":")[2]).read_text())
    return found


def test_labels_and_the_history_say_what_was_done(tmp_path: Path) -> None:
    history = [{"created_by": "COPY . /"}, {"created_by": "ENV A=1", "empty_layer": True}, {"created_by": "RUN x"}]
    layers = [layer(*APP), layer(("app/later", b"1"))]
    told = config_of(layers, history=history, config={"Env": ["A=1"], "Labels": {"mine": "stays"}, "Cmd": ["sh"]})
    source = oci_layout(tmp_path / "image", layers, config=told)
    optimize(job_for(tmp_path, "*.h"), source, tmp_path / "small")
    found = config(tmp_path / "small")
    assert (found["config"]["Env"], found["config"]["Cmd"], found["config"]["Labels"]["mine"]) == (["A=1"], ["sh"], "stays")
    labels = {key.rpartition(".")[2]: value for key, value in found["config"]["Labels"].items() if "hatch-mlbundle" in key}
    assert labels["steps"] == "exclude"
    assert labels["source"] == f"sha256:{scan(source).account.sha256}"
    assert [each["created_by"] for each in found["history"]] == [each["created_by"] for each in history]
    assert ["comment" in each for each in found["history"]] == [True, False, False]


def test_the_lowest_layers_stay_where_they_are_another_image_s(tmp_path: Path) -> None:
    base = [layer(*BASE, ("app/below.h", b"b" * 9000))]
    layers = [*base, layer(*APP, ("app/below.h", b"c" * 9000))]
    oci_layout(tmp_path / "base", base)
    for named in ("base", "1"):
        target = tmp_path / f"small-{named}"
        optimize(job_for(tmp_path, "*.h", image={"base": named}), oci_layout(tmp_path / "image", layers), target)
        assert digests(target)[0] == digests(tmp_path / "image")[0]
        assert "app/a.h" not in seen(target)
        assert seen(target)["app/below.h"] == sha256(b"c" * 9000)  # without it, the base's would be seen again


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("3", "is 3, but the image has 2 layers"),
        ("other", "layer 1 is another"),
        ("none", "is not there"),
        ("file", "is no container image"),
    ],
)
def test_a_base_that_is_none_is_told(tmp_path: Path, named: str, said: str) -> None:
    oci_layout(tmp_path / "other", [layer(("x", b"1"))])
    (tmp_path / "file").write_bytes(b"text")
    with pytest.raises(ConfigurationError, match=said):
        optimized(tmp_path, [layer(*BASE), layer(*APP)], "*.h", image={"base": named})
    assert not (tmp_path / "small").exists()


def test_copies_below_do_not_come_back(tmp_path: Path) -> None:
    layers = [layer(("app/a.h", b"old" * 2000)), layer(("app/b", b"2")), layer(*APP)]
    target, _ = optimized(tmp_path, layers, "*.h")
    assert sorted(seen(target)) == ["app/b", "app/noise", "app/run.py"]
    assert [(row.files, row.hidden_installed) for row in scan(target).layers] == [(1, 0), (2, 0)]


def test_a_layer_that_is_written_anew_loses_what_nobody_sees(tmp_path: Path) -> None:
    layers = [
        layer(("app/old", NOISE), ("app/gone/x", NOISE), ("app/a.h", b"1" * 5000), ("opt/kept", NOISE[:99])),
        layer(("app/.wh.gone", b""), ("app/old", b"new"), ("app/b.h", b"2")),
    ]
    target, _ = optimized(tmp_path, layers, "a.h")
    assert sorted(seen(target)) == ["app/b.h", "app/old", "opt/kept"]
    rows = scan(target).layers
    assert [row.hidden_installed for row in rows] == [0, 0]
    assert rows[0].size < 2000


def test_much_that_is_hidden_is_reason_enough(tmp_path: Path) -> None:
    large = os.urandom(1_200_000)
    source = oci_layout(tmp_path / "image", [layer(("root/.cache/pip/x", large)), layer(("root/.cache/.wh.pip", b""), ("app/x", b"1"))])
    before = seen(source)
    optimize(job_for(tmp_path, optimizers=[]), source)
    assert seen(source) == before
    assert scan(source).account.size < 5000
    again = scan(source).account.sha256
    optimize(job_for(tmp_path, optimizers=[]), source)
    assert scan(source).account.sha256 == again


def test_whiteouts_go_with_what_they_hide_and_others_stay(tmp_path: Path) -> None:
    layers = [
        layer(("app/one.h", b"1" * 3000), ("app/two/x", b"22"), ("app/three/x", b"3"), ("app/three/y", b"4"), ("opt/lib.a", b"5")),
        layer(("app/.wh.one.h", b""), ("app/.wh.two", b""), ("app/three/.wh..wh..opq", b""), ("app/three/z", b"6"), ("app/x.h", b"7")),
    ]
    target, _ = optimized(tmp_path, layers, "x.h", "lib.a")
    assert sorted(seen(target)) == ["app/three/z"]


def test_a_file_in_the_place_of_a_folder_stays(tmp_path: Path) -> None:
    layers = [
        layer(("app/x/inside", b"1"), ("app/y/inside", b"1")),
        layer(("app/x", b"2" * 3000), ("app/y", b"3")),
        layer(("app/y/new", b"4")),
    ]
    target, _ = optimized(tmp_path, [*layers, layer(("app/z", b"5"))], "app/x", "app/z")
    assert seen(target) == {"app/x": sha256(b"2" * 3000), "app/y/new": sha256(b"4")}


def test_names_of_one_file_go_and_stay_one_by_one(tmp_path: Path) -> None:
    names: Sequence[Member] = (
        ("opt/pkgs/data", NOISE),
        hard_link("opt/env/data", "opt/pkgs/data"),
        hard_link("opt/third", "opt/pkgs/data"),
    )
    source = [layer(*names, ("opt/x", b"1"))]
    for number, (gone, left) in enumerate(
        {
            "opt/pkgs/": {"opt/env/data": sha256(NOISE), "opt/third": "/opt/env/data"},
            "opt/env/": {"opt/pkgs/data": sha256(NOISE), "opt/third": "/opt/pkgs/data"},
            "opt/[ep]*/": {"opt/third": sha256(NOISE)},
        }.items()
    ):
        target, result = optimized(tmp_path / str(number), source, gone)
        assert seen(target) == {**left, "opt/x": sha256(b"1")}
        assert result.manifest.artifact.after.installed == 30_001


def test_a_name_that_goes_does_not_come_back_with_the_new_bytes_of_the_other(tmp_path: Path) -> None:
    library = compile_elf(tmp_path / "lib.so").read_bytes()
    names: Sequence[Member] = (("opt/pkgs/lib.so", library), hard_link("opt/env/lib.so", "opt/pkgs/lib.so"))
    target, _ = optimized(tmp_path, [layer(*names)], "opt/pkgs/", optimizers=["exclude", "strip"])
    assert list(seen(target)) == ["opt/env/lib.so"]
    both, _ = optimized(tmp_path / "both", [layer(*names)], "none", optimizers=["exclude", "strip"])
    assert {path: file.link for path, file in scan(both).bundle.items()} == {"opt/env/lib.so": None, "opt/pkgs/lib.so": "/opt/env/lib.so"}
    assert scan(both).bundle["opt/env/lib.so"].size < len(library)


def test_hard_links_into_lower_layers_leave_both_as_they_are(tmp_path: Path) -> None:
    layers = [layer(("app/a", NOISE), ("app/b.h", b"1" * 2000)), layer(hard_link("app/c", "app/a"), ("app/d.h", b"2" * 2000))]
    target, result = optimized(tmp_path, layers, "app/a", "app/c", "*.h")
    assert seen(target) == {"app/a": sha256(NOISE), "app/c": "/app/a"}
    assert [finding.code for finding in result.manifest.findings] == ["MB912"]


def test_what_a_hard_link_needs_stays_although_it_is_hidden(tmp_path: Path) -> None:
    layers = [layer(("app/a", NOISE), ("app/x.h", b"1" * 900)), layer(hard_link("app/c", "app/a"), ("app/.wh.a", b""))]
    target, _ = optimized(tmp_path, layers, "*.h")
    assert seen(target) == {"app/c": sha256(NOISE)}


def test_links_on_the_way_to_a_member(tmp_path: Path) -> None:
    layers = [layer(("opt/real/", None), link("opt/by", "real"), ("opt/by/a.h", b"1" * 2000), ("opt/by/b", b"2"))]
    target, _ = optimized(tmp_path, layers, "*.h")
    assert seen(target) == {"opt/by": "real", "opt/real/b": sha256(b"2")}


def test_what_a_link_from_the_root_leads_to_is_no_unused_test(tmp_path: Path) -> None:
    package: Sequence[Member] = (
        (f"{PACKAGES}/demo/__init__.py", b""),
        (f"{PACKAGES}/demo/tests/test_a.py", b"def test_a():\n    assert True\n"),
        (f"{PACKAGES}/demo/tests/data.bin", NOISE),
        link("app/started", f"/{PACKAGES}/demo/tests/data.bin"),
    )
    target, _ = optimized(tmp_path, [layer(*package)], optimizers=["test_data"])
    assert sorted(seen(target)) == ["app/started", f"{PACKAGES}/demo/__init__.py", f"{PACKAGES}/demo/tests/data.bin"]


def test_only_installed_packages_lose_their_tests(tmp_path: Path) -> None:
    """Shell scripts, programs and the image's command may want what looks like a test of the application."""
    test = b"def test_a():\n    assert True\n"
    program = compile_elf(tmp_path / "health_test", "-pie", source="int main(void) { return 0; }").read_bytes()
    kept: Sequence[Member] = (
        ("app/main.py", b"import importlib, sys\nimportlib.import_module(sys.argv[1])\n"),
        ("app/tests/__init__.py", b""),
        ("app/tests/test_smoke.py", test),
        ("app/tests/cases.json", b"[]"),
        ("app/test_worker.py", test),
        ("opt/tool/lib/x/__init__.py", b""),
        ("opt/tool/bin/health_test", program),
        (f"{PACKAGES}/demo/__init__.py", b""),
    )
    target, _ = optimized(tmp_path, [layer(*kept, (f"{PACKAGES}/demo/tests/test_a.py", test))], optimizers=["test_data"])
    assert seen(target) == {name: sha256(data) for name, data in kept if isinstance(data, bytes)}


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ({"Cmd": ["python", "-m", "a.tests.test_it"]}, "a"),
        ({"Healthcheck": {"Test": ["CMD-SHELL", "python -m a.tests.test_it || exit 1"]}}, "a"),
        ({"Entrypoint": ["start.sh"], "Cmd": None}, "b"),
        ({"Cmd": ["/usr/local/bin/start.sh"]}, "b"),
        ({"Cmd": ["python", "a/tests/test_it.py"], "WorkingDir": f"/{PACKAGES}"}, "a"),
        ({"Cmd": ["python", "-m", "a"]}, ""),
    ],
)
def test_what_a_container_starts_is_no_unused_test(tmp_path: Path, told: dict[str, Any], kept: str) -> None:
    test = b"from . import helper\n\ndef test_a():\n    assert True\n"
    packages = [
        (f"{PACKAGES}/{name}/{path}", data)
        for name in "ab"
        for path, data in {"__init__.py": b"", "tests/__init__.py": b"", "tests/test_it.py": test, "tests/helper.py": b"1"}.items()
    ]
    layers = [layer(("usr/local/bin/start.sh", b"#!/bin/sh\nexec python -m b.tests.test_it\n"), *packages)]
    source = oci_layout(tmp_path / "image", layers, config=config_of(layers, config=told))
    optimize(job_for(tmp_path, optimizers=["test_data"]), source)
    tests = {path.removeprefix(f"{PACKAGES}/") for path in seen(source) if "/tests/" in path}
    assert tests == ({f"{kept}/tests/{each}.py" for each in ("__init__", "helper", "test_it")} if kept else set())


FORMS: dict[str, Callable[[Path, Sequence[bytes]], Path]] = {
    "folder": lambda root, layers: oci_layout(root / "app", layers),
    "zstd": lambda root, layers: oci_layout(root / "app", layers, "+zstd"),
    "tar": lambda root, layers: as_tar(oci_layout(root / "app", layers), root / "app.tar"),
    "docker": lambda root, layers: docker_archive(root / "app.tar", layers),
    "old docker": lambda root, layers: docker_archive(root / "app.tar", layers, old=True),
    "docker in gzip": lambda root, layers: packed(docker_archive(root / "plain", layers), root / "app.tar.gz"),
}


def packed(plain: Path, target: Path) -> Path:
    target.write_bytes(gzipped(plain.read_bytes()))
    return target


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("output", [None, "out", "out.tar", "out.tar.gz", "out.tar.zst"])
def test_any_form_is_made_of_any_form(tmp_path: Path, form: str, output: str | None) -> None:
    source = FORMS[form](tmp_path, [layer(*BASE), layer(*APP), layer(*APP[:2])])
    before = seen(source)
    target = tmp_path / output if output else source
    optimize(job_for(tmp_path, "*.h"), source, tmp_path / output if output else None)
    del before["app/a.h"]
    assert seen(target) == before
    assert target.is_dir() == ("." not in target.name)
    if target.name.endswith(".gz"):
        gzip.decompress(target.read_bytes())
    assert not [path for path in tmp_path.iterdir() if "mlbundle-" in path.name]


def test_the_same_comes_of_the_same(tmp_path: Path) -> None:
    layers = [layer(*BASE), layer(*APP)]
    for number, workers in ((1, 1), (2, 4)):
        folder = tmp_path / str(number)
        source = as_tar(oci_layout(folder / "image", layers), folder / "app.tar")
        old = os.umask(0o022 if number == 1 else 0o077)
        try:
            optimize(job_for(folder, "*.h", workers=workers), source)
        finally:
            os.umask(old)
    assert (tmp_path / "1/app.tar").read_bytes() == (tmp_path / "2/app.tar").read_bytes()
    first, second = ((tmp_path / each / "app.tar.mlbundle.json").read_bytes() for each in ("1", "2"))
    assert first == second


def test_other_images_in_a_layout_are_not_lost(tmp_path: Path) -> None:
    root = tmp_path / "image"
    layers = [layer(*APP)]
    arm = put_image(root, layers, config=config_of(layers, architecture="arm64"), platform={"os": "linux", "architecture": "riscv64"})
    put_index(
        root,
        [
            arm,
            put_image(root, layers, platform={"os": "linux", "architecture": "amd64"}),
            put_image(root, layers, platform={"os": "linux", "architecture": "arm64"}),
        ],
    )
    with pytest.raises(ArtifactError, match="more images, which would be lost"):
        optimize(job_for(tmp_path, "*.h"), root)
    result = optimize(job_for(tmp_path, "*.h"), root, tmp_path / "one")
    assert [finding.code for finding in result.manifest.findings] == ["MB911"]
    assert "app/a.h" in seen(root)
    assert "app/a.h" not in seen(tmp_path / "one")


@pytest.mark.parametrize(
    ("source", "output", "said"),
    [
        ("app.tar", "folder.tar", "is a folder"),
        ("app.tar", "file", "is a file there already"),
        ("app.tar", "full", "is there already"),
        ("app.img", None, "has no name of an archive"),
    ],
)
def test_places_that_cannot_be(tmp_path: Path, source: str, output: str | None, said: str) -> None:
    path = as_tar(oci_layout(tmp_path / "image", [layer(*APP)]), tmp_path / source)
    (tmp_path / "folder.tar").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "file").write_text("mine")
    before = path.read_bytes()
    with pytest.raises(MlbundleError, match=said):
        optimize(job_for(tmp_path, "*.h"), path, tmp_path / output if output else None)
    assert (path.read_bytes(), (tmp_path / "file").read_text()) == (before, "mine")


def test_steps_see_all_and_change_what_is_theirs(tmp_path: Path) -> None:
    capable = layer(("usr/local/bin/ping", b"1" * 1000))
    members: Sequence[Member] = (
        ("usr/lib/python3/dist-packages/a.h", b"1"),
        ("usr/lib/python3.11/site-packages/a.h", b"1"),
        ("usr/local/lib/python3.11/os.h", b"1"),
        ("usr/local/include/python3.11/Python.h", b"1"),
        ("var/lib/dpkg/info/tool.list", b"/opt/tool\n/opt/tool/a.h\n"),
        ("opt/tool/a.h", b"1"),
        ("etc/a.h", b"1"),
        ("usr/local/lib/python3.11/site-packages/pkg/a.h", b"1"),
        ("venv/lib/python3.12/site-packages/pkg/a.h", b"1"),
        ("opt/other/a.h", b"1"),
        ("app/a.h", b"1"),
    )
    source = oci_layout(tmp_path / "image", [layer(*members), capable])
    planned = plan_for(job_for(tmp_path, "*.h", image={"paths": ["/app/", "/opt/", "/usr/local/", "/etc/"]}), source)
    dropped = sorted(change.path for stage in planned.stages for change in stage.changes if isinstance(change, Drop))
    assert dropped == [
        "app/a.h",
        "opt/other/a.h",
        "usr/local/lib/python3.11/site-packages/pkg/a.h",
        "venv/lib/python3.12/site-packages/pkg/a.h",
    ]
    assert planned.findings == ()


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text('[tool.mlbundle]\noptimizers = ["exclude"]\n[tool.mlbundle.exclude]\npaths = ["*.h"]\n')
    for name in ("one", "two"):
        as_tar(oci_layout(tmp_path / name, [layer(*BASE), layer(*APP)]), tmp_path / f"{name}.tar")
    assert main(["optimize", "one.tar", "-o", "small.tar", "--no-cache"]) == 0
    assert main(["optimize", "one.tar", "two.tar", "-o", "out", "--no-cache"]) == 0
    assert seen(tmp_path / "small.tar") == seen(tmp_path / "out/one.tar") == seen(tmp_path / "out/two.tar")
    assert main(["check", "small.tar"]) == 0
    assert main(["compare", "one.tar", "small.tar"]) == 0
    assert main(["analyze", "one.tar", "--suggest", "--no-cache"]) == 0
    assert main(["explore", "one.tar"]) == 2
    assert "is a container image, which is not explored" in capsys.readouterr().err


def test_an_analysis_unpacks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    source = oci_layout(tmp_path / "image", [layer(*APP)])
    manifest = analyze(job_for(tmp_path), source)
    assert manifest.artifact.kind == "image"


def model_members(weights: bytes, *, code: bytes) -> Sequence[Member]:
    header = json.dumps({"w": {"dtype": "U8", "shape": [len(weights)], "data_offsets": [0, len(weights)]}}).encode()
    stored = len(header).to_bytes(8, "little") + header + weights
    return (("app/run.py", code), ("app/bert/config.json", b'{"model_type": "bert"}'), ("app/bert/model.safetensors", stored))


def test_each_model_gets_a_layer_that_outlives_the_application_s(tmp_path: Path) -> None:
    settings = {"model-layers": True, "model-size": 1000}
    found = []
    for number in (1, 2):
        layers = [layer(*BASE), layer(*model_members(NOISE, code=b"#" * number))]
        told = config_of(layers, history=[{"created_by": "FROM"}, {"created_by": "COPY"}])
        source = oci_layout(tmp_path / f"image{number}", layers, config=told)
        target = tmp_path / f"small{number}"
        optimize(job_for(tmp_path, image=settings), source, target)
        assert seen(target) == seen(source)
        found.append(digests(target))
    first, second = found
    assert first[0] == second[0]  # nothing changed in it
    assert first[1] != second[1]  # the application
    assert first[2:] == second[2:]
    assert [row.created_by for row in scan(tmp_path / "small1").layers][2:] == ["mlbundle: model bert"]
    again = scan(tmp_path / "small1").account.sha256
    optimize(job_for(tmp_path, image=settings), tmp_path / "small1")
    assert scan(tmp_path / "small1").account.sha256 == again


def test_a_model_that_cannot_move_is_told(tmp_path: Path) -> None:
    members = (*model_members(NOISE, code=b""), hard_link("app/other", "app/bert/model.safetensors"))
    _, result = optimized(tmp_path, [layer(*members)], image={"model-layers": True, "model-size": 1000})
    assert [(finding.code, finding.path) for finding in result.manifest.findings] == [("MB914", "app/bert")]


def test_a_result_that_is_larger_is_told(tmp_path: Path) -> None:
    members = (("app/a.h", b"1"), *((f"app/{number}", bytes(400_000)) for number in range(3)))
    _, result = optimized(tmp_path, [layer(*members)], "*.h", image={"compression": "none"})
    assert [finding.code for finding in result.manifest.findings] == ["MB913"]


@pytest.mark.parametrize(
    ("settings", "said"), [({"level": 10}, "from 1 to 9 for gzip"), ({"compression": "zstd", "level": 23}, "from 1 to 22")]
)
def test_levels_that_there_are_not(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        job_for(tmp_path, image=settings)


def test_programs_with_rights_of_their_own_stay(tmp_path: Path) -> None:
    capable = tarfile.TarInfo("app/capable.h")
    capable.pax_headers = {"SCHILY.xattr.security.capability": "x"}
    sticky = tarfile.TarInfo("app/owner.h")
    sticky.mode = 0o4755
    source = oci_layout(tmp_path / "image", [layer(("app/capable.h", capable), ("app/owner.h", sticky), ("app/a.h", b"1"))])
    optimize(job_for(tmp_path, "*.h"), source)
    assert sorted(seen(source)) == ["app/capable.h", "app/owner.h"]


def test_copies_become_links_within_one_environment(tmp_path: Path) -> None:
    data = os.urandom(9000)
    copies: Sequence[Member] = tuple(
        (path, data) for path in ("opt/one/a.dat", "opt/one/b.dat", "opt/two/a.dat", "usr/share/a.dat", "app/x/a.dat", "app/y/a.dat")
    )
    source = oci_layout(tmp_path / "image", [layer(*copies)])
    result = optimize(job_for(tmp_path, optimizers=["deduplicate"]), source)
    links = {path: file.link for path, file in scan(source).bundle.items() if file.link}
    owners = {path: file.owner for path, file in scan(source).bundle.items()}
    assert links == {"opt/one/b.dat": "a.dat", "app/y/a.dat": "../x/a.dat"}, owners
    assert result.manifest.artifact.after.installed == 4 * 9000


def test_no_copy_becomes_a_link_to_what_belongs_to_another_or_has_capabilities(tmp_path: Path) -> None:
    def member(name: str, uid: int = 0, gid: int = 0, **records: str) -> bytes:
        header = tarfile.TarInfo(name)
        header.size, header.mode, header.uid, header.gid, header.pax_headers = len(NOISE), 0o640, uid, gid, records
        sink = io.BytesIO()
        with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as tar:
            tar.addfile(header, io.BytesIO(NOISE))
        return sink.getvalue()

    capability = {"SCHILY.xattr.security.capability": "x"}
    own = {"app/a": (0, 0), "app/b": (7, 0), "app/c": (0, 7), "app/d": (0, 0), "app/e": (3_000_000, 0)}
    layers = [member(name, *held) for name, held in own.items()] + [member("app/capable", **capability)]
    source = oci_layout(tmp_path / "image", layers)
    optimize(job_for(tmp_path, optimizers=["deduplicate"]), source)
    assert {path: file.link for path, file in scan(source).bundle.items() if file.link} == {"app/d": "a"}


def test_a_quantized_model_is_written_into_its_layer(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    save_file = pytest.importorskip("safetensors.numpy").save
    weights = save_file({"w": numpy.random.default_rng(1).standard_normal((200, 100), dtype="float32")})
    source = oci_layout(tmp_path / "image", [layer(("app/bert/model.safetensors", weights), ("app/bert/config.json", b"{}"))])
    result = optimize(job_for(tmp_path, optimizers=["quantize"]), source)
    after = scan(source)
    assert after.bundle["app/bert/model.safetensors"].size < 0.6 * len(weights)
    assert len(after.layers) == 1
    assert result.manifest.details


@pytest.mark.parametrize(("time", "form", "read"), [(1_700_000_000.5, tarfile.PAX_FORMAT, 1_700_000_000), (-5, tarfile.GNU_FORMAT, 0)])
def test_files_keep_their_time_where_they_are_tried(tmp_path: Path, time: float, form: int, read: int) -> None:
    header = tarfile.TarInfo("app/a.py")
    header.mtime = time
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=form) as tar:
        tar.addfile(header)
    image = oci_layout(tmp_path / "image", [sink.getvalue()])
    with open_session(job_for(tmp_path), image, None) as session:
        assert session.artifact.scan().bundle["app/a.py"].modified == read


def test_what_is_new_lies_in_a_layer_on_top(tmp_path: Path) -> None:
    layers = [layer(*BASE), layer(*model_members(os.urandom(200_000), code=b"1"))]
    told = config_of(layers, history=[{"created_by": "FROM"}, {"created_by": "COPY"}])
    source = oci_layout(tmp_path / "image", layers, config=told)
    settings = {"optimizers": ["externalize"], "externalize": {"models": ["app/bert/"], "form": "folder"}}
    result = optimize(job_for(tmp_path, **settings), source, tmp_path / "small")
    assert [each.message for each in result.manifest.findings if each.code != "MB002"] == []
    found = scan(tmp_path / "small")
    assert "app/bert/model.safetensors" not in found.bundle
    assert [path for path in found.bundle if path.endswith("mlbundle.models.json")]
    assert found.layers[-1].created_by == "mlbundle: new files of externalize"

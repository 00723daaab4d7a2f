"""What is told of whole artifacts: of any sort, whatever the cache, the folder and the number of threads."""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import jsonschema
import pytest

import hatch_mlbundle
from hatch_mlbundle.adapters.project import project_config
from hatch_mlbundle.application import analyze, optimize
from hatch_mlbundle.contents.inspector import Extent, Inside, Inspector
from hatch_mlbundle.contents.totals import totals
from hatch_mlbundle.errors import ModelError
from hatch_mlbundle.job import Job, prepare
from hatch_mlbundle.manifest import SUFFIX, Manifest
from hatch_mlbundle.model import Bundle
from hatch_mlbundle.plugins import OURS, load_registry
from tests.builders import bundle_of, file_of
from tests.bundles.wheelsmith import build_wheel
from tests.contents.inspecting import inspecting, rows_of, told_of
from tests.elfsmith import Code, Part, build_elf, compile_elf, fatbin
from tests.models.safesmith import weights, write_tensors

SCHEMA = json.loads((Path(hatch_mlbundle.__file__).parent / "schemas" / "manifest-1.json").read_text())


def job(folder: Path, **settings: Any) -> Job:
    registry = load_registry()
    return prepare(project_config(folder, registry, settings), registry, project=folder)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    made = tmp_path / "made"
    made.mkdir()
    gpu = build_elf(made / "gpu.so", [Part(".text", b"c" * 900, flags=2), Part(".nv_fatbin", fatbin(Code(80, b"x" * 500), Code(90, b"y")))])
    return {
        "demo/__init__.py": b"",
        "demo/lib.so": compile_elf(made / "lib.so").read_bytes(),
        "demo/gpu.so": gpu.read_bytes(),
        "demo/model.safetensors": write_tensors(made / "m.safetensors", {"a": weights(50, 20)}).read_bytes(),
        "demo/broken.so": b"\x7fELF" + bytes(100),
        "demo/empty.so": b"",
    }


def check(manifest: Manifest) -> Counter[str]:
    """See that the rows are in order and add up; return the number of them by view."""
    sizes = {row.path: row.after.size for row in manifest.files if row.after}
    keys = [(row.path, row.view) for row in manifest.contents]
    assert keys == sorted(set(keys))
    for row in manifest.contents:
        assert list(row.parts) == sorted(row.parts, key=lambda name: (-row.parts[name], name))
        assert sum(row.parts.values()) == sizes[row.path] if row.view != "gpu" else sum(row.parts.values()) < sizes[row.path]
    jsonschema.validate(json.loads(manifest.to_json()), SCHEMA)
    assert Manifest.from_json(manifest.to_json()) == manifest
    for view, parts in totals(manifest).items():
        assert sum(parts.values()) == sum(sum(row.parts.values()) for row in manifest.contents if row.view == view)
    return Counter(row.view for row in manifest.contents)


def test_a_wheel_and_the_folder_of_its_files_have_the_same(tmp_path: Path, files: dict[str, bytes]) -> None:
    wheel = analyze(job(tmp_path, cache={"enabled": False}), build_wheel(tmp_path, files))
    assert check(wheel) == {"sections": 2, "gpu": 1, "tensors": 1}
    for path, data in files.items():
        (tmp_path / "tree" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / path).write_bytes(data)
    (tmp_path / "tree" / "demo" / "link.so").symlink_to("lib.so")
    folder = analyze(job(tmp_path, cache={"enabled": False}), tmp_path / "tree")
    assert folder.contents == wheel.contents
    assert totals(wheel)["gpu"] == {"sm_80": 568, "sm_90": 72, "(headers)": 16}


def test_the_cache_and_the_number_of_threads_change_nothing(tmp_path: Path, files: dict[str, bytes]) -> None:
    path = build_wheel(tmp_path, files)
    texts = [
        analyze(job(tmp_path, cache={"enabled": False}, workers=1), path).to_json(),
        analyze(job(tmp_path, cache={"enabled": False}, workers=7), path).to_json(),
        analyze(job(tmp_path), path).to_json(),
        analyze(job(tmp_path), path).to_json(),
    ]
    assert len(set(texts)) == 1


def test_of_a_wheel_whose_members_the_cache_knows_what_is_needed_is_unpacked(tmp_path: Path, files: dict[str, bytes]) -> None:
    path = build_wheel(tmp_path, files)
    first = analyze(job(tmp_path), path)
    cache = job(tmp_path).cache()
    assert cache is not None
    for entry in cache.folder.glob("*/*/entry.json"):
        if "sections" in entry.read_text():  # the facts of what was inspected, not those of the scan
            entry.unlink()
    assert analyze(job(tmp_path), path) == first


def test_the_result_is_what_is_told_of_not_the_original(tmp_path: Path, files: dict[str, bytes]) -> None:
    path = build_wheel(tmp_path, files)
    (tmp_path / "out").mkdir()
    settings: dict[str, Any] = {"optimizers": ["strip", "exclude"], "exclude": {"paths": ["demo/gpu.so"]}}
    manifest = optimize(job(tmp_path, **settings), path, tmp_path / "out" / path.name).manifest
    assert check(manifest) == {"sections": 1, "tensors": 1}
    sections = {row.path: row.parts for row in manifest.contents if row.view == "sections"}["demo/lib.so"]
    assert ".debug_info" not in sections
    assert ".debug_info" in totals(analyze(job(tmp_path), path))["sections"]
    assert analyze(job(tmp_path), tmp_path / "out" / path.name).contents == manifest.contents


def test_a_recalled_result_has_them_too(tmp_path: Path, files: dict[str, bytes]) -> None:
    path = build_wheel(tmp_path, files)
    texts = []
    for name in ("cold", "recalled"):
        (tmp_path / name).mkdir()
        optimize(job(tmp_path), path, tmp_path / name / path.name)
        texts.append((tmp_path / name / (path.name + SUFFIX)).read_bytes())
    assert texts[0] == texts[1]
    assert check(Manifest.from_json(texts[1]))["tensors"] == 1


def test_a_finished_result_is_not_recalled_where_other_inspectors_are_installed(tmp_path: Path, files: dict[str, bytes]) -> None:
    path = build_wheel(tmp_path, files)
    (tmp_path / "out").mkdir()
    before = optimize(job(tmp_path), path, tmp_path / "out" / path.name).manifest
    fewer = job(tmp_path)
    fewer = Job(
        config=fewer.config,
        stages=fewer.stages,
        tools=fewer.tools,
        project=fewer.project,
        progress=fewer.progress,
        inspecting=tuple(each for each in fewer.inspecting if each.inspector.name != "safetensors"),
    )
    after = optimize(fewer, path, tmp_path / "out" / path.name).manifest
    assert {row.view for row in before.contents} - {row.view for row in after.contents} == {"tensors"}


class Mine(Inspector):
    name: ClassVar[str] = "mine"
    version: ClassVar[str] = "1"
    suffixes: ClassVar[frozenset[str]] = frozenset({".mine"})

    def inspect(self, path: Path) -> Iterable[Inside]:
        data = path.read_bytes()
        if data.startswith(b"bad"):
            raise ModelError("is bad")
        yield Inside(view="tensors", extents=[Extent(0, data[0], "F32")], rest="(graph)")
        yield Inside(view="tensors", extents=[Extent(0, 100, "F16"), Extent(100, 200, "F16")], location="more/x.data")
        yield Inside(view="tensors", extents=[Extent(0, 100, "F16")], location="../a/other.data")


def test_an_inspector_of_a_plugin_tells_of_other_files_too() -> None:
    bundle = bundle_of({"a/one.mine": b"\x10" * 40, "a/two.mine": b"\x20" * 40, "a/more/x.data": b"x" * 300, "a/other.data": b"x" * 200})
    rows = {row.path: row.parts for row in rows_of(bundle, inspecting(Mine()))}
    assert rows == {
        "a/one.mine": {"(graph)": 24, "F32": 16},
        "a/two.mine": {"F32": 32, "(graph)": 8},
        "a/more/x.data": {"F16": 200, "(other)": 100},
    }


def test_what_does_not_fit_or_is_not_there_is_left_out() -> None:
    bundle = bundle_of({"one.mine": b"\x30" * 40, "bad.mine": b"bad" * 9, "more/x.data": b"x" * 199, "empty.mine": b""})
    linked = bundle.replacing([file_of("link.mine", b"", link="one.mine")])
    assert rows_of(linked, inspecting(Mine())) == ()


def test_the_first_that_tells_something_of_a_file_is_believed() -> None:
    class Second(Mine):
        name = "second"

        def inspect(self, path: Path) -> Iterable[Inside]:
            yield Inside(view="tensors", extents=[Extent(0, 1, "I8")])

    bundle = bundle_of({"one.mine": b"\x10" * 40, "bad.mine": b"bad" * 9})
    rows = {row.path: dict(row.parts) for row in rows_of(bundle, inspecting(Mine(), Second()))}
    assert rows == {"one.mine": {"(graph)": 24, "F32": 16}, "bad.mine": {"(other)": 26, "I8": 1}}


def test_a_plugin_that_fails_otherwise_is_named() -> None:
    class Broken(Mine):
        def inspect(self, path: Path) -> Iterable[Inside]:
            return [Inside(view="tensors", extents=[Extent(0, struct.unpack("<Q", b"x")[0], "I8")])]

    rows, (finding,) = told_of(bundle_of({"a/one\n.mine": b"x"}), inspecting(Broken()))
    assert (rows, finding.code, finding.path) == ((), "MB127", "a/one\n.mine")
    assert finding.message.startswith("plugin mlbundle-mine: inspector 'mine' fails (error: unpack requires")
    assert finding.message.endswith("; what it tells was left out")
    with pytest.raises(struct.error):  # a fault of ours is told as one
        rows_of(bundle_of({"a/one.mine": b"x"}), inspecting(Broken(), distribution=OURS))


def test_names_from_hostile_artifacts(tmp_path: Path) -> None:
    library = build_elf(tmp_path / "lib.so", [Part(".text", b"c" * 5000, flags=2)]).read_bytes()
    names = ["a\nb.so", "<script>.so", "\udcff.so", "x" * 250 + ".so", "\u202egnp.so", "`|`.so", "so"]
    rows = rows_of(bundle_of(dict.fromkeys(names, library)))
    assert [row.path for row in rows] == sorted(names)


def test_nothing_in_nothing_out() -> None:
    assert rows_of(Bundle()) == ()

from __future__ import annotations

import hashlib
import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from hatch_mlbundle.runtime.models.descriptor import ModelFile, parse, text_of
from hatch_mlbundle.runtime.models.errors import ModelFileError
from tests.modelsmith import FILES, model_of

ARCHIVE = ModelFile(path="blip.tar", size=10240, sha256="a" * 64, sources=("https://two/blip.tar",))
MODEL = model_of(sources=("https://one/blip/", "s3://bucket/blip.tar"), archive=ARCHIVE, mount="/models")
SINGLE = model_of({"yolo.onnx": b"o"}, name="yolo", is_file=True, mode="beside")


def test_what_is_written_is_read(tmp_path: object) -> None:
    read = {model.name: model for model in parse(text_of([MODEL, SINGLE]), "x")}
    assert read["yolo"] == SINGLE
    assert set(read["blip"].files) == set(MODEL.files)
    assert (read["blip"].sources, read["blip"].archive, read["blip"].mount) == (MODEL.sources, ARCHIVE, "/models")


def test_order_makes_no_difference() -> None:
    turned = model_of(dict(reversed(FILES.items())), sources=MODEL.sources, archive=ARCHIVE, mount="/models")
    assert text_of([MODEL, SINGLE]) == text_of([SINGLE, turned])
    assert turned.digest == MODEL.digest


def test_a_digest_is_that_of_sha256sums_lines() -> None:
    lines = "".join(f"{hashlib.sha256(FILES[path]).hexdigest()}  {path}\n" for path in sorted(FILES))
    assert MODEL.digest == hashlib.sha256(lines.encode()).hexdigest()


def test_keys_of_a_later_minor_version_are_left_alone() -> None:
    data = json.loads(text_of([MODEL]))
    data["version"] = "1.7"
    data["new"] = data["models"][0]["new"] = {"x": 1}
    assert parse(json.dumps(data).encode(), "x")[0].name == "blip"


def _set(*path: object, to: object) -> Callable[[Any], None]:
    def change(data: Any) -> None:
        *above, last = path
        for key in above:
            data = data[key]
        data[last] = to

    return change


NAME, PATH = ("models", 0, "name"), ("models", 0, "files", 0, "path")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_set("format", to="other"), "format is not 'mlbundle-models'"),
        (_set("version", to="2.0"), "version is '2.0', this release reads 1.0: install a newer"),
        (_set("version", to=1), "version is no str"),
        (_set("version", to="1"), "version is '1'"),
        (_set("models", to={}), "models is no list"),
        (_set("models", 0, to=[]), r"models\[0\] is no object"),
        *(
            (_set(*NAME, to=name), "is no (path|file)")
            for name in ("", ".", "..", "a/b", "a\\b", "a\0", "\x1b[2J", "\x9b2J", "a\u2028b", "C:x", "\ud800")
        ),
        (_set(*NAME, to=3), "name is no str"),
        *(
            (_set(*PATH, to=path), "is no path")
            for path in ("", "/etc/passwd", "../x", "a/../../x", "a//b", "a/.", "c:/x", "a\\..\\b", "a\nb")
        ),
        (_set("models", 0, "path", to="../out"), "is no path within a folder"),
        (_set("models", 0, "mode", to="magic"), "'magic' is none of"),
        (_set("models", 0, "is_file", to=1), "is_file is no bool"),
        (_set("models", 0, "is_file", to=True), "files is not one file"),
        (_set("models", 0, "files", to=[]), "files is empty"),
        (_set("models", 0, "files", 0, "size", to=-1), "size is negative"),
        (_set("models", 0, "files", 0, "size", to=True), "size is no int"),
        (_set("models", 0, "files", 0, "size", to=1.5), "size is no int"),
        (_set("models", 0, "files", 0, "sha256", to="A" * 64), "no SHA-256"),
        (_set("models", 0, "files", 0, "sha256", to=None), "sha256 is missing"),
        (_set(*PATH, to="vocab.txt"), "has 'vocab.txt' twice"),
        (_set(*PATH, to="weights"), "has 'weights' twice, or as a folder, too"),
        (_set("models", 0, "sources", to="https://x/"), "sources is no list"),
        (_set("models", 0, "sources", to=[3]), "sources is no list of lines"),
        (_set("models", 0, "sources", to=["https://x/\r\nHost: y"]), "sources is no list of lines"),
        (_set("models", 0, "archive", to=[]), "archive is no object"),
        (_set("models", 0, "archive", "sha256", to=MODEL.files[0].sha256), "archive has the SHA-256 of one of the files"),
        (_set("models", 0, "mount", to=3), "mount is no str"),
        *((_set("models", 0, "mount", to=mount), "mount is no line") for mount in ("/a\nb", "\x1b]0;x\x07", "\x9b2J", "\0", "\ud800")),
    ],
)
def test_what_cannot_be_right_is_refused_in_one_line(change: Callable[[Any], None], told: str) -> None:
    data = json.loads(text_of([MODEL]))
    change(data)
    with pytest.raises(ModelFileError, match=told) as caught:
        parse(json.dumps(data), "/app/mlbundle.models.json")
    assert str(caught.value).startswith("/app/mlbundle.models.json: ")
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"format": 1' + b"0" * 5000 + b"}"])
def test_what_is_no_descriptor_at_all_is_refused(text: bytes) -> None:
    with pytest.raises(ModelFileError) as caught:
        parse(text, "x")
    assert str(caught.value).startswith("x: ")
    assert "\n" not in str(caught.value)


def test_a_path_of_many_folders_takes_no_memory_to_speak_of() -> None:
    deep = "/".join("a" * 20_000)
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError, match="twice, or as a folder, too"):
            text_of([model_of({deep: b"1", f"{deep}/b": b"2"})])
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_a_folder_is_no_file_whatever_is_sorted_between_them() -> None:
    assert parse(text_of([model_of({"a": b"1", "a.b": b"2", "a-b/c": b"3"})]), "x")
    with pytest.raises(ModelFileError, match="has 'a' twice, or as a folder, too"):
        text_of([model_of({"a": b"1", "a.b": b"2", "a-b/c": b"3", "a/b": b"4"})])


def test_a_mount_on_windows_is_a_line() -> None:
    assert parse(text_of([model_of(mount="D:\\models")]), "x")[0].mount == "D:\\models"


def test_two_models_of_one_name_are_refused() -> None:
    with pytest.raises(ModelFileError, match="has 'blip' twice"):
        text_of([MODEL, model_of({"other": b"x"})])

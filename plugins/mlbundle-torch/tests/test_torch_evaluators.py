"""The evaluators of transformers and sentence-transformers folders, on the real MiniLM, and a search that they decide."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from torchmodels import job_of, minilm, needs_transformers

from hatch_mlbundle.accuracy.evaluator import Samples
from hatch_mlbundle.application import optimize
from mlbundle_torch.evaluators import SentenceTransformers, Transformers
from mlbundle_torch.plugin import mlbundle_register_evaluators

TEXTS = ["A cat sat on the mat.", "Quarterly revenue rose by 4 %.", "Where is the station?", "The engine needs oil.", "It rains in Paris."]


def folder(root: Path, *names: str) -> Path:
    root.mkdir()
    for name in names:
        (root / name).write_text("{}")
    return root


@pytest.mark.skipif("torch" in sys.modules, reason="needs an interpreter that has not imported torch")
def test_looking_at_a_model_imports_nothing(tmp_path: Path) -> None:
    plain = folder(tmp_path / "plain", "config.json", "model.safetensors")
    whole = folder(tmp_path / "whole", "config.json", "model.safetensors", "modules.json")
    file = tmp_path / "model.onnx"
    file.write_bytes(b"")
    empty = folder(tmp_path / "empty", "config.json")
    for each in mlbundle_register_evaluators():
        found = [each().fits(path) for path in (plain, whole, file, empty)]
        assert found in ([False] * 4, [each is Transformers, each is SentenceTransformers, False, False])
        assert all(version[0].isdigit() for version in each().programs().values())
    assert "torch" not in sys.modules


@pytest.mark.slow
@needs_transformers
class TestMiniLM:
    def test_sentence_transformers_gives_its_embeddings(self) -> None:
        import numpy as np
        from sentence_transformers import SentenceTransformer

        evaluator = SentenceTransformers()
        assert evaluator.fits(minilm())
        made = [each["embedding"] for each in evaluator.outputs(minilm(), Samples(rows=[{"text": text} for text in TEXTS]))]
        wanted = SentenceTransformer(str(minilm()), local_files_only=True).encode(TEXTS)
        np.testing.assert_allclose(np.stack(made), wanted, atol=1e-5)

    def test_texts_and_tokens_give_the_same(self, tmp_path: Path) -> None:
        import numpy as np
        from transformers import AutoTokenizer

        tokens = [AutoTokenizer.from_pretrained(minilm(), local_files_only=True)(text)["input_ids"] for text in TEXTS]
        plain = Path(shutil.copytree(minilm(), tmp_path / "plain"))
        (plain / "modules.json").unlink()
        for evaluator, model in ((SentenceTransformers(), minilm()), (Transformers(), plain)):
            assert evaluator.fits(model)
            texts, ids = (
                np.stack([each["embedding"] for each in evaluator.outputs(model, Samples(rows=rows))])
                for rows in ([{"text": text} for text in TEXTS], [{"input_ids": row} for row in tokens])
            )
            np.testing.assert_allclose(texts, ids, atol=1e-5)

    @pytest.mark.parametrize("dtype", ["<i8", ">i4"])
    def test_a_head_gives_its_logits(self, dtype: str, tmp_path: Path) -> None:
        import numpy as np
        import torch
        from transformers import BertConfig, BertForSequenceClassification

        torch.manual_seed(0)
        small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 100}
        model = BertForSequenceClassification(BertConfig(**small, num_labels=3)).eval()
        model.save_pretrained(tmp_path)
        (made,) = Transformers().outputs(tmp_path, Samples(rows=[{"input_ids": np.array([1, 2, 3], dtype)}]))
        with torch.no_grad():
            wanted = model(input_ids=torch.tensor([[1, 2, 3]])).logits[0]
        assert made["logits"].tolist() == pytest.approx(wanted.tolist(), abs=1e-5)

    def test_outputs_of_another_kind_are_told(self, tmp_path: Path) -> None:
        from transformers import DPRConfig, DPRContextEncoder

        small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 100}
        DPRContextEncoder(DPRConfig(**small)).save_pretrained(tmp_path)
        with pytest.raises(ValueError, match="neither logits nor last_hidden_state but pooler_output"):
            list(Transformers().outputs(tmp_path, Samples(rows=[{"input_ids": [1, 2, 3]}])))

    @pytest.mark.parametrize(
        ("row", "message"),
        [({"text": 5}, "sample 1: 'text' is no text"), ({"words": "a"}, "name texts `text`"), ({"pixels": [1.0]}, "does not take it")],
    )
    def test_samples_that_do_not_fit_are_told(self, row: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            list(SentenceTransformers().outputs(minilm(), Samples(rows=[row])))


@pytest.mark.slow
@pytest.mark.very_slow
@needs_transformers
def test_the_bound_decides_how_much_is_pruned(tmp_path: Path) -> None:
    bundle = tmp_path / "app" / "bundle"
    shutil.copytree(minilm(), bundle / "minilm")
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    settings = {
        "optimizers": ["prune_weights"],
        "prune_weights": {"amount": 0.2},
        "accuracy": {"samples": "samples.jsonl", "metric": "cosine", "at-least": 0.94},
    }
    result = optimize(job_of(tmp_path, **settings), bundle)
    assert not result.manifest.findings
    (row,) = json.loads(result.manifest.to_json())["details"]
    search = row["detail"]["search"]
    assert [each["setting"] for each in search] == ["0.2", "0.15", "0.1", "0.05", "0.02"][: len(search)]
    assert [each["keeps"] for each in search] == [False] * (len(search) - 1) + [True]
    assert len(search) > 1
    assert search[-1]["value"] >= 0.94
    assert json.loads((bundle / "minilm/config.json").read_text())["intermediate_size"] == row["detail"]["neurons"][1] < 1536


@pytest.mark.slow
@needs_transformers
@pytest.mark.parametrize("options", [{}, {"structure": "unstructured"}])
def test_transformers_loads_what_was_pruned(options: dict[str, Any], tmp_path: Path) -> None:
    """In a process of its own, since installing the loader changes safetensors for good."""
    import subprocess

    bundle = tmp_path / "app" / "bundle"
    shutil.copytree(minilm(), bundle / "minilm")
    size = (minilm() / "model.safetensors").stat().st_size
    assert not optimize(job_of(tmp_path, optimizers=["prune_weights"], prune_weights=options), bundle).manifest.findings
    assert sum(path.stat().st_size for path in (bundle / "minilm").glob("model*")) < 0.95 * size
    code = f"""
import hatch_mlbundle.runtime, numpy
from sentence_transformers import SentenceTransformer
before = SentenceTransformer({str(minilm())!r}, local_files_only=True).encode({TEXTS!r})
if {bool(options)}:
    hatch_mlbundle.runtime.install()
after = SentenceTransformer({str(bundle / "minilm")!r}, local_files_only=True).encode({TEXTS!r})
print((before * after).sum(1).mean())
"""
    environment = {"PYTHONPATH": ":".join(sys.path), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) > 0.85


@pytest.mark.slow
@needs_transformers
@pytest.mark.parametrize("kind", ["llama", "distilbert"])
def test_other_families_load_and_give_what_zeroed_neurons_would(kind: str, tmp_path: Path) -> None:
    import torch
    import transformers

    torch.manual_seed(0)
    if kind == "llama":
        config = transformers.LlamaConfig(
            hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4, vocab_size=100
        )
        model: Any = transformers.LlamaModel(config)
    else:
        config = transformers.DistilBertConfig(dim=64, hidden_dim=128, n_layers=2, n_heads=4, vocab_size=100)
        model = transformers.DistilBertModel(config)
    bundle = tmp_path / "app" / "bundle"
    model.eval().save_pretrained(bundle / "m")
    dead = torch.arange(128) % 2 == 1  # half the neurons lead nowhere: without them nothing may change
    with torch.no_grad():
        for layer in model.layers if kind == "llama" else model.transformer.layer:
            out = layer.mlp.down_proj if kind == "llama" else layer.ffn.lin2
            out.weight[:, dead] = 0
    model.save_pretrained(bundle / "m")
    assert not optimize(job_of(tmp_path, optimizers=["prune_weights"], prune_weights={"amount": 0.5}), bundle).manifest.findings
    again = transformers.AutoModel.from_pretrained(bundle / "m", local_files_only=True).eval()
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        one, other = (each(input_ids=ids).last_hidden_state for each in (model, again))
    assert again.num_parameters() < model.num_parameters()
    assert torch.allclose(one, other, atol=1e-5)

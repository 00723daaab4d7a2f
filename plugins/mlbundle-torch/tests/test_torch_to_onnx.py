"""Conversion to ONNX with torch: each form of a model, its free axes, and what cannot be converted."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from torchmodels import HAS_TORCH, job_of, make_project, minilm, needs_torch, needs_transformers, net_table, write_evil

from hatch_mlbundle.application import Result, optimize

pytestmark = [pytest.mark.slow, needs_torch]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_project(tmp_path_factory.mktemp("nets")) if HAS_TORCH else (Path(), Path())


@pytest.fixture
def bundle(made: tuple[Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made[1], tmp_path / "app" / "bundle"))


def converted(project: Path, bundle: Path, *models: dict[str, Any], **options: Any) -> Result:
    settings = {"optimizers": ["torch_to_onnx"], "torch_to_onnx": {"models": list(models), **options}}
    return optimize(job_of(project, **settings), bundle)


def detail(result: Result, path: str) -> dict[str, Any]:
    (row,) = [row for row in json.loads(result.manifest.to_json())["details"] if row["path"] == path]
    found: dict[str, Any] = row["detail"]
    return found


def run_onnx(path: Path, **inputs: Any) -> list[Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return list(session.run(None, inputs))


def expected(project: Path, bundle: Path, x: Any) -> Any:
    """Return what the net computes, in numpy: from the weights alone."""
    import numpy as np
    from safetensors.numpy import load_file

    weights = load_file(bundle / "net.safetensors")
    hidden = np.maximum(x @ weights["up.weight"].T + weights["up.bias"], 0)
    return hidden @ weights["down.weight"].T + weights["down.bias"]


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("state.pt", {}),
        ("net.safetensors", {}),
        ("checkpoint.pt", {"key": "state_dict"}),
        ("traced.pt", {"factory": ""}),
        ("scripted.pt", {"factory": ""}),
    ],
)
def test_each_form_becomes_the_same_network(name: str, more: dict[str, Any], made: tuple[Path, Path], bundle: Path) -> None:
    import numpy as np

    result = converted(made[0], bundle, {**net_table(name, outputs=["scores"]), **more})
    assert not result.manifest.findings
    target = bundle / f"{Path(name).stem}.onnx"
    x = np.random.default_rng(1).normal(size=(11, 8)).astype(np.float32)
    (y,) = run_onnx(target, x=x)
    np.testing.assert_allclose(y, expected(made[0], bundle, x), rtol=1e-4, atol=1e-6)
    assert (bundle / name).read_bytes() == (made[1] / name).read_bytes()
    assert b"/" + made[0].name.encode() not in target.read_bytes()  # no stack trace names a folder of this machine
    told = detail(result, target.name)
    assert told["opset"] == 20
    assert [row["sizes"] for row in told["compared"]] == [{"batch": 2}, {"batch": 1}, {"batch": 7}]
    assert all(row["relative"] < 1e-5 and row["cosine"] > 0.99999 for row in told["compared"])


def test_the_weights_go_when_asked_and_the_result_is_the_same_in_another_folder(
    made: tuple[Path, Path], bundle: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(bundle, tmp_path / "elsewhere" / "deeper" / "bundle"))
    project = Path(shutil.copytree(made[0], tmp_path / "another project"))
    for root, folder in ((made[0], bundle), (project, other)):
        converted(root, folder, net_table("state.pt"), **{"drop-original": True})
        assert not (folder / "state.pt").exists()
    assert (bundle / "state.onnx").read_bytes() == (other / "state.onnx").read_bytes()


def test_outputs_that_have_names_can_be_chosen(made: tuple[Path, Path], bundle: Path) -> None:
    import numpy as np

    inputs = [{"name": "x", "shape": "n, 8"}, {"name": "mask", "shape": "n, 1"}]
    table = {"path": "state.pt", "factory": "netsmith:Named", "inputs": inputs, "outputs": ["best", "masked"]}
    assert not converted(made[0], bundle, table).manifest.findings
    x = np.random.default_rng(1).normal(size=(3, 8)).astype(np.float32)
    best, masked = run_onnx(bundle / "state.onnx", x=x, mask=np.zeros((3, 1), np.float32))
    assert best.tolist() == expected(made[0], bundle, x).argmax(-1).tolist()
    assert not masked.any()


@pytest.mark.filterwarnings("ignore:.*torch.jit.load.* is deprecated:DeprecationWarning")
def test_torchscript_with_a_loop_is_left_to_the_older_exporter(made: tuple[Path, Path], bundle: Path) -> None:
    import numpy as np
    import torch

    result = converted(made[0], bundle, net_table("looped.pt", factory=""))
    assert not result.manifest.findings
    assert detail(result, "looped.onnx")["exporter"] == "the TorchScript exporter, deprecated"
    x = np.random.default_rng(1).normal(size=(9, 8)).astype(np.float32)
    wanted = torch.jit.load(bundle / "looped.pt")(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(run_onnx(bundle / "looped.onnx", x=x)[0], wanted, rtol=1e-4, atol=1e-6)


def test_another_interpreter_needs_torch_but_none_of_ours(made: tuple[Path, Path], bundle: Path) -> None:
    python = made[0] / "isolated-python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -I "$@"\n')  # without PYTHONPATH, and the folder of the script
    python.chmod(0o755)
    assert not converted(made[0], bundle, net_table("state.pt"), python="isolated-python").manifest.findings
    assert (bundle / "state.onnx").is_file()


def test_large_weights_lie_beside_the_file(made: tuple[Path, Path], bundle: Path) -> None:
    import numpy as np

    converted(made[0], bundle, net_table("state.pt"), **{"single-file": 1000})
    assert (bundle / "state.onnx.data").stat().st_size > 2000
    x = np.ones((4, 8), np.float32)
    np.testing.assert_allclose(run_onnx(bundle / "state.onnx", x=x)[0], expected(made[0], bundle, x), rtol=1e-4, atol=1e-6)


REFUSED = {
    "missing": ({"factory": "netsmith:Nothing"}, "MB102", "cannot be imported .AttributeError"),
    "no module": ({"factory": "no.such:Net"}, "MB102", "cannot be imported .ModuleNotFoundError"),
    "raising": ({"factory": "netsmith:broken"}, "MB102", "raised RuntimeError: no such corpus"),
    "leaving": ({"factory": "netsmith:leaving"}, "MB102", "raised SystemExit: bye"),
    "not a module": ({"factory": "netsmith:nothing"}, "MB102", "gave int, not a torch.nn.Module"),
    "no callable": ({"factory": "netsmith:number"}, "MB102", "is no callable"),
    "other weights": ({"factory": "torch.nn:Identity"}, "MB102", "do not fit"),
    "no factory": ({"factory": ""}, "MB102", "name the `factory`"),
    "wrong input": ({"inputs": [{"name": "x", "shape": "2, 9"}]}, "MB102", "does not run on the inputs described"),
    "wrong outputs": ({"outputs": ["a", "b"]}, "MB102", "names 2 outputs, and the model returns 1"),
    "whole module": ({"path": "whole.pt"}, "MB102", "never unpickled"),
    "checkpoint": ({"path": "checkpoint.pt"}, "MB102", "name the key of the weights"),
    "fixed axis": ({"factory": "netsmith:Fixed", "inputs": [{"name": "x", "shape": "batch=2|3, 8"}]}, "MB102", "does not run at batch"),
    "fixed axis, traced": ({"path": "fixed.pt", "factory": ""}, "MB102", "does not run at batch"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_converted_stays_and_is_told_in_one_line(case: str, made: tuple[Path, Path], bundle: Path) -> None:
    changed, code, message = REFUSED[case]
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    result = converted(made[0], bundle, {**net_table("state.pt"), **changed}, **{"drop-original": True})
    (finding,) = result.manifest.findings
    assert finding.code.startswith(code)
    assert message.replace(".", "") in finding.message.replace("(", "").replace(".", "")
    assert "\n" not in finding.message
    assert {path.name: path.read_bytes() for path in bundle.iterdir() if not path.name.endswith(".mlbundle.json")} == before


def test_what_hangs_is_ended(made: tuple[Path, Path], bundle: Path) -> None:
    result = converted(made[0], bundle, net_table("state.pt", "netsmith:hanging"), seconds=10)
    assert [finding.code for finding in result.manifest.findings] == ["MB102"]
    assert "took more than 10 s" in result.manifest.findings[0].message


def test_what_takes_too_much_memory_is_ended(made: tuple[Path, Path], bundle: Path) -> None:
    result = converted(made[0], bundle, net_table("state.pt"), memory="40 MB")
    assert [finding.code for finding in result.manifest.findings] == ["MB102"]
    assert "/tmp" not in result.manifest.findings[0].message
    assert not (bundle / "state.onnx").exists()


def test_an_evil_pickle_is_never_executed(made: tuple[Path, Path], bundle: Path, tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    write_evil(bundle / "evil.pt", trace)
    result = converted(made[0], bundle, net_table("evil.pt"), net_table("traced.pt", factory=""))
    assert ["evil" in finding.message or finding.path for finding in result.manifest.findings] == ["evil.pt"]
    assert not trace.exists()
    assert (bundle / "traced.onnx").exists()


@needs_transformers
def test_an_evil_pickle_in_a_transformers_folder_is_never_executed(tmp_path: Path) -> None:
    bundle = tmp_path / "app" / "bundle"
    (bundle / "m").mkdir(parents=True)
    settings = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 100}
    (bundle / "m/config.json").write_text(json.dumps({"model_type": "bert", "architectures": ["BertModel"], **settings}))
    write_evil(bundle / "m/pytorch_model.bin", tmp_path / "executed")
    (finding,) = converted(tmp_path, bundle, {"path": "m"}).manifest.findings
    assert finding.code == "MB102"
    assert not (tmp_path / "executed").exists()


@needs_transformers
def test_minilm_becomes_onnx_with_free_axes(tmp_path: Path) -> None:
    import numpy as np

    bundle = tmp_path / "app" / "bundle"
    shutil.copytree(minilm(), bundle / "minilm")
    result = converted(tmp_path, bundle, {"path": "minilm", "outputs": ["last_hidden_state"]}, **{"drop-original": True})
    assert not result.manifest.findings
    assert not (bundle / "minilm/model.safetensors").exists()
    told = detail(result, "minilm/model.onnx")
    assert [each["shape"] for each in told["inputs"]] == [["batch", "sequence"]] * 3
    assert all(row["cosine"] > 0.99999 for row in told["compared"])
    ids = np.random.default_rng(0).integers(1000, 20000, (4, 61))
    (made,) = run_onnx(bundle / "minilm/model.onnx", input_ids=ids, attention_mask=np.ones_like(ids), token_type_ids=np.zeros_like(ids))
    wanted = hidden_states(minilm(), ids)
    assert made.shape == wanted.shape
    assert float((made * wanted).sum() / np.sqrt((made**2).sum() * (wanted**2).sum())) > 0.99999


@pytest.mark.very_slow
@needs_transformers
def test_a_whole_sentence_model_becomes_onnx(tmp_path: Path) -> None:
    import numpy as np
    from sentence_transformers import SentenceTransformer

    bundle = tmp_path / "app" / "bundle"
    shutil.copytree(minilm(), bundle / "minilm")
    assert not converted(tmp_path, bundle, {"path": "minilm", "outputs": ["sentence_embedding"]}).manifest.findings
    model = SentenceTransformer(str(minilm()), local_files_only=True)
    texts = ["A cat sat on the mat.", "Where is the station?", "Rain."]
    tokens = {name: value.numpy() for name, value in model.tokenizer(texts, padding=True, return_tensors="pt").items()}
    (made,) = run_onnx(bundle / "minilm/model.onnx", **tokens)
    np.testing.assert_allclose(made, model.encode(texts), atol=1e-5)


def hidden_states(folder: Path, ids: Any) -> Any:
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    with torch.no_grad():
        return model(input_ids=torch.from_numpy(ids), attention_mask=torch.ones(ids.shape, dtype=torch.int64)).last_hidden_state.numpy()


@pytest.mark.parametrize("size", [1e-200, 1.0, 1e200])
def test_outputs_of_any_size_are_compared(size: float) -> None:
    import numpy as np

    from mlbundle_torch.worker.comparing import distance

    one = np.array([1.0, 2.0]) * size
    assert distance(one, one) == {"relative": 0.0, "cosine": pytest.approx(1)}
    assert distance(one, -one) == {"relative": pytest.approx(2), "cosine": pytest.approx(-1)}
    assert distance(np.zeros(2), one) == {"relative": pytest.approx(5**0.5 * size), "cosine": 1.0}
